"""Active Bias: examples of which the network changes its mind count for more."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rfjax.core import Batch, Transform, _check, read, write


class ActiveBiasState(NamedTuple):
  """The state of `active_bias`: running moments of the probability of each given label.

  Attributes:
    count: int32 [N], how often the network has been asked.
    mean: [N], the mean of what it said.
    spread: [N], the sum of squared distances to that mean.
  """

  count: jax.Array
  mean: jax.Array
  spread: jax.Array


def active_bias(warmup: int = 25, *, smoothing: float | jax.Array = 0.2) -> Transform:
  r"""Active Bias, in its form SGD-WPV: SGD weighted by the variance of predictions.

  $$w_i = \sqrt{v_i + \frac{v_i^2}{n_i - 1}} + \epsilon, \qquad
  \mathrm{weight}_i \leftarrow \mathrm{weight}_i \cdot
  \frac{w_i \sum_j \mathrm{keep}_j}{\sum_j \mathrm{keep}_j w_j}$$

  where v is the variance of the n probabilities that the network has given to the label
  $\tilde y_i$ in earlier steps. What it always gets right, or wrong, teaches little; what it is
  undecided about counts for more. Of fewer than two probabilities v is 0. The weights of a batch
  have mean 1. Moments are updated one by one, as Welford does, so no history is stored.

  Args:
    warmup: epochs of equal weights, at least 0.
    smoothing: epsilon, at least 0: the larger, the more alike are the weights; may be traced.

  Returns:
    The transform; it writes weight.

  Raises:
    ValueError: for values out of range.

  References:
    Chang, Learned-Miller, McCallum, Active Bias: Training More Accurate Neural Networks by
    Emphasizing High Variance Samples, NeurIPS 2017.

  Examples:
    >>> import jax, optax, rfjax
    >>> from rfjax import architectures, reweighting
    >>> data = rfjax.Batch.from_arrays([[-2.0], [-1.0], [1.0], [2.0]], [0, 0, 1, 1])
    >>> state, log = rfjax.fit(architectures.logistic(), reweighting.active_bias(2), optax.sgd(0.5),
    ...                        data, key=jax.random.key(0), epochs=5)
    >>> state.method.count.tolist()
    [5, 5, 5, 5]
  """
  warmup = _check.count("warmup", warmup, 0)
  _check.number("smoothing", smoothing, 0.0, open_high=True)

  def init(data: Batch, **unused: Any) -> ActiveBiasState:
    del unused
    zeros = jnp.zeros(data.num_rows)
    return ActiveBiasState(jnp.zeros(data.num_rows, jnp.int32), zeros, zeros)

  def update(
    batch: Batch, state: ActiveBiasState, params: Any = None, *, epoch: Any, **unused: Any
  ) -> tuple[Batch, ActiveBiasState]:
    del params, unused
    batch.require("log_probs", "keep", "weight", by="active_bias")
    past = read(state, batch.index)
    raw = _deviation(past) + smoothing
    mean = jnp.sum(batch.keep * raw) / jnp.maximum(jnp.sum(batch.keep), 1e-12)
    uneven = (mean > 0) & (jnp.asarray(epoch) >= warmup)
    weight = jnp.where(uneven, raw / jnp.where(mean > 0, mean, 1), 1)
    said = jnp.take_along_axis(batch.probs, batch.y[:, None], axis=-1)[:, 0]
    new = _observe(past, jax.lax.stop_gradient(said))
    return (
      batch.replace(weight=batch.weight * weight.astype(batch.weight.dtype)),
      write(state, batch.index, new),
    )

  return Transform(init, update, writes=("weight",))


def _deviation(past: ActiveBiasState) -> jax.Array:
  """sqrt(v + v^2 / (n - 1)) of each row."""
  variance = past.spread / jnp.maximum(past.count, 1)
  return jnp.sqrt(variance + variance**2 / jnp.maximum(past.count - 1, 1))


def _observe(past: ActiveBiasState, said: jax.Array) -> ActiveBiasState:
  """The moments with one more value a row."""
  count = past.count + 1
  away = said - past.mean
  mean = past.mean + away / count
  return ActiveBiasState(count, mean, past.spread + away * (said - mean))
