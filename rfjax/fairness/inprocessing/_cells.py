"""Cells of a label and a group: sums over them, their shares of a batch, and batches of rows."""

from typing import Any

import jax
import jax.numpy as jnp

from rfjax.core import Batch, by_address, group_sum, ratio, uniform, write

CRITERIA = ("equal_opportunity", "equalized_odds", "demographic_parity")


def cell_sum(values: jax.Array, data: Batch) -> jax.Array:
  """Sums values [N] over the cells, [C, G + 1]; rows of no group, or its part, come last.

  Rows that are padding, or that a selection has dropped for the epoch, count nowhere.
  """
  counted = data.valid if data.keep is None else data.keep > 0
  labels = jax.nn.one_hot(data.y, data.num_classes) * (values * counted)[:, None]
  return group_sum(labels, with_missing(data)).T


def with_missing(data: Batch) -> jax.Array:
  """The membership [N, G + 1]; last comes the part of a row that belongs to no group."""
  known = data.membership
  missing = data.valid - jnp.sum(known, axis=1)
  return jnp.concatenate([known, missing[:, None]], axis=1)


def among(data: Batch, rows: jax.Array) -> Batch:
  """The data of which only some rows [N] count."""
  return data.replace(keep=data.keep * rows)


def remember(kept: jax.Array, batch: Batch, by: str) -> jax.Array:
  """Which rows of the training set [N] were kept when they were last served.

  What selects in each batch can tell a sampler in no other way what it would leave out.
  """
  return write(kept, batch.index, batch.require("keep", by=by).keep > 0)


def start_shares(data: Batch) -> jax.Array:
  """The share of each group among the rows of a label, [C, G]."""
  known = cell_sum(jnp.ones(data.num_rows), data)[:, :-1]
  return ratio(known, jnp.sum(known, axis=1, keepdims=True))


def move_shares(shares: jax.Array, data: Batch, criterion: str, rate: Any) -> jax.Array:
  """FairBatch's step: moves `rate` of one label's shares [C, G] from the best to the worst group.

  Equal losses count as if the first group's were the largest, as in the released code.
  """
  parity = criterion == "demographic_parity"
  count = cell_sum(jnp.ones(data.num_rows), data)[:, :-1]
  total = cell_sum(data.cost[:, 1] if parity else data.loss, data)[:, :-1]
  loss = ratio(total, jnp.sum(count, axis=0, keepdims=True) if parity else count)
  high, low = jnp.where(count > 0, loss, -jnp.inf), jnp.where(count > 0, loss, jnp.inf)
  gap = jnp.max(high, axis=1) - jnp.min(low, axis=1)
  label = 1 if criterion == "equal_opportunity" else jnp.argmax(gap)
  worst = jnp.argmax(high[label])
  best = shares.shape[1] - 1 - jnp.argmin(low[label][::-1])
  if parity:  # more rows with another label than 1 make label 1 less likely
    worst, best = (jnp.where(label == 1, *pair) for pair in ((worst, best), (best, worst)))
  amount = jnp.minimum(rate, shares[label, best])
  return shares.at[label, best].add(-amount).at[label, worst].add(amount)


def draw_cells(data: Batch, key: jax.Array) -> jax.Array:
  """The cell of each row, y (G + 1) + group, int32 [N]; that of none is C (G + 1).

  A row of soft membership belongs to a group by lot, and one of no group to group G.
  """
  if data.group.ndim == 1:
    group = jnp.clip(data.group, 0, data.num_groups)
  else:
    lot = uniform(key, data)[:, None]
    group = jnp.sum(lot >= jnp.cumsum(data.membership, axis=1), axis=1)
  drawn = data.valid if data.keep is None else data.valid & (data.keep > 0)
  none = data.num_classes * (data.num_groups + 1)
  return jnp.where(drawn, data.y * (data.num_groups + 1) + group, none).astype(jnp.int32)


def shuffle_cells(draws: jax.Array, cell: jax.Array, index: jax.Array, num_cells: int) -> jax.Array:
  """Rows by cell, and in a cell by their draws in [0, 1): a shuffle of each cell, int32 [N].

  Equal draws go by index.
  """
  rows, first = cell.shape[0], by_address(index)
  draws, cell = draws[first], cell[first]
  width = max(rows - 1, 1).bit_length()
  room = 32 - width - (num_cells - 1).bit_length()
  if room < 16:
    return first[jnp.lexsort((draws, cell))]
  # One sort of packed integers takes a fifth of the time of a sort of keys and rows. Draws that
  # share their first 16 bits or more are equal.
  lots = (draws * 2.0**room).astype(jnp.uint32)
  packed = (cell.astype(jnp.uint32) << (room + width)) | (lots << width)
  ordered = jnp.sort(packed | jnp.arange(rows, dtype=jnp.uint32))
  return first[ordered & jnp.uint32(2**width - 1)]


def deal(
  shuffled: jax.Array,
  count: jax.Array,
  sizes: jax.Array,
  steps: int,
  slots: int,
  official_wrap: bool = False,
) -> jax.Array:
  """Batches with so many rows of each cell, dealt in turn from the cell's shuffled rows.

  Args:
    shuffled: the rows by cell, int32 [N], from `shuffle_cells`.
    count: the rows of each cell, int32 [K].
    sizes: the rows of each cell in a batch, int32 [K].
    steps: how many batches.
    slots: of a batch, at least the sum of sizes.
    official_wrap: after a cell's end go on where the released code does.

  Returns:
    The order, int32 [steps, slots], with N in empty slots.
  """
  rows, some = shuffled.shape[0], jnp.maximum(count, 1)
  if official_wrap:
    follow = lambda at: jnp.where(at + sizes > count, count - at, at + sizes)
    _, start = jax.lax.scan(lambda at, _: (follow(at), at), jnp.zeros_like(count), length=steps)
  else:
    start = jnp.arange(steps)[:, None] * sizes % some
  ends, slot = jnp.cumsum(sizes), jnp.arange(slots)
  cell = jnp.minimum(jnp.sum(slot[:, None] >= ends, axis=1), count.shape[0] - 1)
  place = (start[:, cell] + (slot - (ends - sizes)[cell])) % some[cell]
  served = (slot < ends[-1]) & (count[cell] > 0)
  return jnp.where(served, shuffled[(jnp.cumsum(count) - count)[cell] + place], rows)


def draw_batches(
  shares: jax.Array,
  data: Batch,
  lot_key: jax.Array,
  shuffle_key: jax.Array,
  batch_size: Any,
  *,
  width: int,
  official_wrap: bool = False,
) -> jax.Array:
  """An epoch's batches of the rows that are kept, in shares that follow lambda.

  Args:
    shares: lambda, [C, G].
    data: the training set.
    lot_key: for the groups of rows of soft membership.
    shuffle_key: for the order of rows in their cells.
    batch_size: rows asked for in a batch, at most width; may be traced.
    width: as many batches are drawn as have room for so many rows.
    official_wrap: as in `deal`.

  Returns:
    The order, int32 [N // width, width + C (G + 1) // 2], with N in empty slots.
  """
  rows = data.num_rows
  sizes = _sizes(shares, cell_sum(jnp.ones(rows), data), batch_size)
  cell, cells = draw_cells(data, lot_key), sizes.size
  return deal(
    shuffle_cells(uniform(shuffle_key, data), cell, data.index, cells + 1),
    jnp.sum(cell[:, None] == jnp.arange(cells), axis=0),
    sizes.ravel(),
    steps=rows // width,
    slots=width + cells // 2,
    official_wrap=official_wrap,
  )


def _sizes(shares: jax.Array, count: jax.Array, batch_size: Any) -> jax.Array:
  """The rows of each cell in a batch, int32 [C, G + 1]; each rounded by itself."""
  expected = count * (batch_size / jnp.maximum(jnp.sum(count), 1))
  known = shares * jnp.sum(expected[:, :-1], axis=1, keepdims=True)
  return jnp.round(jnp.concatenate([known, expected[:, -1:]], axis=1)).astype(jnp.int32)
