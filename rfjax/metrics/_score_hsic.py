"""Hilbert-Schmidt independence criterion of scores and groups."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from rfjax.core import Batch, ratio
from rfjax.metrics._scores import Kernel, Scores, check_kernel, energy, read_scores


def score_hsic(
  y_true: ArrayLike | Batch,
  y_pred: ArrayLike | None = None,
  group: ArrayLike | None = None,
  *,
  num_groups: int | None = None,
  num_classes: int | None = None,
  weight: ArrayLike | None = None,
  label: int | None = None,
  kernel: Kernel = "gaussian",
  width: float | jax.Array = 1.0,
) -> jax.Array:
  r"""The Hilbert-Schmidt independence criterion of the scores and the groups.

  $$\frac{1}{n^2}\, \mathrm{tr}(K H L H) = \sum_g \sum_{ij} c_{ig}\, k(s_i, s_j)\, c_{jg}, \qquad
  c_{ig} = \frac{m_{ig} - \bar m_g}{n}, \quad L = m m^\top$$

  with centring H and membership m, so that two rows of hard groups are alike if they are of one
  group, and groups have no order. For two groups of shares p and 1 - p it is $2 p^2 (1 - p)^2$
  times `score_mmd` at the same width. A Gaussian kernel of width 1 on groups coded 0 and 1, as
  benchmarks have it, gives $1 - 1/e$ of it.

  Args:
    y_true: as in `score_mmd`.
    y_pred: as in `score_mmd`.
    group: as in `demographic_parity_difference`; rows whose group is missing do not count.
    num_groups: as in `demographic_parity_difference`.
    num_classes: as in `demographic_parity_difference`.
    weight: as in `demographic_parity_difference`.
    label: as in `score_mmd`.
    kernel: as in `score_mmd`.
    width: as in `score_mmd`.

  Returns:
    [], at least 0, where 0 is fair; 0 when fewer than two groups have rows.

  Raises:
    ValueError: for bad labels, predictions, groups, weights, lengths or options.

  References:
    Gretton, Bousquet, Smola, Schölkopf, Measuring statistical dependence with Hilbert-Schmidt
    norms, ALT 2005.

  Examples:
    >>> from rfjax import metrics
    >>> y, y_pred, group = [1, 0, 1, 0], [0.9, 0.9, 0.1, 0.1], [0, 0, 1, 1]
    >>> round(float(metrics.score_hsic(y, y_pred, group, width=0.8)), 4)
    0.158
  """
  check_kernel(kernel, width)
  found = read_scores("score_hsic", y_true, y_pred, group, num_groups, num_classes, weight, label)
  return hsic_of(found, kernel, width)


def hsic_of(scores: Scores, kernel: Kernel, width: Any) -> jax.Array:
  """The criterion of scores, checked before."""
  return jnp.sum(energy(scores.values, centred(scores.member), kernel, width))


def centred(member: jax.Array) -> jax.Array:
  """Weighted membership [N, G] less each group's share, over the total weight."""
  weight = jnp.sum(member, axis=1, keepdims=True)
  total = jnp.sum(weight)
  share = ratio(jnp.sum(member, axis=0), total)
  return ratio(member - weight * share, total)
