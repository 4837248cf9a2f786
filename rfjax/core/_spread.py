"""Runs too large for one device: rows of data sets and batches over the mesh's axis "data"."""

import contextlib
import contextvars
from collections.abc import Iterator

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from rfjax.core._batch import Batch

DATA_AXIS = "data"
_MESH: contextvars.ContextVar[Mesh | None] = contextvars.ContextVar("mesh", default=None)


@contextlib.contextmanager
def spread_over(mesh: Mesh) -> Iterator[None]:
  """Within it, the batches of trainings are laid out over a mesh, if it has an axis for that."""
  token = _MESH.set(mesh if mesh.shape.get(DATA_AXIS, 1) > 1 else None)
  try:
    yield
  finally:
    _MESH.reset(token)


def over_rows(mesh: Mesh, array: jax.Array) -> NamedSharding:
  """Where an array's first axis belongs: over the devices of a run, or on all of them."""
  parts = mesh.shape.get(DATA_AXIS, 1)
  even = parts > 1 and array.ndim > 0 and array.shape[0] % parts == 0
  return NamedSharding(mesh, PartitionSpec(DATA_AXIS) if even else PartitionSpec())


def spread(batch: Batch) -> Batch:
  """Lays the rows of a batch out over the devices of its run; XLA adds what they must exchange.

  Args:
    batch: the batch.

  Returns:
    The batch.

  Raises:
    ValueError: for rows that are no multiple of the devices.
  """
  mesh = _MESH.get()
  if mesh is None:
    return batch
  rows, parts = batch.num_rows, mesh.shape[DATA_AXIS]
  if rows % parts:
    raise ValueError(
      f"batches must be multiples of the {parts} devices along the mesh's axis {DATA_AXIS!r}, got"
      f" {rows} rows: change batch_size, or the number of rows"
    )
  place = NamedSharding(mesh, PartitionSpec(DATA_AXIS))
  mine = lambda leaf: leaf.ndim > 0 and leaf.shape[0] == rows
  return jax.tree.map(
    lambda leaf: jax.lax.with_sharding_constraint(leaf, place) if mine(leaf) else leaf, batch
  )
