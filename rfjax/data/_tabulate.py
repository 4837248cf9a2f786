"""Own data as a table: which columns are features, label and sensitive attribute."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from rfjax.catalog._reader import unknown
from rfjax.core import Batch, _check
from rfjax.data._codes import as_text, codes, indicators, number, occurring, rows
from rfjax.data._frames import Column, frame, no_numbers, orders, recognised, typed
from rfjax.data._split import Table

Listed = dict[str, tuple[str, ...] | None]  # the values of each column in order, None for sorted


class _Roles(NamedTuple):
  numeric: tuple[str, ...]
  categorical: Listed
  sensitive: Listed


def tabulate(
  columns: Any,
  *,
  label: str,
  positive: Any = None,
  numeric: str | Iterable[str] | None = None,
  categorical: str | Iterable[str] | Mapping[str, Sequence[Any] | None] | None = None,
  sensitive: str | Iterable[str] | Mapping[str, Sequence[Any] | None] | None = (),
  missing: str = "refuse",
  test_rows: int = 0,
  names: Sequence[str] | None = None,
) -> Table:
  r"""Makes a table of own data: features, label and groups out of named columns.

  x has the numeric columns first, as they are, and then the categorical ones: a column with the
  values $v_1, \dots, v_V$ becomes the indicators $[v = v_1], \dots, [v = v_V]$, and one with two
  values the single indicator $[v = v_2]$. The group of a row is

  $$a = \sum_{s=1}^S c_s \prod_{t > s} V_t$$

  where the s-th sensitive column has V_s values, numbered by the code c_s.

  A categorical column of pandas is one here too, with its categories in their order as values: a
  feature keeps those that do not occur, while classes and groups are only those that do.

  Missing is what is NaN, None, empty or "?". A column of a CSV file holds numbers if all that is
  not missing is a number, without leading zeros; in such a column "NA", "N/A" and "NaN" are missing
  too, in others they are text.

  Args:
    columns: a mapping of names to arrays [N], a data frame, the path of a CSV file with a header
      line, or an array [N, d] with `names`.
    label: the column of the label.
    positive: the value of the label that is class 1, of two; the classes are its sorted values when
      None.
    numeric: columns of x; all other columns of numbers when None, which are those that are neither
      label nor sensitive nor named in `categorical`.
    categorical: columns of x; all other columns of text or categories when None. A mapping gives
      their values in order, or None for sorted ones.
    sensitive: one column or several whose values make the groups, or a mapping to their values as
      in `categorical`; none when () or None. It is a feature too only where it is named as one.
    missing: "refuse" missing values in the columns that are used, or "drop" their rows.
    test_rows: how many of the last rows are a test set.
    names: of the columns of an array.

  Returns:
    The table: x float32 [N, d], labels and groups int32 [N], with the names of all of them.

  Raises:
    ValueError: for an unknown or repeated column, a label that is a feature, one class only, a
      group without a row, a value that is not listed, numbers that are not finite, missing values,
      and columns of unequal lengths, each with the remedy; rows are counted from 0.
    FileNotFoundError: where the CSV file is not there.

  Examples:
    >>> from rfjax import data
    >>> staff = {"age": [23, 41, 35], "job": ["nurse", "clerk", "cook"], "sex": ["f", "m", "f"]}
    >>> own = data.tabulate(staff | {"paid": ["no", "yes", "yes"]}, label="paid", sensitive="sex")
    >>> own.names
    ('age', 'job=clerk', 'job=cook', 'job=nurse')
    >>> own.batch.x[0].tolist(), own.batch.group.tolist(), own.groups
    ([23.0, 0.0, 0.0, 1.0], [0, 1, 0], ('f', 'm'))
  """
  _check.choice("missing", missing, ("refuse", "drop"))
  given, order = frame(columns, names), orders(columns)
  used, roles = _assigned(given, order, label, numeric, categorical, sensitive)
  values, test_rows = _complete(used, missing, _check.count("test_rows", test_rows, 0))
  known = {name: occurring(values[name], order.get(name)) for name in values}
  y, classes = _labels(label, values[label], known[label], positive)
  x = _features(values, roles)
  group, groups = _groups(values, {n: v or known[n] for n, v in roles.sensitive.items()})
  batch = Batch.from_arrays(
    np.column_stack(list(x.values())), y, group, num_classes=len(classes), num_groups=len(groups)
  )
  numbers = tuple(range(len(roles.numeric)))
  return Table(batch, tuple(x), numbers, test_rows, classes=classes, groups=groups)


def _assigned(
  given: dict[str, np.ndarray],
  order: Mapping[str, tuple[str, ...]],
  label: str,
  numeric: Any,
  categorical: Any,
  sensitive: Any,
) -> tuple[dict[str, Column], _Roles]:
  """The columns that are used, and what as."""
  _known("label", label, given)
  roles = _Roles(
    tuple(_listed("numeric", numeric, given)),
    _listed("categorical", categorical, given),
    _listed("sensitive", sensitive, given),
  )
  named = {label, *roles.numeric, *roles.categorical, *roles.sensitive}
  wanted = given if numeric is None or categorical is None else named
  columns = {name: typed(name, given[name]) for name in given if name in wanted}
  others = [name for name in columns if name not in named]
  values = [name for name in others if columns[name].is_text or name in order]
  if numeric is None:
    roles = roles._replace(numeric=tuple(name for name in others if name not in values))
  if categorical is None:
    roles = roles._replace(categorical=dict.fromkeys(values))
  listed = {name: values or order.get(name) for name, values in roles.categorical.items()}
  roles = roles._replace(categorical=listed)
  _check_roles(label, roles)
  columns |= {name: _as_number(name, columns[name]) for name in roles.numeric}
  used = {label, *roles.numeric, *roles.categorical, *roles.sensitive}
  return {name: columns[name] for name in columns if name in used}, roles


def _listed(argument: str, wanted: Any, given: Iterable[str]) -> Listed:
  """The columns that an argument names, with their values where it lists them."""
  if wanted is None:
    return {}
  if isinstance(wanted, str) or not isinstance(wanted, Iterable):
    wanted = (wanted,)
  names = list(wanted)
  for name in names:
    _known(argument, name, given)
    if names.count(name) > 1:
      raise ValueError(f"{argument} names the column {name!r} twice: name it once")
  if not isinstance(wanted, Mapping):
    return dict.fromkeys(names)
  return {name: _in_order(argument, name, values) for name, values in wanted.items()}


def _known(argument: str, name: Any, given: Iterable[str]) -> None:
  if not isinstance(name, str) or name not in given:
    raise unknown(f"column in {argument}=", str(name), given)


def _in_order(argument: str, name: str, values: Any) -> tuple[str, ...] | None:
  if values is None:
    return None
  several = isinstance(values, Iterable) and not isinstance(values, str)
  texts = tuple(as_text(value) for value in values) if several else ()
  if not texts or len(set(texts)) < len(texts):
    raise ValueError(
      f"{argument} must list different values of {name!r}, or None for sorted ones, got {values!r}"
    )
  return texts


def _check_roles(label: str, roles: _Roles) -> None:
  for argument, names in zip(_Roles._fields, roles, strict=True):
    if label in names:
      raise ValueError(f"label {label!r} is in {argument} too: leave it out there")
  for name in roles.numeric:
    if name in roles.categorical:
      raise ValueError(f"{name!r} is in numeric and in categorical: leave it out of one")
  if not roles.numeric and not roles.categorical:
    raise ValueError("no column is a feature: name some in numeric= or categorical=")


def _as_number(name: str, column: Column) -> Column:
  """A numeric column, of which text that holds numbers alone is one too."""
  if column.is_text:
    column = typed(name, recognised(column.values))
  if column.is_text:
    bad = no_numbers(column.values) & ~column.missing
    raise ValueError(
      f"numeric: {name!r} holds text in {rows(bad)}: name it in categorical=, or correct it"
    )
  return column


def _complete(
  used: dict[str, Column], missing: str, test_rows: int
) -> tuple[dict[str, np.ndarray], int]:
  """The values of the rows where none is missing, and how many of these are test rows."""
  incomplete = {name: column.missing for name, column in used.items() if column.missing.any()}
  if incomplete and missing == "refuse":
    places = "; ".join(f"{name!r} in {rows(bad)}" for name, bad in incomplete.items())
    raise ValueError(f"values are missing, of {places}: fill them in, or pass missing='drop'")
  keep = ~np.any([column.missing for column in used.values()], axis=0)
  if test_rows >= keep.size:
    raise ValueError(f"test_rows must be less than the {keep.size} rows, got {test_rows}")
  own, test = np.split(keep, [keep.size - test_rows])
  if not own.any() or (test_rows and not test.any()):
    part = "test row" if own.any() else "row to learn from"
    raise ValueError(f"missing='drop' leaves no {part}: fill in {', '.join(map(repr, incomplete))}")
  return {name: column.values[keep] for name, column in used.items()}, int(test.sum())


def _labels(
  name: str, values: np.ndarray, order: tuple[str, ...] | None, positive: Any
) -> tuple[np.ndarray, tuple[str, ...]]:
  found, classes = codes("label", name, values, order)
  if len(classes) == 1:
    raise ValueError(f"label {name!r} is {classes[0]!r} in all rows: two classes are needed")
  if positive is None:
    return found, classes
  if as_text(positive) not in classes:
    raise unknown(f"value of {name!r} in positive=", as_text(positive), classes)
  if len(classes) > 2:
    raise ValueError(
      f"positive is one of two classes, but {name!r} has {len(classes)}: merge the others, or leave"
      " positive out"
    )
  if classes.index(as_text(positive)) == 1:
    return found, classes
  return 1 - found, classes[::-1]


def _features(values: dict[str, np.ndarray], roles: _Roles) -> dict[str, np.ndarray]:
  """The columns of x by name."""
  x = {name: number(name, values[name]) for name in roles.numeric}
  for name, listed in roles.categorical.items():
    new = indicators(name, values[name], listed)
    if twice := x.keys() & new.keys():
      raise ValueError(f"two columns of x would be named {min(twice)!r}: rename {name!r}")
    x |= new
  return x


def _groups(
  values: dict[str, np.ndarray], sensitive: Listed
) -> tuple[np.ndarray | None, tuple[str, ...]]:
  if not sensitive:
    return None, ()
  group, texts = np.zeros(1, np.int32), []
  for name, listed in sensitive.items():
    found, order = codes("sensitive", name, values[name], listed)
    group, texts = len(order) * group + found, [*texts, order]
  names = tuple(", ".join(parts) for parts in itertools.product(*texts))
  empty = np.flatnonzero(np.bincount(group, minlength=len(names)) == 0)
  if empty.size:
    raise ValueError(
      f"sensitive: no row is {names[empty[0]]!r}: leave out values that do not occur, or merge some"
    )
  return group, names
