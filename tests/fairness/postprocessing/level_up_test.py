"""Levelling up against brute force over the thresholds of all groups together."""

import functools
import itertools

import jax
import numpy as np
import pytest

import rfjax
from rfjax import metrics
from rfjax.fairness import postprocessing

KEY = jax.random.key(0)
FILL = jax.jit(rfjax.Batch.fill)
ROWS = 40


@functools.cache
def said():
  """A data set of two groups and weights, with equal scores, worse ones in group 1."""
  rng = np.random.default_rng(3)
  group, y = np.repeat([0, 1], ROWS // 2), rng.integers(0, 2, ROWS)
  score = np.round(rng.normal(size=ROWS) + y * (2 - 1.5 * group), 1)
  data = rfjax.Batch.from_arrays(np.zeros((ROWS, 1)), y, group)
  data = FILL(data, np.stack([np.zeros(ROWS), score], 1))
  return data.replace(weight=rng.integers(0, 3, ROWS).astype(np.float32))


@functools.partial(jax.jit, static_argnums=(1, 2))
def fit(data, statistic, objective, minimum, costs):
  method = postprocessing.level_up(
    minimum, statistic, objective, false_positive_cost=costs[0], false_negative_cost=costs[1]
  )
  return method.init(data, key=KEY, spec=None)


RATES = {
  "true_positive_rate": lambda tn, fp, fn, tp: (tp, tp + fn),
  "true_negative_rate": lambda tn, fp, fn, tp: (tn, tn + fp),
  "selection_rate": lambda tn, fp, fn, tp: (tp + fp, tn + fp + fn + tp),
  "precision": lambda tn, fp, fn, tp: (tp, tp + fp),
  "negative_predictive_value": lambda tn, fp, fn, tp: (tn, tn + fn),
  "accuracy": lambda tn, fp, fn, tp: (tp + tn, tn + fp + fn + tp),
}


def outcome(data, g, threshold, statistic, objective, costs):
  """The rate and the loss, in rows, of a group by a threshold."""
  score, y, group = (np.asarray(v) for v in (data.logits, data.y, data.group))
  score = score[:, 1]
  weight, above = np.asarray(data.weight), score > threshold
  of = lambda a, b: weight[(group == g) & (y == a) & (above == b)].sum()
  tn, fp, fn, tp = cells = [of(a, b) for a in (0, 1) for b in (False, True)]
  hits, size = RATES[statistic](*cells)
  if objective == "balanced":
    fp, fn = sum(cells) * fp / (tn + fp), sum(cells) * fn / (tp + fn)
  return (hits / size if size else np.nan), costs[0] * fp + costs[1] * fn


@pytest.mark.parametrize("statistic", RATES)
def test_no_pair_of_thresholds_above_the_minimum_costs_less(statistic):
  data = said()
  score = np.asarray(data.logits)[:, 1]
  error = ("true_positive_rate", "negative_predictive_value")
  objective = "error" if statistic in error else "balanced"
  lower = 0.3 if statistic == "negative_predictive_value" else 0.0  # few are negative
  for minimum, costs in ((0.0, (1.0, 1.0)), (0.55 - lower, (1.0, 2.0)), (0.64 - lower, (1.0, 1.0))):
    state = jax.device_get(fit(data, statistic, objective, minimum, costs))
    cuts = np.append(np.unique(score), [-np.inf, np.inf])
    found = [{c: outcome(data, g, c, statistic, objective, costs) for c in cuts} for g in range(2)]
    best = min(
      (
        one[1] + two[1]
        for one, two in itertools.product(found[0].values(), found[1].values())
        if one[0] >= minimum and two[0] >= minimum  # not where nothing counts
      ),
      default=None,
    )
    mine = [outcome(data, g, state.threshold[g], statistic, objective, costs) for g in range(2)]
    np.testing.assert_allclose(state.rate, [rate for rate, _ in mine], rtol=1e-6)
    assert best is not None
    np.testing.assert_allclose(sum(loss for _, loss in mine), best, rtol=1e-6)
    assert min(rate for rate, _ in mine) >= minimum


def test_what_no_threshold_reaches_comes_as_near_as_it_can():
  data = said()
  state = jax.device_get(fit(data, "accuracy", "error", 0.99, (1.0, 1.0)))
  cuts = np.append(np.asarray(data.logits)[:, 1], [-np.inf, np.inf])
  for g in range(2):
    rates = [outcome(data, g, c, "accuracy", "error", (1, 1))[0] for c in cuts]
    np.testing.assert_allclose(state.rate[g], max(rates), rtol=1e-6)
    assert state.rate[g] < 0.99


def test_only_who_is_below_the_minimum_moves_and_the_rate_comes_out():
  data = said().replace(weight=np.ones(ROWS, np.float32))
  found = [fit(data, "true_positive_rate", "error", m, (1.0, 1.0)) for m in (0.0, 0.7)]
  free, raised = jax.device_get(found)
  assert free.rate[1] < 0.7 <= free.rate[0]
  assert raised.threshold[0] == free.threshold[0] and raised.threshold[1] < free.threshold[1]

  @jax.jit
  def apply(data):
    fair = rfjax.transform(postprocessing.level_up(0.7), data, key=KEY)
    return metrics.group_rates("true_positive_rate", fair).value[:, 0]

  reached = apply(data)
  np.testing.assert_allclose(reached, raised.rate, rtol=1e-6)


def test_a_group_that_nothing_counts_in_keeps_its_decisions():
  data = said()
  y = np.where(np.asarray(data.group) == 1, 0, data.y).astype(np.int32)
  alone = jax.jit(lambda data, y: data.replace(y=y))(data, y)
  state = jax.device_get(fit(alone, "true_positive_rate", "error", 0.55, (1.0, 2.0)))
  np.testing.assert_array_equal([state.threshold[1], state.rate[1]], [0, 0])
  both = jax.device_get(fit(data, "true_positive_rate", "error", 0.55, (1.0, 2.0)))
  assert state.threshold[0] == both.threshold[0]


def test_a_minimum_of_four_of_five_is_four_of_five():
  """Rates and the minimum are rounded alike, so that no row too many is asked for."""
  for size in (5, 10, 25, 30):
    score = np.arange(ROWS, dtype=np.float32)
    y = np.arange(ROWS) < size
    data = rfjax.Batch.from_arrays(np.zeros((ROWS, 1)), y.astype(int), np.zeros(ROWS, int))
    data = FILL(data, np.stack([0 * score, -score], 1))
    state = fit(data, "true_positive_rate", "error", 0.8, (1000.0, 1.0))
    np.testing.assert_allclose(state.rate, [1.0])  # no negative is above a positive
    state = fit(data, "true_positive_rate", "error", 0.8, (1.0, 0.0))
    np.testing.assert_allclose(state.rate, [0.8], rtol=1e-6)  # the fewest that will do


def test_what_is_out_of_range_is_refused():
  with pytest.raises(ValueError, match=r"minimum must lie in \[0, 1\]"):
    postprocessing.level_up(80)
  with pytest.raises(ValueError, match="statistic must be one of"):
    postprocessing.level_up(0.8, "false_positive_rate")
