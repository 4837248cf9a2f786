"""The kernel of the measures: numerators and denominators by group, divided last and safely."""

import functools
import math
import sys
import warnings
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rfjax.core import _check, group_sum, ratio
from rfjax.metrics._rows import Rows


class Rate(NamedTuple):
  r"""A rate by group, kept as its two sums, which add up over parts of the data.

  $$\mathrm{value}_g = \frac{\mathrm{hits}_g}{\mathrm{size}_g}$$

  Attributes:
    hits: weighted numerators, [G], or [G, C] one-vs-rest for C > 2 classes.
    size: weighted denominators, of the same shape.

  Examples:
    >>> import jax.numpy as jnp
    >>> from rfjax import metrics
    >>> rate = metrics.Rate(hits=jnp.array([1.0, 0.0]), size=jnp.array([4.0, 0.0]))
    >>> rate.value.tolist(), rate.valid.tolist()
    ([0.25, 0.0], [True, False])
  """

  hits: jax.Array
  size: jax.Array

  @property
  def value(self) -> jax.Array:
    """The rates; 0, with a gradient of 0, where no row counts."""
    return ratio(self.hits, self.size)

  @property
  def valid(self) -> jax.Array:
    """Where a row counts, bool."""
    return self.size > 0


class Statistic(NamedTuple):
  r"""A rate yet to be summed, linear-fractional in the probability p of the class.

  $$\frac{\sum_i w_i\,(\alpha_0 + \beta_0\, p_i)}{\sum_i w_i\,(\alpha_1 + \beta_1\, p_i)}$$

  Attributes:
    counts: `counts(rows) -> (numerator, denominator)` of each row, [N, K] each.
    over: which rows the denominator counts, for messages, where {} stands for the class.
  """

  counts: Callable[[Rows], tuple[jax.Array, jax.Array]]
  over: str


def _correct(rows: Rows) -> tuple[jax.Array, jax.Array]:
  p = rows.probability(rows.y[:, None])
  return p, jnp.ones_like(p)


def _wrong(rows: Rows) -> tuple[jax.Array, jax.Array]:
  p, one = _correct(rows)
  return 1 - p, one


def _of_class(
  formula: Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array]],
) -> Callable[[Rows], tuple[jax.Array, jax.Array]]:
  """Counts by `formula(y, p)`, of 0-1 labels and probabilities one-vs-rest."""
  return lambda rows: formula(*rows.one_vs_rest())


_OF_CLASS, _OF_OTHERS = "row of class {}", "row of a class other than {}"
_PREDICTED, _REJECTED = "row predicted to be {}", "row predicted to be other than {}"

# The measures of the field, by name; hard with p in {0, 1}, and else what is expected of them.
STATISTICS = {
  "accuracy": Statistic(_correct, "row"),
  "error_rate": Statistic(_wrong, "row"),
  "selection_rate": Statistic(_of_class(lambda y, p: (p, jnp.ones_like(p))), "row"),
  "true_positive_rate": Statistic(_of_class(lambda y, p: (y * p, y)), _OF_CLASS),
  "false_negative_rate": Statistic(_of_class(lambda y, p: (y * (1 - p), y)), _OF_CLASS),
  "false_positive_rate": Statistic(_of_class(lambda y, p: ((1 - y) * p, 1 - y)), _OF_OTHERS),
  "true_negative_rate": Statistic(_of_class(lambda y, p: ((1 - y) * (1 - p), 1 - y)), _OF_OTHERS),
  "precision": Statistic(_of_class(lambda y, p: (y * p, p)), _PREDICTED),
  "false_discovery_rate": Statistic(_of_class(lambda y, p: ((1 - y) * p, p)), _PREDICTED),
  "negative_predictive_value": Statistic(
    _of_class(lambda y, p: ((1 - y) * (1 - p), 1 - p)), _REJECTED
  ),
  "false_omission_rate": Statistic(_of_class(lambda y, p: (y * (1 - p), 1 - p)), _REJECTED),
  "false_negatives_per_false_positive": Statistic(
    _of_class(lambda y, p: (y * (1 - p), (1 - y) * p)), "false positive of class {}"
  ),
  "false_negative_share": Statistic(
    _of_class(lambda y, p: (y * (1 - p), y * (1 - p) + (1 - y) * p)), "error of class {}"
  ),
}


def rate(
  rows: Rows,
  statistic: str | Statistic,
  place: Callable[[int], str] | None = None,
  warn: bool = True,
) -> Rate:
  """Sums a statistic by group to a `Rate` [G, K], and warns on the host of what is empty.

  The warning points at the caller of the measure, and names a group by `place`.
  """
  if isinstance(statistic, str):
    # Programs are of what is counted, whoever asks; the name is for a message about classes.
    nameless = rows if rows.num_classes is None else rows.replace(measure="")
    found, statistic = _named(_counted(nameless), statistic), STATISTICS[statistic]
  else:
    found = _sums(rows, statistic)
  if warn:
    warn_empty(rows, statistic.over, found.size, place)
  return found


@functools.partial(jax.jit, static_argnums=1, inline=True)
def _named(rows: Rows, statistic: str) -> Rate:
  """One program, where a measure outside of jit would be thirty."""
  return _sums(rows, STATISTICS[statistic])


def _sums(rows: Rows, statistic: Statistic) -> Rate:
  mass = lambda counts: group_sum(rows.weight[:, None] * counts, rows.group, rows.num_groups)
  return Rate(*map(mass, statistic.counts(rows)))


def _counted(rows: Rows) -> Rows:
  """Hard rows by their counts: one for each group, label and prediction that there can be.

  Every statistic is a sum over rows, so that equal rows may be one of their common weight: one sum
  over all rows, instead of two for each statistic. Only of rows that count whole, whose sums have
  no rounding: so hard and soft predictions that say the same still have the same bits.
  """
  hard = jnp.issubdtype(rows.y_pred.dtype, jnp.integer) and rows.group.ndim == 1
  if not (hard and rows.whole) or rows.num_classes is None:
    return rows
  # Traced codes may be of no class: those below 0, and those above, keep a place of their own.
  shape = (rows.num_groups, rows.num_classes + 2, rows.num_classes + 2)
  return rows if math.prod(shape) >= rows.y.size else _tally(rows, shape)


@functools.partial(jax.jit, static_argnums=1, inline=True)
def _tally(rows: Rows, shape: tuple[int, int, int]) -> Rows:
  place = lambda codes: jnp.clip(codes, -1, rows.num_classes) + 1
  cell = (rows.group * shape[1] + place(rows.y)) * shape[2] + place(rows.y_pred)
  # Whole numbers, since float32 stops counting at 2**24.
  weight = group_sum(rows.weight.astype(jnp.int32), cell, math.prod(shape)).astype(
    rows.weight.dtype
  )
  group, y, y_pred = (jnp.asarray(axis.ravel(), jnp.int32) for axis in np.indices(shape))
  return rows.replace(y=y - 1, y_pred=y_pred - 1, group=group, weight=weight)


def warn_empty(
  rows: Rows, over: str, size: jax.Array, place: Callable[[int], str] | None = None
) -> None:
  """Warns the caller of a measure, on the host, of cells [G, K] in which no row counts."""
  if _check.traced(size):
    return
  empty = np.argwhere(np.asarray(size) == 0)
  if len(empty) == 0:
    return
  cells = dict.fromkeys(
    over.format(1 if rows.num_classes == 2 else k)
    + (place(g) if place else f" in group {g}" if rows.num_groups > 1 else "")
    for g, k in empty
  )
  first, more = list(cells)[:3], len(cells) - 3
  warnings.warn(
    f"{rows.measure}: no {', no '.join(first)}{f' and {more} more' if more > 0 else ''} counts;"
    " such a rate is given as 0 and left out of comparisons",
    stacklevel=_outside(),
  )


def outcomes(selected: Rate) -> Rate:
  """The rates of all classes [G, C], of the selection rates [G, K] one-vs-rest."""
  hits, size = selected
  if hits.shape[1] > 1:
    return selected
  return Rate(jnp.concatenate([size - hits, hits], axis=1), jnp.concatenate([size, size], axis=1))


def _outside() -> int:
  """How many calls above the one that asks the measures are left."""
  frame, level = sys._getframe(1), 1
  while frame.f_back and frame.f_globals.get("__name__", "").startswith("rfjax.metrics."):
    frame, level = frame.f_back, level + 1
  return level


def drop_single(values: jax.Array) -> jax.Array:
  """Drops the axis of classes [..., K] where it holds class 1 of two alone."""
  return values[..., 0] if values.shape[-1] == 1 else values
