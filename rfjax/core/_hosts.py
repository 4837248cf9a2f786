"""Several processes of one sweep: what each has to say, and what all of them must see."""

from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec


def is_first() -> bool:
  """Whether this process is the one that writes and tells; a single process is."""
  return jax.process_index() == 0


def on_devices(tree: Any, mesh: Mesh, spec: PartitionSpec) -> Any:
  """Arrays that all processes hold, as one array over the devices of all of them."""
  if jax.process_count() == 1:
    return tree
  place = NamedSharding(mesh, spec)
  put = lambda v: jax.make_array_from_callback(np.shape(v), place, lambda at: v[at])
  return jax.tree.map(put, tree)


def on_host(array: jax.Array) -> np.ndarray:
  """The values of an array, on every process."""
  if array.is_fully_addressable:
    return np.asarray(array)
  from jax.experimental import multihost_utils

  return np.asarray(multihost_utils.process_allgather(array, tiled=True))


def first_says(tree: Any) -> Any:
  """What the first process has, on all of them; the others bring arrays of the same shapes."""
  if jax.process_count() == 1:
    return tree
  from jax.experimental import multihost_utils

  return jax.tree.map(np.asarray, multihost_utils.broadcast_one_to_all(tree))
