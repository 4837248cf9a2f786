"""The upper hull of points in a fixed number of steps, and the best places on such curves."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


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


def upper_hull(x: jax.Array, y: jax.Array) -> Hull:
  """The upper hull of points [K], by Andrew's monotone chain.

  Each of 2 K steps takes the last corner away, if the next point shows that it lies on or below
  the hull, or adds the next point. Of whole numbers whose products a float can hold no rounding
  enters; otherwise corners within rounding of the hull may be there or not.

  Args:
    x: [K], in any order, finite.
    y: [K], finite.

  Returns:
    The hull; corners on a straight line between others are left out.
  """
  points = x.shape[0]
  order = jnp.lexsort((y, x)).astype(jnp.int32)
  x, y = x[order], y[order]

  def step(_: Any, state: tuple[jax.Array, jax.Array, jax.Array]) -> Any:
    chain, size, next_point = state
    done = next_point >= points
    new = jnp.minimum(next_point, points - 1)
    a, b = chain[jnp.maximum(size - 2, 0)], chain[jnp.maximum(size - 1, 0)]
    below = (y[b] - y[a]) * (x[new] - x[a]) <= (y[new] - y[a]) * (x[b] - x[a])
    drop = ~done & (size >= 2) & below
    add = ~done & ~drop
    at = jnp.minimum(size, points - 1)
    chain = chain.at[at].set(jnp.where(add, new, chain[at]))
    size = size + jnp.where(add, 1, 0) - jnp.where(drop, 1, 0)
    return chain, size, next_point + jnp.where(add, 1, 0)

  zero = jnp.int32(0)
  start = (jnp.zeros(points, jnp.int32), zero, zero)
  chain, size, _ = jax.lax.fori_loop(0, 2 * points, step, start)
  chain = chain[jnp.minimum(jnp.arange(points), size - 1)]
  return Hull(order[chain], x[chain], y[chain])


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
