"""What a frontier shows: points along a path, and lines to compare them with."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from rfjax.core import _check


def _numbers(name: str, values: Any, count: int | None = None) -> tuple[float, ...]:
  array = np.asarray(values, np.float64)
  if array.ndim != 1 or not array.size or (count is not None and len(array) != count):
    wanted = "one axis of points" if count is None else f"{count} numbers, one a point"
    raise ValueError(f"{name} must have {wanted}, got shape {array.shape}")
  if not np.isfinite(array).all():
    raise ValueError(f"{name} must be finite, got {array.tolist()}: leave out what failed")
  return tuple(array.tolist())


@dataclasses.dataclass(frozen=True)
class Series:
  """Points along the path of a parameter, such as the means over seeds for each strength.

  Attributes:
    label: what the series is called in the figure.
    x: [K], finite.
    y: [K], finite.
    x_interval: half widths [K] of the confidence intervals of x, at least 0; None without.
    y_interval: half widths [K] of those of y.
    names: [K], what to write beside each point; None or "" for nothing.

  Raises:
    ValueError: for numbers that are not finite, negative half widths, and lengths that differ.

  Examples:
    >>> from rfjax.report import Series
    >>> series = Series("FR-Train", x=[0.66, 0.83], y=[0.84, 0.81], names=["λ = 0", "λ = 0.5"])
  """

  label: str
  x: Sequence[float] | np.ndarray
  y: Sequence[float] | np.ndarray
  x_interval: Sequence[float] | np.ndarray | None = None
  y_interval: Sequence[float] | np.ndarray | None = None
  names: Sequence[str | None] | None = None

  def __post_init__(self) -> None:
    object.__setattr__(self, "x", _numbers("x", self.x))
    object.__setattr__(self, "y", _numbers("y", self.y, len(self.x)))
    for name in ("x_interval", "y_interval"):
      if getattr(self, name) is not None:
        half = _numbers(name, getattr(self, name), len(self.x))
        if min(half) < 0:
          raise ValueError(f"{name} must hold half widths of at least 0, got {min(half)}")
        object.__setattr__(self, name, half)
    if self.names is not None:
      object.__setattr__(self, "names", tuple(self.names))
      if len(self.names) != len(self.x):
        raise ValueError(f"names must have {len(self.x)} entries, one a point, got {self.names}")

  @property
  def points(self) -> np.ndarray:
    """The points, [K, 2]."""
    return np.array([self.x, self.y]).T

  @property
  def tips(self) -> np.ndarray:
    """The ends of the error bars of each point: left, right, lower, upper, [K, 4, 2]."""
    half_widths = (self.x_interval, self.y_interval)
    x, y = (np.zeros(len(self.x)) if h is None else np.array(h) for h in half_widths)
    zero = np.zeros_like(x)
    ends = np.array([[-x, zero], [x, zero], [zero, -y], [zero, y]])
    return self.points[:, None] + ends.transpose(2, 0, 1)


@dataclasses.dataclass(frozen=True)
class Reference:
  """A line to compare with, such as the four-fifths rule at a disparate impact of 0.8.

  Attributes:
    value: where it stands.
    label: what it is called in the figure.
    axis: "x" for a vertical line at x = value, "y" for a horizontal one.

  Raises:
    ValueError: for a value that is not finite, and for another axis.
  """

  value: float
  label: str
  axis: Literal["x", "y"] = "x"

  def __post_init__(self) -> None:
    _check.number("value", self.value, open_low=True, open_high=True)
    _check.choice("axis", self.axis, ("x", "y"))
