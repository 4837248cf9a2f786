"""The gap penalty against a loop over cells, central differences, and the hard measure."""

import itertools

import jax
import numpy as np
import pytest

import oracles
import rfjax
from rfjax import metrics
from rfjax.fairness import inprocessing

KEY = jax.random.key(0)
FILL = jax.jit(rfjax.Batch.fill)


def filled(seed, rows=60, groups=3, missing_cell=False):
  rng = np.random.default_rng(seed)
  y, group = rng.integers(0, 2, rows), rng.integers(0, groups, rows) * rng.integers(0, 2, rows)
  if missing_cell:
    y[group == 1] = 0
  data = rfjax.Batch.from_arrays(np.zeros((rows, 1)), y, group, num_classes=2)
  return FILL(data, rng.normal(size=(rows, 2)))


def penalty(method, flow, state=()):
  return method.update(flow, state, None, key=KEY, step=0, epoch=0, forward=None)[0].penalty


def by_hand(flow, statistic, method, temperature=1.0):
  """The difference of one statistic, cell by cell, in float64."""
  z = np.asarray(flow.logits, np.float64) / temperature
  p = 1 / (1 + np.exp(z[:, 0] - z[:, 1]))
  y, group = np.asarray(flow.y), np.asarray(flow.group)
  parts = {
    "selection_rate": lambda y, p: (p, 1),
    "true_positive_rate": lambda y, p: (y * p, y),
    "false_positive_rate": lambda y, p: ((1 - y) * p, 1 - y),
    "precision": lambda y, p: (y * p, p),
    "false_omission_rate": lambda y, p: (y * (1 - p), 1 - p),
    "false_negative_share": lambda y, p: (y * (1 - p), y * (1 - p) + (1 - y) * p),
    "false_negatives_per_false_positive": lambda y, p: (y * (1 - p), (1 - y) * p),
    "accuracy": lambda y, p: (y * p + (1 - y) * (1 - p), 1),
  }[statistic]
  sums = {}
  for g in set(group):
    rows = [parts(a, b) for a, b, c in zip(y, p, group, strict=True) if c == g]
    sums[g] = [sum(r[0] for r in rows), sum(r[1] for r in rows)]
  rates = [top / bottom for top, bottom in sums.values() if bottom > 0]
  if method == "between_groups":
    return max(abs(a - b) for a, b in itertools.combinations(rates, 2))
  overall = sum(s[0] for s in sums.values()) / sum(s[1] for s in sums.values())
  return max(abs(rate - overall) for rate in rates)


STATISTICS = (
  "selection_rate",
  "true_positive_rate",
  "false_positive_rate",
  "precision",
  "false_omission_rate",
  "false_negative_share",
  "false_negatives_per_false_positive",
  "accuracy",
)


@pytest.mark.parametrize("method", ["between_groups", "to_overall"])
@pytest.mark.parametrize("statistic", STATISTICS)
def test_value_and_slope(statistic, method):
  with jax.enable_x64(True):
    flow = filled(1)
    made = inprocessing.gap(0.7, statistic, method=method, temperature=0.5)
    sloped = jax.jit(jax.value_and_grad(lambda z: penalty(made, flow.fill(z))))
    logits, h = np.asarray(flow.logits), 1e-5
    value, gradient = jax.device_get(sloped(logits))
    np.testing.assert_allclose(value, 0.7 * by_hand(flow, statistic, method, 0.5), rtol=1e-12)
    rng = np.random.default_rng(0)
    for _ in range(3):
      way = rng.normal(size=logits.shape)
      ahead, behind = (float(sloped(logits + step * way)[0]) for step in (h, -h))
      slope = (ahead - behind) / (2 * h)
      np.testing.assert_allclose(np.sum(gradient * way), slope, rtol=1e-5, atol=1e-9)


@pytest.mark.filterwarnings("ignore:true_positive_rate")
def test_an_empty_cell_is_left_out_and_has_no_gradient():
  made = inprocessing.gap(1.0, "true_positive_rate")
  with jax.enable_x64(True):
    flow = filled(2, missing_cell=True)
    value = jax.jit(lambda flow: penalty(made, flow))(flow)
    expected = by_hand(flow, "true_positive_rate", "between_groups")
    np.testing.assert_allclose(value, expected, rtol=1e-5)
  flow = filled(2, missing_cell=True)
  slope = jax.jit(jax.grad(lambda z: penalty(made, flow.fill(z))))
  gradient = np.asarray(slope(flow.logits))
  assert np.isfinite(gradient).all() and (gradient[np.asarray(flow.group) == 1] == 0).all()


def test_two_statistics_add_and_a_low_temperature_is_the_hard_measure():
  flow = filled(3)
  odds = ("true_positive_rate", "false_positive_rate")

  @jax.jit
  def run(flow):
    apart = [penalty(inprocessing.gap(1.0, name), flow) for name in odds]
    sharp = penalty(inprocessing.gap(1.0, temperature=1e-4), flow)
    hard = metrics.demographic_parity_difference(flow)
    return penalty(inprocessing.gap(1.0, odds), flow), apart, sharp, hard

  both, apart, sharp, hard = jax.device_get(run(flow))
  np.testing.assert_allclose(both, sum(apart), rtol=1e-6)
  np.testing.assert_allclose(sharp, hard, atol=1e-5)


def test_averages_are_those_by_hand():
  made = inprocessing.gap(1.0, "precision", decay=0.75)
  found, rates = oracles.precision_after(made, filled(4), filled(5))
  hits, size = (0.75 * 0.25 * a + 0.25 * b for a, b in zip(*rates, strict=True))
  np.testing.assert_allclose(found, np.ptp(hits / size), rtol=1e-5)


def test_saturated_logits_have_finite_slopes():
  flow = filled(6)
  steep = np.where(np.asarray(flow.logits) > 0, np.float32(1e4), np.float32(-1e4))
  methods = [inprocessing.gap(1.0, statistic) for statistic in STATISTICS]

  @jax.jit
  def slopes(steep):
    return [jax.grad(lambda z, m=made: penalty(m, flow.fill(z)))(steep) for made in methods]

  for slope in slopes(steep):
    assert np.isfinite(slope).all()


def test_it_needs_a_group():
  data = rfjax.Batch.from_arrays([[0.0], [1.0]], [0, 1]).fill(np.zeros((2, 2), np.float32))
  with pytest.raises(ValueError, match="gap needs group"):
    penalty(inprocessing.gap(1.0), data)
