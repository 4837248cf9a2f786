"""Own data on its way into a table: columns by name, of numbers or of text, and what is missing."""

import csv
import io
import os
import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from typing import Any, NamedTuple

import numpy as np

from rfjax.data._codes import MOST_VALUES, as_text
from rfjax.data._formats import table, text

_MISSING = ("", "?")
_MISSING_NUMBERS = (*_MISSING, "NA", "N/A", "NaN", "nan")
# No leading zeros: 01234 is the code of a place and no number.
_NUMBER = re.compile(
  r"[+-]?(((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)(e[+-]?[0-9]+)?|inf)", re.IGNORECASE
)


class Column(NamedTuple):
  """A column of one kind.

  Attributes:
    values: numbers or text [N].
    missing: bool [N].
  """

  values: np.ndarray
  missing: np.ndarray

  @property
  def is_text(self) -> bool:
    """Whether it holds text, and not numbers."""
    return self.values.dtype.kind == "U"


def frame(columns: Any, names: Sequence[str] | None = None) -> dict[str, np.ndarray]:
  """The columns of own data by name, each an array [N] as it was given.

  Args:
    columns: a mapping, a data frame, the path of a CSV file, or an array [N, d].
    names: of the columns of the array; None for the others, which have theirs.

  Returns:
    The columns, in their order.

  Raises:
    ValueError: for names that are not one for each column, and columns of unequal lengths.
  """
  by_name = isinstance(columns, (str, os.PathLike, Mapping)) or hasattr(columns, "columns")
  if names is not None and by_name:
    raise ValueError("names is given, but the columns have names already: leave it out")
  if isinstance(columns, (str, os.PathLike)):
    found = _csv(pathlib.Path(columns))
  elif isinstance(columns, Mapping):
    found = dict(zip(_checked(columns), columns.values(), strict=True))
  elif hasattr(columns, "columns"):
    found = {name: columns[name] for name in _checked(columns.columns)}
  else:
    found = _array(columns, names)
  arrays = {name: _one_axis(name, values) for name, values in found.items()}
  _check_lengths(arrays)
  return arrays


def orders(columns: Any) -> dict[str, tuple[str, ...]]:
  """The categories of the columns that are pandas' categoricals, in order and as text."""
  if isinstance(columns, (str, os.PathLike)):
    return {}
  names = list(columns if isinstance(columns, Mapping) else getattr(columns, "columns", ()))
  kinds: dict[str, Any] = {name: getattr(columns[name], "dtype", None) for name in names}
  return {
    name: tuple(as_text(value) for value in kind.categories if not _is_missing(value))
    for name, kind in kinds.items()
    if str(kind) == "category" and len(kind.categories) <= MOST_VALUES
  }


def _checked(names: Iterable[Any]) -> list[str]:
  """The names, each a text of its own."""
  names = list(names)
  for place, name in enumerate(names):
    if not isinstance(name, str) or not name:
      raise ValueError(
        f"column number {place} has the name {name!r}: give it one; pandas writes its row numbers"
        " without a name unless index=False"
      )
    if name in names[:place]:
      raise ValueError(f"the column name {name!r} occurs twice: rename or drop one")
  return names


def _csv(path: pathlib.Path) -> dict[str, np.ndarray]:
  if path.is_dir():
    raise ValueError(f"columns is {str(path)!r}, a folder: pass the path of a CSV file")
  content = path.read_bytes()
  lines = csv.reader(io.StringIO(text(content, path), newline=""), skipinitialspace=True)
  header = _checked(name.strip() for name in next(lines, []))
  return {name: recognised(values) for name, values in table(content, path, header).items()}


def recognised(values: np.ndarray) -> np.ndarray:
  """Text as float64, NaN where missing, if all else in it are numbers; else as it is."""
  present = set(values.tolist()) - set(_MISSING_NUMBERS)
  if not present or not all(map(_NUMBER.fullmatch, present)):
    return values
  return np.where(np.isin(values, _MISSING_NUMBERS), "nan", values).astype(np.float64)


def no_numbers(values: np.ndarray) -> np.ndarray:
  """Where a column of text holds no number, bool [N]; everywhere if it is all numbers."""
  bad = np.array([not _NUMBER.fullmatch(value) for value in values.tolist()])
  return bad if bad.any() else ~bad


def _array(array: Any, names: Sequence[str] | None) -> dict[str, np.ndarray]:
  values = np.asarray(array)
  if values.ndim != 2:
    raise ValueError(
      f"columns must be a mapping, a data frame, the path of a CSV file, or an array of two axes,"
      f" got {type(array).__name__} of shape {values.shape}"
    )
  if names is None or isinstance(names, str) or len(names) != values.shape[1]:
    raise ValueError(
      f"names must name the {values.shape[1]} columns of the array, got {names!r}: pass names="
    )
  columns = [recognised(v) if v.dtype.kind == "U" else v for v in values.T]
  return dict(zip(_checked(names), columns, strict=True))


def _one_axis(name: str, values: Any) -> np.ndarray:
  if np.ma.isMaskedArray(values):
    plain = np.ma.getdata(values).astype(object)
    plain[np.ma.getmaskarray(values)] = None
    return plain
  if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
    raise ValueError(f"column {name!r} is {values!r}: pass one value a row")
  # NumPy would turn a list of numbers and text into text: a list is looked at value by value.
  found = np.asarray(values) if hasattr(values, "dtype") else np.fromiter(values, object)
  if found.ndim != 1:
    raise ValueError(f"column {name!r} must have one axis, got shape {found.shape}: split it")
  return found


def _check_lengths(columns: dict[str, np.ndarray]) -> None:
  lengths = {name: len(values) for name, values in columns.items()}
  if not lengths or not max(lengths.values()):
    raise ValueError("columns has no row: pass at least two, of two classes")
  first, *others = lengths
  for name in others:
    if lengths[name] != lengths[first]:
      raise ValueError(
        f"columns have unequal lengths, {first!r} {lengths[first]} and {name!r} {lengths[name]}:"
        " pass one value a row"
      )


def typed(name: str, values: np.ndarray) -> Column:
  """Finds out whether a column holds numbers or text, and where nothing."""
  kind = values.dtype.kind
  if kind in "mM":  # as objects, moments and spans of nanoseconds are integers
    raise _no_values(name, values.dtype.name)
  if kind in "biu":
    return Column(values, np.zeros(len(values), bool))
  if kind == "f":
    return Column(values, np.isnan(values))
  if kind == "U":
    return Column(values, np.isin(np.char.strip(values), _MISSING))
  return _from_objects(name, values.astype(object))


def _from_objects(name: str, values: np.ndarray) -> Column:
  values = np.fromiter((_decoded(name, v) for v in values), object)
  missing = np.fromiter(map(_is_missing, values), bool, len(values))
  present = values[~missing].tolist()
  of_one_kind = any(all(isinstance(v, kind) for v in present) for kind in (str, (Real, np.bool_)))
  found = np.array(present if of_one_kind else [None])
  if found.dtype.kind not in "biufU":
    raise _no_values(name, ", ".join(sorted({type(v).__name__ for v in present})))
  full = np.zeros(len(values), found.dtype)
  full[~missing] = found
  return Column(full, missing)


def _no_values(name: str, kinds: str) -> ValueError:
  return ValueError(
    f"column {name!r} holds {kinds}, expected numbers or text alone: convert it, or leave it out"
    " by naming the features in numeric= and categorical="
  )


def _decoded(name: str, value: Any) -> Any:
  if not isinstance(value, bytes):
    return value
  try:
    return value.decode()
  except UnicodeDecodeError:
    raise ValueError(
      f"column {name!r} holds {value!r}, which is no text in UTF-8: decode it first"
    ) from None


def _is_missing(value: Any) -> bool:
  if isinstance(value, str):
    return value.strip() in _MISSING
  if value is None or isinstance(value, Iterable):
    return value is None
  try:
    return bool(value != value)  # NaN, and NaT of pandas
  except TypeError:  # NA of pandas is neither true nor false
    return True
