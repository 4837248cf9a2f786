"""Lagrangian constraints against loops over cells, duals by hand, and SLSQP."""

import jax
import numpy as np
import optax
import pytest
import scipy.optimize
from constraint_oracles import adam, by_hand, favoured, filled, step, train

import rfjax
from rfjax.fairness import inprocessing
from rfjax.fairness.inprocessing._constraints import rate_constraints, within

KEY = jax.random.key(0)


@pytest.mark.filterwarnings("ignore:true_positive_rate")
@pytest.mark.parametrize("method", ["between_groups", "to_overall"])
@pytest.mark.parametrize("statistic", ["selection_rate", "true_positive_rate"])
def test_constraints_are_those_of_a_loop_over_cells(statistic, method):
  with jax.enable_x64(True):
    for flow in (filled(1), filled(2, classes=3), filled(3, missing_cell=True)):
      rates = rate_constraints(0.1, statistic, method, 0.5, "test")
      assert rates.count(flow) == len(by_hand(flow, statistic, method, 0.1))
      both = jax.jit(lambda f, r=rates: (r.values(f, soft=True), r.values(f, soft=False)))(flow)
      for found, temperature in zip(both, (0.5, None), strict=True):
        expected = by_hand(flow, statistic, method, 0.1, temperature)
        np.testing.assert_allclose(found, expected, atol=1e-12)


def test_constraints_of_several_statistics_follow_each_other():
  flow, names = filled(4), ("selection_rate", "false_omission_rate")
  rates = rate_constraints(0.1, names, "between_groups", 1.0, "test")
  both = jax.jit(lambda f: rates.values(f, soft=True))(flow)
  apart = [by_hand(flow, name, "between_groups", 0.1, 1.0) for name in names]
  np.testing.assert_allclose(both, np.concatenate(apart), atol=1e-6)


def test_a_missing_group_moves_no_multiplier_and_no_logit():
  flow = filled(5, groups=2)
  alone = flow.replace(group=np.zeros_like(flow.group))
  made = inprocessing.lagrangian(0.0)
  state = jax.jit(lambda flow: made.init(flow, key=KEY, spec=None))(flow)
  state = state._replace(multipliers=state.multipliers._replace(params=np.float32([0.5, 0.2])))
  act = step(made)
  out, new = act(alone, state)
  assert out.penalty == 0
  np.testing.assert_array_equal(new.multipliers.params, state.multipliers.params)
  slope = jax.jit(jax.grad(lambda z: act(alone.fill(z), state)[0].penalty))(flow.logits)
  np.testing.assert_array_equal(slope, 0)


@pytest.mark.parametrize("hard", [True, False])
def test_multipliers_ascend_by_hand(hard):
  flows = [filled(seed, groups=3) for seed in (6, 7, 8)]
  made = inprocessing.lagrangian(0.02, hard=hard, radius=0.2, temperature=0.5, tx=optax.sgd(0.9))
  state = jax.jit(lambda flow: made.init(flow, key=KEY, spec=None))(flows[0])
  expected, act = np.zeros(6), step(made)
  for flow in flows:
    soft = by_hand(flow, "selection_rate", "between_groups", 0.02, 0.5)
    seen = by_hand(flow, "selection_rate", "between_groups", 0.02) if hard else soft
    penalty = expected @ soft
    expected = nearest(expected + 0.9 * seen, 0.2)
    out, state = act(flow, state)
    np.testing.assert_allclose(out.penalty, penalty, atol=1e-6)
    np.testing.assert_allclose(state.multipliers.params, expected, atol=1e-6)
    np.testing.assert_allclose(state.constraints, seen, atol=1e-6)
  assert expected.sum() > 0.19  # the radius was felt


def nearest(point, radius):
  """The projection, by bisection on what is taken from all entries."""
  if np.maximum(point, 0).sum() <= radius:
    return np.maximum(point, 0)
  low, high = 0.0, point.max()
  for _ in range(100):
    middle = (low + high) / 2
    low, high = (middle, high) if np.maximum(point - middle, 0).sum() > radius else (low, middle)
  return np.maximum(point - low, 0)


def test_the_projection_is_the_nearest_point():
  rng, project = np.random.default_rng(0), jax.jit(within)
  for radius in (0.0, 0.5, 2.0, 50.0):
    for _ in range(10):
      point = rng.normal(size=6) * 2
      found = project(np.float32(point), radius)
      np.testing.assert_allclose(found, nearest(point, radius), atol=2e-6)


def test_a_fixed_point_is_one_of_kkt_and_the_optimum_of_slsqp():
  x, y, group = favoured(rows=200)
  bound, ridge = 0.05, 0.02
  data = rfjax.Batch.from_arrays(x, y, group)

  def scores(theta):
    z = x @ theta[:3] + theta[3]
    return z, 1 / (1 + np.exp(-z))

  def risk(theta):
    z, p = scores(theta)
    slope = np.append(x.T @ (p - y), (p - y).sum()) / len(y) + ridge * theta
    return np.mean(np.logaddexp(0, z) - y * z) + ridge / 2 * theta @ theta, slope

  sides = np.where(group == 1, 1 / (group == 1).sum(), -1 / (group == 0).sum())
  gap = lambda theta: scores(theta)[1] @ sides

  def gap_slope(theta):
    p = scores(theta)[1]
    return np.append(x, np.ones((len(x), 1)), axis=1).T @ (sides * p * (1 - p))

  best = scipy.optimize.minimize(
    risk,
    np.zeros(4),
    jac=True,
    method="SLSQP",
    constraints=[
      {"type": "ineq", "fun": lambda t: bound - gap(t), "jac": lambda t: -gap_slope(t)},
      {"type": "ineq", "fun": lambda t: bound + gap(t), "jac": gap_slope},
    ],
    options={"ftol": 1e-12},
  )
  assert best.success
  method = inprocessing.lagrangian(bound, hard=False, tx=optax.sgd(0.5))
  tx = optax.chain(optax.add_decayed_weights(ridge), optax.sgd(0.5))
  state, *_ = train(method, data, 1500, tx)
  theta = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(state.params)[::-1]])
  multipliers = np.asarray(state.method.multipliers.params, np.float64)
  risk_slope = risk(theta)[1]
  assert multipliers.min() == 0 and multipliers.max() > 0.1
  np.testing.assert_allclose(gap(theta), bound, atol=1e-5)
  signed = multipliers[1] - multipliers[0]  # of r_1 - r_0, and of r_0 - r_1
  np.testing.assert_allclose(risk_slope + signed * gap_slope(theta), 0, atol=1e-5)
  np.testing.assert_allclose(risk(theta)[0], best.fun, atol=1e-6)
  np.testing.assert_allclose(theta, best.x, atol=1e-3)


def test_decisions_meet_the_bound_where_probabilities_leave_a_gap():
  x, y, group = favoured()
  data, bound = rfjax.Batch.from_arrays(x, y, group), 0.05
  one = 1 / min(np.bincount(group))  # what one row more changes
  _, gaps, _ = train(inprocessing.lagrangian(bound, hard=False), data, 600, adam())
  assert gaps.mean() > bound + 3 * one
  state, gaps, accuracies = train(inprocessing.lagrangian(bound), data, 600, adam())
  assert abs(gaps.mean() - bound) < one and gaps.max() < bound + 3 * one
  assert accuracies.mean() > 0.7
  assert np.all(np.asarray(state.method.multipliers.params) >= 0)


def test_it_needs_a_group():
  data = rfjax.Batch.from_arrays([[0.0], [1.0]], [0, 1])
  with pytest.raises(ValueError, match="lagrangian needs group"):
    inprocessing.lagrangian(0.1).init(data, key=KEY, spec=None)


def test_bad_settings_are_refused():
  for settings in ({"method": "nobody"}, {"radius": -1.0}, {"temperature": 0.0}):
    with pytest.raises(ValueError, match=next(iter(settings))):
      inprocessing.lagrangian(0.1, **settings)
