"""The columns of a data set as arrays: read from the publisher's files, and checked."""

import os
import pathlib
from collections.abc import Iterable
from typing import Any, NamedTuple

from rfjax import catalog
from rfjax.data import _sources
from rfjax.data._files import Folder

Columns = dict[str, Any]  # arrays by name; encoded images are sequences of bytes
_PREFIX = "rfjax_"


class Kind(NamedTuple):
  """What a column holds.

  Attributes:
    dtype: a NumPy type, "str", or "image" for encoded pictures.
    shape: of one row.
  """

  dtype: str
  shape: tuple[int, ...]


def kind(text: str) -> Kind:
  """Reads a type such as "uint8[28,28]"."""
  dtype, _, axes = text.rstrip("]").partition("[")
  return Kind(dtype, tuple(int(axis) for axis in axes.split(",") if axis))


def has_images(data_set: catalog.DataSet) -> bool:
  """Whether it holds encoded pictures, which are read one by one and never all at once."""
  return any(kind(text).dtype == "image" for text in data_set.columns.values())


def read(
  data_set: catalog.DataSet, folder: str | os.PathLike[str], *, named: bool = False
) -> dict[str, Columns]:
  """Reads the publisher's files, and refuses what is not what the catalogue says.

  Args:
    data_set: the catalogue's record.
    folder: the folder of its files.
    named: whether the user named this folder, which then is no folder in the folder of data.

  Returns:
    Columns by split.

  Raises:
    FileNotFoundError: where a file is not there.
    ValueError: for another file, one that is broken, and columns or rows that should not be so.
  """
  found = _sources.read(data_set, Folder(data_set, folder, named=named))
  check(data_set, found, pathlib.Path(folder), data_set.columns)
  return found


def check(
  data_set: catalog.DataSet,
  found: dict[str, Columns],
  where: pathlib.Path,
  names: Iterable[str],
) -> None:
  """Refuses splits, columns, types and counts that are not the catalogue's for these columns."""
  names = list(names)
  if set(found) != set(data_set.rows):
    raise ValueError(f"{where} has the splits {sorted(found)}, expected {sorted(data_set.rows)}")
  for split, columns in found.items():
    place = f"{where}, {split}"
    wrong = set(columns) ^ set(names)
    if wrong:
      wrong = sorted(wrong)
      raise ValueError(f"{place}: the columns {wrong} are missing, or not expected")
    for name in names:
      expected = kind(data_set.columns[name])
      _check_column(f"{place}, column {name!r}", columns[name], expected)
    rows = {name: len(values) for name, values in columns.items()}
    expected = data_set.rows[split] or max(rows.values())
    wrong = [name for name, count in rows.items() if count != expected]
    if wrong:
      name = wrong[0]
      raise ValueError(f"{place}, column {name!r}: {rows[name]} rows, expected {expected}")
    if expected == 0:
      raise ValueError(f"{place}: there is no row")


def _check_column(place: str, values: Any, expected: Kind) -> None:
  if expected.dtype == "image":
    return
  dtype = "str" if values.dtype.kind == "U" else str(values.dtype)
  if (dtype, values.shape[1:]) != expected:
    raise ValueError(f"{place}: {dtype} {values.shape[1:]}, expected {tuple(expected)}")


def records(data_set: catalog.DataSet, data_dir: pathlib.Path) -> pathlib.Path:
  """The folder of a data set's records, which may not exist."""
  return data_dir / (_PREFIX + data_set.name) / data_set.version


def arrays(data_set: catalog.DataSet) -> list[str]:
  """The columns that are arrays, and not encoded pictures."""
  return [name for name, text in data_set.columns.items() if kind(text).dtype != "image"]
