"""A generative classifier of features, from those rows of each class that lie closest together."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from rfjax.core import _check, count, smallest

PRIORS = ("counts", "uniform")


class GenerativeClassifier(NamedTuple):
  """Normal distributions of one covariance, one a class.

  Attributes:
    mean: [C, d].
    covariance: [d, d].
    log_prior: [C]; that of a class without rows is minus infinity to all digits.
    kept: bool [N], the rows that the moments are taken of.
  """

  mean: jax.Array
  covariance: jax.Array
  log_prior: jax.Array
  kept: jax.Array


def generative_classifier(
  features: jax.Array,
  y: ArrayLike,
  *,
  num_classes: int,
  key: jax.Array,
  fraction: float | jax.Array = 0.7,
  steps: int = 1,
  prior: str = "counts",
  valid: ArrayLike | None = None,
) -> GenerativeClassifier:
  r"""Fits the generative classifier of RoG by the minimum covariance determinant estimator.

  $$\mu_c = \mathrm{mean}_{t \in S_c} f_t, \qquad
  \Sigma = \sum_c \frac{N_c}{N}\, \mathrm{cov}_{t \in S_c} f_t, \qquad
  S_c = \text{the } \lfloor r N_c \rfloor \text{ rows of class } c \text{ of least }
  (f_t - \mu_c)^\top \Sigma^+ (f_t - \mu_c)$$

  It starts from the moments of random sets of the same sizes. Wrong labels lie far from the mean of
  their class, and drop out.

  Args:
    features: f [N, d].
    y: int [N], the given labels.
    num_classes: C; static.
    key: a key from `jax.random.key`; the random sets are drawn row by row.
    fraction: r in (0, 1]; 1 is linear discriminant analysis; may be traced. A class with a single
      row keeps it.
    steps: how often the sets are chosen anew, at least 0; 1 in the authors' code.
    prior: "counts" takes the shares of the labels, "uniform" equal ones, as the authors' code does.
    valid: bool [N], which rows count; all when None.

  Returns:
    The `GenerativeClassifier`.

  Raises:
    ValueError: for values out of range.

  References:
    Lee, Yun, Lee, Lee, Li, Shin, Robust Inference via Generative Classifiers for Handling Noisy
    Labels, ICML 2019.

  Examples:
    >>> import jax, jax.numpy as jnp
    >>> from rfjax import architectures
    >>> features = jnp.array([[0.0], [0.1], [0.2], [9.0], [5.0], [5.1], [5.2], [0.1]])
    >>> fitted = architectures.generative_classifier(
    ...     features, jnp.array([0, 0, 0, 0, 1, 1, 1, 1]), num_classes=2, key=jax.random.key(0),
    ...     fraction=0.75, steps=5)
    >>> [round(float(mean), 2) for mean in fitted.mean[:, 0]]
    [0.1, 5.1]
  """
  _check.number("fraction", fraction, 0.0, 1.0, open_low=True)
  steps = _check.count("steps", steps, 0)
  _check.choice("prior", prior, PRIORS)
  y, index = jnp.asarray(y), jnp.arange(features.shape[0])
  valid = jnp.ones(y.shape, bool) if valid is None else jnp.asarray(valid)
  of_class = (y == jnp.arange(num_classes)[:, None]) & valid
  rows = jnp.sum(of_class, axis=1)
  shares = rows.astype(features.dtype) / jnp.maximum(jnp.sum(rows), 1)
  number = jax.vmap(lambda mask: jnp.maximum(count(fraction, mask), 1))(of_class)

  def lowest(values: jax.Array) -> jax.Array:
    choose = lambda mask, number: smallest(values, number, mask, index)
    return jnp.any(jax.vmap(choose)(of_class, number), axis=0)

  def again(i: jax.Array, kept: jax.Array) -> jax.Array:
    del i
    mean, covariance = _moments(features, of_class & kept, shares)
    apart = features - mean[y]
    return lowest(jnp.sum(_dot(apart, _inverse(covariance)) * apart, axis=-1))

  drawn = jax.vmap(lambda i: jax.random.uniform(jax.random.fold_in(key, i)))(index)
  kept = jax.lax.fori_loop(0, steps, again, lowest(drawn))
  beta = shares if prior == "counts" else jnp.ones_like(shares) / jnp.sum(rows > 0)
  # A class without rows is out of reach of any feature.
  log_prior = jnp.where(rows > 0, jnp.log(jnp.where(rows > 0, beta, 1)), -1e30)
  return GenerativeClassifier(*_moments(features, of_class & kept, shares), log_prior, kept)


def generative_log_probs(fitted: GenerativeClassifier, features: jax.Array) -> jax.Array:
  r"""The log-probabilities of the classes by a generative classifier.

  $$\log p(c \mid f) = \mu_c^\top \Sigma^+ f - \tfrac{1}{2} \mu_c^\top \Sigma^+ \mu_c +
  \log \beta_c - \log Z(f)$$

  Args:
    fitted: a `GenerativeClassifier`.
    features: f [B, d].

  Returns:
    The log-probabilities [B, C].

  References:
    Lee, Yun, Lee, Lee, Li, Shin, Robust Inference via Generative Classifiers for Handling Noisy
    Labels, ICML 2019.

  Examples:
    >>> import jax.numpy as jnp
    >>> from rfjax import architectures
    >>> fitted = architectures.GenerativeClassifier(
    ...     jnp.array([[-1.0], [1.0]]), jnp.eye(1), jnp.log(jnp.array([0.5, 0.5])), jnp.ones(2))
    >>> jnp.exp(architectures.generative_log_probs(fitted, jnp.zeros((1, 1)))).tolist()
    [[0.5, 0.5]]
  """
  return from_scores(*scores(fitted), features)


def scores(fitted: GenerativeClassifier) -> tuple[jax.Array, jax.Array]:
  """The classifier as a last layer: a kernel [d, C] and a bias [C]."""
  kernel = _dot(_inverse(fitted.covariance), fitted.mean.T)
  return kernel, fitted.log_prior - 0.5 * jnp.sum(kernel.T * fitted.mean, axis=-1)


def from_scores(kernel: jax.Array, bias: jax.Array, features: jax.Array) -> jax.Array:
  """Log-probabilities [B, C] of a last layer."""
  return jax.nn.log_softmax(_dot(features, kernel) + bias)


def _moments(
  features: jax.Array, chosen: jax.Array, shares: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """The means of the chosen rows of each class, and their covariances at the shares of all."""
  rows = jnp.maximum(jnp.sum(chosen, axis=1), 1).astype(features.dtype)
  mean = _dot(chosen.astype(features.dtype), features) / rows[:, None]
  weight = jnp.sum(chosen * (shares / rows)[:, None], axis=0)
  apart = features - _dot(chosen.T.astype(features.dtype), mean)
  return mean, _dot(apart.T, weight[:, None] * apart)


def _inverse(covariance: jax.Array) -> jax.Array:
  return jnp.linalg.pinv(covariance, hermitian=True)


def _dot(a: jax.Array, b: jax.Array) -> jax.Array:
  return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)
