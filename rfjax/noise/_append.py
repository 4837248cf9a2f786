"""What poisoning attacks share: the slots that a rate fills, and a data set with more rows."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rfjax.core import NO_ADDRESS, Batch, Truth, _check, count
from rfjax.noise._draws import with_truth
from rfjax.noise._group_flip import hard_group

WRITES = ("x", "y", "group", "valid")

_PER_ROW = ("index", "valid", "x", "y", "group", "truth")
_COLUMNS = ("target", "keep", "weight")
_OPINIONS = ("logits", "features", "log_probs", "cost", "penalty")


class Rows(NamedTuple):
  """Rows to append, and what is true of them.

  Attributes:
    x: features [K, ...].
    y: the labels that they bring, 0 or 1, int32 [K].
    group: the groups that they bring, int32 [K].
    true_y: the labels that they had where they come from, int32 [K].
    true_group: the groups that they had there, int32 [K].
  """

  x: jax.Array
  y: jax.Array
  group: jax.Array
  true_y: jax.Array
  true_group: jax.Array


def rows_of(batch: Batch) -> Rows:
  """The rows of a batch as they are, to pick from; the truth is what it knows, or what it says."""
  truth = Truth() if batch.truth is None else batch.truth
  true_y = batch.y if truth.y is None else truth.y
  true_group = batch.group if truth.group is None else truth.group
  return Rows(batch.x, batch.y, batch.group, true_y, true_group)


def check_rate(rate: Any, capacity: int | None) -> None:
  """Refuses a rate out of range, and one that cannot tell a number of slots where none is given."""
  _check.number("rate", rate, 0.0, 1.0)
  if capacity is not None:
    _check.count("capacity", capacity, 0)
  elif _check.traced(rate):
    raise ValueError(
      "capacity must be given where rate is traced: pass the largest number of rows to append"
    )


def check_side(name: str, group: Any) -> None:
  """Refuses what is neither group 0 nor group 1; a traced one passes."""
  _check.number(name, group)
  if not _check.traced(group):
    _check.choice(name, group, (0, 1))


def check_data(by: str, batch: Batch, *, moves: bool = False) -> None:
  """Refuses data that an attack on two labels and two groups cannot poison."""
  hard_group(batch, by)
  if batch.num_classes != 2:
    raise ValueError(f"{by} needs two classes, got num_classes {batch.num_classes}")
  if batch.num_groups != 2:
    raise ValueError(f"{by} needs two groups, got num_groups {batch.num_groups}: merge groups")
  if moves and not jnp.issubdtype(batch.x.dtype, jnp.floating):
    raise ValueError(f"{by} moves points, but x has dtype {batch.x.dtype}: pass x as float")
  if batch.order is not None:
    raise ValueError(f"{by} appends rows that order does not name: apply it before fit")


def check_pool(by: str, pool: Any) -> None:
  """Refuses what is no pool of candidates."""
  if not isinstance(pool, Batch):
    raise ValueError(f"pool must be a Batch, got {type(pool).__name__}: use Batch.from_arrays")
  check_data(f"the pool of {by}", pool)


def check_candidates(batch: Batch, rows: Rows, valid: jax.Array, wanted: int) -> int:
  """Refuses candidates of other features, or too few of them; how many there are, if known."""
  if rows.x.shape[1:] != batch.x.shape[1:]:
    raise ValueError(
      f"pool has rows of shape {rows.x.shape[1:]} but x of {batch.x.shape[1:]}: make them one"
    )
  known = valid.size if _check.traced(valid) else int(np.sum(np.asarray(valid)))
  if known < wanted:
    raise ValueError(f"pool has {known} candidates for {wanted} rows: lower the rate, or widen it")
  return known


def slots(rate: Any, capacity: int | None, batch: Batch) -> jax.Array:
  """The slots for appended rows of which the first floor(rate * rows) are in use, bool [K].

  Args:
    rate: how many rows are appended, as a share of the valid rows; may be traced.
    capacity: K; when None, what the rate makes of all rows.
    batch: the data set.

  Returns:
    The mask.

  Raises:
    ValueError: where K is known to be too small for the rate.
  """
  used = count(rate, batch.valid)
  if capacity is None:
    capacity = int(count(rate, batch.num_rows))
  elif not _check.traced(used) and int(used) > capacity:
    raise ValueError(f"capacity must be at least the {int(used)} rows of rate, got {capacity}")
  return jnp.arange(capacity) < used


def append(batch: Batch, rows: Rows, live: jax.Array) -> Batch:
  """Appends rows to a data set of N rows, with addresses that none of its rows has.

  They are N, N + 1, ..., or follow the largest one, where the rows are part of a larger data set. A
  slot that is not in use becomes a padding row. The truth of the rows that were there is kept, and
  columns that the data set brings are extended by their defaults. What a network has said of the
  old rows is dropped.

  Args:
    batch: the data set.
    rows: what to append, [K, ...].
    live: the slots that are in use, bool [K].

  Returns:
    The data set of N + K rows.
  """
  taken = jnp.max(batch.index, where=batch.valid, initial=-1) + 1
  start = jnp.maximum(taken, batch.num_rows)
  address = start + jnp.arange(live.size, dtype=jnp.int32)
  fill = lambda v, empty: jnp.where(live.reshape(-1, *[1] * (v.ndim - 1)), v, empty)
  tail = Batch(
    index=fill(address, NO_ADDRESS),
    valid=live,
    x=fill(rows.x, 0),
    y=fill(rows.y, 0),
    group=fill(rows.group, batch.num_groups),
    truth=Truth(fill(rows.true_y, 0), fill(rows.true_group, 0)),
    num_classes=batch.num_classes,
    num_groups=batch.num_groups,
  )
  columns = [name for name in _COLUMNS if getattr(batch, name) is not None]
  head, tail = batch.replace(truth=with_truth(batch, "y", "group")), tail.with_columns(*columns)
  join = lambda old, new: jnp.concatenate([old, new.astype(old.dtype)])
  joined = {n: jax.tree.map(join, getattr(head, n), getattr(tail, n)) for n in _PER_ROW}
  joined |= {n: join(getattr(head, n), getattr(tail, n)) for n in columns}
  return batch.replace(**dict.fromkeys(_OPINIONS), **joined)
