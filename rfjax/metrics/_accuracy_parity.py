"""Accuracy parity, also called overall accuracy equality: equal accuracies."""

import jax
from jax.typing import ArrayLike

from rfjax.core import Batch
from rfjax.metrics._cells import rate
from rfjax.metrics._gap import DIFFERENCE, RATIO, Method
from rfjax.metrics._rows import read


def accuracy_parity_difference(
  y_true: ArrayLike | Batch,
  y_pred: ArrayLike | None = None,
  group: ArrayLike | None = None,
  *,
  num_groups: int | None = None,
  num_classes: int | None = None,
  weight: ArrayLike | None = None,
  method: Method = "between_groups",
  soft: bool = False,
) -> jax.Array:
  r"""How far apart the accuracies of the groups are; of error rates it is the same.

  $$\max_g a_g - \min_g a_g \quad\text{or}\quad \max_g |a_g - a|, \qquad
  a_g = P(\hat y = y \mid g), \quad a = P(\hat y = y)$$

  Args:
    y_true: labels [N], integers in [0, C); or a filled `Batch`, and nothing else.
    y_pred: as in `demographic_parity_difference`.
    group: as in `demographic_parity_difference`.
    num_groups: as in `demographic_parity_difference`.
    num_classes: C, which accuracy does not need; for the check of labels.
    weight: as in `demographic_parity_difference`.
    method: as in `demographic_parity_difference`.
    soft: as in `demographic_parity_difference`.

  Returns:
    [], in [0, 1], where 0 is fair. A group without rows is left out, with a UserWarning outside
    jit; 0 when fewer than two remain.

  Raises:
    ValueError: for bad labels, predictions, groups, weights, lengths or options.

  References:
    Berk, Heidari, Jabbari, Kearns, Roth, Fairness in criminal justice risk assessments: the state
    of the art, Sociological Methods & Research 2021 (overall accuracy equality).
    Zhao, Coston, Adel, Gordon, Conditional learning of fair representations, ICLR 2020 (accuracy
    parity).

  Examples:
    >>> from rfjax import metrics
    >>> y, y_pred, group = [1, 0, 1, 0], [1, 1, 1, 0], [0, 0, 1, 1]
    >>> float(metrics.accuracy_parity_difference(y, y_pred, group))
    0.5
  """
  rows = read(
    "accuracy_parity_difference", y_true, y_pred, group, num_groups, num_classes, weight, soft
  )
  return DIFFERENCE.of(rate(rows, "accuracy"), method=method)


def accuracy_parity_ratio(
  y_true: ArrayLike | Batch,
  y_pred: ArrayLike | None = None,
  group: ArrayLike | None = None,
  *,
  num_groups: int | None = None,
  num_classes: int | None = None,
  weight: ArrayLike | None = None,
  method: Method = "between_groups",
  soft: bool = False,
) -> jax.Array:
  r"""How far apart the accuracies of the groups are, as a ratio; of error rates it is another.

  $$\frac{\min_g a_g}{\max_g a_g} \quad\text{or}\quad
  \min_g \min\Big(\frac{a_g}{a}, \frac{a}{a_g}\Big), \qquad
  a_g = P(\hat y = y \mid g), \quad a = P(\hat y = y)$$

  `ratio(group_rates("error_rate", ...))` is that of the error rates.

  Args:
    y_true: as in `accuracy_parity_difference`.
    y_pred: as in `demographic_parity_difference`.
    group: as in `demographic_parity_difference`.
    num_groups: as in `demographic_parity_difference`.
    num_classes: as in `accuracy_parity_difference`.
    weight: as in `demographic_parity_difference`.
    method: as in `demographic_parity_difference`.
    soft: as in `demographic_parity_difference`.

  Returns:
    [], in [0, 1], where 1 is fair. A group without rows is left out, with a UserWarning outside
    jit; 1 when fewer than two remain, and when all accuracies are 0.

  Raises:
    ValueError: for bad labels, predictions, groups, weights, lengths or options.

  References:
    Berk, Heidari, Jabbari, Kearns, Roth, Fairness in criminal justice risk assessments: the state
    of the art, Sociological Methods & Research 2021 (overall accuracy equality).
    Zhao, Coston, Adel, Gordon, Conditional learning of fair representations, ICLR 2020 (accuracy
    parity).

  Examples:
    >>> from rfjax import metrics
    >>> y, y_pred, group = [1, 0, 1, 0], [1, 1, 1, 0], [0, 0, 1, 1]
    >>> float(metrics.accuracy_parity_ratio(y, y_pred, group))
    0.5
  """
  rows = read("accuracy_parity_ratio", y_true, y_pred, group, num_groups, num_classes, weight, soft)
  return RATIO.of(rate(rows, "accuracy"), method=method)
