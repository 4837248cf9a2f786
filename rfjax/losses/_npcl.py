"""Noise-pruned curriculum loss: a bound of the 0-1 loss that chooses its examples."""

from typing import Any

import jax
import jax.numpy as jnp

from rfjax.core import Batch, Transform, _check, rank
from rfjax.losses._elements import at_label


def _margins(log_probs: jax.Array) -> jax.Array:
  """How far each class is ahead of the best other one, [B, C]."""
  values, best = jax.lax.top_k(log_probs, 2)
  first = jnp.arange(log_probs.shape[-1]) == best[:, :1]
  return log_probs - jnp.where(first, values[:, 1:], values[:, :1])


def _base(log_probs: jax.Array, margins: jax.Array) -> jax.Array:
  """A hinge where the label is ahead, and a bound of it that learns faster where it is not."""
  return jnp.where(margins >= 0, jax.nn.relu(1 - margins), 1 - log_probs)


def npcl(rate: float | jax.Array, *, warmup: int = 0) -> Transform:
  r"""Noise-pruned curriculum loss.

  $$\min_{v \in \{0, 1\}^n} \max\Bigl(\sum_i v_i \ell_i,\; c - \sum_i v_i\Bigr), \qquad
  c = (1 - \epsilon)^2\, n + (1 - \epsilon) \sum_i [u_i < 0]$$

  with the margin u of the given label in the log-probabilities, and the loss l of a label of margin
  u, which is max(1 - u, 0) for u >= 0 and 1 - log p below. The minimum is taken by the
  examples of smallest loss: with their sums L in ascending order, the i-th is kept while
  L_i <= c + 1 - i. At rate 0 the minimum lies between the number of errors and the sum of all
  losses.

  Args:
    rate: epsilon, the share of wrong labels, in [0, 1); may be traced.
    warmup: epochs at the start in which all examples are kept, 5 to 10 in the paper.

  Returns:
    The transform; it writes cost and keep, by batch. The n examples are those kept so far.

  Raises:
    ValueError: for values out of range.

  References:
    Lyu, Tsang, Curriculum Loss: Robust Learning and Generalization against Label Corruption, ICLR
    2020.

  Examples:
    >>> import jax.numpy as jnp, rfjax
    >>> from rfjax import losses
    >>> batch = rfjax.Batch.from_arrays([[0.0]] * 3, [0, 0, 1])
    >>> batch = batch.fill(jnp.array([[2.0, 0.0], [1.0, 0.0], [9.0, 0.0]]))
    >>> out, _ = losses.npcl(0.3).update(batch, (), epoch=0)
    >>> out.keep.tolist()
    [1.0, 1.0, 0.0]
  """
  _check.number("rate", rate, 0.0, 1.0, open_high=True)
  warmup = _check.count("warmup", warmup, 0)

  def chosen(batch: Batch, margins: jax.Array) -> jax.Array:
    """The examples of smallest loss that the threshold allows, bool [B]."""
    given = batch.keep > 0
    losses = jnp.where(given, at_label(batch.cost, batch.y), jnp.inf)
    wrong = jnp.sum(given & (at_label(margins, batch.y) < 0))
    threshold = (1 - rate) ** 2 * jnp.sum(given) + (1 - rate) * wrong
    place = jnp.arange(1, losses.size + 1)
    inside = jnp.cumsum(jnp.sort(losses)) <= threshold + 1 - place
    return rank(losses, batch.index) < jnp.sum(inside)

  def base(batch: Batch) -> tuple[Batch, jax.Array]:
    log_probs = batch.require("log_probs", by="npcl").log_probs
    margins = _margins(log_probs)
    return batch.replace(cost=_base(log_probs, margins)), margins

  def update(
    batch: Batch, state: Any, params: Any = None, *, epoch: Any, **unused: Any
  ) -> tuple[Batch, Any]:
    del params, unused
    batch, margins = base(batch)
    keep = (epoch < warmup) | chosen(jax.lax.stop_gradient(batch), margins)
    return batch.replace(keep=batch.keep * keep), state

  def refresh(data: Batch, state: Any, params: Any = None, **unused: Any) -> tuple[Batch, Any]:
    del params, unused
    return base(data)[0], state

  return Transform(update=update, refresh=refresh, writes=("loss", "keep"))
