"""Which rows of a data set come from which source: ids known on the host, rows found by address."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rfjax.core import Batch, _check


def source_ids(source: Any) -> np.ndarray:
  """The ids of sources [N], known on the host; there are two at least, and a row of each."""
  if _check.traced(source):
    raise ValueError("source is traced, but says how large sources are: pass integers")
  ids, count = _check.labels("source", source, None, 2)
  empty = np.flatnonzero(np.bincount(ids, minlength=count) == 0)
  if empty.size:
    raise ValueError(
      f"source must have ids from 0 and a row of each, of two at least; got {count} with none of"
      f" {empty.tolist()}: renumber those that occur, for instance with"
      " numpy.unique(..., return_inverse=True)"
    )
  return ids


def check_addresses(ids: np.ndarray, data: Batch) -> None:
  """Refuses a data set with addresses that have no source, unless it is traced."""
  if _check.traced(data.index, data.valid):
    return
  last = int(np.max(np.asarray(data.index), where=np.asarray(data.valid), initial=-1))
  if last >= len(ids):
    raise ValueError(
      f"source has {len(ids)} rows, but the data set has index {last}: pass all rows"
    )


def rows_of_sources(ids: np.ndarray, data: Batch) -> jax.Array:
  """The rows of each source in the order of their addresses, int32 [S, M]; N where there is none.

  M are those of the largest source.
  """
  check_addresses(ids, data)
  members = [np.flatnonzero(ids == s) for s in range(int(ids.max()) + 1)]
  longest = max(map(len, members))
  table = np.stack([np.pad(m, (0, longest - len(m)), constant_values=len(ids)) for m in members])
  # Where the row of each address stands, since rows may be in any order.
  rows = jnp.arange(data.num_rows, dtype=jnp.int32)
  at = jnp.full(len(ids), data.num_rows, jnp.int32).at[data.index].set(rows, mode="drop")
  return jnp.take(at, table, mode="fill", fill_value=data.num_rows)
