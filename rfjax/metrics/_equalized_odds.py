"""Equal opportunity and equalized odds: equal true (and false) positive rates."""

import jax
from jax.typing import ArrayLike

from rfjax.core import Batch
from rfjax.metrics._convention import Convention, figure
from rfjax.metrics._gap import Aggregate, Method
from rfjax.metrics._rows import read


def equal_opportunity_difference(
  y_true: ArrayLike | Batch,
  y_pred: ArrayLike | None = None,
  group: ArrayLike | None = None,
  *,
  num_groups: int | None = None,
  num_classes: int | None = None,
  weight: ArrayLike | None = None,
  method: Method | None = None,
  soft: bool = False,
  convention: Convention = "rfjax",
) -> jax.Array:
  r"""How far apart the true positive rates of the groups are.

  $$\max_g t_g - \min_g t_g \quad\text{or}\quad \max_g |t_g - t|, \qquad
  t_g = P(\hat y = 1 \mid y = 1, g), \quad t = P(\hat y = 1 \mid y = 1)$$

  A group without positive rows has no true positive rate; fairlearn counts it as 0.

  Args:
    y_true: labels [N], integers in [0, C); or a filled `Batch`, and nothing else.
    y_pred: as in `demographic_parity_difference`.
    group: as in `demographic_parity_difference`.
    num_groups: as in `demographic_parity_difference`.
    num_classes: as in `demographic_parity_difference`.
    weight: as in `demographic_parity_difference`.
    method: as in `demographic_parity_difference`.
    soft: as in `demographic_parity_difference`.
    convention: as in `demographic_parity_difference`.

  Returns:
    [], in [0, 1], where 0 is fair: the largest over the C classes one-vs-rest if C > 2. A group
    without positive rows is left out, with a UserWarning outside jit; 0 when fewer than two remain.

  Raises:
    ValueError: for bad labels, predictions, groups, weights, lengths or options.

  References:
    Hardt, Price, Srebro, Equality of opportunity in supervised learning, NIPS 2016.
    Venkatasubramanian, Algorithmic fairness: measures, methods and representations, PODS 2019.

  Examples:
    >>> from rfjax import metrics
    >>> y, y_pred, group = [1, 1, 1, 0], [1, 1, 0, 0], [0, 0, 1, 1]
    >>> float(metrics.equal_opportunity_difference(y, y_pred, group))
    1.0
  """
  rows = read(
    "equal_opportunity_difference", y_true, y_pred, group, num_groups, num_classes, weight, soft
  )
  return figure(rows, convention, method)


def equal_opportunity_ratio(
  y_true: ArrayLike | Batch,
  y_pred: ArrayLike | None = None,
  group: ArrayLike | None = None,
  *,
  num_groups: int | None = None,
  num_classes: int | None = None,
  weight: ArrayLike | None = None,
  method: Method | None = None,
  soft: bool = False,
  convention: Convention = "rfjax",
) -> jax.Array:
  r"""How far apart the true positive rates of the groups are, as a ratio.

  $$\frac{\min_g t_g}{\max_g t_g} \quad\text{or}\quad
  \min_g \min\Big(\frac{t_g}{t}, \frac{t}{t_g}\Big), \qquad
  t_g = P(\hat y = 1 \mid y = 1, g), \quad t = P(\hat y = 1 \mid y = 1)$$

  A group without positive rows has no true positive rate, which fairlearn counts as 0; where all
  rates are 0, fairlearn gives NaN.

  Args:
    y_true: labels [N], integers in [0, C); or a filled `Batch`, and nothing else.
    y_pred: as in `demographic_parity_difference`.
    group: as in `demographic_parity_difference`.
    num_groups: as in `demographic_parity_difference`.
    num_classes: as in `demographic_parity_difference`.
    weight: as in `demographic_parity_difference`.
    method: as in `demographic_parity_difference`.
    soft: as in `demographic_parity_difference`.
    convention: as in `demographic_parity_difference`.

  Returns:
    [], in [0, 1], where 1 is fair: the smallest over the C classes one-vs-rest if C > 2. A group
    without positive rows is left out, with a UserWarning outside jit; 1 when fewer than two remain,
    and when all rates are 0.

  Raises:
    ValueError: for bad labels, predictions, groups, weights, lengths or options.

  References:
    Hardt, Price, Srebro, Equality of opportunity in supervised learning, NIPS 2016.
    Venkatasubramanian, Algorithmic fairness: measures, methods and representations, PODS 2019.

  Examples:
    >>> from rfjax import metrics
    >>> y, y_pred, group = [1, 1, 1, 1], [1, 1, 0, 1], [0, 0, 1, 1]
    >>> float(metrics.equal_opportunity_ratio(y, y_pred, group))
    0.5
  """
  rows = read(
    "equal_opportunity_ratio", y_true, y_pred, group, num_groups, num_classes, weight, soft
  )
  return figure(rows, convention, method)


def equalized_odds_difference(
  y_true: ArrayLike | Batch,
  y_pred: ArrayLike | None = None,
  group: ArrayLike | None = None,
  *,
  num_groups: int | None = None,
  num_classes: int | None = None,
  weight: ArrayLike | None = None,
  method: Method | None = None,
  agg: Aggregate = "worst_case",
  soft: bool = False,
  convention: Convention = "rfjax",
) -> jax.Array:
  r"""How far apart both true and false positive rates of the groups are.

  $$\max(\Delta_1, \Delta_0) \quad\text{or}\quad \tfrac12 (\Delta_1 + \Delta_0)$$

  of the differences $\Delta_y$ of $P(\hat y = 1 \mid y, g)$ over the groups g, each as in
  `equal_opportunity_difference`. A rate that fewer than two groups have counts as equal.

  Args:
    y_true: labels [N], integers in [0, C); or a filled `Batch`, and nothing else.
    y_pred: as in `demographic_parity_difference`.
    group: as in `demographic_parity_difference`.
    num_groups: as in `demographic_parity_difference`.
    num_classes: as in `demographic_parity_difference`.
    weight: as in `demographic_parity_difference`.
    method: as in `demographic_parity_difference`.
    agg: "worst_case" takes the larger of the two, "mean" their mean; by "aif360" of differences
      with their signs, which may cancel.
    soft: as in `demographic_parity_difference`.
    convention: as in `demographic_parity_difference`.

  Returns:
    [], in [0, 1], where 0 is fair: the largest over the C classes one-vs-rest if C > 2. A group
    without positive (negative) rows is left out of that rate, with a UserWarning outside jit; 0
    when fewer than two remain.

  Raises:
    ValueError: for bad labels, predictions, groups, weights, lengths or options.

  References:
    Hardt, Price, Srebro, Equality of opportunity in supervised learning, NIPS 2016.
    Venkatasubramanian, Algorithmic fairness: measures, methods and representations, PODS 2019.

  Examples:
    >>> from rfjax import metrics
    >>> y, y_pred, group = [1, 0, 0, 1, 0], [1, 1, 0, 1, 1], [0, 0, 0, 1, 1]
    >>> float(metrics.equalized_odds_difference(y, y_pred, group))
    0.5
  """
  rows = read(
    "equalized_odds_difference", y_true, y_pred, group, num_groups, num_classes, weight, soft
  )
  return figure(rows, convention, method, agg)


def equalized_odds_ratio(
  y_true: ArrayLike | Batch,
  y_pred: ArrayLike | None = None,
  group: ArrayLike | None = None,
  *,
  num_groups: int | None = None,
  num_classes: int | None = None,
  weight: ArrayLike | None = None,
  method: Method | None = None,
  agg: Aggregate = "worst_case",
  soft: bool = False,
  convention: Convention = "rfjax",
) -> jax.Array:
  r"""How far apart both true and false positive rates of the groups are, as a ratio.

  $$\min(\rho_1, \rho_0) \quad\text{or}\quad \tfrac12 (\rho_1 + \rho_0)$$

  of the ratios $\rho_y$ of $P(\hat y = 1 \mid y, g)$ over the groups g, each as in
  `equal_opportunity_ratio`. A rate that fewer than two groups have counts as equal, as do
  rates that are all 0, where fairlearn may give NaN.

  Args:
    y_true: labels [N], integers in [0, C); or a filled `Batch`, and nothing else.
    y_pred: as in `demographic_parity_difference`.
    group: as in `demographic_parity_difference`.
    num_groups: as in `demographic_parity_difference`.
    num_classes: as in `demographic_parity_difference`.
    weight: as in `demographic_parity_difference`.
    method: as in `demographic_parity_difference`.
    agg: "worst_case" takes the smaller of the two, "mean" their mean.
    soft: as in `demographic_parity_difference`.
    convention: as in `demographic_parity_difference`.

  Returns:
    [], in [0, 1], where 1 is fair: the smallest over the C classes one-vs-rest if C > 2. A group
    without positive (negative) rows is left out of that rate, with a UserWarning outside jit; 1
    when fewer than two remain, and when all rates are 0.

  Raises:
    ValueError: for bad labels, predictions, groups, weights, lengths or options.

  References:
    Hardt, Price, Srebro, Equality of opportunity in supervised learning, NIPS 2016.
    Venkatasubramanian, Algorithmic fairness: measures, methods and representations, PODS 2019.

  Examples:
    >>> from rfjax import metrics
    >>> y, y_pred, group = [1, 0, 0, 1, 0], [1, 1, 0, 1, 1], [0, 0, 0, 1, 1]
    >>> float(metrics.equalized_odds_ratio(y, y_pred, group))
    0.5
  """
  rows = read("equalized_odds_ratio", y_true, y_pred, group, num_groups, num_classes, weight, soft)
  return figure(rows, convention, method, agg)
