"""Data sets larger than a device: pictures stream from their records, labels stay in memory."""

import dataclasses
import os
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rfjax import catalog
from rfjax._places import data_folder
from rfjax.catalog._reader import unknown
from rfjax.core import Batch, Truth, _check, random_order
from rfjax.data import _columns
from rfjax.data._columns import Kind
from rfjax.data._sources._encoded import decode
from rfjax.data._stored import source, stored, whole

_PICTURE = "image"


@dataclasses.dataclass(frozen=True)
class Stream:
  """Batches of a prepared data set, read while others are trained on.

  Attributes:
    labels: all rows without their features, x [N, 0]: what noise of labels and groups acts on.
    shape: of the features of one row.
    dtype: of the features.
    batch_size: rows a batch.
    fetch: `fetch(rows) -> features [B, ...]` of row numbers [B], on the host.
    threads: how many batches are read side by side.
  """

  labels: Batch
  shape: tuple[int, ...]
  dtype: Any
  batch_size: int
  fetch: Callable[[np.ndarray], np.ndarray]
  threads: int = 2

  def epoch(self, key: jax.Array) -> Iterator[Batch]:
    """The batches of one epoch, in the order that `fit` would take with the same order key.

    Args:
      key: a key from `jax.random.key`, for the order.

    Yields:
      ceil(N / batch_size) batches; the last one has rows of padding where they do not fit.
    """
    grain = _grain()
    rows = self.labels.num_rows
    order = np.asarray(random_order(key, rows, self.batch_size))
    options = grain.ReadOptions(num_threads=self.threads, prefetch_buffer_size=2 * self.threads)
    batches = grain.MapDataset.source(list(order)).map(self._features).to_iter_dataset(options)
    for numbers, x in zip(order, batches, strict=True):
      yield self.labels.take(jnp.asarray(numbers)).replace(x=jnp.asarray(x))

  def _features(self, numbers: np.ndarray) -> np.ndarray:
    real = numbers < self.labels.num_rows
    x = np.zeros((len(numbers), *self.shape), self.dtype)
    x[real] = self.fetch(numbers[real])
    return x

  def blank(self, labels: Batch | None = None) -> Batch:
    """Labels with features of zeros, for what only asks for shapes, such as `train_step`'s init.

    Inside of compiled code the zeros take no memory where nobody reads them.

    Args:
      labels: the labels; those of the stream when None.

    Returns:
      The data set.
    """
    labels = self.labels if labels is None else labels
    return labels.replace(x=jnp.zeros((labels.num_rows, *self.shape), self.dtype))


def join(batch: Batch, labels: Batch) -> Batch:
  """Gives the rows of a batch the labels that a run has for them, looked up by `index`.

  One stream of features serves many runs: vectorise this over `labels`, each run's own noise.

  Args:
    batch: a batch of a `Stream`.
    labels: all rows of a run, such as a noisy copy of `Stream.labels`.

  Returns:
    The batch with y, group, truth and what else the labels bring, and its own features.

  Examples:
    >>> import jax.numpy as jnp, rfjax
    >>> from rfjax import data
    >>> rows = rfjax.Batch.from_arrays([[0.5], [1.5], [2.5]], [0, 1, 1])
    >>> batch = data.join(rows.take(jnp.array([2, 0])), rows.replace(y=1 - rows.y))
    >>> batch.x.tolist(), batch.y.tolist()
    ([[2.5], [0.5]], [0, 1])
  """
  rows = jnp.where(batch.valid, batch.index, labels.num_rows)
  return labels.take(rows).replace(x=batch.x)


def stream(
  name: str,
  *,
  batch_size: int,
  split: str = "train",
  label: str | None = None,
  sensitive: str | None = None,
  image_size: int | None = None,
  data_dir: str | os.PathLike[str] | None = None,
  threads: int = 2,
) -> Stream:
  """Streams a prepared data set of pictures, however large.

  Args:
    name: the data set, of which `prepare` has written records.
    batch_size: rows a batch, from 1 to the number of rows.
    split: which of its splits.
    label: the column of labels, or the attribute of CelebA that is the label; "label" when None.
    sensitive: a column, or an attribute of CelebA, that is the group.
    image_size: encoded pictures are scaled to cover a square of this many pixels and cut at its
      centre; needed for these, and refused for pictures of one size.
    data_dir: the folder of data; `$RFJAX_DATA_DIR` when None, and `./data` without it.
    threads: how many batches are read side by side.

  Returns:
    The `Stream`. Needs the extra "stream", and "images" for encoded pictures.

  Raises:
    ValueError: for unknown names, numbers out of range, records that are damaged, and where an
      extra is not installed. A picture that cannot be decoded is named, by its row, in training.
    FileNotFoundError: where the data set was not prepared.

  Examples:
    >>> from rfjax import data
    >>> data.stream("mnist", batch_size=128, data_dir="no_such_folder")
    Traceback (most recent call last):
    FileNotFoundError: no_such_folder/rfjax_mnist/1.0.0 is not there: run `rfjax data prepare mnist`
  """
  data_set, folder = catalog.data_set(name), data_folder(data_dir)[1]
  _grain()
  _check.choice("split", split, tuple(data_set.rows))
  if _PICTURE not in data_set.columns:
    raise ValueError(f"{name} has no pictures to stream: use data.load")
  kind = _features(data_set, image_size)
  known = stored(data_set, folder)[split]
  y, classes = _codes(data_set, known, "label" if label is None else label)
  group = None if sensitive is None else _codes(data_set, known, sensitive)[0]
  labels = Batch.from_arrays(np.zeros((len(y), 0), np.float32), y, group, num_classes=classes)
  labels = labels.replace(truth=Truth(labels.y, labels.group))
  if _check.count("batch_size", batch_size) > len(y):
    raise ValueError(f"batch_size must be at most the {len(y)} rows of {split}, got {batch_size}")
  _check.count("threads", threads)
  fetch = _fetch(data_set, folder, split, image_size)
  return Stream(labels, kind.shape, np.dtype(kind.dtype), batch_size, fetch, threads)


def _grain() -> Any:
  try:
    import grain
  except ImportError:
    raise ValueError("streams need grain: pip install 'rfjax[stream]'") from None
  return grain


def _features(data_set: catalog.DataSet, image_size: int | None) -> Kind:
  """Type and shape of a row's features."""
  kind = _columns.kind(data_set.columns[_PICTURE])
  if kind.dtype != "image":
    if image_size is not None:
      raise ValueError(
        f"image_size is {image_size}, but the pictures are {kind.shape}: leave it out"
      )
    return kind
  if image_size is None:
    raise ValueError(
      f"image_size is None, but the pictures of {data_set.name} differ: pass 64 or so"
    )
  size = _check.count("image_size", image_size)
  return Kind("uint8", (size, size, 3))


def _codes(
  data_set: catalog.DataSet, known: dict[str, Any], name: str
) -> tuple[np.ndarray, int | None]:
  """A column of codes, or an attribute among many, with how many there are where that is known."""
  if name == "label" and name in known:
    return known[name], len(data_set.classes) or None
  codes = [n for n, values in known.items() if values.ndim == 1 and values.dtype.kind == "i"]
  if name in codes:
    return known[name], None
  if "attributes" in known and name in data_set.classes:
    return (known["attributes"][:, data_set.classes.index(name)] > 0).astype(np.int32), 2
  options = [*codes, *(data_set.classes if "attributes" in known else ())]
  raise unknown(f"column of {data_set.name}", name, options)


def _fetch(
  data_set: catalog.DataSet, folder: pathlib.Path, split: str, image_size: int | None
) -> Callable[[np.ndarray], np.ndarray]:
  records, place = source(data_set, folder, split), _columns.records(data_set, folder)

  def fetch(rows: np.ndarray) -> np.ndarray:
    with whole(data_set, place):
      pictures = [row[_PICTURE] for row in records.__getitems__(rows.tolist())]
    if image_size is None:
      return np.stack(pictures)
    where = [f"{place}, {split}, row {row}" for row in rows]
    decoded = map(decode, pictures, where)
    return np.stack([_square(picture, image_size) for picture in decoded])

  return fetch


def _square(picture: np.ndarray, size: int) -> np.ndarray:
  """Scales a picture [h, w, 3] to cover a square, and cuts the square at its centre."""
  from PIL import Image

  height, width = picture.shape[:2]
  scale = size / min(height, width)
  scaled = Image.fromarray(picture).resize(
    (max(size, round(width * scale)), max(size, round(height * scale))), Image.Resampling.BILINEAR
  )
  left, top = (scaled.width - size) // 2, (scaled.height - size) // 2
  return np.asarray(scaled.crop((left, top, left + size, top + size)))
