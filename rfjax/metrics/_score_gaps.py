"""Demographic parity of scores and not of decisions: distances between their distributions."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from rfjax.core import Batch, _check, ratio
from rfjax.metrics._cumulative import cumulative, of_scores, worst_pair
from rfjax.metrics._rows import read
from rfjax.metrics._score_wasserstein import wasserstein_of
from rfjax.metrics._scores import read_scores


def _distribution(score: jax.Array, mass: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Ascending scores [N] and the distribution function of each group there, [N, G]."""
  found = cumulative(score, mass)
  return found.score, ratio(found.upto, jnp.broadcast_to(found.upto[-1], found.upto.shape))


def ks_distance(
  y_true: ArrayLike | Batch,
  y_pred: ArrayLike | None = None,
  group: ArrayLike | None = None,
  *,
  num_groups: int | None = None,
  num_classes: int | None = None,
  weight: ArrayLike | None = None,
) -> jax.Array:
  r"""The Kolmogorov-Smirnov distance between the scores of two groups, of the two furthest apart.

  $$\max_{g, h} \sup_t |F_g(t) - F_h(t)|, \qquad F_g(t) = P(s \le t \mid g)$$

  It is the largest demographic parity difference that any threshold gives.

  Args:
    y_true: labels [N], which are not read beyond a check; or a filled `Batch`, of which the softmax
      is read, and nothing else.
    y_pred: as in `demographic_parity_difference`; meant to be probabilities.
    group: as in `demographic_parity_difference`.
    num_groups: as in `demographic_parity_difference`.
    num_classes: as in `demographic_parity_difference`.
    weight: as in `demographic_parity_difference`.

  Returns:
    [], in [0, 1], where 0 is fair: the largest over the C classes one-vs-rest if C > 2. A group
    without rows is left out, with a UserWarning outside jit.

  Raises:
    ValueError: for bad labels, predictions, groups, weights or lengths.

  References:
    Smirnov, Table for estimating the goodness of fit of empirical distributions, Annals of
    Mathematical Statistics 1948.

  Examples:
    >>> from rfjax import metrics
    >>> scores, group = [0.2, 0.8, 0.6, 0.9], [0, 0, 1, 1]
    >>> float(metrics.ks_distance([0] * 4, scores, group))
    0.5
  """
  rows = read("ks_distance", y_true, y_pred, group, num_groups, num_classes, weight, _soft(y_true))
  scores, mass, size = of_scores(rows)

  def apart(score: jax.Array) -> jax.Array:
    shares = _distribution(score, mass)[1]
    highest = jnp.max(shares, axis=1, where=size > 0, initial=0)
    return jnp.max(highest - jnp.min(shares, axis=1, where=size > 0, initial=1))

  return jnp.where(jnp.any(size > 0), jnp.max(jax.vmap(apart)(scores)), 0)


def abcc(
  y_true: ArrayLike | Batch,
  y_pred: ArrayLike | None = None,
  group: ArrayLike | None = None,
  *,
  num_groups: int | None = None,
  num_classes: int | None = None,
  weight: ArrayLike | None = None,
) -> jax.Array:
  r"""The area between the cumulative distribution curves of the scores of two groups.

  $$\max_{g, h} \int_0^1 |F_g(t) - F_h(t)|\, dt, \qquad F_g(t) = P(s \le t \mid g)$$

  exactly, where the authors' code sums over 10,000 points and multiplies by 100. It is the mean
  demographic parity difference over all thresholds, and `score_wasserstein` between groups.

  Args:
    y_true: as in `ks_distance`.
    y_pred: as in `ks_distance`.
    group: as in `demographic_parity_difference`.
    num_groups: as in `demographic_parity_difference`.
    num_classes: as in `demographic_parity_difference`.
    weight: as in `demographic_parity_difference`.

  Returns:
    [], in [0, 1], where 0 is fair: the largest over the C classes one-vs-rest if C > 2. A group
    without rows is left out, with a UserWarning outside jit.

  Raises:
    ValueError: for bad labels, predictions, groups, weights or lengths.

  References:
    Han, Jiang, Jin, Liu, Zou, Wang, Hu, Retiring DeltaDP: new distribution-level metrics for
    demographic parity, TMLR 2023.

  Examples:
    >>> from rfjax import metrics
    >>> scores, group = [0.25, 0.75, 0.5, 1.0], [0, 0, 1, 1]
    >>> float(metrics.abcc([0] * 4, scores, group))
    0.25
  """
  found = read_scores("abcc", y_true, y_pred, group, num_groups, num_classes, weight, None)
  return wasserstein_of(found, "between_groups", "worst_case")


def abpc(
  y_true: ArrayLike | Batch,
  y_pred: ArrayLike | None = None,
  group: ArrayLike | None = None,
  *,
  num_groups: int | None = None,
  num_classes: int | None = None,
  weight: ArrayLike | None = None,
  points: int = 1_000,
) -> jax.Array:
  r"""The area between the probability density curves of the scores of two groups.

  $$\max_{g, h} \int_0^1 |f_g(t) - f_h(t)|\, dt, \qquad
  f_g(t) = \frac{1}{W_g} \sum_i w_i m_{ig}\, \mathcal N(t;\, s_i, b_g^2)$$

  with Scott's bandwidth b, the standard deviation of a group's scores over the fifth root of its
  effective size, but at least one step of the grid; so that a group whose scores are all equal has
  a density too. The integral is a trapezoidal sum. The authors' code multiplies it by 100.

  Args:
    y_true: as in `ks_distance`.
    y_pred: as in `ks_distance`.
    group: as in `demographic_parity_difference`.
    num_groups: as in `demographic_parity_difference`.
    num_classes: as in `demographic_parity_difference`.
    weight: as in `demographic_parity_difference`.
    points: of the grid, at least 2; static.

  Returns:
    [], in [0, 2], where 0 is fair: the largest over the C classes one-vs-rest if C > 2. A group
    without rows is left out, with a UserWarning outside jit.

  Raises:
    ValueError: for bad labels, predictions, groups, weights, lengths or points.

  References:
    Han, Jiang, Jin, Liu, Zou, Wang, Hu, Retiring DeltaDP: new distribution-level metrics for
    demographic parity, TMLR 2023.

  Examples:
    >>> from rfjax import metrics
    >>> scores, group = [0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1]
    >>> round(float(metrics.abpc([0] * 4, scores, group)), 2)
    1.95
  """
  points = _check.count("points", points, 2)
  rows = read("abpc", y_true, y_pred, group, num_groups, num_classes, weight, _soft(y_true))
  scores, mass, size = of_scores(rows)
  share = ratio(mass, jnp.broadcast_to(size, mass.shape))
  twice = jnp.sum(share**2, axis=0)  # one over the effective size
  grid = jnp.linspace(0, 1, points, dtype=share.dtype)

  def areas(score: jax.Array) -> jax.Array:
    off = (score[:, None] - score @ share) ** 2
    variance = ratio(jnp.sum(share * off, axis=0), 1 - twice)
    width = jnp.sqrt(jnp.maximum(variance * twice**0.4, 1 / (points - 1) ** 2))

    def density(t: jax.Array) -> jax.Array:
      bells = jnp.exp(-(((t - score[:, None]) / width) ** 2) / 2)
      return jnp.sum(share * bells, axis=0) / (width * jnp.sqrt(2 * jnp.pi))

    densities = jax.lax.map(density, grid)
    area = lambda g, h: jnp.trapezoid(jnp.abs(densities[:, g] - densities[:, h]), grid)
    return worst_pair(area, rows.num_groups, size > 0)

  return jnp.max(jax.vmap(areas)(scores))


def _soft(y_true: ArrayLike | Batch) -> bool:
  return isinstance(y_true, Batch)
