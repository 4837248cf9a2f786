"""Labels on a drawing, each beside what it names and out of the way of everything else."""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

_CORNERS = ((1, 1), (-1, -1), (1, -1), (-1, 1))
_SIDES = ((1, 0), (-1, 0), (0, 1), (0, -1))
_SHIFTED = tuple((share * x, y) for share in (0.25, 0.5) for x, y in _CORNERS)
AROUND = (*_CORNERS, *_SIDES, *_SHIFTED)
_DISTANCES = (8.0, 11.0, 16.0, 22.0, 30.0)
_LEADER = 11.0  # from this distance on a thin line leads to the label
_STEP = 3.0
_OVERLAP = 1e4
_HORIZONTAL = {-1.0: "right", 1.0: "left"}
_VERTICAL = {-1.0: "top", 1.0: "bottom"}


class Label(NamedTuple):
  """A label and the places that it may have.

  Attributes:
    text: what it says.
    anchors: points [A, 2] in data coordinates, the best first.
    style: keywords of matplotlib's Text.
    directions: sides of the anchor, as signs of x and y; a fraction of a sign is a shift by that
      fraction of half the label.
    distances: from the anchor, in points.
  """

  text: str
  anchors: np.ndarray
  style: dict[str, Any]
  directions: Sequence[tuple[float, float]] = AROUND
  distances: Sequence[float] = _DISTANCES


class _Place(NamedTuple):
  price: float
  anchor: np.ndarray
  direction: tuple[float, float]
  distance: float
  middle: np.ndarray  # of the box, from the anchor
  box: np.ndarray  # x0, y0, x1, y1 in points

  @property
  def led(self) -> bool:
    """Whether a line leads to the label; a level or upright one would look like an error bar."""
    return self.direction in _CORNERS and self.distance >= _LEADER

  @property
  def corner(self) -> np.ndarray:
    """Where the label is written from, from the anchor: the side that faces it, else the middle.

    A browser's letters may be narrower, so that side is the one that is fixed.
    """
    faces = np.abs(self.direction) == 1
    return np.where(faces, np.array(self.direction) * self.distance, self.middle)

  @property
  def leader(self) -> np.ndarray:
    """Points along the line that leads to the label: towards its middle, up to its box."""
    points = _sampled(np.array([self.anchor, self.anchor + self.middle]))
    return points[~np.all((points > self.box[:2]) & (points < self.box[2:]), axis=1)]


def place(axes: Any, labels: Sequence[Label], obstacles: Sequence[np.ndarray]) -> None:
  """Writes labels one after another, each at the place that hides least and is nearest.

  Args:
    axes: a matplotlib `Axes` with final limits, in a figure of 72 dots an inch.
    labels: the most important first.
    obstacles: lines [n, 2] in data coordinates, a marker being a line of one point.
  """
  axes.figure.draw_without_rendering()
  axes.figure.set_layout_engine("none")
  to_points = axes.transData.transform
  points = np.concatenate([_sampled(to_points(line)) for line in obstacles])
  frame, taken = np.array(axes.get_window_extent().extents), []
  for label in labels:
    text = axes.annotate(label.text, (0, 0), annotation_clip=False, **label.style)
    size = np.array(text.get_window_extent().size)
    text.remove()
    places = _places(to_points(label.anchors), size, label)
    costs = _costs(np.array([p.box for p in places]), points, frame, taken)
    costs = costs + [p.price + _OVERLAP * _crosses(p, taken) for p in places]
    best = places[int(np.argmin(costs))]
    taken.append(best.box)
    if best.led:  # a leader is thin, but no later label may lie on it
      points = np.concatenate([points, *[best.leader] * 10])
    _write(axes, label, best)


def place_ends(axes: Any, labels: Sequence[Label]) -> None:
  """Writes labels in the margin at the right of their first anchors, pushed apart where needed.

  Args:
    axes: a matplotlib `Axes` with final limits, in a figure of 72 dots an inch.
    labels: those of lines that all end at one x.
  """
  style = {"textcoords": "offset points", "verticalalignment": "center", "annotation_clip": False}
  texts = [axes.annotate(t.text, t.anchors[0], (8, 0), **style, **t.style) for t in labels]
  axes.figure.draw_without_rendering()
  ends = np.array([axes.transData.transform(label.anchors[0])[1] for label in labels])
  order = np.argsort(ends, kind="stable")
  heights = np.array([texts[i].get_window_extent().height for i in order])
  spread = _apart(ends[order], (heights[1:] + heights[:-1]) / 2 + 2.0)
  for i, target in zip(order, spread, strict=True):
    texts[i].set_position((8, target - ends[i]))


def _apart(places: np.ndarray, gaps: np.ndarray) -> np.ndarray:
  """Moves sorted places as little as needed to keep the gaps: means of pools of neighbours."""
  shifts = np.concatenate([[0.0], np.cumsum(gaps)])
  pools: list[list[float]] = []
  for value in places - shifts:
    pools.append([value])
    while len(pools) > 1 and np.mean(pools[-2]) > np.mean(pools[-1]):
      pools[-2:] = [pools[-2] + pools[-1]]
  return np.concatenate([np.full(len(pool), np.mean(pool)) for pool in pools]) + shifts


def _sampled(line: np.ndarray) -> np.ndarray:
  """Points along a line every few points; a ring around a single one."""
  if len(line) == 1:
    angles = np.linspace(0, 2 * np.pi, 9)[:, None]
    return np.concatenate([line, line + 4.0 * np.hstack([np.cos(angles), np.sin(angles)])])
  parts = []
  for start, end in itertools.pairwise(line):
    count = max(2, int(np.hypot(*(end - start)) / _STEP))
    parts.append(start + np.linspace(0, 1, count)[:, None] * (end - start))
  return np.concatenate(parts)


def _places(anchors: np.ndarray, size: np.ndarray, label: Label) -> list[_Place]:
  """All places of a label, each with a price for being far away or not the first choice."""
  places = []
  options = itertools.product(enumerate(anchors), label.distances, enumerate(label.directions))
  for (rank, anchor), distance, (turn, direction) in options:
    reach = distance * (0.7 if direction in _CORNERS else 1.0)
    faces = np.abs(direction) == 1
    middle = np.array(direction) * np.where(faces, reach + size / 2, size / 2)
    box = np.concatenate([anchor + middle - size / 2, anchor + middle + size / 2])
    price = 0.25 * distance + 1.0 * rank + 0.05 * turn
    places.append(_Place(price, anchor, direction, reach, middle, box))
  return places


def _costs(
  boxes: np.ndarray, points: np.ndarray, frame: np.ndarray, taken: list[np.ndarray]
) -> np.ndarray:
  """What boxes [P, 4] hide, and above all whether they leave the frame or meet other labels."""
  low, high = boxes[:, None, :2] - 2.0, boxes[:, None, 2:] + 2.0
  hidden = np.all((points > low) & (points < high), axis=2).sum(1)
  outside = ((low < frame[:2]) | (high > frame[2:])).any((1, 2))
  other = np.array(taken).reshape(-1, 4)
  overlaps = np.all((low < other[:, 2:]) & (high > other[:, :2]), axis=2).sum(1)
  return 2.0 * hidden + _OVERLAP * (outside + overlaps)


def _crosses(place: _Place, taken: list[np.ndarray]) -> bool:
  """Whether the line to a label runs through another label."""
  if not place.led:
    return False
  points = place.leader
  return any(np.all((points > b[:2]) & (points < b[2:]), axis=1).any() for b in taken)


def _write(axes: Any, label: Label, place: _Place) -> None:
  line = {"arrowstyle": "-", "color": label.style.get("color"), "linewidth": 0.5, "shrinkA": 0}
  axes.annotate(
    label.text,
    axes.transData.inverted().transform(place.anchor),
    place.corner,
    textcoords="offset points",
    horizontalalignment=_HORIZONTAL.get(place.direction[0], "center"),
    verticalalignment=_VERTICAL.get(place.direction[1], "center"),
    arrowprops=line | {"shrinkB": 5} if place.led else None,
    annotation_clip=False,
    **label.style,
  )
