"""Wasserstein penalty: the scores of the groups get one law, by moving them."""

import jax

from rfjax.core import Transform
from rfjax.fairness.inprocessing._elements import Score, score_penalty
from rfjax.metrics._gap import Aggregate, Method
from rfjax.metrics._score_wasserstein import wasserstein_of
from rfjax.metrics._scores import check_compared


def wasserstein(
  strength: float | jax.Array,
  *,
  label: int | None = None,
  score: Score = "probability",
  method: Method = "between_groups",
  agg: Aggregate = "mean",
) -> Transform:
  r"""Adds the Wasserstein distance between the scores of groups.

  $$\mathrm{penalty} \leftarrow \mathrm{penalty} + \lambda \int |F_a(s) - F_b(s)|\, ds$$

  averaged over pairs of groups, as `metrics.score_wasserstein` measures it: exactly, by one sort.
  Its gradient moves each score at the speed at which the distribution functions cross it, however
  far the groups are apart.

  Args:
    strength: lambda, at least 0; may be traced.
    label: as in `mmd`.
    score: as in `mmd`; each probability, margin or feature is a score of its own.
    method: "between_groups" compares each pair of groups; "to_overall" each group with all rows.
    agg: "mean" or "worst_case" of the comparisons and scores.

  Returns:
    The transform; it writes penalty, and needs group in training only.

  Raises:
    ValueError: for values out of range, or where the group is missing.

  References:
    Jiang, Pacchiano, Stepleton, Jiang, Chiappa, Wasserstein fair classification, UAI 2019.

  Examples:
    >>> import rfjax
    >>> from rfjax.fairness import inprocessing
    >>> one_law = inprocessing.wasserstein(1.0)
  """
  check_compared(method, agg)
  of = lambda scores: wasserstein_of(scores, method, agg)
  return score_penalty("wasserstein", strength, score, label, of)
