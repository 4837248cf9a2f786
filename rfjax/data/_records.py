"""Records: builders on tensorflow-datasets that need no TensorFlow, and what they write.

A builder reads the publisher's files from a folder and keeps their order, since files of noisy
labels name their rows by position.
"""

import contextlib
import functools
import io
import os
import pathlib
import shutil
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np

from rfjax import catalog
from rfjax._places import data_folder
from rfjax.core._progress import progress as progress_of
from rfjax.data import _columns
from rfjax.data._columns import Columns, Kind
from rfjax.data._stored import CACHE, save_cache


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
    found = self.columns or _columns.read(catalog.data_set(name), dl_manager.manual_dir)
    return {split: self._generate_examples(columns) for split, columns in found.items()}

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
    progress: show that files are read, and how far the writing is, on stderr.

  Returns:
    The folder of the records.

  Raises:
    FileNotFoundError: where a file is not there.
    OSError: where the records cannot be written.
    ValueError: for an unknown name, or files that are not the publisher's.

  Examples:
    >>> from rfjax import data
    >>> data.prepare("mnist", data_dir="no_such_folder")
    Traceback (most recent call last):
    FileNotFoundError: no_such_folder/mnist/train-images-idx3-ubyte.gz is not there: ...
  """
  data_set, folder = catalog.data_set(name), data_folder(data_dir)[1]
  manual = folder / data_set.folder if manual_dir is None else pathlib.Path(manual_dir)
  if progress:
    print(f"{name}: reading", file=sys.stderr, flush=True)
  found = _columns.read(data_set, manual, named=manual_dir is not None)
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
    try:
      made.download_and_prepare(download_config=config)
    except RuntimeError as error:  # the writer's word for a full disk
      raise OSError(f"the records of {name} cannot be written to {work.parent}: {error}") from None
  written = pathlib.Path(made.data_dir)
  save_cache(catalog.data_set(name), found, written / CACHE)
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
