"""Relative gaps against loops over groups, and what their options are in the limit."""

import jax
import numpy as np
import pytest
from scipy.special import softmax

import oracles
import rfjax
from rfjax import metrics
from rfjax.fairness import inprocessing

KEY = jax.random.key(0)
FILL = jax.jit(rfjax.Batch.fill)


def filled(seed=0, classes=2, rows=60, missing=False):
  rng = np.random.default_rng(seed)
  y, code = rng.integers(classes, size=rows), np.arange(rows) % 3
  if missing:
    y[code == 1] = 0
  data = rfjax.Batch.from_arrays(np.zeros((rows, 1)), y, code, num_classes=classes)
  return FILL(data, rng.normal(size=(rows, classes)))


def penalty(method, flow, state=()):
  return method.update(flow, state, None, key=KEY, step=0, epoch=0, forward=None)[0].penalty


def violations(flow, statistic, temperature=1.0):
  """The relative gaps of class 1, group by group, in float64."""
  p = softmax(np.asarray(flow.logits, np.float64) / temperature, axis=1)[:, 1]
  y, code, p = np.asarray(flow.y), np.asarray(flow.group), np.asarray(p, np.float64)
  top, bottom = {
    "selection_rate": (p, np.ones(len(p))),
    "true_positive_rate": (y * p, y),
    "precision": (y * p, p),
    "false_negatives_per_false_positive": (y * (1 - p), (1 - y) * p),
  }[statistic]
  overall = top.sum() / bottom.sum()
  sums = [(top[code == g].sum(), bottom[code == g].sum()) for g in range(3)]
  return np.array([abs(a / b / overall - 1) for a, b in sums if b > 0])


@pytest.mark.filterwarnings("ignore:true_positive_rate")
@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("statistic", ["selection_rate", "true_positive_rate", "precision"])
def test_norms_and_the_smooth_maximum(statistic, missing):
  flow = filled(1, missing=missing)
  v = violations(flow, statistic, 0.5)
  assert v.max() > 0.005
  orders = (1, 2, 3.5)
  settings = [*({"order": order} for order in orders), {"violation": "log_sum_exp"}]
  made = lambda **of: inprocessing.relative_gap(0.7, statistic, temperature=0.5, **of)
  *norms, smooth = jax.jit(lambda flow: [penalty(made(**of), flow) for of in settings])(flow)
  for order, found in zip(orders, norms, strict=True):
    expected = 0.7 * (v**order).sum() ** (1 / order)
    np.testing.assert_allclose(found, expected, rtol=2e-5)
  expected = 0.7 * (np.log(np.exp(v).sum()) - np.log(len(v)))
  np.testing.assert_allclose(smooth, expected, rtol=1e-4)


def test_a_gap_of_many_times_the_rate_does_not_overflow():
  data = rfjax.Batch.from_arrays(
    np.zeros((402, 1)), np.zeros(402, int), np.arange(402) < 1, num_classes=2
  )
  flow = FILL(data, np.where(np.arange(402)[:, None] < 1, 0, np.array([0.0, -50.0])))
  method = inprocessing.relative_gap(1.0, violation="log_sum_exp")
  found = jax.jit(lambda flow: penalty(method, flow))(flow)
  np.testing.assert_allclose(found, 401 - np.log(2), rtol=1e-5)


def test_statistics_and_classes_add():
  flow = filled(2, classes=3)
  names = ("selection_rate", "false_positive_rate")
  total = 0.0

  @jax.jit
  def run(flow):
    found = penalty(inprocessing.relative_gap(0.5, names), flow)
    return found, [metrics.group_rates(name, flow, soft=True) for name in names]

  found, rates = run(flow)
  for rate in rates:
    hits, size = (np.asarray(v, np.float64) for v in rate)
    total += np.abs(hits / size / (hits.sum(0) / size.sum(0)) - 1).sum()
  np.testing.assert_allclose(found, 0.5 * total, 1e-5)


def test_no_rate_at_all_is_fair_and_has_a_finite_slope():
  flow = filled(3)
  steep = FILL(flow, np.tile([0.0, -1e4], (60, 1)))
  for violation in ("norm", "log_sum_exp"):
    method = inprocessing.relative_gap(1.0, violation=violation)
    sloped = jax.jit(jax.value_and_grad(lambda z, m=method: penalty(m, steep.fill(z))))
    value, slope = sloped(steep.logits)
    assert value == 0 and np.isfinite(slope).all()


def test_averages_are_those_of_gap():
  made = inprocessing.relative_gap(1.0, "precision", decay=0.75)
  found, rates = oracles.precision_after(made, filled(4), filled(5))
  hits, size = (0.75 * 0.25 * a + 0.25 * b for a, b in zip(*rates, strict=True))
  expected = np.abs(hits / size / (hits.sum() / size.sum()) - 1).sum()
  np.testing.assert_allclose(found, expected, rtol=1e-4)
