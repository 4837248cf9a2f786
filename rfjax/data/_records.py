"""Records: builders on tensorflow-datasets that need no TensorFlow, and what they have written.

A builder reads the publisher's files from a folder and keeps their order, since files of noisy
labels name their rows by position.
"""

import contextlib
import functools
import io
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any, cast

import numpy as np

from rfjax import catalog
from rfjax._places import data_folder
from rfjax.core._progress import progress as progress_of
from rfjax.data import _columns
from rfjax.data._columns import CACHE, Columns, Kind

_BLOCK = 4096  # rows read at once


def builder(name: str, *, data_dir: str | os.PathLike[str] | None = None) -> Any:
  """The builder of a data set, on tensorflow-datasets and without TensorFlow.

  It writes array_record, reads the publisher's files from the `manual_dir` of its download
  configuration, and is registered: `tfds.builder("rfjax_mnist")` finds it once it was made.

  Args:
    name: the data set.
    data_dir: where records lie; `$RFJAX_DATA_DIR` when None, and `./data` without it.

  Returns:
    The `tfds.core.GeneratorBasedBuilder`, named "rfjax_" and the name.

  Raises:
    ValueError: for an unknown name.

  Examples:
    >>> from rfjax import data
    >>> data.builder("mnist", data_dir="no_such_folder").info.features["image"].shape
    (28, 28)
  """
  catalog.data_set(name)
  folder = data_folder(data_dir)[1]
  return _builder_class(name)(data_dir=folder, file_format="array_record")


@functools.cache
def _builder_class(name: str) -> type:
  import tensorflow_datasets as tfds

  data_set = catalog.data_set(name)

  def info(self: Any) -> Any:
    kinds = {column: _columns.kind(text) for column, text in data_set.columns.items()}
    return tfds.core.DatasetInfo(
      builder=self,
      description=f"{data_set.summary}. {data_set.note}".strip(),
      features=tfds.features.FeaturesDict({c: _feature(kind) for c, kind in kinds.items()}),
      citation="\n\n".join(catalog.bibtex(key) for key in data_set.paper),
      license=data_set.licence,
      disable_shuffling=True,
    )

  def split_generators(self: Any, dl_manager: Any) -> dict[str, Iterator]:
    found = self.columns or _columns.read(data_set, dl_manager.manual_dir)
    return {split: self._generate_examples(found[split]) for split in data_set.rows}

  members = {
    "name": f"rfjax_{name}",
    "columns": None,  # what was read already
    "advance": lambda self, rows: None,
    "VERSION": tfds.core.Version(data_set.version),
    "MANUAL_DOWNLOAD_INSTRUCTIONS": f"The publisher keeps the files in {data_set.publisher}.",
    "__doc__": data_set.summary,
    "__module__": __name__,
    "_info": info,
    "_split_generators": split_generators,
    "_generate_examples": _examples,
  }
  return type(f"Rfjax_{name}", (tfds.core.GeneratorBasedBuilder,), members)


def _feature(kind: Kind) -> Any:
  import tensorflow_datasets as tfds

  if kind.dtype == "image":
    return tfds.features.Image()
  if kind.dtype == "str":
    return tfds.features.Text()
  dtype = np.dtype(kind.dtype)
  if not kind.shape:
    return tfds.features.Scalar(dtype=dtype)
  shape = tuple(axis or None for axis in kind.shape)
  return tfds.features.Tensor(shape=shape, dtype=dtype, encoding=tfds.features.Encoding.BYTES)


def _examples(self: Any, columns: Columns) -> Iterator[tuple[int, dict[str, Any]]]:
  for row, values in enumerate(zip(*columns.values(), strict=True)):
    yield row, dict(zip(columns, values, strict=True))
    self.advance(1)


def prepare(
  name: str,
  *,
  data_dir: str | os.PathLike[str] | None = None,
  manual_dir: str | os.PathLike[str] | None = None,
  progress: bool = True,
) -> pathlib.Path:
  """Writes the records of a data set, and beside them a cache that loads at once.

  All is read and checked before anything is written. The records appear whole or not at all, and
  take the place of older ones.

  Args:
    name: the data set.
    data_dir: where the records go, as rfjax_NAME/VERSION; `$RFJAX_DATA_DIR` when None, and `./data`
      without it.
    manual_dir: the folder of the publisher's files; the data set's folder in `data_dir` when None.
    progress: show how far it is, on stderr.

  Returns:
    The folder of the records.

  Raises:
    FileNotFoundError: where a file is not there.
    ValueError: for an unknown name, or files that are not the publisher's.

  Examples:
    >>> from rfjax import data
    >>> data.prepare("mnist", data_dir="no_such_folder")
    Traceback (most recent call last):
    FileNotFoundError: no_such_folder/mnist/train-images-idx3-ubyte.gz is not there: ...
  """
  data_set, folder = catalog.data_set(name), data_folder(data_dir)[1]
  manual = folder / data_set.folder if manual_dir is None else pathlib.Path(manual_dir)
  found = _columns.read(data_set, manual)
  made = [path for path in (folder, *folder.parents) if not path.exists()]
  folder.mkdir(parents=True, exist_ok=True)
  try:
    with tempfile.TemporaryDirectory(dir=folder, prefix=".preparing-") as work:
      written = _write(name, pathlib.Path(work), manual, found, progress)
      return _move(written, _columns.records(data_set, folder))
  except BaseException:
    if made:
      shutil.rmtree(made[-1], ignore_errors=True)
    raise


def _write(
  name: str, work: pathlib.Path, manual: pathlib.Path, found: dict[str, Columns], show: bool
) -> pathlib.Path:
  import tensorflow_datasets as tfds

  config = tfds.download.DownloadConfig(manual_dir=manual, try_download_gcs=False)
  made = builder(name, data_dir=work)
  rows = sum(len(next(iter(columns.values()))) for columns in found.values())
  with _quiet(), progress_of(rows, show, "rows") as advance:
    made.columns, made.advance = found, advance
    made.download_and_prepare(download_config=config)
  written = pathlib.Path(made.data_dir)
  _columns.save_cache(catalog.data_set(name), found, written / CACHE)
  return written


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
  """Without the bars and remarks of tensorflow-datasets: a bar of ours says how far it is."""
  import tensorflow_datasets as tfds
  from tensorflow_datasets.core.utils import tqdm_utils

  shown = getattr(tqdm_utils, "_active", True)
  tfds.display_progress_bar(False)
  try:
    with contextlib.redirect_stdout(io.StringIO()):
      yield
  finally:
    tfds.display_progress_bar(shown)


def _move(written: pathlib.Path, target: pathlib.Path) -> pathlib.Path:
  """Puts a folder in its place; what was there before goes once the new one is there."""
  target.parent.mkdir(parents=True, exist_ok=True)
  old = written.with_name("old")
  if target.exists():
    os.replace(target, old)
  try:
    os.replace(written, target)
  except BaseException:
    if old.exists():
      os.replace(old, target)
    raise
  return target


def read_records(data_set: catalog.DataSet, data_dir: pathlib.Path) -> dict[str, Columns]:
  """The columns of a prepared data set from its records, but for encoded pictures."""
  read = lambda split: _read_split(data_set, source(data_set, data_dir, split))
  return {split: read(split) for split in data_set.rows}


def source(data_set: catalog.DataSet, data_dir: pathlib.Path, split: str) -> Any:
  """The rows of a prepared split, read when they are asked for; encoded pictures stay encoded.

  The decoder of tensorflow-datasets would leave palettes and inks as they are.
  """
  import tensorflow_datasets as tfds

  # Their decorators hide from type checkers what the methods take.
  made = cast(Any, tfds.builder_from_directory(_columns.records(data_set, data_dir)))
  encoded = set(data_set.columns) - set(_columns.arrays(data_set))
  decoders = {name: tfds.decode.SkipDecoding() for name in encoded} or None
  return made.as_data_source(split, decoders=decoders)


def _read_split(data_set: catalog.DataSet, source: Any) -> Columns:
  blocks: dict[str, list[np.ndarray]] = {name: [] for name in _columns.arrays(data_set)}
  for first in range(0, len(source), _BLOCK):
    rows = source.__getitems__(range(first, min(first + _BLOCK, len(source))))
    for name, parts in blocks.items():
      parts.append(_column(rows, name, _columns.kind(data_set.columns[name])))
  return {name: np.concatenate(parts) for name, parts in blocks.items()}


def _column(rows: list[dict[str, Any]], name: str, kind: Kind) -> np.ndarray:
  if kind.dtype == "str":
    return np.array([row[name].decode() for row in rows], np.str_)
  return np.array([row[name] for row in rows], np.dtype(kind.dtype))


def verify(data_set: catalog.DataSet, data_dir: pathlib.Path) -> str:
  """Reads files and records of a data set again.

  Args:
    data_set: the catalogue's record.
    data_dir: the folder of data.

  Returns:
    What was read and found right.

  Raises:
    FileNotFoundError: where there is neither.
    ValueError: where files are not the publisher's, or records not what was written.
  """
  manual, found = data_dir / data_set.folder, {}
  prepared = _columns.records(data_set, data_dir).is_dir()
  if manual.is_dir() or not prepared:
    found["files"] = _columns.read(data_set, manual)
  if prepared:
    found["records"] = read_records(data_set, data_dir)
    found["cache"] = _columns.cached(data_set, data_dir)
    _columns.check(data_set, found["cache"], _columns.records(data_set, data_dir))
  first, *others = found
  for other in others:
    _same(data_set, found[first], found[other], f"{first} and {other}")
  return f"{', '.join(found)}: {', '.join(f'{k} {v}' for k, v in _sizes(found[first]).items())}"


def _sizes(columns: dict[str, Columns]) -> dict[str, int]:
  return {split: len(next(iter(part.values()))) for split, part in columns.items()}


def _same(
  data_set: catalog.DataSet, one: dict[str, Columns], two: dict[str, Columns], what: str
) -> None:
  for split in data_set.rows:
    for name in _columns.arrays(data_set):
      if not np.array_equal(one[split][name], two[split][name]):
        raise ValueError(f"{what} differ in {split}, column {name!r}: prepare {data_set.name} anew")
