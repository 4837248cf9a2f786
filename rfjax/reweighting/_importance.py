"""Importance reweighting: how much likelier a given label is where labels are true."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from rfjax.core import Batch, Transform, _check, log_transition, stateless, through

_FAR = 80.0  # where the exponential is still finite in float32


def importance(
  transition: ArrayLike, *, largest: float | jax.Array = 100.0, differentiable: bool = False
) -> Transform:
  r"""Importance reweighting by a known transition matrix.

  $$\mathrm{weight}_i \leftarrow \mathrm{weight}_i \cdot
  \frac{p_i(\tilde y_i)}{\sum_k p_i(k)\, T_{k \tilde y_i}}$$

  with p of the network: the risk under the true labels as a weighted one under the given labels.

  Args:
    transition: T [C, C], rows of probabilities; may be traced.
    largest: the ratio is cut at it, above 0; may be traced.
    differentiable: whether the gradient of the network flows through the weight too.

  Returns:
    The transform; it writes weight.

  Raises:
    ValueError: for a matrix that is not row-stochastic, or not of the data set's classes; for
      values out of range.

  References:
    Liu, Tao, Classification with Noisy Labels by Importance Reweighting, IEEE Transactions on
    Pattern Analysis and Machine Intelligence, 2016.

  Examples:
    >>> import jax.numpy as jnp, rfjax
    >>> from rfjax import reweighting
    >>> batch = rfjax.Batch.from_arrays([[0.0]], [1], num_classes=2).fill(jnp.zeros((1, 2)))
    >>> method = reweighting.importance([[0.75, 0.25], [0.0, 1.0]])
    >>> method.update(batch, ())[0].weight.round(3).tolist()
    [0.800000011920929]
  """
  channel = log_transition(_check.transition("transition", transition))
  _check.number("largest", largest, 0.0, open_low=True)

  def weigh(batch: Batch, **unused: Any) -> Batch:
    del unused
    batch.require("log_probs", "weight", by="importance")
    _check.classes("transition", channel.shape[0], batch)
    log_ratio = batch.log_probs - through(batch.log_probs, channel)
    of_given = jnp.take_along_axis(log_ratio, batch.y[:, None], axis=-1)[:, 0]
    ratio = jnp.exp(jnp.minimum(of_given, _FAR))
    weight = jnp.minimum(ratio, largest).astype(batch.weight.dtype)
    weight = weight if differentiable else jax.lax.stop_gradient(weight)
    return batch.replace(weight=batch.weight * weight)

  return stateless(weigh, writes=("weight",))
