"""Correlation penalty: scores say nothing about the group in a straight line."""

import jax

from rfjax.core import Transform
from rfjax.fairness.inprocessing._elements import Score, score_penalty
from rfjax.metrics._gap import Aggregate
from rfjax.metrics._score_correlation import correlation_of
from rfjax.metrics._scores import check_compared


def correlation(
  strength: float | jax.Array,
  *,
  label: int | None = None,
  score: Score = "probability",
  agg: Aggregate = "mean",
) -> Transform:
  r"""Adds the absolute correlation of scores and membership of a group.

  $$\mathrm{penalty} \leftarrow \mathrm{penalty} + \lambda\, \frac{1}{G} \sum_g
  \frac{|\mathrm{cov}(s, m_g)|}{\sqrt{\mathrm{var}(s)\, \mathrm{var}(m_g)}}$$

  as `metrics.score_correlation` measures it. Other than a covariance it does not fall when all
  scores shrink.

  Args:
    strength: lambda, at least 0; may be traced.
    label: as in `mmd`; the paper takes label 0.
    score: as in `mmd`; each probability, margin or feature is a score of its own.
    agg: "mean" or "worst_case" of groups and scores.

  Returns:
    The transform; it writes penalty, and needs group in training only.

  Raises:
    ValueError: for values out of range, or where the group is missing.

  References:
    Beutel, Chen, Doshi, Qian, Woodruff, Luu, Kreitmann, Bischof, Chi, Putting fairness principles
    into practice: challenges, metrics, and improvements, AIES 2019.

  Examples:
    >>> import rfjax
    >>> from rfjax.fairness import inprocessing
    >>> uncorrelated = inprocessing.correlation(0.5, label=0)
  """
  check_compared("between_groups", agg)
  of = lambda scores: correlation_of(scores, agg)
  return score_penalty("correlation", strength, score, label, of)
