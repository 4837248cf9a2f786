"""A mixture of two beta distributions, by expectation-maximisation with moments."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import betaln

from rfjax.core import _check

_EDGE = 1e-4  # values are cut to [_EDGE, 1 - _EDGE], where densities are finite
_LEAST = 1e-12  # a weighted density counts as at least so much, so that no value loses its sum
_SHARPEST = 1e4  # alpha + beta of a distribution without width


class BetaMixture(NamedTuple):
  """Two weighted beta distributions, the one of the lower mean first.

  Attributes:
    weights: [2], with sum 1.
    alphas: [2].
    betas: [2].
    posterior: [N], the probability that a value comes from the upper one, as `beta_posterior`.
  """

  weights: jax.Array
  alphas: jax.Array
  betas: jax.Array
  posterior: jax.Array


def _log_densities(x: jax.Array, weights: jax.Array, a: jax.Array, b: jax.Array) -> jax.Array:
  """Logarithms of the weighted densities, [N, 2]."""
  powers = (a - 1) * jnp.log(x)[:, None] + (b - 1) * jnp.log1p(-x)[:, None]
  return jnp.log(weights) + powers - betaln(a, b)


def beta_posterior(mixture: BetaMixture, values: jax.Array) -> jax.Array:
  r"""The probability that values come from the upper distribution of a mixture; it never falls.

  $$P(\mathrm{upper} \mid x) = \frac{\pi_1\, \mathrm{Be}(x; \alpha_1, \beta_1)}
  {\sum_k \pi_k\, \mathrm{Be}(x; \alpha_k, \beta_k)}$$

  The ratio of two beta densities may turn once, at $\Delta\alpha / (\Delta\alpha + \Delta\beta)$.
  Beyond a maximum the posterior stays at it, as the authors' table has it, and below a minimum too.

  Args:
    mixture: the fit.
    values: floats [M] in [0, 1].

  Returns:
    The probabilities, [M].

  References:
    Arazo, Ortego, Albert, O'Connor, McGuinness, Unsupervised Label Noise Modeling and Loss
    Correction, ICML 2019.

  Examples:
    >>> import jax.numpy as jnp
    >>> from rfjax import refurbishment
    >>> found = refurbishment.beta_mixture(jnp.array([0.05, 0.1, 0.2, 0.8, 0.9]))
    >>> (refurbishment.beta_posterior(found, jnp.array([0.0, 0.3, 1.0])) > 0.5).tolist()
    [False, False, True]
  """
  more_a, more_b = (jnp.diff(v)[0] for v in (mixture.alphas, mixture.betas))
  both = more_a + more_b
  turn = more_a / jnp.where(both == 0, 1, both)
  x = jnp.clip(values, _EDGE, 1 - _EDGE)
  x = jnp.where((more_a > 0) & (more_b > 0), jnp.minimum(x, turn), x)
  x = jnp.where((more_a < 0) & (more_b < 0), jnp.maximum(x, turn), x)
  return jax.nn.softmax(_log_densities(x, *mixture[:3]), axis=-1)[:, 1]


def beta_mixture(
  values: jax.Array, mask: jax.Array | None = None, *, steps: int = 10
) -> BetaMixture:
  r"""Fits two beta distributions to numbers in [0, 1].

  $$\gamma_{ik} = \frac{\pi_k\, \mathrm{Be}(x_i; \alpha_k, \beta_k)}
  {\sum_l \pi_l\, \mathrm{Be}(x_i; \alpha_l, \beta_l)}, \qquad
  \pi_k = \overline{\gamma_k}, \quad
  \alpha_k = \bar x_k \Bigl(\frac{\bar x_k (1 - \bar x_k)}{s_k^2} - 1\Bigr), \quad
  \beta_k = \alpha_k \frac{1 - \bar x_k}{\bar x_k}$$

  with the means and variances weighted by gamma, from Be(1, 2), Be(2, 1) and equal weights, in a
  fixed number of steps. Unlike the normal distribution it can lean against either end, as losses
  of a network do.

  Args:
    values: floats [N] in [0, 1], cut to [1e-4, 1 - 1e-4].
    mask: bool [N], which count; all when None.
    steps: how many, static.

  Returns:
    The `BetaMixture`. A distribution without width gets alpha + beta = 1e4.

  Raises:
    ValueError: for steps out of range.

  References:
    Arazo, Ortego, Albert, O'Connor, McGuinness, Unsupervised Label Noise Modeling and Loss
    Correction, ICML 2019.

  Examples:
    >>> import jax.numpy as jnp
    >>> from rfjax import refurbishment
    >>> found = refurbishment.beta_mixture(jnp.array([0.05, 0.1, 0.2, 0.8, 0.9]))
    >>> found.posterior.round(1).tolist()
    [0.0, 0.0, 0.0, 1.0, 1.0]
  """
  steps = _check.count("steps", steps)
  x = jnp.clip(values, _EDGE, 1 - _EDGE)
  counts = jnp.ones(x.shape, x.dtype) if mask is None else mask.astype(x.dtype)

  def step(_: int, fitted: tuple[jax.Array, jax.Array, jax.Array]) -> tuple:
    logs = jnp.maximum(_log_densities(x, *fitted), jnp.log(_LEAST))
    gamma = jax.nn.softmax(logs, axis=-1) * counts[:, None]
    mass = jnp.maximum(jnp.sum(gamma, axis=0), jnp.finfo(x.dtype).tiny)
    mean = jnp.clip(x @ gamma / mass, _EDGE, 1 - _EDGE)
    variance = jnp.sum(gamma * jnp.square(x[:, None] - mean), axis=0) / mass
    most = mean * (1 - mean)
    sharpness = jnp.clip(most / jnp.maximum(variance, most / _SHARPEST) - 1, _EDGE, _SHARPEST)
    return mass / jnp.sum(mass), mean * sharpness, (1 - mean) * sharpness

  halves, ones = jnp.array([0.5, 0.5], x.dtype), jnp.array([1.0, 2.0], x.dtype)
  fitted = jax.lax.fori_loop(0, steps, step, (halves, ones, ones[::-1]))
  weights, a, b = fitted
  low_first = jnp.argsort(a / (a + b))
  mixture = BetaMixture(weights[low_first], a[low_first], b[low_first], x)
  return mixture._replace(posterior=beta_posterior(mixture, values))
