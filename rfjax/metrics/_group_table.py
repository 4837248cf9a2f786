"""A table of statistics by group, with intervals, for people to read."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from rfjax.core import Batch, _check
from rfjax.metrics._bootstrap import Bootstrap, bootstrap
from rfjax.metrics._cells import STATISTICS, Rate, rate
from rfjax.metrics._rows import read

if TYPE_CHECKING:
  import xarray

_SHOWN = ("accuracy", "selection_rate", "true_positive_rate", "false_positive_rate")


def _with_all(rates: Rate) -> Rate:
  """The groups, and all of them together, [G + 1, K]."""
  return Rate(*(jnp.concatenate([v, jnp.sum(v, axis=0, keepdims=True)]) for v in rates))


def group_table(
  y_true: ArrayLike | Batch,
  y_pred: ArrayLike | None = None,
  group: ArrayLike | None = None,
  *,
  statistics: Sequence[str] = _SHOWN,
  names: Sequence[str] | None = None,
  num_groups: int | None = None,
  num_classes: int | None = None,
  weight: ArrayLike | None = None,
  soft: bool = False,
  key: jax.Array | None = None,
  draws: int = 1_000,
  confidence: float = 0.95,
) -> "xarray.Dataset":
  r"""Statistics of each group and of all groups together, with bootstrap intervals.

  $$\mathrm{value}_g = \frac{\sum_i w_i\, m_{ig}\, \mathrm{numerator}_i}
  {\sum_i w_i\, m_{ig}\, \mathrm{denominator}_i}$$

  It is for people: it runs outside jit, and `to_dataframe()` makes a table of pandas of it.

  Args:
    y_true: as in `by_group`.
    y_pred: as in `by_group`.
    group: as in `by_group`.
    statistics: names of the table of `group_rates`.
    names: of the groups, [G]; their numbers when None.
    num_groups: as in `by_group`.
    num_classes: as in `by_group`.
    weight: as in `by_group`.
    soft: as in `by_group`.
    key: a key from `jax.random.key` for intervals of `bootstrap`; none when None.
    draws: of `bootstrap`.
    confidence: of `bootstrap`.

  Returns:
    A dataset with the dimension `group`, whose last entry is "all", and for C > 2 classes `class`:
    `rows`, the weight of each group; each statistic, NaN where no row counts; and with a key
    `NAME_low` and `NAME_high`, the ends of its interval.

  Raises:
    ValueError: for bad labels, predictions, groups, weights, lengths, statistics or names.

  Examples:
    >>> from rfjax import metrics
    >>> table = metrics.group_table([1, 0, 1, 0], [1, 1, 1, 0], [0, 0, 1, 1], names=["a", "b"])
    >>> table["accuracy"].sel(group="b").item(), table["selection_rate"].values.tolist()
    (1.0, [1.0, 0.5, 0.75])
  """
  import xarray

  for name in statistics:
    _check.choice("statistics", name, tuple(STATISTICS))
  rows = read("group_table", y_true, y_pred, group, num_groups, num_classes, weight, soft)
  labels = [str(g) for g in range(rows.num_groups)] if names is None else [*map(str, names)]
  if len(labels) != rows.num_groups or len({*labels, "all"}) <= rows.num_groups:
    raise ValueError(
      f"names must be {rows.num_groups}, all different and none of them all, got {labels}"
    )
  found = {}
  for name in statistics:
    found[name] = _with_all(rate(rows, name))
  size = _with_all(rate(rows, "accuracy")).size[:, 0]
  columns: dict[str, Any] = {"rows": size}
  intervals = None
  if key is not None:
    measure = lambda _, weight: {
      name: _with_all(rate(rows.replace(weight=weight), name)) for name in statistics
    }
    data = y_true if isinstance(y_true, Batch) else rows.y
    options: dict[str, Any] = {"draws": draws, "confidence": confidence, "weight": rows.weight}
    intervals = bootstrap(measure, data, key=key, **options)
  for name in statistics:
    columns |= _columns(name, found[name], intervals)
  return xarray.Dataset(
    {name: (_dims(values), np.asarray(values)) for name, values in columns.items()},
    coords={"group": [*labels, "all"]},
  )


def _columns(name: str, rates: Rate, intervals: Bootstrap | None) -> dict[str, Any]:
  """A statistic and the ends of its interval, [G + 1], or [G + 1, C] one-vs-rest."""
  columns = {name: jnp.where(rates.valid, rates.value, jnp.nan)}
  if intervals is not None:
    columns |= {f"{name}_low": intervals.low[name], f"{name}_high": intervals.high[name]}
  return {key: v[:, 0] if v.shape[1] == 1 else v for key, v in columns.items()}


def _dims(values: Any) -> tuple[str, ...]:
  return ("group", "class")[: values.ndim]
