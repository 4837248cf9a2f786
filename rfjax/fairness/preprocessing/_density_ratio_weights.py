"""Density ratio weights: a small unbiased reference tells how much each row should count."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rfjax.core import Batch, Transform, _check, logistic_regression, ratio
from rfjax.fairness.preprocessing import _elements

_NAME = "density_ratio_weights"


class DensityRatioWeightsState(NamedTuple):
  """The state of `density_ratio_weights`: the logarithm of the ratio, as a linear function.

  Attributes:
    kernel: [d], by what the classifier looks at.
    intercept: [], the sizes of both sets taken out.
  """

  kernel: jax.Array
  intercept: jax.Array


def density_ratio_weights(
  strength: float | jax.Array = 1.0,
  *,
  basis: Callable[[Batch], jax.Array] | None = None,
  l2: float | jax.Array = 1.0,
  steps: int = 25,
) -> Transform:
  r"""Density ratio weights: makes biased data count like a small reference that is not biased.

  $$\mathrm{weight}_i \leftarrow \mathrm{weight}_i
  \Bigl(\frac{n}{m}\, \frac{c(x_i)}{1 - c(x_i)}\Bigr)^{s} \approx
  \mathrm{weight}_i \Bigl(\frac{p_\mathrm{ref}(x_i)}{p_\mathrm{bias}(x_i)}\Bigr)^{s}$$

  where c is the probability, by a logistic regression, that a row is one of the m rows of the
  reference and not of the n rows of the data. The reference, the `trusted` rows of the data set,
  needs no groups unless the classifier looks at them. The sum of weights is about what it was for
  s = 1; nothing is renormalised. A ratio is learned best where the features of the classifier have
  few kinds of values, and where logarithms of ratios are linear in them, such as

      basis=lambda batch: jax.nn.one_hot(2 * batch.group + batch.y, 4)

  which gives every group and label the share that they have in the reference. The authors train a
  network on images, and a generative model by its weights.

  Args:
    strength: s in [0, 1], which flattens the weights below 1; may be traced.
    basis: `basis(batch) -> [B, ...]`, what the classifier looks at, of the data and of the
      reference; their x when None.
    l2: its ridge, on features that have been standardised, above 0; may be traced.
    steps: its Newton steps, at least 1.

  Returns:
    The transform of a data set or of batches; it writes weight, and needs trusted rows.

  Raises:
    ValueError: for values out of range; when applied, where there are no trusted rows.

  References:
    Choi, Grover, Singh, Shu, Ermon, Fair generative modeling via weak supervision, ICML 2020.
    Grover, Song, Kapoor, Tran, Agarwal, Horvitz, Ermon, Bias correction of learned generative
    models using likelihood-free importance weighting, NeurIPS 2019 (flattening).

  Examples:
    >>> import jax, rfjax
    >>> from rfjax.fairness import preprocessing
    >>> reference = rfjax.Batch.from_arrays([[0.0], [1.0]], [0, 1])
    >>> data = rfjax.Batch.from_arrays([[0.0], [0.0], [0.0], [1.0]], [0, 0, 1, 1],
    ...                                trusted=reference)
    >>> method = preprocessing.density_ratio_weights(l2=1e-4)
    >>> rfjax.transform(method, data, key=jax.random.key(0)).weight.round(2).tolist()
    [0.66..., 0.66..., 0.66..., 2.0]
  """
  _check.number("strength", strength, 0.0, 1.0)
  _check.number("l2", l2, 0.0, open_low=True, open_high=True)
  _check.count("steps", steps)

  def init(data: Batch, **unused: Any) -> DensityRatioWeightsState:
    del unused
    data.require("trusted", by=_NAME)
    sides = [_side(batch, basis) for batch in (data, data.trusted)]
    sizes = [jnp.sum(weight) for _, weight in sides]
    x = jnp.concatenate([x for x, _ in sides])
    weight = jnp.concatenate([weight for _, weight in sides])
    is_reference = jnp.arange(len(x)) >= data.num_rows
    mean, spread = _elements.moments(x, weight)
    spread = jnp.where(spread > 0, spread, 1)
    kernel, intercept = logistic_regression(
      (x - mean) / spread, is_reference, weight=weight, l2=l2, steps=steps
    )
    kernel = kernel / spread
    prior = jnp.log(ratio(sizes[0], sizes[1], 1.0))
    return DensityRatioWeightsState(kernel, intercept - jnp.vdot(mean, kernel) + prior)

  def update(
    batch: Batch, state: DensityRatioWeightsState, params: Any = None, **unused: Any
  ) -> tuple[Batch, DensityRatioWeightsState]:
    del params, unused
    batch.require("weight", by=_NAME)
    x, _ = _side(batch, basis)
    log_ratio = jnp.matmul(x, state.kernel, precision="highest") + state.intercept
    # Of rows that do not count the ratio may be infinite.
    counts = batch.valid & (batch.weight != 0)
    factor = jnp.where(counts, jnp.exp(strength * log_ratio), 1)
    return batch.replace(weight=batch.weight * factor.astype(batch.weight.dtype)), state

  return Transform(init, update, writes=("weight",))


def _side(batch: Batch, basis: Callable[[Batch], jax.Array] | None) -> tuple[jax.Array, jax.Array]:
  """What the classifier looks at, [B, d], and how much each row counts."""
  seen = batch if basis is None else batch.replace(x=jnp.asarray(basis(batch)))
  x = _elements.features(seen)
  weight = jnp.ones(batch.num_rows, x.dtype) if batch.weight is None else batch.weight
  return x, weight * batch.valid
