"""Correlation of scores and groups."""

from typing import get_args

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from rfjax.core import Batch, _check, ratio
from rfjax.metrics._gap import Aggregate
from rfjax.metrics._score_hsic import centred
from rfjax.metrics._scores import Scores, aggregate, read_scores


def score_correlation(
  y_true: ArrayLike | Batch,
  y_pred: ArrayLike | None = None,
  group: ArrayLike | None = None,
  *,
  num_groups: int | None = None,
  num_classes: int | None = None,
  weight: ArrayLike | None = None,
  label: int | None = None,
  agg: Aggregate = "worst_case",
) -> jax.Array:
  r"""How strongly scores and membership of a group are correlated, in absolute value.

  $$\max_g \frac{|\mathrm{cov}(s, m_g)|}{\sqrt{\mathrm{var}(s)\, \mathrm{var}(m_g)}}$$

  of each group against the rest. It is 0 for groups of equal mean scores, whatever else differs.

  Args:
    y_true: as in `score_mmd`.
    y_pred: probabilities of class 1 [N], or of all classes [N, C], each a score of its own.
    group: as in `demographic_parity_difference`; rows whose group is missing do not count.
    num_groups: as in `demographic_parity_difference`.
    num_classes: as in `demographic_parity_difference`.
    weight: as in `demographic_parity_difference`.
    label: as in `score_mmd`.
    agg: "worst_case" or "mean" of groups and, for C > 2, classes.

  Returns:
    [], in [0, 1], where 0 is fair; 0 where all scores are equal up to rounding.

  Raises:
    ValueError: for bad labels, predictions, groups, weights, lengths or options.

  References:
    Beutel, Chen, Doshi, Qian, Woodruff, Luu, Kreitmann, Bischof, Chi, Putting fairness principles
    into practice: challenges, metrics, and improvements, AIES 2019.

  Examples:
    >>> from rfjax import metrics
    >>> y, y_pred, group = [1, 0, 1, 0], [0.8, 0.6, 0.6, 0.4], [0, 0, 1, 1]
    >>> round(float(metrics.score_correlation(y, y_pred, group)), 4)
    0.7071
  """
  _check.choice("agg", agg, get_args(Aggregate))
  found = read_scores(
    "score_correlation", y_true, y_pred, group, num_groups, num_classes, weight, label
  )
  return correlation_of(found, agg)


def correlation_of(scores: Scores, agg: Aggregate) -> jax.Array:
  """The correlation of scores, checked before."""
  values, member = scores
  weight = jnp.sum(member, axis=1)
  share = ratio(weight, jnp.sum(weight))
  mean = lambda v: jnp.tensordot(share, v, 1, precision="highest")
  apart = jnp.where(share[:, None] > 0, values - mean(values), 0)
  variance = mean(apart**2)
  # Below this the differences between scores are those of rounding, and so would be the gradient.
  varies = variance > (4 * jnp.finfo(values.dtype).eps) ** 2 * mean(values**2)
  unit = jnp.where(varies, apart / jnp.sqrt(jnp.where(varies, variance, 1)), 0)
  covariance = jnp.matmul(centred(member).T, unit, precision="highest")
  fraction = ratio(member, weight[:, None])
  spread = mean((fraction - mean(fraction)) ** 2)
  known = spread > 0
  correlation = jnp.abs(covariance) / jnp.sqrt(jnp.where(known, spread, 1))[:, None]
  return aggregate(correlation, known, agg)
