"""Rates of a classifier, overall and by group."""

from typing import NamedTuple

import jax
from jax.typing import ArrayLike

from rfjax.core import Batch
from rfjax.metrics._cells import Rate, drop_single, rate
from rfjax.metrics._rows import read


def _total(rate: Rate) -> jax.Array:
  """The rate of the only group, [], or [C] one-vs-rest."""
  return drop_single(rate.value[0])


def accuracy(
  y_true: ArrayLike | Batch,
  y_pred: ArrayLike | None = None,
  *,
  weight: ArrayLike | None = None,
  soft: bool = False,
) -> jax.Array:
  r"""Accuracy, of probabilities the expected one.

  $$\frac{\sum_i w_i\, P(\hat y_i = y_i)}{\sum_i w_i}$$

  Args:
    y_true: labels [N], integers in [0, C); or a filled `Batch`, and nothing else.
    y_pred: predicted classes [N], integers; or probabilities of class 1 [N], or of all [N, C].
    weight: [N], at least 0, where 0 is padding; all 1 when None.
    soft: whether to read a Batch's softmax instead of the largest logit.

  Returns:
    [], in [0, 1]; 0 when no row counts.

  Raises:
    ValueError: for bad labels, predictions, weights or lengths.

  Examples:
    >>> from rfjax import metrics
    >>> float(metrics.accuracy([0, 1, 1, 2], [0, 1, 2, 2]))
    0.75
  """
  rows = read("accuracy", y_true, y_pred, None, None, None, weight, soft, overall=True)
  return _total(rate(rows, "accuracy"))


def selection_rate(
  y_true: ArrayLike | Batch,
  y_pred: ArrayLike | None = None,
  *,
  num_classes: int | None = None,
  weight: ArrayLike | None = None,
  soft: bool = False,
) -> jax.Array:
  r"""The share of rows that are predicted positive.

  $$P(\hat y = 1) = \frac{\sum_i w_i\, P(\hat y_i = 1)}{\sum_i w_i}$$

  Args:
    y_true: labels [N], of which only the length matters; or a filled `Batch`, and nothing else.
    y_pred: as in `accuracy`.
    num_classes: C; needed inside jit for a y_pred of integers, and seen outside it when None.
    weight: as in `accuracy`.
    soft: as in `accuracy`.

  Returns:
    [], in [0, 1]; for C > 2 classes one-vs-rest [C]. 0 when no row counts.

  Raises:
    ValueError: for bad labels, predictions, weights or lengths.

  Examples:
    >>> from rfjax import metrics
    >>> float(metrics.selection_rate([0, 1, 1, 0], [0, 1, 1, 1]))
    0.75
  """
  rows = read("selection_rate", y_true, y_pred, None, None, num_classes, weight, soft, overall=True)
  return _total(rate(rows, "selection_rate"))


def true_positive_rate(
  y_true: ArrayLike | Batch,
  y_pred: ArrayLike | None = None,
  *,
  num_classes: int | None = None,
  weight: ArrayLike | None = None,
  soft: bool = False,
) -> jax.Array:
  r"""The share of positive rows that are predicted positive.

  $$P(\hat y = 1 \mid y = 1) = \frac{\sum_i w_i\, [y_i = 1]\, P(\hat y_i = 1)}
  {\sum_i w_i\, [y_i = 1]}$$

  Args:
    y_true: labels [N], integers in [0, C); or a filled `Batch`, and nothing else.
    y_pred: as in `accuracy`.
    num_classes: as in `selection_rate`.
    weight: as in `accuracy`.
    soft: as in `accuracy`.

  Returns:
    [], in [0, 1]; for C > 2 classes one-vs-rest [C]. 0 when no positive row counts.

  Raises:
    ValueError: for bad labels, predictions, weights or lengths.

  Examples:
    >>> from rfjax import metrics
    >>> float(metrics.true_positive_rate([0, 1, 1, 0], [0, 1, 0, 1]))
    0.5
  """
  rows = read(
    "true_positive_rate", y_true, y_pred, None, None, num_classes, weight, soft, overall=True
  )
  return _total(rate(rows, "true_positive_rate"))


def false_positive_rate(
  y_true: ArrayLike | Batch,
  y_pred: ArrayLike | None = None,
  *,
  num_classes: int | None = None,
  weight: ArrayLike | None = None,
  soft: bool = False,
) -> jax.Array:
  r"""The share of negative rows that are predicted positive.

  $$P(\hat y = 1 \mid y \ne 1) = \frac{\sum_i w_i\, [y_i \ne 1]\, P(\hat y_i = 1)}
  {\sum_i w_i\, [y_i \ne 1]}$$

  Args:
    y_true: labels [N], integers in [0, C); or a filled `Batch`, and nothing else.
    y_pred: as in `accuracy`.
    num_classes: as in `selection_rate`.
    weight: as in `accuracy`.
    soft: as in `accuracy`.

  Returns:
    [], in [0, 1]; for C > 2 classes one-vs-rest [C]. 0 when no negative row counts.

  Raises:
    ValueError: for bad labels, predictions, weights or lengths.

  Examples:
    >>> from rfjax import metrics
    >>> float(metrics.false_positive_rate([0, 1, 1, 0], [0, 1, 0, 1]))
    0.5
  """
  rows = read(
    "false_positive_rate", y_true, y_pred, None, None, num_classes, weight, soft, overall=True
  )
  return _total(rate(rows, "false_positive_rate"))


class ByGroup(NamedTuple):
  """The rates of each group.

  Attributes:
    accuracy: a `Rate`, [G].
    selection_rate: a `Rate`, [G], or [G, C] one-vs-rest for C > 2 classes.
    true_positive_rate: likewise.
    false_positive_rate: likewise.
  """

  accuracy: Rate
  selection_rate: Rate
  true_positive_rate: Rate
  false_positive_rate: Rate


def by_group(
  y_true: ArrayLike | Batch,
  y_pred: ArrayLike | None = None,
  group: ArrayLike | None = None,
  *,
  num_groups: int | None = None,
  num_classes: int | None = None,
  weight: ArrayLike | None = None,
  soft: bool = False,
) -> ByGroup:
  r"""Accuracy, selection rate, true and false positive rate of each group.

  $$\mathrm{rate}_g = \frac{\sum_i w_i\, m_{ig}\, \mathrm{numerator}_i}
  {\sum_i w_i\, m_{ig}\, \mathrm{denominator}_i}$$

  with membership m; numerators and denominators are those of the overall rates.

  Args:
    y_true: labels [N], integers in [0, C); or a filled `Batch`, and nothing else.
    y_pred: predicted classes [N], integers; or probabilities of class 1 [N], or of all [N, C].
    group: sensitive attribute [N], integers in [0, G), or soft membership [N, G], where a row of
      zeros is missing and counts nowhere.
    num_groups: G; needed inside jit for a group of integers, and seen outside it when None.
    num_classes: C; needed inside jit for a y_pred of integers, and seen outside it when None.
    weight: [N], at least 0, where 0 is padding; all 1 when None.
    soft: whether to read a Batch's softmax instead of the largest logit.

  Returns:
    A `ByGroup`. Each rate has `value`, `size`, the weight of the rows it counts, and `valid`, False
    where there is none; a UserWarning names such groups outside jit.

  Raises:
    ValueError: for bad labels, predictions, groups, weights or lengths.

  Examples:
    >>> from rfjax import metrics
    >>> rates = metrics.by_group([1, 0, 1, 0], [1, 0, 0, 0], [0, 0, 1, 1])
    >>> rates.accuracy.value.tolist(), rates.true_positive_rate.size.tolist()
    ([1.0, 0.5], [1.0, 1.0])
  """
  rows = read("by_group", y_true, y_pred, group, num_groups, num_classes, weight, soft)
  rates = (
    rate(rows, "accuracy"),
    rate(rows, "selection_rate"),
    rate(rows, "true_positive_rate"),
    rate(rows, "false_positive_rate"),
  )
  return jax.tree.map(drop_single, ByGroup(*rates))
