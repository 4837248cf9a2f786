"""Balance for the positive and the negative class: equal mean scores among those who are alike."""

from typing import Literal, get_args

import jax
from jax.typing import ArrayLike

from rfjax.core import Batch, _check
from rfjax.metrics._cells import rate
from rfjax.metrics._gap import DIFFERENCE, Aggregate, Method
from rfjax.metrics._rows import read

Label = Literal["both", "positive", "negative"]


def balance_difference(
  y_true: ArrayLike | Batch,
  y_pred: ArrayLike | None = None,
  group: ArrayLike | None = None,
  *,
  num_groups: int | None = None,
  num_classes: int | None = None,
  weight: ArrayLike | None = None,
  method: Method = "between_groups",
  label: Label = "both",
  agg: Aggregate = "worst_case",
) -> jax.Array:
  r"""How far apart the mean scores of the groups are, among rows of one label.

  $$\max_g s_{gy} - \min_g s_{gy} \quad\text{or}\quad \max_g |s_{gy} - s_y|, \qquad
  s_{gy} = E[p \mid y, g], \quad s_y = E[p \mid y]$$

  with the predicted probability p of class 1. The mean score given y is the expected rate of
  positive decisions that are drawn by the score, so this is equalized odds of probabilities.

  Args:
    y_true: labels [N], integers in [0, C); or a filled `Batch`, of which the softmax is read.
    y_pred: probabilities of class 1 [N], or of all [N, C]; or classes, as probabilities of 0 and 1.
    group: as in `demographic_parity_difference`.
    num_groups: as in `demographic_parity_difference`.
    num_classes: as in `demographic_parity_difference`.
    weight: as in `demographic_parity_difference`.
    method: as in `demographic_parity_difference`.
    label: "positive" for the balance for the positive class, y = 1; "negative" for that of the
      negative class, y = 0; or "both".
    agg: "worst_case" takes the larger of both differences, "mean" their mean.

  Returns:
    [], in [0, 1], where 0 is fair: the largest over the C classes one-vs-rest if C > 2. A group
    without positive (negative) rows is left out of that mean, with a UserWarning outside jit; 0
    when fewer than two remain.

  Raises:
    ValueError: for bad labels, predictions, groups, weights, lengths or options.

  References:
    Kleinberg, Mullainathan, Raghavan, Inherent trade-offs in the fair determination of risk scores,
    ITCS 2017.

  Examples:
    >>> from rfjax import metrics
    >>> y, y_pred, group = [1, 0, 1, 0], [0.75, 0.25, 0.5, 0.25], [0, 0, 1, 1]
    >>> float(metrics.balance_difference(y, y_pred, group))
    0.25
  """
  _check.choice("label", label, get_args(Label))
  soft = isinstance(y_true, Batch)
  rows = read("balance_difference", y_true, y_pred, group, num_groups, num_classes, weight, soft)
  names = {"positive": "true_positive_rate", "negative": "false_positive_rate"}
  rates = [rate(rows, names[side]) for side in names if label in ("both", side)]
  return DIFFERENCE.of(*rates, method=method, agg=agg)
