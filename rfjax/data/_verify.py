"""Whether files and records of a data set are right: both are read whole, and compared."""

import functools
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np

from rfjax import catalog
from rfjax._places import has_files
from rfjax.core._progress import progress as progress_of
from rfjax.data import _columns, _stored
from rfjax.data._columns import Columns


def verify(data_set: catalog.DataSet, data_dir: pathlib.Path, *, progress: bool = True) -> str:
  """Reads files and records of a data set again, encoded pictures too.

  Args:
    data_set: the catalogue's record.
    data_dir: the folder of data.
    progress: show how many encoded pictures are read, on stderr.

  Returns:
    What was read and found right.

  Raises:
    FileNotFoundError: where there is neither.
    ValueError: where files are not the publisher's, or records not what was written.
  """
  manual, found = data_dir / data_set.folder, {}
  folder = _columns.records(data_set, data_dir)
  if has_files(manual, data_set.files) or not folder.is_dir():
    found["files"] = _columns.read(data_set, manual)
  pictures = _columns.has_images(data_set)
  rows = sum(data_set.rows.values()) or _rows(found)
  with progress_of(rows, progress and pictures, "pictures") as advance:
    if folder.is_dir():
      visit = functools.partial(_same_pictures, data_set, found.get("files"), advance)
      found["records"] = _stored.read_records(data_set, data_dir, visit if pictures else None)
    elif pictures:
      _read_pictures(data_set, found["files"], advance)
  if (folder / _stored.CACHE).is_file():
    found["cache"] = _stored.cached(data_set, data_dir)
  first, *others = found
  for other in others:
    _same(data_set, found[first], found[other], f"{first} and {other}")
  return f"{', '.join(found)}: {', '.join(f'{k} {v}' for k, v in _sizes(found[first]).items())}"


def _sizes(columns: dict[str, Columns]) -> dict[str, int]:
  return {split: len(next(iter(part.values()))) for split, part in columns.items()}


def _rows(found: dict[str, dict[str, Columns]]) -> int:
  return sum(sum(_sizes(columns).values()) for columns in found.values())


def _encoded(data_set: catalog.DataSet) -> list[str]:
  return [name for name in data_set.columns if name not in _columns.arrays(data_set)]


def _read_pictures(
  data_set: catalog.DataSet, files: dict[str, Columns], advance: Callable[[int], None]
) -> None:
  """Reads each picture, which says by itself where it is none."""
  for part in files.values():
    for name in _encoded(data_set):
      for row in range(len(part[name])):
        part[name][row]
        advance(1)


def _same_pictures(
  data_set: catalog.DataSet,
  files: dict[str, Columns] | None,
  advance: Callable[[int], None],
  split: str,
  first: int,
  rows: list[dict[str, Any]],
) -> None:
  """Compares the pictures of a block of records with those of the files, where both are there."""
  for name in _encoded(data_set):
    column = None if files is None else files[split][name]
    for row, values in enumerate(rows, start=first):
      if column is not None and (row >= len(column) or column[row] != values[name]):
        raise ValueError(
          f"files and records differ in {split}, column {name!r}, row {row}: run"
          f" `rfjax data prepare {data_set.name}` again"
        )
  advance(len(rows))


def _same(
  data_set: catalog.DataSet, one: dict[str, Columns], two: dict[str, Columns], what: str
) -> None:
  for split in data_set.rows:
    for name in _columns.arrays(data_set):
      if not np.array_equal(one[split][name], two[split][name]):
        raise ValueError(
          f"{what} differ in {split}, column {name!r}: run `rfjax data prepare {data_set.name}`"
          " again"
        )
