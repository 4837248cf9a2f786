"""Predictive parity and sufficiency: a decision is right equally often in all groups."""

import jax
from jax.typing import ArrayLike

from rfjax.core import Batch
from rfjax.metrics._cells import rate
from rfjax.metrics._gap import DIFFERENCE, RATIO, Aggregate, Method
from rfjax.metrics._rows import read


def predictive_parity_difference(
  y_true: ArrayLike | Batch,
  y_pred: ArrayLike | None = None,
  group: ArrayLike | None = None,
  *,
  num_groups: int | None = None,
  num_classes: int | None = None,
  weight: ArrayLike | None = None,
  method: Method = "between_groups",
  sufficiency: bool = False,
  agg: Aggregate = "worst_case",
  soft: bool = False,
) -> jax.Array:
  r"""How far apart the precisions of the groups are.

  $$\max_g v_g - \min_g v_g \quad\text{or}\quad \max_g |v_g - v|, \qquad
  v_g = P(y = 1 \mid \hat y = 1, g), \quad v = P(y = 1 \mid \hat y = 1)$$

  Sufficiency asks the same of the false omission rates $P(y = 1 \mid \hat y = 0, g)$ too: given the
  decision, the label is independent of the group.

  Args:
    y_true: labels [N], integers in [0, C); or a filled `Batch`, and nothing else.
    y_pred: as in `demographic_parity_difference`.
    group: as in `demographic_parity_difference`.
    num_groups: as in `demographic_parity_difference`.
    num_classes: as in `demographic_parity_difference`.
    weight: as in `demographic_parity_difference`.
    method: as in `demographic_parity_difference`.
    sufficiency: whether the false omission rates count beside the precisions.
    agg: "worst_case" takes the larger of the two differences, "mean" their mean.
    soft: as in `demographic_parity_difference`.

  Returns:
    [], in [0, 1], where 0 is fair: the largest over the C classes one-vs-rest if C > 2. A group of
    which nobody is predicted to be of the class (for the omissions, of another) is left out of that
    rate, with a UserWarning outside jit; 0 when fewer than two remain.

  Raises:
    ValueError: for bad labels, predictions, groups, weights, lengths or options.

  References:
    Chouldechova, Fair prediction with disparate impact: a study of bias in recidivism prediction
    instruments, Big Data 2017.
    Verma, Rubin, Fairness definitions explained, FairWare 2018.

  Examples:
    >>> from rfjax import metrics
    >>> y, y_pred, group = [1, 0, 1, 1], [1, 1, 1, 0], [0, 0, 1, 1]
    >>> float(metrics.predictive_parity_difference(y, y_pred, group))
    0.5
  """
  rows = read(
    "predictive_parity_difference", y_true, y_pred, group, num_groups, num_classes, weight, soft
  )
  rates = [rate(rows, "precision")]
  if sufficiency:
    rates.append(rate(rows, "false_omission_rate"))
  return DIFFERENCE.of(*rates, method=method, agg=agg)


def predictive_parity_ratio(
  y_true: ArrayLike | Batch,
  y_pred: ArrayLike | None = None,
  group: ArrayLike | None = None,
  *,
  num_groups: int | None = None,
  num_classes: int | None = None,
  weight: ArrayLike | None = None,
  method: Method = "between_groups",
  sufficiency: bool = False,
  agg: Aggregate = "worst_case",
  soft: bool = False,
) -> jax.Array:
  r"""How far apart the precisions of the groups are, as a ratio.

  $$\frac{\min_g v_g}{\max_g v_g} \quad\text{or}\quad
  \min_g \min\Big(\frac{v_g}{v}, \frac{v}{v_g}\Big), \qquad
  v_g = P(y = 1 \mid \hat y = 1, g), \quad v = P(y = 1 \mid \hat y = 1)$$

  Args:
    y_true: as in `predictive_parity_difference`.
    y_pred: as in `demographic_parity_difference`.
    group: as in `demographic_parity_difference`.
    num_groups: as in `demographic_parity_difference`.
    num_classes: as in `demographic_parity_difference`.
    weight: as in `demographic_parity_difference`.
    method: as in `demographic_parity_difference`.
    sufficiency: as in `predictive_parity_difference`.
    agg: "worst_case" takes the smaller of the two ratios, "mean" their mean.
    soft: as in `demographic_parity_difference`.

  Returns:
    [], in [0, 1], where 1 is fair: the smallest over the C classes one-vs-rest if C > 2. A group of
    which nobody is predicted to be of the class (for the omissions, of another) is left out of that
    rate, with a UserWarning outside jit; 1 when fewer than two remain, and when all rates are 0.

  Raises:
    ValueError: for bad labels, predictions, groups, weights, lengths or options.

  References:
    Chouldechova, Fair prediction with disparate impact: a study of bias in recidivism prediction
    instruments, Big Data 2017.
    Verma, Rubin, Fairness definitions explained, FairWare 2018.

  Examples:
    >>> from rfjax import metrics
    >>> y, y_pred, group = [1, 0, 1, 1], [1, 1, 1, 0], [0, 0, 1, 1]
    >>> float(metrics.predictive_parity_ratio(y, y_pred, group))
    0.5
  """
  rows = read(
    "predictive_parity_ratio", y_true, y_pred, group, num_groups, num_classes, weight, soft
  )
  rates = [rate(rows, "precision")]
  if sufficiency:
    rates.append(rate(rows, "false_omission_rate"))
  return RATIO.of(*rates, method=method, agg=agg)
