"""What a number is worth: means with Student's t-intervals, and paired differences."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from rfjax.core import _check


class Interval(NamedTuple):
  """A mean and its uncertainty, shown as mean ± half_width.

  Attributes:
    mean: the mean, [] or [...].
    half_width: half the width of its confidence interval, of the same shape, at least 0.
  """

  mean: float | np.ndarray
  half_width: float | np.ndarray


def _finite(name: str, values: ArrayLike) -> np.ndarray:
  array = np.asarray(values, np.float64)
  if array.ndim == 0 or array.shape[-1] < 2:
    raise ValueError(
      f"{name} must hold at least two values along its last axis, got shape {array.shape}:"
      " one value has no interval, run more seeds"
    )
  bad = ~np.isfinite(array)
  if bad.any():
    raise ValueError(
      f"{name} must be finite, got {array[bad][0]} ({int(bad.sum())} of {bad.size} values):"
      " a run that failed is a finding, report it instead of averaging"
    )
  return array


def mean_interval(values: ArrayLike, confidence: float = 0.95) -> Interval:
  r"""The mean over the last axis, and its t-interval.

  $$\bar v \pm t_{n-1,\,(1+c)/2}\, \frac{s}{\sqrt n}, \qquad
  s^2 = \frac{1}{n-1} \sum_i (v_i - \bar v)^2$$

  Args:
    values: [..., n] with n at least 2, finite, such as one number for each seed.
    confidence: c in (0, 1).

  Returns:
    The interval; mean and half width are floats for values [n], else arrays [...].

  Raises:
    ValueError: for fewer than two values, NaN or infinity, and c out of range.

  References:
    Student, The probable error of a mean, Biometrika 1908.

  Examples:
    >>> from rfjax import report
    >>> interval = report.mean_interval([0.83, 0.84, 0.85])
    >>> f"{interval.mean:.3f} ± {interval.half_width:.3f}"
    '0.840 ± 0.025'
  """
  from scipy import special

  _check.number("confidence", confidence, 0.0, 1.0, open_low=True, open_high=True)
  array = _finite("values", values)
  count = array.shape[-1]
  quantile = special.stdtrit(count - 1, 0.5 + confidence / 2)
  mean, half = array.mean(-1), quantile * array.std(-1, ddof=1) / np.sqrt(count)
  return Interval(mean, half) if array.ndim > 1 else Interval(float(mean), float(half))


def paired_difference(a: ArrayLike, b: ArrayLike, confidence: float = 0.95) -> Interval:
  r"""The mean of a - b by pairs, and its t-interval; what two methods share by seed cancels.

  $$\mathrm{mean\_interval}(a - b)$$

  Args:
    a: [..., n], finite.
    b: [..., n], where b[..., i] belongs to a[..., i], such as the same seed.
    confidence: in (0, 1).

  Returns:
    The interval of the difference.

  Raises:
    ValueError: for different shapes, and as `mean_interval` does.

  Examples:
    >>> from rfjax import report
    >>> interval = report.paired_difference([0.83, 0.91, 0.72], [0.81, 0.89, 0.70])
    >>> f"{interval.mean:.3f} ± {interval.half_width:.3f}"
    '0.020 ± 0.000'
  """
  first, second = _finite("a", a), _finite("b", b)
  if first.shape != second.shape:
    raise ValueError(
      f"a and b must pair one to one, got shapes {first.shape} and {second.shape}:"
      " keep the seeds that both have, in one order"
    )
  return mean_interval(first - second, confidence)
