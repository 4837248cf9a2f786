"""Demographic parity: equal selection rates."""

import jax
from jax.typing import ArrayLike

from rfjax.core import Batch
from rfjax.metrics._convention import Convention, figure
from rfjax.metrics._gap import Method
from rfjax.metrics._rows import read


def demographic_parity_difference(
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
  r"""How far apart the selection rates of the groups are.

  $$\max_g r_g - \min_g r_g \quad\text{or}\quad \max_g |r_g - r|, \qquad
  r_g = P(\hat y = 1 \mid g), \quad r = P(\hat y = 1)$$

  Args:
    y_true: labels [N], which are not read beyond a check; or a filled `Batch`, and nothing else.
    y_pred: predicted classes [N], integers; or probabilities of class 1 [N], or of all [N, C].
    group: sensitive attribute [N], integers in [0, G), or soft membership [N, G], where a row of
      zeros is missing and counts nowhere.
    num_groups: G; needed inside jit for a group of integers, and seen outside it when None.
    num_classes: C; needed inside jit for a y_pred of integers, and seen outside it when None.
    weight: [N], at least 0, where 0 is padding; all 1 when None.
    method: "between_groups" compares the lowest with the highest rate; "to_overall" each rate with
      that of all groups together. The convention's own when None: between groups for most.
    soft: whether to read a Batch's softmax instead of the largest logit.
    convention: whose figure to give, defects included; what it lacks is refused. "rfjax": ours.
      "fairlearn": a group with rows but without the label of a rate counts with 0, and a ratio of
      rates of 0 is NaN. "aif360": the rate of group 0 (unprivileged) less that of group 1
      (privileged), with its sign, or over it, unfolded; NaN without rows. "fairbatch": always
      "to_overall"; NaN without rows. "fr_train": the lower over the higher of two rates, NaN of
      0/0. "zafar": 100 times the rate of group 0 over that of group 1, the p%-rule.

  Returns:
    [], in [0, 1], where 0 is fair: the largest over the C classes one-vs-rest if C > 2. A group
    without rows is left out, with a UserWarning outside jit; 0 when fewer than two remain.

  Raises:
    ValueError: for bad labels, predictions, groups, weights, lengths or options.

  References:
    Venkatasubramanian, Algorithmic fairness: measures, methods and representations, PODS 2019.

  Examples:
    >>> from rfjax import metrics
    >>> y, y_pred, group = [1, 0, 1, 0], [1, 1, 1, 0], [0, 0, 1, 1]
    >>> float(metrics.demographic_parity_difference(y, y_pred, group))
    0.5
  """
  rows = read(
    "demographic_parity_difference", y_true, y_pred, group, num_groups, num_classes, weight, soft
  )
  return figure(rows, convention, method)


def demographic_parity_ratio(
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
  r"""How far apart the selection rates of the groups are, as a ratio.

  $$\frac{\min_g r_g}{\max_g r_g} \quad\text{or}\quad
  \min_g \min\Big(\frac{r_g}{r}, \frac{r}{r_g}\Big), \qquad
  r_g = P(\hat y = 1 \mid g), \quad r = P(\hat y = 1)$$

  Where nobody is selected fairlearn gives NaN for 0/0; here equal rates of 0 are fair.

  Args:
    y_true: as in `demographic_parity_difference`.
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
    without rows is left out, with a UserWarning outside jit; 1 when fewer than two remain, and when
    all rates are 0.

  Raises:
    ValueError: for bad labels, predictions, groups, weights, lengths or options.

  References:
    Venkatasubramanian, Algorithmic fairness: measures, methods and representations, PODS 2019.

  Examples:
    >>> from rfjax import metrics
    >>> y, y_pred, group = [1, 0, 1, 0], [1, 1, 1, 0], [0, 0, 1, 1]
    >>> float(metrics.demographic_parity_ratio(y, y_pred, group))
    0.5
  """
  rows = read(
    "demographic_parity_ratio", y_true, y_pred, group, num_groups, num_classes, weight, soft
  )
  return figure(rows, convention, method)


def disparate_impact(
  y_true: ArrayLike | Batch,
  y_pred: ArrayLike | None = None,
  group: ArrayLike | None = None,
  *,
  num_groups: int | None = None,
  num_classes: int | None = None,
  weight: ArrayLike | None = None,
  soft: bool = False,
  convention: Convention = "rfjax",
) -> jax.Array:
  r"""The lowest selection rate of a group relative to the highest.

  $$\frac{\min_g P(\hat y = 1 \mid g)}{\max_g P(\hat y = 1 \mid g)}$$

  It is `demographic_parity_ratio` between groups; below 0.8 it fails the four-fifths rule.

  Args:
    y_true: as in `demographic_parity_difference`.
    y_pred: as in `demographic_parity_difference`.
    group: as in `demographic_parity_difference`.
    num_groups: as in `demographic_parity_difference`.
    num_classes: as in `demographic_parity_difference`.
    weight: as in `demographic_parity_difference`.
    soft: as in `demographic_parity_difference`.
    convention: as in `demographic_parity_difference`.

  Returns:
    [], in [0, 1], where 1 is fair: the smallest over the C classes one-vs-rest if C > 2. A group
    without rows is left out, with a UserWarning outside jit; 1 when fewer than two remain, and when
    all rates are 0.

  Raises:
    ValueError: for bad labels, predictions, groups, weights, lengths or options.

  References:
    Feldman, Friedler, Moeller, Scheidegger, Venkatasubramanian, Certifying and removing disparate
    impact, KDD 2015.
    Venkatasubramanian, Algorithmic fairness: measures, methods and representations, PODS 2019.

  Examples:
    >>> from rfjax import metrics
    >>> y, y_pred, group = [1, 0, 1, 0], [1, 1, 1, 0], [0, 0, 1, 1]
    >>> float(metrics.disparate_impact(y, y_pred, group))
    0.5
  """
  rows = read("disparate_impact", y_true, y_pred, group, num_groups, num_classes, weight, soft)
  return figure(rows, convention, None)
