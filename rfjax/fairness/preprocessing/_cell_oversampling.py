"""Cell oversampling: new rows between neighbours, until groups and labels are level."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from rfjax.core import NO_ADDRESS, Batch, Transform, _check, count, stateless, uniform
from rfjax.fairness.preprocessing import _elements

_NAME = "cell_oversampling"
_BLOCK = 32
_OPINIONS = ("logits", "features", "log_probs", "cost", "penalty")


def cell_oversampling(
  strength: float | jax.Array = 1.0,
  *,
  neighbors: int = 5,
  capacity: int | None = None,
  indicators: Sequence[int] | None = None,
) -> Transform:
  r"""Cell oversampling, as in Fair-SMOTE: makes rows until all groups have all labels as often.

  A cell, the rows of a group and label, of $n_c$ rows gets new ones of the same group and label,

  $$m_c = \lfloor s\, \max(0,\, L - n_c) \rfloor, \qquad
  x = x_i + u\,(x_j - x_i), \quad u \sim U[0, 1),$$

  where L is the size of the largest cell, i goes through the rows of the cell in random order, each
  as often as any other, and j is one of the nearest rows to it in the cell, by lot. Columns of
  indicators are taken together, from row i if u < 1/2 and else from row j: so one-hot codes stay
  codes. A cell without rows stays empty, and one with a single row gets copies of it. Distances
  depend on units: standardise the features first.

  The new rows follow the old ones, with new addresses and the weight of row i; slots that no cell
  needs are padding. Where `capacity` is too small, L is the largest level for which it is enough.
  Rows are counted, whatever their weight above 0; of soft membership more than half decides. What a
  network has said is dropped.

  The authors' code moves a row by 0.8 times the difference of its two nearest rows instead, takes
  the absolute value, and flips most of the boolean columns.

  Args:
    strength: s in [0, 1]; may be traced.
    neighbors: how many of the nearest rows take part, at least 1.
    capacity: the slots for new rows; as many as are needed when None, which cannot be told where
      the data or the strength is traced.
    indicators: numbers of the columns that hold codes; when None, those that hold 0 and 1 only.

  Returns:
    The transform of a data set; it adds rows, and needs group in training only.

  Raises:
    ValueError: for values out of range; when applied, where the group is missing, where x is not
      float, where there is an `order`, or where the capacity cannot be told.

  References:
    Chakraborty, Majumder, Menzies, Bias in machine learning software: why? how? what to do?,
    ESEC/FSE 2021.
    Chawla, Bowyer, Hall, Kegelmeyer, SMOTE: synthetic minority over-sampling technique, Journal of
    Artificial Intelligence Research, 2002.

  Examples:
    >>> import jax, rfjax
    >>> from rfjax.fairness import preprocessing
    >>> x = [[0.0], [1.0], [2.0], [3.0], [5.0], [6.5], [8.0]]
    >>> data = rfjax.Batch.from_arrays(x, [0, 0, 0, 1, 1, 0, 1], [0, 0, 0, 0, 0, 1, 1])
    >>> level = rfjax.transform(preprocessing.cell_oversampling(), data, key=jax.random.key(0))
    >>> level.num_rows, bool(3.0 <= level.x[7, 0] < 5.0), level.x[8:, 0].tolist()
    (12, True, [6.5, 6.5, 8.0, 8.0])
  """
  _check.number("strength", strength, 0.0, 1.0)
  _check.count("neighbors", neighbors)
  if capacity is not None:
    _check.count("capacity", capacity, 0)
  codes = _elements.check_columns(indicators)

  def apply(batch: Batch, *, key: jax.Array, **unused: Any) -> Batch:
    del unused
    group = _elements.hard_group(batch, _NAME)
    _check_data(batch, codes)
    cell, size = _elements.cells(batch, group)
    wanted = _wanted(size, strength, capacity)
    slots = int(jnp.sum(wanted)) if capacity is None else capacity
    if slots == 0:
      return batch
    lot_key, row_key = jax.random.split(key)
    live, base = _bases(cell, size, wanted, slots, uniform(lot_key, batch), batch.index)
    wider = _appended(batch, base, live)
    draw = uniform(row_key, wider, (2,))[batch.num_rows :]
    x = _elements.features(batch)
    other = _others(x, cell, batch.index, base, draw[:, 0], neighbors)
    new = _between(x[base], x[other], draw[:, 1:], _coded(x, cell < size.size, codes))
    new = jnp.where(live[:, None], new, 0).reshape(slots, *batch.x.shape[1:])
    return wider.replace(x=wider.x.at[batch.num_rows :].set(new.astype(wider.x.dtype)))

  return stateless(apply, writes=("x", "y", "group", "valid"))


def _check_data(batch: Batch, codes: tuple[int, ...] | None) -> None:
  if not jnp.issubdtype(batch.x.dtype, jnp.floating):
    raise ValueError(f"{_NAME} mixes rows, but x has dtype {batch.x.dtype}: pass x as float")
  if batch.order is not None:
    raise ValueError(f"{_NAME} appends rows that order does not name: apply it before fit")
  if codes is not None:
    _elements.check_reach(codes, batch.x[:1].size)


def _wanted(size: jax.Array, strength: Any, capacity: int | None) -> jax.Array:
  """How many rows each cell gets, int32 [cells], together at most the capacity."""
  highest = jnp.max(size)

  def at(level: jax.Array) -> jax.Array:
    short = jnp.where(size > 0, jnp.maximum(level - size, 0), 0)
    return jax.vmap(lambda rows: count(strength, rows))(short)

  if capacity is None:
    if _check.traced(size, strength):
      raise ValueError(f"{_NAME} needs capacity where data or strength is traced: pass an integer")
    return at(highest)

  def body(i: Any, level: jax.Array) -> jax.Array:
    higher = level | (jnp.int32(1) << (30 - i))
    enough = jnp.sum(at(jnp.minimum(higher, highest))) <= capacity
    return jnp.where((higher <= highest) & enough, higher, level)

  return at(jax.lax.fori_loop(0, 31, body, jnp.zeros((), jnp.int32)))


def _bases(
  cell: jax.Array,
  size: jax.Array,
  wanted: jax.Array,
  slots: int,
  lot: jax.Array,
  index: jax.Array,
) -> tuple[jax.Array, jax.Array]:
  """Which slots are in use, and the row that each starts from, [K]."""
  slot, ends = jnp.arange(slots, dtype=jnp.int32), jnp.cumsum(wanted)
  live = slot < ends[-1]
  own = jnp.where(live, jnp.searchsorted(ends, slot, side="right"), 0)
  turn = (slot - (ends - wanted)[own]) % jnp.maximum(size[own], 1)
  order, first = jnp.lexsort((index, lot, cell)), jnp.cumsum(size) - size
  return live, jnp.where(live, order[first[own] + turn], 0)


def _appended(batch: Batch, base: jax.Array, live: jax.Array) -> Batch:
  """The rows, and copies of some of them at new addresses; the rest of the slots is padding."""
  rows = batch.num_rows
  start = jnp.maximum(jnp.max(batch.index, where=batch.valid, initial=-1) + 1, rows)
  address = jnp.where(live, start + jnp.arange(live.size, dtype=jnp.int32), NO_ADDRESS)
  wider = batch.take(jnp.append(jnp.arange(rows), jnp.where(live, base, rows)))
  changes: dict[str, Any] = dict.fromkeys(_OPINIONS)
  if batch.target is not None:  # also of padding the rows of targets add up to 1
    changes["target"] = jnp.concatenate([batch.target, batch.target[base]])
  return wider.replace(index=jnp.append(batch.index, address), **changes)


def _others(
  x: jax.Array, cell: jax.Array, index: jax.Array, base: jax.Array, draw: jax.Array, neighbors: int
) -> jax.Array:
  """One of the nearest rows of the cell of each base, int32 [K]; the base where it is alone."""
  # Of equal distances top_k takes the first, which is to be the one of the lowest index.
  order = jnp.argsort(index)
  sorted_x, sorted_cell = x[order], cell[order]

  def other(at: tuple[jax.Array, jax.Array]) -> jax.Array:
    row, lot = at
    near = (sorted_cell == cell[row]) & (order != row)
    distance = jnp.sum((sorted_x - x[row]) ** 2, axis=1)
    closest = jax.lax.top_k(jnp.where(near, -distance, -jnp.inf), min(neighbors, len(x)))[1]
    number = jnp.minimum(jnp.sum(near), neighbors)
    place = jnp.clip(jnp.floor(lot * number).astype(jnp.int32), 0, jnp.maximum(number - 1, 0))
    return jnp.where(number > 0, order[closest[place]], row)

  return jax.lax.map(other, (base, draw), batch_size=min(_BLOCK, base.size))


def _coded(x: jax.Array, counted: jax.Array, codes: tuple[int, ...] | None) -> jax.Array:
  """Which columns hold codes, bool [d]."""
  if codes is not None:
    return jnp.zeros(x.shape[1], bool).at[jnp.array(codes)].set(True)
  return jnp.all((x == 0) | (x == 1) | ~counted[:, None], axis=0)


def _between(one: jax.Array, two: jax.Array, u: jax.Array, coded: jax.Array) -> jax.Array:
  return jnp.where(coded, jnp.where(u < 0.5, one, two), one + u * (two - one))
