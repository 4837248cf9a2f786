"""Convex hulls of points in the plane."""

import numpy as np


def lower_hull(points: np.ndarray) -> np.ndarray:
  """The rows of points [n, 2] that are corners of the lower hull, from left to right.

  It is Andrew's monotone chain: from the lowest point on the left to the highest on the right.
  """
  ordered, rows = np.unique(points, axis=0, return_index=True)
  chain: list[int] = []
  for i, point in enumerate(ordered):
    while len(chain) > 1 and _turn(ordered[chain[-2]], ordered[chain[-1]], point) <= 0:
      chain.pop()
    chain.append(i)
  return rows[chain]


def _turn(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> float:
  """Above 0 where the way from a by b to c turns to the left."""
  return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


def hull(points: np.ndarray) -> np.ndarray:
  """The corners of the convex hull of points [n, 2], anticlockwise."""
  halves = [points[lower_hull(sign * points)[:-1]] for sign in (1, -1)]
  return np.concatenate(halves)
