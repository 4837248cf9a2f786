"""Optimized pre-processing against HiGHS on the same program, and against drawn rows."""

import functools
import itertools

import jax
import numpy as np
import pytest
from scipy.optimize import linprog

import rfjax
from rfjax.fairness import preprocessing

KEY, DOMAIN = jax.random.key(0), np.array([[0.0, 0.0], [0.0, 1.0]])
THRESHOLDS = (1.0, 2.0)


def make(epsilon, limits, **settings):
  return preprocessing.optimized_preprocessing(
    DOMAIN, thresholds=THRESHOLDS, limits=limits, epsilon=epsilon, **settings
  )


def solve(data, epsilon, limits):
  return jax.device_get(solved(data, epsilon, np.float32(limits)))


@jax.jit
def solved(data, epsilon, limits):
  return make(epsilon, limits, steps=5000).init(data)


@functools.partial(jax.jit, static_argnames="labels")
def apply(data, state, key, labels=True):
  new, _ = make(0.0, [0.0, 0.0], labels=labels).update(data, state, key=key)
  return new.x, new.y


def table(seed, groups=2, classes=2):
  """A row of each group, cell and label, whose weight is its probability."""
  rng = np.random.default_rng(seed)
  joint = rng.dirichlet(np.full(groups * 2 * classes, 0.7)).reshape(groups, 2, classes)
  g, a, y = (v.ravel() for v in np.meshgrid(*map(np.arange, joint.shape), indexing="ij"))
  data = rfjax.Batch.from_arrays(DOMAIN[a].astype(np.float32), y, g, num_classes=classes)
  return joint, data.replace(weight=np.float32(joint.ravel()))


def distortions(classes):
  pairs = [(*DOMAIN[a], y) for a in range(2) for y in range(classes)]
  return np.array([[sum(u != v for u, v in zip(p, q, strict=True)) for q in pairs] for p in pairs])


def program(joint, epsilon, limits):
  """The program with a variable for each change and each absolute difference, by HiGHS."""
  groups, cells, classes = joint.shape
  k = cells * classes
  q, far = joint.reshape(groups, k), distortions(classes)
  change = lambda: np.zeros((groups, k, k))
  rows, bounds = [], []

  def at_most(part, bound, slack=None):
    extra = np.zeros(k)
    if slack is not None:
      extra[slack] = -1
    rows.append(np.append(part.ravel(), extra))
    bounds.append(bound)

  for j in range(k):
    part = change()
    part[:, :, j] = q
    at_most(part, q[:, j].sum(), j)
    at_most(-part, -q[:, j].sum(), j)
  for g in range(groups):
    for h in range(groups):
      for y in range(classes):
        part = change()
        part[g, :, y::classes] += (q[g] / q[g].sum())[:, None]
        part[h, :, y::classes] -= (q[h] / q[h].sum())[:, None]
        at_most(part, epsilon)
  for c, d in zip(THRESHOLDS, limits, strict=True):
    for i in range(k):
      part = change()
      part[:, i, far[i] >= c] = (q[:, i] / q[:, i].sum())[:, None]
      at_most(part, d)
  whole = [np.append(np.eye(groups * k)[r].repeat(k), np.zeros(k)) for r in range(groups * k)]
  cost = np.append(np.zeros(groups * k * k), np.full(k, 0.5))
  return linprog(cost, np.array(rows), bounds, np.array(whole), np.ones(groups * k), (0, None))


SETTINGS = [(0.05, (0.6, 0.2)), (0.02, (0.3, 0.05)), (0.0, (0.2, 0.1)), (0.1, (0.1, 0.0))]


@pytest.mark.parametrize(("groups", "classes", "seeds"), [(2, 2, 4), (3, 3, 2)])
def test_the_distance_is_that_of_the_linear_program(groups, classes, seeds):
  far, impossible = 0, 0
  for seed in range(seeds):
    joint, data = table(seed, groups, classes)
    for epsilon, limits in SETTINGS:
      state = solve(data, epsilon, limits)
      found = program(joint, epsilon, limits)
      if found.status == 2:  # nothing meets the constraints, and the state says so
        impossible += 1
        assert state.excess > 1e-3
        continue
      np.testing.assert_allclose(state.distance, found.fun, atol=1e-5)
      assert state.excess < 1e-5
      np.testing.assert_allclose(state.change.sum(2), 1, rtol=1e-5)
      assert state.change.min() >= 0
      far += found.fun > 0.01
  assert far and impossible


def test_where_nothing_has_to_change_nothing_does():
  _, data = table(0)
  state = solve(data, 1.0, [1.0, 1.0])
  np.testing.assert_array_equal(state.change, np.broadcast_to(np.eye(4), (2, 4, 4)))
  assert state.distance == 0 and state.excess == 0


def rows_of(joint, number, seed=0):
  rng = np.random.default_rng(seed)
  flat = rng.choice(joint.size, number, p=joint.ravel())
  g, a, y = np.unravel_index(flat, joint.shape)
  return rfjax.Batch.from_arrays(DOMAIN[a].astype(np.float32), y, g, num_classes=2), g, a, y


def test_rows_are_drawn_by_the_solution_and_so_base_rates_are_alike():
  joint, data = table(3)
  state = solve(data, 0.02, [0.3, 0.05])
  rows, g, a, y = rows_of(joint, 20_000)
  x, new = map(np.asarray, apply(rows, state, KEY))
  after = np.abs(x[:, None] - DOMAIN).sum(2).argmin(1)
  drawn = np.zeros((2, 4, 4))
  np.add.at(drawn, (g, 2 * a + y, 2 * after + new), 1)
  size = drawn.sum(2, keepdims=True)
  wrong = np.abs(drawn / np.maximum(size, 1) - state.change)
  assert np.all(wrong <= 4 * 0.5 / np.sqrt(np.maximum(size, 1)))
  assert 0 < np.mean((after != a) | (new != y)) < 0.3
  rate = lambda labels: [labels[g == i].mean() for i in range(2)]
  assert np.ptp(rate(new)) < 0.02 + 0.03 < np.ptp(rate(y))


def test_without_labels_features_are_drawn_by_their_shares():
  joint, data = table(3)
  state = solve(data, 0.02, [0.3, 0.05])
  rows, g, a, y = rows_of(joint, 20_000)
  x, same = jax.device_get(apply(rows, state, KEY, labels=False))
  np.testing.assert_array_equal(same, y)
  after = np.abs(np.asarray(x)[:, None] - DOMAIN).sum(2).argmin(1)
  share = joint / joint.sum(2, keepdims=True)
  for group in range(2):
    for cell in range(2):
      chance = sum(
        share[group, cell, label] * np.asarray(state.change)[group, 2 * cell + label, 2:].sum()
        for label in range(2)
      )
      inside = (g == group) & (a == cell)
      assert abs(after[inside].mean() - chance) <= 4 * 0.5 / np.sqrt(inside.sum())


def test_no_step_is_dropped_that_does_not_fill_a_round():
  _, data = table(3)
  away = lambda data, steps: make(0.02, [0.3, 0.05], steps=steps).init(data).change
  every = jax.jit(lambda data: [away(data, steps) for steps in (500, 501, 750, 999)])
  changes = jax.device_get(every(data))
  for few, many in itertools.pairwise(changes):
    assert np.abs(few - many).max() > 0


def test_rows_without_a_group_stay_and_padding_counts_for_nothing():
  joint, data = table(3)
  state = solve(data, 0.02, [0.3, 0.05])
  weight, y, x = (np.array(v) for v in (data.weight, data.y, data.x))
  weight[3], y[3], x[3] = 0, 0, 7
  without = data.replace(weight=weight)
  other = without.replace(y=y, x=x)
  one, two = (solve(d, 0.02, [0.3, 0.05]) for d in (without, other))
  np.testing.assert_array_equal(one.change, two.change)
  assert not np.array_equal(one.change, state.change)
  rows, _, _, y = rows_of(joint, 20_000)
  near = np.asarray(rows.x) + np.float32(0.1)
  apart = rows.replace(group=np.zeros((20_000, 2), np.float32), x=near)
  x, new = apply(apart, state, KEY)
  np.testing.assert_array_equal(x, apart.x)
  np.testing.assert_array_equal(new, y)


def test_features_between_cells_stay_where_the_cell_stays_and_soft_groups_mix():
  joint, data = table(3)
  state = solve(data, 0.02, [0.3, 0.05])
  rows, _, a, y = rows_of(joint, 20_000)
  near = np.asarray(rows.x) + np.float32(0.1)
  x, new = (np.asarray(v) for v in apply(rows.replace(x=near), state, KEY))
  on_domain, labels = (np.asarray(v) for v in apply(rows, state, KEY))
  stays = (on_domain == rows.x).all(1)
  assert 0 < stays.mean() < 1
  np.testing.assert_array_equal(x, np.where(stays[:, None], near, on_domain))
  np.testing.assert_array_equal(new, labels)
  soft = rows.replace(group=np.tile(np.float32([0.1, 0.3]), (20_000, 1)))
  x, new = map(np.asarray, apply(soft, state, KEY))
  pair = 2 * a + y
  after = 2 * (x == DOMAIN[1]).all(1) + new
  for i in range(4):
    wanted = (0.25 * state.change[0] + 0.75 * state.change[1])[i]
    found = np.bincount(after[pair == i], minlength=4) / (pair == i).sum()
    np.testing.assert_allclose(found, wanted, atol=2 / np.sqrt((pair == i).sum()))


def test_what_does_not_fit_is_refused():
  data = rfjax.Batch.from_arrays([[0.0]], [0], [0])
  with pytest.raises(ValueError, match="domain has 2 columns, but x has 1"):
    make(0.1, [0.5, 0.5]).init(data)
  with pytest.raises(ValueError, match="optimized_preprocessing needs group"):
    make(0.1, [0.5, 0.5]).init(rfjax.Batch.from_arrays([[0.0, 0.0]], [0]))
