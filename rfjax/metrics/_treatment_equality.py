"""Treatment equality: the two kinds of error are balanced alike in all groups."""

import jax
from jax.typing import ArrayLike

from rfjax.core import Batch
from rfjax.metrics._cells import rate
from rfjax.metrics._gap import DIFFERENCE, Method
from rfjax.metrics._rows import read


def treatment_equality_difference(
  y_true: ArrayLike | Batch,
  y_pred: ArrayLike | None = None,
  group: ArrayLike | None = None,
  *,
  num_groups: int | None = None,
  num_classes: int | None = None,
  weight: ArrayLike | None = None,
  method: Method = "between_groups",
  bounded: bool = True,
  soft: bool = False,
) -> jax.Array:
  r"""How far apart the shares of false negatives among the errors of the groups are.

  $$\max_g e_g - \min_g e_g \quad\text{or}\quad \max_g |e_g - e|, \qquad
  e_g = \frac{FN_g}{FN_g + FP_g} \quad\text{or}\quad \frac{FN_g}{FP_g}$$

  The share and the quotient are equal between groups for the same predictions; the quotient has
  no bound, and none where a group has no false positive.

  Args:
    y_true: labels [N], integers in [0, C); or a filled `Batch`, and nothing else.
    y_pred: as in `demographic_parity_difference`.
    group: as in `demographic_parity_difference`.
    num_groups: as in `demographic_parity_difference`.
    num_classes: as in `demographic_parity_difference`.
    weight: as in `demographic_parity_difference`.
    method: as in `demographic_parity_difference`.
    bounded: whether to take FN / (FN + FP); else FN / FP, as Berk et al. do.
    soft: as in `demographic_parity_difference`.

  Returns:
    [], at least 0, where 0 is fair, and at most 1 if bounded: the largest over the C classes
    one-vs-rest if C > 2. A group without an error (for the quotient, without a false positive) is
    left out, with a UserWarning outside jit; 0 when fewer than two remain.

  Raises:
    ValueError: for bad labels, predictions, groups, weights, lengths or options.

  References:
    Berk, Heidari, Jabbari, Kearns, Roth, Fairness in criminal justice risk assessments: the state
    of the art, Sociological Methods & Research 2021 (the quotient).
    Buyl, Defrance, De Bie, fairret: a framework for differentiable fairness regularization terms,
    ICLR 2024 (the quotient as linear-fractional statistic).

  Examples:
    >>> from rfjax import metrics
    >>> y, y_pred, group = [1, 0, 1, 0, 1], [0, 1, 0, 1, 0], [0, 0, 1, 1, 1]
    >>> float(metrics.treatment_equality_difference(y, y_pred, group, bounded=False))
    1.0
  """
  rows = read(
    "treatment_equality_difference", y_true, y_pred, group, num_groups, num_classes, weight, soft
  )
  name = "false_negative_share" if bounded else "false_negatives_per_false_positive"
  return DIFFERENCE.of(rate(rows, name), method=method)
