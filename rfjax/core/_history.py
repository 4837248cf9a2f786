"""The labels that a network has lately given to each example."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from rfjax.core import _memory
from rfjax.core._batch import Batch


class History(NamedTuple):
  """The last q predicted labels of each example, a ring.

  Attributes:
    labels: [N, q], in the smallest type that holds the classes.
    pushes: int32 [N], how many labels each example was ever given.
  """

  labels: jax.Array
  pushes: jax.Array


def label_type(num_classes: int) -> jnp.dtype:
  """The smallest signed integer type that holds all classes, and -1.

  Args:
    num_classes: how many classes there are.

  Returns:
    int8, int16 or int32.

  Examples:
    >>> from rfjax.core import label_type
    >>> label_type(128), label_type(129)
    (dtype('int8'), dtype('int16'))
  """
  fits = (t for t in (jnp.int8, jnp.int16) if num_classes - 1 <= jnp.iinfo(t).max)
  return jnp.dtype(next(fits, jnp.int32))


def history(data: Batch, length: int) -> History:
  """An empty history of the rows of a data set.

  Args:
    data: the training set.
    length: q, how many labels are remembered.

  Returns:
    The history.
  """
  labels = jnp.zeros((data.num_rows, length), label_type(data.num_classes))
  return History(labels, jnp.zeros(data.num_rows, jnp.int32))


def push(past: History, batch: Batch) -> History:
  """Remembers the labels that the network now gives to a batch, in the place of the oldest.

  Args:
    past: the history.
    batch: a batch with logits; equal logits give the lowest label.

  Returns:
    The new history.
  """
  given = jnp.argmax(batch.require("logits", by="a label history").logits, axis=-1)
  pushes = _memory.read(past.pushes, batch.index)
  rows = _memory.read(past.labels, batch.index)
  place = jnp.arange(rows.shape[1]) == (pushes % rows.shape[1])[:, None]
  rows = jnp.where(place, given[:, None].astype(rows.dtype), rows)
  return History(
    _memory.write(past.labels, batch.index, rows),
    _memory.write(past.pushes, batch.index, pushes + 1),
  )


def votes(past: History, index: jax.Array, num_classes: int, *, empty: bool = False) -> jax.Array:
  """How often each class stands in the histories of some rows.

  Args:
    past: the history.
    index: int32 [B], `Batch.index`.
    num_classes: C.
    empty: whether places that were never written count as votes for class 0.

  Returns:
    The votes, float32 [B, C].

  Examples:
    >>> import jax.numpy as jnp, rfjax
    >>> from rfjax.core import history, push, votes
    >>> data = rfjax.Batch.from_arrays([[0.0], [1.0]], [0, 1]).fill(jnp.array([[1., 0.], [0., 1.]]))
    >>> votes(push(history(data, 3), data), data.index, 2).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
  """
  labels, pushes = _memory.read(past.labels, index), _memory.read(past.pushes, index)
  written = jnp.arange(labels.shape[1]) < (labels.shape[1] if empty else pushes[:, None])
  classes = jnp.arange(num_classes, dtype=labels.dtype)
  return jnp.sum((labels[..., None] == classes) & written[..., None], axis=1, dtype=jnp.float32)
