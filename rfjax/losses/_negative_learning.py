"""Negative learning: the network is told what an example is not."""

from typing import Any

import jax
import jax.numpy as jnp

from rfjax.core import Batch, Transform, _check, uniform
from rfjax.losses._elements import at_label, log_complement


def _complementary(batch: Batch, num_labels: int, key: jax.Array) -> jax.Array:
  """The mean of one-hot labels drawn among those that are not the given one, [B, C]."""
  others = batch.num_classes - 1
  drawn = jnp.floor(uniform(key, batch, (num_labels,)) * others).astype(jnp.int32)
  drawn = jnp.minimum(drawn, others - 1)
  drawn += drawn >= batch.y[:, None]
  return jnp.mean(jax.nn.one_hot(drawn, batch.num_classes, dtype=batch.target.dtype), axis=1)


def negative_learning(
  *,
  num_labels: int = 1,
  selective_from: int | None = None,
  positive_from: int | None = None,
  gamma: float | jax.Array = 0.5,
) -> Transform:
  r"""Negative learning for noisy labels, in up to three phases.

  $$\mathrm{cost}_{ik} = -L \log(1 - p_{ik}), \qquad
  \mathrm{target}_i = \frac{1}{L} \sum_{l=1}^L e_{\bar k_l}, \quad
  \bar k_l \sim \mathrm{Uniform}(\{1, \dots, C\} \setminus \{y_i\})$$

  A label drawn among the others is rarely the true one, so that wrong labels teach little that is
  wrong; an example loses the sum over its L labels. Selective negative learning then keeps the
  examples with p_y > 1 / C only, and selective positive learning trains those with p_y > gamma by
  cross-entropy on the given label. p_y is what the network says now; the authors' code takes the
  mean of the last ten epochs, and keeps 1 - p above 1e-5.

  Args:
    num_labels: L, how many labels are drawn for each example and step, with replacement, at least
      1. The authors draw 1 of 10 classes and 110 of 100.
    selective_from: the first epoch of selective negative learning; never when None.
    positive_from: the first epoch of selective positive learning; never when None.
    gamma: in [0, 1]; may be traced.

  Returns:
    The transform; it writes cost, target and keep.

  Raises:
    ValueError: for values out of range.

  References:
    Kim, Yim, Yun, Kim, NLNL: Negative Learning for Noisy Labels, ICCV 2019.

  Examples:
    >>> import jax, jax.numpy as jnp, rfjax
    >>> from rfjax import losses
    >>> batch = rfjax.Batch.from_arrays([[0.0]], [1]).fill(jnp.zeros((1, 2)))
    >>> out, _ = losses.negative_learning().update(batch, (), key=jax.random.key(0), epoch=0)
    >>> out.target.tolist()
    [[1.0, 0.0]]
  """
  num_labels = _check.count("num_labels", num_labels)
  first, last = (
    None if epoch is None else _check.count(name, epoch, 0)
    for name, epoch in (("selective_from", selective_from), ("positive_from", positive_from))
  )
  _check.number("gamma", gamma, 0.0, 1.0)

  def update(
    batch: Batch, state: Any, params: Any = None, *, key: jax.Array, epoch: Any, **unused: Any
  ) -> tuple[Batch, Any]:
    del params, unused
    batch.require("log_probs", "target", "keep", by="negative_learning")
    selective = False if first is None else epoch >= first
    positive = False if last is None else epoch >= last
    known = jax.lax.stop_gradient(jnp.exp(at_label(batch.log_probs, batch.y)))
    lowest = jnp.where(positive, gamma, jnp.where(selective, 1 / batch.num_classes, -1.0))
    negative = num_labels * log_complement(batch.log_probs)
    target = _complementary(batch, num_labels, key)
    return batch.replace(
      cost=-jnp.where(positive, batch.log_probs, negative),
      target=jnp.where(positive, batch.target, target),
      keep=batch.keep * (known > lowest),
    ), state

  return Transform(update=update, writes=("loss", "target", "keep"))
