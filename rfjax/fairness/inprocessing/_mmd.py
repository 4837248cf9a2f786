"""MMD penalty: the scores of the groups get one law, by a kernel; MinDiff's penalty."""

import jax

from rfjax.core import Transform
from rfjax.fairness.inprocessing._elements import Score, score_penalty
from rfjax.metrics._gap import Aggregate, Method
from rfjax.metrics._score_mmd import mmd_of
from rfjax.metrics._scores import Kernel, check_compared, check_kernel


def mmd(
  strength: float | jax.Array,
  *,
  label: int | None = None,
  kernel: Kernel = "gaussian",
  width: float | jax.Array = 0.1,
  score: Score = "probability",
  method: Method = "between_groups",
  agg: Aggregate = "mean",
) -> Transform:
  r"""Adds the squared maximum mean discrepancy between the scores of groups.

  $$\mathrm{penalty} \leftarrow \mathrm{penalty} + \lambda \left(\mathrm{E}\, k(s_a, s_a')
  - 2\, \mathrm{E}\, k(s_a, s_b) + \mathrm{E}\, k(s_b, s_b')\right)$$

  averaged over pairs of groups, as `metrics.score_mmd` measures it. All rows ask for demographic
  parity of every threshold. MinDiff is the penalty on one label: label 1 asks for equal opportunity
  of every threshold, label 0 for equal false positive rates, and a chain of both for equalized
  odds. A width far below the distances between scores has no gradient; their standard deviation is
  a good first choice.

  Args:
    strength: lambda, at least 0; may be traced.
    label: compares the rows of this label only; static.
    kernel: as in `metrics.score_mmd`.
    width: as in `metrics.score_mmd`.
    score: what is compared: "probability" (of class 1 of two, else the vector of all), "margin" (of
      the logits) or "features" (of the penultimate layer); static.
    method: as in `metrics.score_mmd`.
    agg: "mean" or "worst_case" of the comparisons.

  Returns:
    The transform; it writes penalty, and needs group in training only.

  Raises:
    ValueError: for values out of range, or where the group is missing.

  References:
    Prost, Qian, Chen, Chi, Chen, Beutel, Toward a better trade-off between performance and fairness
    with kernel-based distribution matching, NeurIPS workshop on machine learning with guarantees,
    2019.

  Examples:
    >>> import rfjax
    >>> from rfjax.fairness import inprocessing
    >>> mind_the_gap = inprocessing.mmd(2.0, label=1)
  """
  check_kernel(kernel, width)
  check_compared(method, agg)
  apart = lambda scores: mmd_of(scores, kernel, width, method, agg)
  return score_penalty("mmd", strength, score, label, apart)
