"""Truncated generalized cross-entropy: without the examples of which the model thinks little."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rfjax.core import Batch, Transform, _check, read, write
from rfjax.losses._elements import at_label, power


class TruncatedGCEState(NamedTuple):
  """The state of `truncated_gce`.

  Attributes:
    inside: 1 for the examples that count, 0 for the others, [N].
  """

  inside: jax.Array


def truncated_gce(
  q: float | jax.Array = 0.7,
  threshold: float | jax.Array = 0.5,
  *,
  start: int = 40,
  every: int = 10,
) -> Transform:
  r"""Generalized cross-entropy that is constant below a probability.

  $$\mathcal{L}_i = \begin{cases} (1 - p_{iy}^q) / q & p_{iy} > \kappa \\
  (1 - \kappa^q) / q & \text{else} \end{cases}
  \qquad\Rightarrow\qquad \mathrm{weight}_i \leftarrow v_i\, \mathrm{weight}_i, \quad
  v_i = [p_{iy} > \kappa]$$

  The constant has no gradient and is left out of the risk. As in the paper's alternating search,
  v is found for the whole training set at some epochs and stands in between; before the first of
  them all examples count. The weights are not renormalised.

  Args:
    q: in [0, 1]; may be traced.
    threshold: kappa, a probability in [0, 1]; may be traced.
    start: the first epoch at whose start v is found, at least 0.
    every: epochs from one search to the next, at least 1.

  Returns:
    The transform; it writes cost and weight.

  Raises:
    ValueError: for values out of range.

  References:
    Zhang, Sabuncu, Generalized Cross Entropy Loss for Training Deep Neural Networks with Noisy
    Labels, NeurIPS 2018.

  Examples:
    >>> import jax, optax, rfjax
    >>> from rfjax import architectures, losses
    >>> data = rfjax.Batch.from_arrays([[-2.0], [-1.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1, 0])
    >>> method = losses.truncated_gce(0.7, 0.5, start=20, every=5)
    >>> state, _ = rfjax.fit(architectures.logistic(), method, optax.sgd(0.5), data,
    ...                      key=jax.random.key(0), epochs=40)
    >>> state.method.inside.tolist()
    [1.0, 1.0, 1.0, 1.0, 0.0]
  """
  _check.number("q", q, 0.0, 1.0)
  _check.number("threshold", threshold, 0.0, 1.0)
  start, every = _check.count("start", start, 0), _check.count("every", every)

  def init(data: Batch, **unused: Any) -> TruncatedGCEState:
    del unused
    return TruncatedGCEState(jnp.ones(data.num_rows))

  def truncated(batch: Batch) -> Batch:
    return batch.replace(cost=-power(batch.log_probs, q))

  def update(
    batch: Batch, state: TruncatedGCEState, params: Any = None, **unused: Any
  ) -> tuple[Batch, TruncatedGCEState]:
    del params, unused
    inside = read(state.inside, batch.index)
    return truncated(batch).replace(weight=batch.weight * inside), state

  def refresh(
    data: Batch, state: TruncatedGCEState, params: Any = None, *, epoch: Any, **unused: Any
  ) -> tuple[Batch, TruncatedGCEState]:
    del params, unused
    due = (epoch >= start) & ((epoch - start) % every == 0)

    def search() -> jax.Array:
      known = at_label(data.log_probs, data.y)
      limit = jnp.log(jnp.asarray(threshold, known.dtype))  # a p of 0 may be an underflow
      return write(state.inside, data.index, known > limit)

    inside = jax.lax.cond(due, search, lambda: state.inside)
    return truncated(data), TruncatedGCEState(inside)

  return Transform(init, update, refresh, writes=("loss", "weight"))
