"""What `prepare` has written, read again: records, and the cache of their columns beside them."""

import contextlib
import pathlib
from collections.abc import Callable, Iterator
from typing import Any, cast

import numpy as np

from rfjax import catalog
from rfjax.data import _columns
from rfjax.data._columns import Columns, Kind
from rfjax.data._formats import arrays

CACHE = "columns.npz"  # beside the records
_BLOCK = 4096  # rows read at once
_PICTURES = 256  # of encoded pictures, which may be large

Visit = Callable[[str, int, list[dict[str, Any]]], None]  # split, first row, and rows as stored


@contextlib.contextmanager
def whole(data_set: catalog.DataSet, folder: pathlib.Path) -> Iterator[None]:
  """Says of whatever goes wrong in reading that the folder is damaged, and what to do."""
  try:
    yield
  except Exception as error:  # array_record, zipfile, protobuf and NumPy have many words for it
    said = str(error) or type(error).__name__
    raise ValueError(
      f"{folder} is damaged ({said}): run `rfjax data prepare {data_set.name}` again"
    ) from None


def folder_of(data_set: catalog.DataSet, data_dir: pathlib.Path) -> pathlib.Path:
  """The folder of a data set's records, or FileNotFoundError where it is not there."""
  folder = _columns.records(data_set, data_dir)
  if not folder.is_dir():
    raise FileNotFoundError(f"{folder} is not there: run `rfjax data prepare {data_set.name}`")
  return folder


def stored(data_set: catalog.DataSet, data_dir: pathlib.Path) -> dict[str, Columns]:
  """All columns but encoded pictures: from the cache, or from records that have none.

  Records have none where the builder wrote them by itself.

  Raises:
    FileNotFoundError: where there are no records.
    ValueError: where what is there is damaged.
  """
  folder = folder_of(data_set, data_dir)
  read = cached if (folder / CACHE).is_file() else read_records
  return read(data_set, data_dir)


def cached(data_set: catalog.DataSet, data_dir: pathlib.Path) -> dict[str, Columns]:
  """The columns of the cache beside the records, checked as files are."""
  folder, names = folder_of(data_set, data_dir), _columns.arrays(data_set)
  with whole(data_set, folder):
    path = folder / CACHE
    wanted = [f"{split}/{name}" for split in data_set.rows for name in names]
    values = arrays(path.read_bytes(), path, wanted)
    found = {split: {n: values[f"{split}/{n}"] for n in names} for split in data_set.rows}
    _columns.check(data_set, found, path, names)
  return found


def save_cache(data_set: catalog.DataSet, found: dict[str, Columns], path: pathlib.Path) -> None:
  """Keeps in one file what `cached` reads."""
  names = _columns.arrays(data_set)
  np.savez(path, **{f"{s}/{n}": part[n] for s, part in found.items() for n in names})


def read_records(
  data_set: catalog.DataSet, data_dir: pathlib.Path, visit: Visit | None = None
) -> dict[str, Columns]:
  """All columns but encoded pictures, from the records themselves.

  Args:
    data_set: the catalogue's record.
    data_dir: the folder of data.
    visit: is called with each block of rows, with their pictures as they are encoded.

  Returns:
    Columns by split.

  Raises:
    FileNotFoundError: where there are no records.
    ValueError: where they are damaged, and what `visit` raises.
  """
  folder, names = folder_of(data_set, data_dir), _columns.arrays(data_set)
  read = lambda split: _read_split(data_set, data_dir, split, visit)
  found = {split: read(split) for split in data_set.rows}
  with whole(data_set, folder):
    _columns.check(data_set, found, folder, names)
  return found


def source(data_set: catalog.DataSet, data_dir: pathlib.Path, split: str) -> Any:
  """The rows of a prepared split, read when they are asked for; encoded pictures stay encoded.

  The decoder of tensorflow-datasets would leave palettes and inks as they are.
  """
  import tensorflow_datasets as tfds

  folder = folder_of(data_set, data_dir)
  encoded = set(data_set.columns) - set(_columns.arrays(data_set))
  decoders = {name: tfds.decode.SkipDecoding() for name in encoded} or None
  with whole(data_set, folder):
    # Their decorators hide from type checkers what the methods take.
    made = cast(Any, tfds.builder_from_directory(folder))
    return made.as_data_source(split, decoders=decoders)


def _read_split(
  data_set: catalog.DataSet, data_dir: pathlib.Path, split: str, visit: Visit | None
) -> Columns:
  folder, names = _columns.records(data_set, data_dir), _columns.arrays(data_set)
  kinds = {name: _columns.kind(data_set.columns[name]) for name in names}
  blocks: dict[str, list[np.ndarray]] = {name: [] for name in names}
  for first, rows in _blocks(data_set, data_dir, split):
    with whole(data_set, folder):
      for name, parts in blocks.items():
        parts.append(_column(rows, name, kinds[name]))
    if visit is not None:
      visit(split, first, rows)
  with whole(data_set, folder):
    return {name: np.concatenate(parts) for name, parts in blocks.items()}


def _blocks(
  data_set: catalog.DataSet, data_dir: pathlib.Path, split: str
) -> Iterator[tuple[int, list[dict[str, Any]]]]:
  """The rows of a split in blocks, each with the number of its first row."""
  folder, rows = _columns.records(data_set, data_dir), source(data_set, data_dir, split)
  size = _PICTURES if _columns.has_images(data_set) else _BLOCK
  with whole(data_set, folder):
    count = len(rows)
  for first in range(0, count, size):
    with whole(data_set, folder):
      block = rows.__getitems__(range(first, min(first + size, count)))
    yield first, block


def _column(rows: list[dict[str, Any]], name: str, kind: Kind) -> np.ndarray:
  if kind.dtype == "str":
    return np.array([row[name].decode() for row in rows], np.str_)
  return np.array([row[name] for row in rows], np.dtype(kind.dtype))
