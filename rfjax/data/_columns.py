"""The columns of a data set as arrays, from the publisher's files or from records made of them."""

import os
import pathlib
from typing import Any, NamedTuple

import numpy as np

from rfjax import catalog
from rfjax._places import data_folder
from rfjax.data import _sources
from rfjax.data._files import Folder

Columns = dict[str, Any]  # arrays by name; encoded images are sequences of bytes
CACHE = "columns.npz"  # beside the records
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


def read(data_set: catalog.DataSet, folder: str | os.PathLike[str]) -> dict[str, Columns]:
  """Reads the publisher's files, and refuses what is not what the catalogue says.

  Args:
    data_set: the catalogue's record.
    folder: the folder of its files.

  Returns:
    Columns by split.

  Raises:
    FileNotFoundError: where a file is not there.
    ValueError: for another file, one that is broken, and columns or rows that should not be so.
  """
  found = _sources.read(data_set, Folder(data_set, folder))
  check(data_set, found, pathlib.Path(folder))
  return found


def check(data_set: catalog.DataSet, found: dict[str, Columns], where: pathlib.Path) -> None:
  """Refuses splits, columns, types and counts that are not the catalogue's."""
  if set(found) != set(data_set.rows):
    raise ValueError(f"{where} has the splits {sorted(found)}, expected {sorted(data_set.rows)}")
  for split, columns in found.items():
    place = f"{where}, {split}"
    wrong = set(columns) ^ set(data_set.columns)
    if wrong:
      wrong = sorted(wrong)
      raise ValueError(f"{place}: the columns {wrong} are missing, or not expected")
    for name, text in data_set.columns.items():
      _check_column(f"{place}, column {name!r}", columns[name], kind(text))
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


def columns(name: str, data_dir: str | os.PathLike[str] | None = None) -> dict[str, Columns]:
  """The columns of a data set: from its records where it was prepared, else from its files.

  Nothing is written.

  Args:
    name: the data set.
    data_dir: the folder of data; `$RFJAX_DATA_DIR` when None, and `./data` without it.

  Returns:
    Columns by split.

  Raises:
    FileNotFoundError: where neither records nor files are there.
    ValueError: for an unknown name, encoded pictures, or files that are not the publisher's.
  """
  data_set = catalog.data_set(name)
  if has_images(data_set):
    raise ValueError(f"{name} is too large to load whole: use data.stream")
  folder = data_folder(data_dir)[1]
  if records(data_set, folder).is_dir():
    return cached(data_set, folder)
  return read(data_set, folder / data_set.folder)


def cached(data_set: catalog.DataSet, data_dir: pathlib.Path) -> dict[str, Columns]:
  """The columns that lie beside the records: all but encoded pictures."""
  path = records(data_set, data_dir) / CACHE
  if not path.is_file():
    folder = path if path.parent.is_dir() else path.parent
    raise FileNotFoundError(f"{folder} is not there: run `rfjax data prepare {data_set.name}`")
  with np.load(path, allow_pickle=False) as file:
    return {s: {n: file[f"{s}/{n}"] for n in arrays(data_set)} for s in data_set.rows}


def save_cache(data_set: catalog.DataSet, found: dict[str, Columns], path: pathlib.Path) -> None:
  """Keeps in one file what `cached` reads."""
  np.savez(path, **{f"{s}/{n}": part[n] for s, part in found.items() for n in arrays(data_set)})


def arrays(data_set: catalog.DataSet) -> list[str]:
  """The columns that are arrays, and not encoded pictures."""
  return [name for name, text in data_set.columns.items() if kind(text).dtype != "image"]
