"""Relative gaps against loops over groups, and what their options are in the limit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rfjax
from rfjax import metrics
from rfjax.fairness import inprocessing

KEY = jax.random.key(0)


def filled(seed=0, classes=2, rows=60, missing=False):
  rng = np.random.default_rng(seed)
  y, code = rng.integers(classes, size=rows), np.arange(rows) % 3
  if missing:
    y[code == 1] = 0
  data = rfjax.Batch.from_arrays(np.zeros((rows, 1)), y, code, num_classes=classes)
  return data.fill(jnp.asarray(rng.normal(size=(rows, classes)), jnp.float32))


def penalty(method, flow, state=()):
  return method.update(flow, state, None, key=KEY, step=0, epoch=0, forward=None)[0].penalty


def violations(flow, statistic, temperature=1.0):
  """The relative gaps of class 1, group by group, in float64."""
  p = jax.nn.softmax(np.asarray(flow.logits, np.float64) / temperature)[:, 1]
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
  for order in (1, 2, 3.5):
    method = inprocessing.relative_gap(0.7, statistic, order=order, temperature=0.5)
    expected = 0.7 * (v**order).sum() ** (1 / order)
    np.testing.assert_allclose(penalty(method, flow), expected, rtol=2e-5)
  method = inprocessing.relative_gap(0.7, statistic, violation="log_sum_exp", temperature=0.5)
  np.testing.assert_allclose(
    penalty(method, flow), 0.7 * (np.log(np.exp(v).sum()) - np.log(len(v))), rtol=1e-4
  )


def test_a_gap_of_many_times_the_rate_does_not_overflow():
  data = rfjax.Batch.from_arrays(
    np.zeros((402, 1)), np.zeros(402, int), np.arange(402) < 1, num_classes=2
  )
  flow = data.fill(jnp.where(jnp.arange(402)[:, None] < 1, 0, jnp.array([0.0, -50.0])))
  method = inprocessing.relative_gap(1.0, violation="log_sum_exp")
  np.testing.assert_allclose(penalty(method, flow), 401 - np.log(2), rtol=1e-5)


def test_statistics_and_classes_add():
  flow = filled(2, classes=3)
  names = ("selection_rate", "false_positive_rate")
  total = 0.0
  for name in names:
    rate = metrics.group_rates(name, flow, soft=True)
    hits, size = (np.asarray(v, np.float64) for v in rate)
    total += np.abs(hits / size / (hits.sum(0) / size.sum(0)) - 1).sum()
  np.testing.assert_allclose(
    penalty(inprocessing.relative_gap(0.5, names), flow), 0.5 * total, 1e-5
  )


def test_no_rate_at_all_is_fair_and_has_a_finite_slope():
  flow = filled(3)
  steep = flow.fill(jnp.tile(jnp.array([[0.0, -1e4]]), (60, 1)))
  for violation in ("norm", "log_sum_exp"):
    method = inprocessing.relative_gap(1.0, violation=violation)
    sloped = jax.jit(jax.value_and_grad(lambda z, m=method: penalty(m, steep.fill(z))))
    value, slope = sloped(steep.logits)
    assert value == 0 and np.isfinite(slope).all()


def test_averages_are_those_of_gap():
  first, second = filled(4), filled(5)
  made = inprocessing.relative_gap(1.0, "precision", decay=0.75)
  state = made.init(first, key=KEY, spec=None)
  for flow in (first, second):
    out, state = made.update(flow, state, None, key=KEY, step=0, epoch=0, forward=None)
  rates = [metrics.group_rates("precision", flow, soft=True) for flow in (first, second)]
  hits, size = (0.75 * 0.25 * a + 0.25 * b for a, b in zip(*rates, strict=True))
  expected = np.abs(hits / size / (hits.sum() / size.sum()) - 1).sum()
  np.testing.assert_allclose(out.penalty, expected, rtol=1e-4)
