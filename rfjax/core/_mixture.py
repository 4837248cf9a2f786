"""A mixture of two normal distributions on a line, by expectation-maximisation."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from rfjax.core import _check


class Mixture(NamedTuple):
  """Two weighted normal distributions, the one of the lower mean first.

  Attributes:
    weights: [2], with sum 1.
    means: [2], ascending.
    variances: [2].
    posterior: [N], the probability that a value comes from the higher one.
  """

  weights: jax.Array
  means: jax.Array
  variances: jax.Array
  posterior: jax.Array


def _posterior(values: jax.Array, weights: jax.Array, means: jax.Array, variances: jax.Array):
  squares = jnp.square(values[:, None] - means) / variances
  return jax.nn.softmax(jnp.log(weights) - 0.5 * (jnp.log(variances) + squares), axis=-1)


def gaussian_mixture(
  values: jax.Array, mask: jax.Array | None = None, *, steps: int = 100, floor: float = 1e-6
) -> Mixture:
  r"""Fits two normal distributions to numbers.

  $$\gamma_{ik} = \frac{\pi_k\, \mathcal{N}(v_i; \mu_k, \sigma_k^2)}
  {\sum_l \pi_l\, \mathcal{N}(v_i; \mu_l, \sigma_l^2)}, \qquad
  \pi_k = \overline{\gamma_k}, \quad \mu_k = \frac{\sum_i \gamma_{ik} v_i}{\sum_i \gamma_{ik}},
  \quad \sigma_k^2 = \frac{\sum_i \gamma_{ik} (v_i - \mu_k)^2}{\sum_i \gamma_{ik}} + \epsilon$$

  from the means min(v) and max(v), the variance of all and equal weights, in a fixed number of
  steps. Values are standardised first, so that nothing hangs on their scale.

  Args:
    values: floats [N], none of them infinite.
    mask: bool [N], which count; all when None.
    steps: how many, static.
    floor: epsilon, relative to the variance of all values.

  Returns:
    The `Mixture`. Where all values are equal both distributions are, and the posterior is 1/2.

  References:
    Dempster, Laird, Rubin, Maximum likelihood from incomplete data via the EM algorithm, Journal of
    the Royal Statistical Society B, 1977.

  Examples:
    >>> import jax.numpy as jnp
    >>> from rfjax.core import gaussian_mixture
    >>> gaussian_mixture(jnp.array([0.0, 0.1, 0.2, 5.0, 5.1])).posterior.round().tolist()
    [0.0, 0.0, 0.0, 1.0, 1.0]
  """
  _check.count("steps", steps)
  counts = jnp.ones(values.shape, bool) if mask is None else mask
  total = jnp.maximum(jnp.sum(counts), 1)
  average = lambda v: jnp.sum(jnp.where(counts, v, 0)) / total
  center = average(values)
  spread = jnp.sqrt(average(jnp.square(values - center)))
  unit = jnp.where(spread > 0, spread, 1)
  scaled = jnp.where(counts, (values - center) / unit, 0)

  def step(_: int, fitted: tuple) -> tuple:
    gamma = _posterior(scaled, *fitted) * counts[:, None]
    mass = jnp.maximum(jnp.sum(gamma, axis=0), jnp.finfo(gamma.dtype).tiny)
    means = jnp.matmul(scaled, gamma, precision="highest") / mass
    variances = jnp.sum(gamma * jnp.square(scaled[:, None] - means), axis=0) / mass + floor
    return mass / jnp.sum(mass), means, variances

  start = (
    jnp.full(2, 0.5, scaled.dtype),
    jnp.stack([jnp.min(scaled), jnp.max(scaled)]),
    jnp.full(2, jnp.maximum(average(jnp.square(scaled)), floor)),
  )
  fitted = jax.lax.fori_loop(0, steps, step, start)
  posterior = _posterior((values - center) / unit, *fitted)
  low_first = jnp.argsort(fitted[1])
  weights, means, variances = (leaf[low_first] for leaf in fitted)
  return Mixture(weights, means * unit + center, variances * unit**2, posterior[:, low_first[1]])
