"""The upper hull of points in a fixed number of steps, and the best places on such curves."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rfjax.core import stable_order

_CHUNK = 1024
_FEW = 64  # of so many points one at most is mostly a corner of its chunk


class Hull(NamedTuple):
  """Corners of the upper hull of K points, from left to right.

  Attributes:
    corner: int32 [K], rows of the points; the last corner fills what is left over.
    x: [K], ascending.
    y: [K], concave in x.
  """

  corner: jax.Array
  x: jax.Array
  y: jax.Array


class Mixture(NamedTuple):
  """A point on a hull, between two corners.

  Attributes:
    corner: int32 [2], rows of the points.
    share: [2], how much there is of each.
    y: [], the height.
  """

  corner: jax.Array
  share: jax.Array
  y: jax.Array


def upper_hulls(x: jax.Array, y: jax.Array, *, ascending: bool = False) -> Hull:
  """The upper hulls of points [G, K], by Andrew's monotone chain.

  Each of 2 K steps takes the last corner away, if the next point shows that it lies on or below
  the hull, or goes to the next point. Of many points those are found first that are corners of
  their chunk, all chunks at once, so that the chain is mostly one of few. Of whole numbers whose
  products a float can hold no rounding enters; otherwise corners within rounding of the hull may be
  there or not.

  Args:
    x: [G, K], finite.
    y: [G, K], finite.
    ascending: whether x is in ascending order; otherwise points are sorted.

  Returns:
    The hulls; corners on a straight line between others are left out, also on a vertical one.
  """
  points = x.shape[1]
  order = jnp.arange(points, dtype=jnp.int32)[None] if ascending else jax.vmap(stable_order)(x)
  pick = lambda values, rows: jnp.take_along_axis(values, rows, axis=1)
  x, y = pick(x, order), pick(y, order)
  chains = jax.vmap(_chain)
  if points > 4 * _CHUNK:
    rows, number = jax.vmap(_corners_of_chunks)(x, y)
    room = max(points // _FEW, 1)
    first = rows[:, :room]
    chain, size = jax.lax.cond(
      jnp.all(number <= room),
      lambda: _padded(*chains(pick(x, first), pick(y, first), number), points),
      lambda: chains(pick(x, rows), pick(y, rows), number),
    )
    chain = pick(rows, chain)
  else:
    chain, size = chains(x, y, jnp.full(x.shape[0], points))
  chain = pick(chain, jnp.minimum(jnp.arange(points), size[:, None] - 1))
  return Hull(pick(jnp.broadcast_to(order, x.shape), chain), pick(x, chain), pick(y, chain))


def _padded(chain: jax.Array, size: jax.Array, points: int) -> tuple[jax.Array, jax.Array]:
  return jnp.pad(chain, ((0, 0), (0, points - chain.shape[1]))), size


def _chain(x: jax.Array, y: jax.Array, number: Any) -> tuple[jax.Array, jax.Array]:
  """The corners of the first `number` points, in ascending order of x, int32 [K]; how many."""
  points = x.shape[0]

  def step(_: Any, state: tuple[jax.Array, jax.Array, jax.Array]) -> Any:
    chain, size, next_point = state
    new = jnp.minimum(next_point, points - 1)
    a, b = chain[jnp.maximum(size - 2, 0)], chain[jnp.maximum(size - 1, 0)]
    vertical = (size >= 1) & (x[new] == x[b])
    below = (y[b] - y[a]) * (x[new] - x[a]) <= (y[new] - y[a]) * (x[b] - x[a])
    drop = jnp.where(vertical, y[new] > y[b], (size >= 2) & below) & (next_point < number)
    go_on = ~drop & (next_point < number)
    add = go_on & ~vertical
    at = jnp.minimum(size, points - 1)
    chain = chain.at[at].set(jnp.where(add, new, chain[at]))
    return chain, size + add.astype(size.dtype) - drop, next_point + go_on

  zero = jnp.int32(0)
  start = (jnp.zeros(points, jnp.int32), zero, zero)
  chain, size, _ = jax.lax.fori_loop(0, 2 * points, step, start)
  return chain, size


def _corners_of_chunks(x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
  """The rows that are corners of the hull of their chunk, in order, int32 [K]; how many."""
  points = x.shape[0]
  chunks = -(-points // _CHUNK)
  rows = jnp.minimum(jnp.arange(chunks * _CHUNK, dtype=jnp.int32), points - 1)
  rows = rows.reshape(chunks, _CHUNK)
  chain, size = jax.vmap(lambda rows: _chain(x[rows], y[rows], _CHUNK))(rows)
  slot = jnp.arange(_CHUNK)
  place = (jnp.cumsum(size) - size)[:, None] + slot
  place = jnp.where(slot < size[:, None], place, points)
  corner = jnp.take_along_axis(rows, chain, axis=1)
  found = jnp.zeros(points, jnp.int32).at[place.ravel()].set(corner.ravel(), mode="drop")
  return found, jnp.sum(size)


def at(hull: Hull, x: jax.Array) -> Mixture:
  """The points of a hull above places [...] from its first x to its last."""
  last = hull.x.shape[0] - 2
  left = jnp.clip(jnp.searchsorted(hull.x, x, side="right") - 1, 0, last)
  width = hull.x[left + 1] - hull.x[left]
  share = jnp.where(width > 0, (x - hull.x[left]) / jnp.where(width > 0, width, 1), 0)
  share = jnp.clip(share, 0, 1)
  both = lambda values: jnp.stack([values[left], values[left + 1]], axis=-1)
  weights = jnp.stack([1 - share, share], axis=-1)
  return Mixture(both(hull.corner), weights, jnp.sum(weights * both(hull.y), axis=-1))


def first_largest(values: jax.Array) -> jax.Array:
  """Where values [..., n] are largest, up to rounding: the first such place, whatever compiled."""
  largest = jnp.max(values, axis=-1, keepdims=True)
  slack = 16 * jnp.finfo(values.dtype).eps * (1 + jnp.abs(largest))
  return jnp.argmax(values >= largest - slack, axis=-1)


def best_window(heights: jax.Array, width: Any) -> jax.Array:
  """The places [G], at most `width` steps apart, where heights [G, n] have the largest sum.

  They are concave, so that in a window the highest place is the one nearest to the peak.
  """
  starts = jnp.arange(heights.shape[1])[:, None]
  places = jnp.clip(first_largest(heights), starts, jnp.minimum(starts + width, starts[-1]))
  sums = jnp.sum(jnp.take_along_axis(heights.T, places, axis=0), axis=1)
  return places[first_largest(sums)]
