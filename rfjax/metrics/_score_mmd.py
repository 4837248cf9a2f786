"""Maximum mean discrepancy between the scores of groups."""

from typing import Any

import jax
from jax.typing import ArrayLike

from rfjax.core import Batch
from rfjax.metrics._gap import Aggregate, Method
from rfjax.metrics._scores import (
  Kernel,
  Scores,
  aggregate,
  check_compared,
  check_kernel,
  contrasts,
  energy,
  read_scores,
)


def score_mmd(
  y_true: ArrayLike | Batch,
  y_pred: ArrayLike | None = None,
  group: ArrayLike | None = None,
  *,
  num_groups: int | None = None,
  num_classes: int | None = None,
  weight: ArrayLike | None = None,
  label: int | None = None,
  kernel: Kernel = "gaussian",
  width: float | jax.Array = 0.1,
  method: Method = "between_groups",
  agg: Aggregate = "worst_case",
) -> jax.Array:
  r"""The squared maximum mean discrepancy between the scores of groups.

  $$\mathrm{E}\, k(s_a, s_a') - 2\, \mathrm{E}\, k(s_a, s_b) + \mathrm{E}\, k(s_b, s_b'), \qquad
  k(s, s') = e^{-\lVert s - s' \rVert^2 / \ell^2} \ \text{or}\ e^{-\lVert s - s' \rVert / \ell}$$

  with means over all pairs of rows, a row and itself included, so that it is at least 0, and 0 only
  for equal laws. Rows are compared with rows: the time grows with the square of their number, the
  memory does not.

  Args:
    y_true: labels [N], integers in [0, C); or a filled `Batch`, of whose softmax the scores are,
      and nothing else.
    y_pred: probabilities of class 1 [N], or of all classes [N, C]: a score is the probability of
      class 1 of two, or the vector of all.
    group: as in `demographic_parity_difference`.
    num_groups: as in `demographic_parity_difference`.
    num_classes: as in `demographic_parity_difference`.
    weight: as in `demographic_parity_difference`.
    label: compares the rows of this label only; static.
    kernel: "gaussian" or "laplacian"; static.
    width: the length l, above 0; may be traced.
    method: "between_groups" compares each pair of groups; "to_overall" each group with all rows.
    agg: "worst_case" or "mean" of the comparisons.

  Returns:
    [], at least 0, where 0 is fair. A group without rows is left out; 0 when fewer than two remain.

  Raises:
    ValueError: for bad labels, predictions, groups, weights, lengths or options.

  References:
    Gretton, Borgwardt, Rasch, Schölkopf, Smola, A kernel method for the two-sample-problem, NeurIPS
    2006.

  Examples:
    >>> from rfjax import metrics
    >>> y, y_pred, group = [1, 0, 1, 0], [0.9, 0.9, 0.1, 0.1], [0, 0, 1, 1]
    >>> round(float(metrics.score_mmd(y, y_pred, group, width=0.8)), 4)
    1.2642
  """
  check_kernel(kernel, width)
  check_compared(method, agg)
  found = read_scores("score_mmd", y_true, y_pred, group, num_groups, num_classes, weight, label)
  return mmd_of(found, kernel, width, method, agg)


def mmd_of(scores: Scores, kernel: Kernel, width: Any, method: Method, agg: Aggregate) -> jax.Array:
  """The discrepancy of scores, checked before."""
  signed, valid = contrasts(scores.member, method)
  return aggregate(energy(scores.values, signed, kernel, width)[:, None], valid, agg)
