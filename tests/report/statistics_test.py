import numpy as np
import pytest
from scipy import stats

from rfjax import report


@pytest.mark.parametrize("count", [2, 5, 50])
@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.999])
def test_interval_is_students(count, confidence):
  values = np.random.default_rng(count).normal(0.8, 0.1, count)
  mean, half = report.mean_interval(values, confidence)
  low, high = stats.t.interval(confidence, count - 1, values.mean(), stats.sem(values))
  np.testing.assert_allclose([mean - half, mean + half], [low, high], rtol=1e-12)


def test_interval_over_the_last_axis():
  values = np.random.default_rng(0).normal(size=(2, 3, 7)).astype(np.float32)
  interval = report.mean_interval(values)
  assert interval.mean.shape == interval.half_width.shape == (2, 3)
  for place in np.ndindex(2, 3):
    expected = report.mean_interval(values[place])
    np.testing.assert_allclose([part[place] for part in interval], expected, rtol=1e-14)


def test_interval_covers_the_mean_as_often_as_it_says():
  values = np.random.default_rng(1).normal(3.0, 2.0, (20_000, 4))
  mean, half = report.mean_interval(values, 0.9)
  assert abs(np.mean(np.abs(mean - 3.0) <= half) - 0.9) < 3 * np.sqrt(0.09 / 20_000)


def test_paired_difference_is_the_paired_t_test():
  rng = np.random.default_rng(2)
  shared = rng.normal(size=12)
  a, b = shared + rng.normal(0, 0.01, 12), shared + rng.normal(0.02, 0.01, 12)
  mean, half = report.paired_difference(a, b)
  expected = stats.ttest_rel(a, b).confidence_interval(0.95)
  np.testing.assert_allclose([mean - half, mean + half], expected, rtol=1e-10)
  assert half < report.mean_interval(a).half_width / 10


@pytest.mark.parametrize(
  ("values", "message"),
  [
    ([0.1, np.nan, 0.3], r"values must be finite, got nan \(1 of 3 values\)"),
    ([0.1, np.inf], "values must be finite, got inf"),
    ([0.1], r"at least two values .* got shape \(1,\)"),
    (0.1, "at least two values"),
  ],
)
def test_bad_values_are_refused(values, message):
  with pytest.raises(ValueError, match=message):
    report.mean_interval(values)


def test_bad_arguments_are_refused():
  with pytest.raises(ValueError, match="confidence must lie in"):
    report.mean_interval([1.0, 2.0], 95)
  with pytest.raises(ValueError, match=r"pair one to one, got shapes \(2,\) and \(3,\)"):
    report.paired_difference([1.0, 2.0], [1.0, 2.0, 3.0])
  with pytest.raises(ValueError, match="b must be finite"):
    report.paired_difference([1.0, 2.0], [1.0, np.nan])
