"""Thresholds by group against a loop over all thresholds, and against what they promise."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rfjax
from rfjax import metrics
from rfjax.fairness import postprocessing

KEY = jax.random.key(0)
ROWS, GROUPS = 90, 3
FILL = jax.jit(rfjax.Batch.fill)


def said(seed, ties=False, rows=ROWS):
  """A data set with log-odds that are higher in some groups than in others."""
  rng = np.random.default_rng(seed)
  group = np.append(np.arange(GROUPS), rng.integers(0, GROUPS, rows - GROUPS))
  y = rng.integers(0, 2, rows)
  score = rng.normal(size=rows) + y + group
  score = np.round(2 * score) / 2 if ties else score
  data = rfjax.Batch.from_arrays(np.zeros((rows, 1)), y, group, num_classes=2)
  return fill(data, score)


def fill(data, score):
  return FILL(data, np.float32(np.stack([0 * score, score], 1)))


@functools.partial(jax.jit, static_argnums=1)
def fit(data, statistic, target):
  return postprocessing.group_thresholds(target, statistic).init(data, key=KEY, spec=None)


@functools.partial(jax.jit, static_argnums=2)
def apply(data, fitted_on, statistic, target):
  method = postprocessing.group_thresholds(target, statistic)
  return rfjax.transform(method, data, key=KEY, fitted_on=fitted_on)


# Cells: true negatives, false positives, false negatives, true positives.
FORMULAS = {
  "selection_rate": lambda tn, fp, fn, tp: (tp + fp, tn + fp + fn + tp),
  "true_positive_rate": lambda tn, fp, fn, tp: (tp, tp + fn),
  "false_positive_rate": lambda tn, fp, fn, tp: (fp, fp + tn),
  "precision": lambda tn, fp, fn, tp: (tp, tp + fp),
  "accuracy": lambda tn, fp, fn, tp: (tp + tn, tn + fp + fn + tp),
  "false_omission_rate": lambda tn, fp, fn, tp: (fn, fn + tn),
  "false_negatives_per_false_positive": lambda tn, fp, fn, tp: (fn, fp),
}


def nearest(score, y, weight, formula, target):
  """How near to the target any threshold can bring the rate, by a loop over all of them."""
  best = np.inf
  for threshold in (np.inf, -np.inf, *score):  # "above a score" is every cut but those of all
    above = score > threshold
    cells = [weight[(y == a) & (above == b)].sum() for a in (0, 1) for b in (False, True)]
    hits, size = formula(*cells)
    if size > 0:
      best = min(best, abs(hits / size - target))
  return best


@pytest.mark.parametrize("statistic", FORMULAS)
@pytest.mark.parametrize("ties", [False, True])
def test_no_threshold_comes_nearer(statistic, ties):
  rng = np.random.default_rng(5)
  data = said(1, ties)
  weight = rng.integers(0, 4, ROWS)  # 0 is a row that does not count
  data = data.replace(weight=np.float32(weight))
  score, y, group = (np.asarray(v) for v in (data.logits, data.y, data.group))
  score = score[:, 1]
  for target in (0.15, 0.6):
    state = jax.device_get(fit(data, statistic, target))
    for g in range(GROUPS):
      of = (group == g) & (weight > 0)
      expected = nearest(score[of], y[of], weight[of], FORMULAS[statistic], target)
      above = score[of] > state.threshold[g]
      cells = [weight[of][(y[of] == a) & (above == b)].sum() for a in (0, 1) for b in (False, True)]
      hits, size = FORMULAS[statistic](*cells)
      np.testing.assert_allclose(state.rate[g], hits / size, rtol=1e-6)
      np.testing.assert_allclose(abs(hits / size - target), expected, atol=1e-6)


@pytest.mark.parametrize(
  "statistic", ["selection_rate", "true_positive_rate", "false_positive_rate"]
)
def test_rates_come_within_half_a_row_of_any_target(statistic):
  data = said(2)

  @jax.jit
  def run(data, target):
    fair = apply(data, data, statistic, target)
    return fair.margin[:, 0], metrics.group_rates(statistic, fair)

  for target in (0.0, 0.31, 0.5, 1.0):
    margin, rate = jax.device_get(run(data, target))
    assert np.all(np.abs(rate.value - target) <= 0.5 / rate.size + 1e-6)
    order = np.lexsort((np.asarray(data.logits)[:, 1], data.group))
    moved = np.diff(margin[order]) >= 0
    assert moved[np.diff(np.asarray(data.group)[order]) == 0].all()  # the ranking stays


def test_fewest_are_selected_of_equally_near_and_thresholds_are_in_the_middle():
  data = rfjax.Batch.from_arrays([[0.0]] * 4, [0, 1, 1, 1], [0, 0, 0, 0])
  data = FILL(data, np.array([[1.0, 1.0], [1.0, 2.0], [1.0, 4.0], [1.0, 4.0]]))
  state = fit(data, "selection_rate", 0.625)  # 0.5 and 0.75 are as near
  np.testing.assert_array_equal(state.threshold, [2.0])
  np.testing.assert_array_equal(state.rate, [0.5])
  np.testing.assert_array_equal(fit(data, "selection_rate", 0.0).threshold, [jnp.inf])
  np.testing.assert_array_equal(fit(data, "selection_rate", 1.0).threshold, [-jnp.inf])


@pytest.mark.parametrize("target", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_rounding_does_not_choose_among_equally_near(target):
  data = rfjax.Batch.from_arrays([[0.0]] * 5, [0, 1, 0, 1, 1], [0] * 5)
  data = fill(data, np.arange(5.0))
  state = fit(data, "selection_rate", target)  # 0.1 below and 0.1 above are as near
  np.testing.assert_allclose(state.rate, [target - 0.1], atol=1e-6)


def test_neighbouring_floats_are_parted_and_nobody_is_nobody_on_new_rows():
  up = lambda v: np.nextafter(v, np.float32(1))
  low = np.float32(0.3)
  logits = np.array([[0, low], [0, up(low)], [0, up(up(low))]])  # one middle rounds up
  data = rfjax.Batch.from_arrays([[0.0]] * 3, [0, 1, 1], [0, 0, 0])
  data = FILL(data, logits)
  for selected in (1, 2):
    fair = jax.device_get(apply(data, data, "selection_rate", selected / 3))
    np.testing.assert_array_equal(fair.logits.argmax(1).sum(), selected)
  beyond = fill(data, np.array([1e5, -1e5, 0.0]))
  nobody, everybody = (
    jax.device_get(apply(beyond, data, "selection_rate", target)) for target in (0.0, 1.0)
  )
  np.testing.assert_array_equal(nobody.logits.argmax(1), 0)
  np.testing.assert_array_equal(everybody.logits.argmax(1), 1)
  assert everybody.cost.max() < 100


def test_a_group_without_positives_and_a_row_without_group_keep_their_decisions():
  member = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.25, 0.75], [0.0, 0.0]])
  score = np.array([1.0, 3.0, -1.0, 1.5, 0.5])
  data = rfjax.Batch.from_arrays(np.zeros((5, 1)), [1, 1, 0, 0, 1], member)
  data = fill(data, score)
  state = fit(data, "true_positive_rate", 0.5)
  np.testing.assert_array_equal(state.threshold, [2.25, 0.0])  # of group 1 nothing positive
  np.testing.assert_array_equal(state.rate, [0.5, 0.0])
  fair = np.asarray(apply(data, data, "true_positive_rate", 0.5).logits)
  np.testing.assert_allclose(fair[:, 1] - fair[:, 0], [-1.25, 0.75, -1.0, 0.9375, 0.5])


def test_padding_changes_nothing():
  data = said(3)
  padded = jax.jit(rfjax.Batch.take)(data, np.append(np.arange(ROWS), [ROWS] * 5))
  one, two = fit(data, "true_positive_rate", 0.4), fit(padded, "true_positive_rate", 0.4)
  np.testing.assert_array_equal(one.threshold, two.threshold)


def test_what_is_out_of_range_is_refused():
  with pytest.raises(ValueError, match=r"target must lie in \[0, 1\]"):
    postprocessing.group_thresholds(1.5, "accuracy")
  with pytest.raises(ValueError, match="statistic must be one of"):
    postprocessing.group_thresholds(0.5, "recall")
  postprocessing.group_thresholds(1.5, "false_negatives_per_false_positive")
  data = rfjax.Batch.from_arrays([[0.0]] * 2, [0, 1]).fill(np.zeros((2, 2), np.float32))
  with pytest.raises(ValueError, match="group_thresholds needs group"):
    fit(data, "selection_rate", 0.5)
