"""Frontiers: what is won against what it costs, along the path of a parameter."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from rfjax.report._figure import Figure, Theme
from rfjax.report._hull import hull
from rfjax.report._labels import Label, place, place_ends
from rfjax.report._series import Reference, Series
from rfjax.report._text import plain

_MARKERS = ("o", "s", "^", "v", "P", "X")
_SMALL, _NAMED = 9.0, 10.0


def frontier(
  series: Sequence[Series],
  *,
  xlabel: str,
  ylabel: str,
  references: Sequence[Reference] = (),
  marks: Sequence[Series] = (),
  caption: str = "",
  alt: str | None = None,
) -> Figure:
  """Accuracy against a measure of fairness, or any two measures along the path of a parameter.

  Each series is a line through its points with thin error bars in both directions, and a band from
  tip to tip of them. Labels stand beside what they name.

  Args:
    series: at most 6.
    xlabel: the measure along x with its unit, such as "disparate impact (ratio of selection
      rates)".
    ylabel: the measure along y.
    references: lines to compare with.
    marks: points without a line, such as published numbers, drawn as hollow diamonds.
    caption: what stands below the figure.
    alt: what it shows, for readers who cannot see it; made of the labels when None.

  Returns:
    The figure.

  Raises:
    ValueError: without series, or with more than 6.

  References:
    Okabe, Ito, Color universal design, 2008 (colours).

  Examples:
    >>> from rfjax import report
    >>> path = report.Series("FR-Train", x=[0.66, 0.83], y=[0.84, 0.81])
    >>> rule = report.Reference(0.8, "four-fifths rule")
    >>> figure = report.frontier([path], xlabel="disparate impact", ylabel="accuracy",
    ...                          references=[rule])
    >>> figure.alt
    'accuracy against disparate impact: FR-Train'
  """
  series, marks, references = tuple(series), tuple(marks), tuple(references)
  if not 1 <= len(series) <= len(_MARKERS):
    raise ValueError(
      f"series must be 1 to {len(_MARKERS)}, got {len(series)}: more cannot be told apart,"
      " draw several figures"
    )
  if alt is None:
    alt = f"{ylabel} against {xlabel}: {', '.join(s.label for s in (*series, *marks))}"

  def draw(axes: Any, theme: Theme) -> None:
    axes.set_xlabel(plain(xlabel))
    axes.set_ylabel(plain(ylabel))
    axes.margins(0.08, 0.1)
    _draw_references(axes, references, theme)
    for s, colour, marker in zip(series, theme.series, _MARKERS, strict=False):
      _draw_bars(axes, s, colour)
      _draw_band(axes, s, colour)
      axes.plot(s.x, s.y, color=colour, marker=marker, markersize=4.5, linewidth=1.6, zorder=3)
    for s in marks:
      _draw_bars(axes, s, theme.ink)
      axes.plot(s.x, s.y, "D", color=theme.ink, markersize=6.5, markerfacecolor="none", zorder=4)
    axes.autoscale_view()
    axes.autoscale(False)
    lines = [_extent(axes, reference) for reference in references]
    obstacles = [*lines, *_obstacles((*series, *marks), len(series))]
    names = list(_series_labels(series, theme))
    if _end_together(series):
      place_ends(axes, names)
      names = []
    before = [*_reference_labels(references, lines, theme), *_mark_labels(marks, theme)]
    place(axes, before + names + [*_point_labels((*series, *marks), theme)], obstacles)

  return Figure(draw, alt=alt, caption=caption)


def _draw_references(axes: Any, references: Sequence[Reference], theme: Theme) -> None:
  for reference in references:
    line = axes.axvline if reference.axis == "x" else axes.axhline
    line(reference.value, color=theme.faint, linewidth=1.0, linestyle=(0, (5, 3)), zorder=1)


def _draw_bars(axes: Any, s: Series, colour: str) -> None:
  if s.x_interval is not None or s.y_interval is not None:
    bars = {"xerr": s.x_interval, "yerr": s.y_interval}
    axes.errorbar(s.x, s.y, **bars, fmt="none", ecolor=colour, elinewidth=0.8, alpha=0.6, zorder=2)


def _draw_band(axes: Any, s: Series, colour: str) -> None:
  """Fills what lies between neighbouring error bars, as one shape so that shades do not add up."""
  from matplotlib.patches import PathPatch
  from matplotlib.path import Path

  pairs = itertools.pairwise(s.tips)
  hulls = [hull(np.concatenate(pair)) for pair in pairs]
  parts = [Path(np.concatenate([h, h[:1]]), closed=True) for h in hulls if len(h) > 2]
  if parts:
    shape = Path.make_compound_path(*parts)
    axes.add_patch(PathPatch(shape, facecolor=colour, alpha=0.14, linewidth=0, zorder=1.5))


def _extent(axes: Any, reference: Reference) -> np.ndarray:
  """The line of a reference across the axes, [2, 2] in data coordinates."""
  if reference.axis == "x":
    return np.array([[reference.value, y] for y in axes.get_ylim()])
  return np.array([[x, reference.value] for x in axes.get_xlim()])


def _end_together(series: Sequence[Series]) -> bool:
  """Whether several lines all end at one x, where the margin has room for what they are called."""
  return (
    len(series) > 1
    and len({s.x[-1] for s in series}) == 1
    and all(s.x[-1] == max(s.x) for s in series)
  )


def _reference_labels(
  references: Sequence[Reference], lines: Sequence[np.ndarray], theme: Theme
) -> Iterator[Label]:
  along = np.linspace(0.97, 0.03, 15)[:, None]
  for reference, (start, end) in zip(references, lines, strict=True):
    sides = ((-1, 0), (1, 0)) if reference.axis == "x" else ((0, 1), (0, -1))
    style = {"color": theme.muted, "fontsize": _SMALL}
    yield Label(plain(reference.label), start + along * (end - start), style, sides, (4.0,))


def _mark_labels(marks: Sequence[Series], theme: Theme) -> Iterator[Label]:
  for s in marks:
    yield Label(plain(s.label), s.points, {"color": theme.ink, "fontsize": _NAMED})


def _series_labels(series: Sequence[Series], theme: Theme) -> Iterator[Label]:
  for s, colour in zip(series, theme.labels, strict=False):
    style = {"color": colour, "fontsize": _NAMED, "fontweight": "bold"}
    yield Label(plain(s.label), s.points[::-1], style)


def _point_labels(drawn: Sequence[Series], theme: Theme) -> Iterator[Label]:
  for s in drawn:
    for name, point in zip(s.names or (), s.points, strict=False):
      if name:
        yield Label(plain(name), point[None], {"color": theme.muted, "fontsize": _SMALL})


def _obstacles(drawn: Sequence[Series], lines: int) -> Iterator[np.ndarray]:
  """What labels should not hide; the first `lines` of the series have a line."""
  for i, s in enumerate(drawn):
    if i < lines:
      yield s.points
    yield from s.points[:, None]
    for left, right, lower, upper in s.tips:
      yield np.array([left, right])
      yield np.array([lower, upper])
