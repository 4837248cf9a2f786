"""Draws that belong to a row, counts, and places in an order."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from rfjax.core import _check
from rfjax.core._batch import NO_ADDRESS, Batch

_MOST_ROWS = 2**16  # more of them leave too few high bits to tell words apart


def uniform(key: jax.Array, batch: Batch, shape: tuple[int, ...] = ()) -> jax.Array:
  """Uniform draws in [0, 1) that belong to a row, whatever rows are beside it.

  Args:
    key: a key from `jax.random.key`.
    batch: the rows, by their `index`.
    shape: of the draws of one row.

  Returns:
    The draws [B, *shape].

  Examples:
    >>> import jax, jax.numpy as jnp, rfjax
    >>> from rfjax.core import uniform
    >>> rows = rfjax.Batch.from_arrays([[0.0], [1.0], [2.0]], [0, 1, 0])
    >>> one, two = (uniform(jax.random.key(0), b) for b in (rows, rows.take(jnp.array([2, 0]))))
    >>> two.tolist() == [one[2], one[0]]
    True
  """
  return jax.vmap(lambda i: jax.random.uniform(jax.random.fold_in(key, i), shape))(batch.index)


def permutation(key: jax.Array, rows: int) -> jax.Array:
  """A random permutation, that of `jax.random.permutation` to the bit, in a third of its time.

  JAX sorts rows by random words, twice or more. Here a word's high bits and its place are one
  word, which sorts faster than two, and what shares its high bits, a few neighbours, is exchanged
  until it is in order.

  Args:
    key: a key from `jax.random.key`.
    rows: how many.

  Returns:
    The rows, int32 [rows].

  Examples:
    >>> import jax
    >>> from rfjax.core import permutation
    >>> sorted(permutation(jax.random.key(0), 4).tolist())
    [0, 1, 2, 3]
  """
  if rows > _MOST_ROWS:
    return jax.random.permutation(key, rows).astype(jnp.int32)
  order = jnp.arange(rows, dtype=jnp.int32)
  for _ in range(math.ceil(3 * math.log(max(1, rows)) / math.log(2**32 - 1))):
    key, now = jax.random.split(key)
    order = order[_by_random_words(jax.random.bits(now, (rows,), jnp.uint32))]
  return order


def _by_random_words(words: jax.Array) -> jax.Array:
  """The stable order of words [N], fast where few share their high bits, int32 [N]."""
  width, place = max(words.size - 1, 1).bit_length(), jnp.arange(words.size, dtype=jnp.uint32)
  packed = jnp.sort((words >> width << width) | place)
  order = packed & jnp.uint32(2**width - 1)

  def exchange(parity: int, at: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
    first = (place % 2 == parity) & (place + 1 < words.size)
    first &= at[0] > jnp.roll(at[0], -1)
    second = jnp.roll(first, 1)
    swap = lambda v: jnp.where(first, jnp.roll(v, -1), jnp.where(second, jnp.roll(v, 1), v))
    return swap(at[0]), swap(at[1])

  _, order = jax.lax.while_loop(
    lambda at: jnp.any(at[0][:-1] > at[0][1:]),
    lambda at: exchange(1, exchange(0, at)),
    (words[order], order),
  )
  return order.astype(jnp.int32)


def by_address(index: jax.Array) -> jax.Array:
  """The rows by ascending index, as a sort finds them; none is made where they stand so already.

  Args:
    index: `Batch.index`.

  Returns:
    The rows, int32 [B].

  Examples:
    >>> import jax.numpy as jnp
    >>> from rfjax.core import by_address
    >>> by_address(jnp.array([7, 2, 5])).tolist()
    [1, 2, 0]
  """
  sort = lambda: jnp.argsort(index).astype(jnp.int32)
  as_they_stand = lambda: jnp.arange(index.size, dtype=jnp.int32)
  return jax.lax.cond(jnp.all(index[:-1] <= index[1:]), as_they_stand, sort)


def stable_order(values: jax.Array, index: jax.Array | None = None) -> jax.Array:
  """The rows by ascending value; equal ones go by index, else by row number.

  It is `jnp.argsort` to the bit, NaN last, in half of its time on float32: two sorts of words that
  hold a half of a value's bits and a place.

  Args:
    values: [B].
    index: `Batch.index`; row numbers when None.

  Returns:
    The rows, int32 [B].

  Examples:
    >>> import jax.numpy as jnp
    >>> from rfjax.core import stable_order
    >>> stable_order(jnp.array([0.5, 0.1, 0.5])).tolist()
    [1, 0, 2]
  """
  if index is not None:
    first = by_address(index)
    return first[stable_order(values[first])]
  if values.dtype != jnp.float32 or values.size > _MOST_ROWS:
    return jnp.argsort(values).astype(jnp.int32)
  words = jnp.where(jnp.isnan(values), jnp.uint32(2**32 - 1), ordered_bits(values))
  place = jnp.arange(values.size, dtype=jnp.uint32)
  order, half = place, jnp.uint32(2**16 - 1)
  for digits in (words & half, words >> 16):
    order = order[jnp.sort(digits[order] << 16 | place) & half]
  return order.astype(jnp.int32)


def rank(values: jax.Array, index: jax.Array | None = None) -> jax.Array:
  """The place of each value in ascending order; equal values go by index, else by row number.

  Args:
    values: [B].
    index: `Batch.index`, so that permuting a batch permutes the places; row numbers when None.

  Returns:
    The places, int32 [B], from 0.

  Examples:
    >>> import jax.numpy as jnp
    >>> from rfjax.core import rank
    >>> rank(jnp.array([0.5, 0.1, 0.5])).tolist()
    [1, 0, 2]
  """
  order = stable_order(values, index)
  return jnp.zeros(values.shape, jnp.int32).at[order].set(jnp.arange(values.size, dtype=jnp.int32))


def count(rate: Any, rows: ArrayLike, *, up: bool = False) -> Any:
  """How many of some rows a rate is: floor(rate * rows), by the numbers that are meant.

  All but a rate, rounded down, are `rows - count(rate, rows, up=True)` and not a count of
  1 - rate: of a rate near 1 in float32 the difference has lost the digits that were meant.

  A product such as 0.29 * 100 may fall just short of the whole number that it means, and counts as
  that number within a relative distance t. Of rates of Python or float64 the product is taken in
  float64, and t is 1e-9; where rate or rows are traced, or the rate of a shorter type, in float32,
  and t is 1.2e-7. So the count is right wherever rate * rows is whole. Elsewhere it is one too many
  where the part of a row that is left over is above 1 - t * count: of rates with two digits, from
  ten million struck rows on, or traced from eighty thousand.

  Args:
    rate: in [0, 1]; may be traced.
    rows: how many rows there are, or a mask of them; may be traced.
    up: round up instead; static.

  Returns:
    The count, int32 [].

  Examples:
    >>> from rfjax.core import count
    >>> int(count(0.29, 100)), int(count(0.5, [True, True, True, False]))
    (29, 1)
  """
  xp: Any = jnp if _check.traced(rate, rows) else np
  rate = xp.asarray(rate)
  rate = rate.astype(xp.promote_types(rate.dtype, np.float32))
  product = rate * xp.sum(xp.asarray(rows)).astype(rate.dtype)
  whole = xp.round(product)
  close = xp.abs(product - whole) <= (1e-9 if rate.dtype == np.float64 else 1.2e-7) * product
  return xp.where(close, whole, (xp.ceil if up else xp.floor)(product)).astype(np.int32)


def kth_largest(values: jax.Array, k: Any) -> jax.Array:
  r"""The k-th largest value, exactly and without sorting.

  The bits of a float are mapped to an unsigned integer of the same order, whose bits are then found
  from the highest to the lowest, each by counting the values that are at least as large: as many
  passes as a float has bits, whatever n is.

  Args:
    values: floats [n], none of them NaN; subnormal ones count as 0 where the device has none.
    k: from 1 for the largest to n for the smallest; may be traced.

  Returns:
    The value []; infinity for k < 1, and minus infinity for k > n.

  Examples:
    >>> import jax.numpy as jnp
    >>> from rfjax.core import kth_largest
    >>> float(kth_largest(jnp.array([3.0, -1.0, 2.0]), 2))
    2.0
  """
  ordered = ordered_bits(values)
  kind, width = ordered.dtype, ordered.dtype.itemsize * 8
  top = jnp.array(1, kind) << (width - 1)

  def body(i: Any, found: jax.Array) -> jax.Array:
    candidate = found | (top >> jnp.asarray(i).astype(kind))
    return jnp.where(jnp.sum(ordered >= candidate) >= k, candidate, found)

  found = jax.lax.fori_loop(0, width, body, jnp.array(0, kind))
  back = jax.lax.bitcast_convert_type(jnp.where(found >= top, found ^ top, ~found), values.dtype)
  beyond = jnp.where(k < 1, jnp.inf, -jnp.inf).astype(values.dtype)
  return jnp.where((k < 1) | (k > values.size), beyond, back)


def ordered_bits(values: jax.Array) -> jax.Array:
  """Unsigned integers [n] in the order of floats [n], none of them NaN."""
  kind = jnp.dtype(f"uint{values.dtype.itemsize * 8}")
  top = jnp.array(1, kind) << (kind.itemsize * 8 - 1)
  # Not values + 0.0, which compilers take for values: -0.0 would be below 0.0.
  bits = jax.lax.bitcast_convert_type(jnp.where(values == 0, 0, values), kind)
  # Negative floats have the sign bit, and grow as the other bits fall.
  return jnp.where(bits >= top, ~bits, bits | top)


def quantile(values: jax.Array, share: Any, mask: jax.Array) -> jax.Array:
  """The quantile of some values, linear between two of them as `jnp.quantile`, without a sort.

  Args:
    values: floats [n], none of them NaN.
    share: in [0, 1]; may be traced.
    mask: bool [n], the values that count.

  Returns:
    The quantile []; 0 where no value counts.

  Examples:
    >>> import jax.numpy as jnp
    >>> from rfjax.core import quantile
    >>> mask = jnp.array([True, True, True, False])
    >>> float(quantile(jnp.array([4.0, 0.0, 1.0, 9.0]), 0.75, mask))
    2.5
  """
  number = jnp.sum(mask)
  place = jnp.asarray(share, values.dtype) * jnp.maximum(number - 1, 0).astype(values.dtype)
  below = jnp.floor(place)
  others = jnp.where(mask, -values, -jnp.inf)
  first = below.astype(jnp.int32) + 1
  lower, upper = (-kth_largest(others, jnp.minimum(first + i, number)) for i in range(2))
  return jnp.where(number > 0, lower + (place - below) * (upper - lower), 0)


def smallest(values: jax.Array, number: Any, mask: jax.Array, index: jax.Array) -> jax.Array:
  """Marks the `number` smallest values of some rows, exactly; equal ones go by index.

  Args:
    values: floats [n], none of them NaN.
    number: how many; fewer are marked where there are not so many; may be traced.
    mask: bool [n], the rows that take part.
    index: `Batch.index`, different for all rows that take part.

  Returns:
    The marks, bool [n].

  Examples:
    >>> import jax.numpy as jnp
    >>> from rfjax.core import smallest
    >>> values, mask = jnp.array([0.5, 0.1, 0.5, 0.0]), jnp.array([True, True, True, False])
    >>> smallest(values, 2, mask, jnp.arange(4)).tolist()
    [True, True, False, False]
  """
  # Two bisections: on CPU a tenth of the time of a sort, from a hundred values on.
  others = jnp.where(mask, values, jnp.inf)
  last = -kth_largest(-others, jnp.minimum(number, jnp.sum(mask)))
  below, ties = mask & (others < last), mask & (others == last)
  # Among equal values the places that are left go to the lowest indices.
  places = jnp.where(ties, index.astype(jnp.int32), NO_ADDRESS)
  return below | (ties & (places <= _kth_smallest_index(places, number - jnp.sum(below))))


def _kth_smallest_index(places: jax.Array, k: Any) -> jax.Array:
  """The k-th smallest of non-negative int32, -1 for k < 1; found from the highest bit down."""

  def body(i: Any, found: jax.Array) -> jax.Array:
    candidate = found | (jnp.int32(1) << (30 - i))
    return jnp.where(jnp.sum(places < candidate) < k, candidate, found)

  found = jax.lax.fori_loop(0, 31, body, jnp.int32(0))
  return jnp.where(k < 1, -1, found)
