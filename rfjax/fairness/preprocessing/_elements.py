"""What pre-processing methods share: counts by group and label, factors of them, and ranks."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from rfjax.core import Batch, _check, group_mean, group_sum, ratio, read
from rfjax.core._groups import mix_groups


def label_counts(data: Batch, by: str) -> jax.Array:
  """How much weight each group has with each label, [G, C]."""
  data = data.require("group", by=by).with_columns("weight")
  labels = jax.nn.one_hot(data.y, data.num_classes) * data.weight[:, None]
  return group_sum(labels, data.membership)


def independent(count: jax.Array) -> jax.Array:
  """The counts [G, C] with the same margins in which label and group are independent."""
  groups, classes = jnp.sum(count, 1, keepdims=True), jnp.sum(count, 0, keepdims=True)
  return ratio(groups * classes, jnp.sum(count))


def multiply(batch: Batch, factor: jax.Array, by: str) -> Batch:
  """Multiplies each weight by the factor [G, C] of its label and of its groups, their mean."""
  membership = batch.require("group", "weight", by=by).membership
  mixed = mix_groups(membership, factor.T[batch.y], 1, rows=True)
  return batch.replace(weight=batch.weight * mixed.astype(batch.weight.dtype))


def hard_group(batch: Batch, by: str) -> jax.Array:
  """The group that has more than half of a row, int32 [B]; G where there is none.

  Padding, also that of weight 0, has none.
  """
  membership = batch.require("group", by=by).membership
  one = jnp.max(membership, axis=1, initial=0) > 0.5
  if batch.weight is not None:
    one &= batch.weight > 0
  return jnp.where(one, jnp.argmax(membership, axis=1), batch.num_groups).astype(jnp.int32)


def cells(batch: Batch, group: jax.Array) -> tuple[jax.Array, jax.Array]:
  """The cell of each row, g C + y, int32 [B], with G C for no group, and their sizes [G C]."""
  number = batch.num_groups * batch.num_classes
  cell = jnp.where(group < batch.num_groups, group * batch.num_classes + batch.y, number)
  return cell, jax.ops.segment_sum(jnp.ones_like(cell), cell, number)


def rank_within(values: jax.Array, cell: jax.Array, num_cells: int, index: jax.Array) -> jax.Array:
  """The place of each value in ascending order in its cell, from 0; equal values go by index."""
  order = jnp.lexsort((index, values, cell))
  place = jnp.zeros(cell.shape, jnp.int32).at[order].set(jnp.arange(cell.size, dtype=jnp.int32))
  size = jax.ops.segment_sum(jnp.ones_like(cell), cell, num_cells + 1)
  start = jnp.cumsum(size) - size
  return place - start[jnp.clip(cell, 0, num_cells)]


def check_scores(scores: ArrayLike | None) -> Any:
  """Refuses what is no table of scores [N, C], of a traced one by its shape; returns it."""
  if scores is None:
    return None
  table = _check.array("scores", scores)
  if table.ndim != 2 or table.shape[1] < 2:
    raise ValueError(f"scores must have shape [N, C] with C of at least 2, got {table.shape}")
  return table


def read_scores(scores: Any, batch: Batch, by: str) -> jax.Array:
  """The scores [B, C] of the rows by their `index`, or what the network said where none are given.

  No gradient flows through them: they rank rows. A row without scores is refused where that is
  known; inside of compiled code it reads zeros.
  """
  if scores is None:
    return jax.lax.stop_gradient(batch.require("logits", by=by).logits)
  _check.classes("scores", scores.shape[1], batch)
  if not _check.traced(batch.index, batch.valid):
    last = np.max(np.asarray(batch.index), where=np.asarray(batch.valid), initial=-1)
    if last >= len(scores):
      raise ValueError(
        f"scores must have a row for each index, but the last one is {last} and there are"
        f" {len(scores)} rows: score all rows of the data set"
      )
  return read(jnp.asarray(scores, float), batch.index)


def resample(batch: Batch, values: jax.Array, group: jax.Array) -> Batch:
  """Repeats and drops rows, by weight, until label and group are independent.

  Of each group and label as many rows stay as there would be then, rounded. Where rows are missing
  those of small values [B] are repeated first, and where there are too many they are dropped first;
  no row is repeated twice before all are repeated once.
  """
  cell, size = cells(batch, group)
  number = size.size
  wanted = independent(size.reshape(batch.num_groups, -1).astype(jnp.float32))
  wanted = jnp.round(wanted).astype(jnp.int32).reshape(-1)
  place = rank_within(values, cell, number, batch.index)
  size, wanted = size[cell], wanted[cell]  # of rows without a group these are not read
  safe = jnp.maximum(size, 1)
  more = wanted // safe + (place < wanted % safe)
  copies = jnp.where(wanted < size, place >= size - wanted, more)
  copies = jnp.where(cell < number, copies, 1)
  return batch.replace(weight=batch.weight * copies.astype(batch.weight.dtype))


def check_columns(columns: Sequence[int] | None) -> tuple[int, ...] | None:
  """Refuses what are no different column numbers; None means all."""
  if columns is None:
    return None
  found = tuple(_check.count("columns", column, 0) for column in columns)
  if not found or len(set(found)) < len(found):
    raise ValueError(f"columns must be different and at least one, got {list(found)}")
  return found


def features(batch: Batch) -> jax.Array:
  """The features as floats [B, d]."""
  return batch.x.reshape(batch.num_rows, -1).astype(jnp.promote_types(batch.x.dtype, jnp.float32))


def moments(x: jax.Array, weight: jax.Array) -> tuple[jax.Array, jax.Array]:
  """The means [d] and the standard deviations [d] of columns by weight [B].

  The deviation is 0 where all that there is of it can be rounding of a constant.
  """
  average = lambda v: group_mean(v, weight[:, None])[0][0]
  mean = average(x)
  mean += average(x - mean)  # without the rounding of a sum over many rows
  spread = jnp.sqrt(average((x - mean) ** 2))
  rounding = 4 * jnp.finfo(x.dtype).eps * average(jnp.abs(x))
  return mean, jnp.where(spread > rounding, spread, 0)


def check_reach(columns: tuple[int, ...], width: int) -> None:
  """Refuses columns that x does not have."""
  if max(columns) >= width:
    raise ValueError(f"columns must lie in [0, {width}), got {max(columns)}: x has no more")
