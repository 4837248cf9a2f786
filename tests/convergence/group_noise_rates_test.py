"""Rates by nearest neighbours: exact where neighbours are pairs, the authors' loop, and samples."""

import jax
import numpy as np
import pytest

import rfjax
from rfjax import convergence, noise

KEY = jax.random.key(0)
RATES = {0: (0.8, 0.1), 1: (0.9, 0.4)}  # P(given 1 | true 1), P(given 1 | true 0)


def pairs(p, tenths):
  """Labels of pairs of rows of one class, in the exact shares of independent draws."""
  both, one = round(p * p * 100), round(p * (1 - p) * 100)
  return tenths * ([(1, 1)] * both + [(1, 0), (0, 1)] * one + [(0, 0)] * (100 - both - 2 * one))


def of_pairs(positives, negatives):
  """Two groups of so many hundreds of pairs, each alone at its place; the other group sits there
  as well."""
  y, x, group = [], [], []
  for a, (p, q) in RATES.items():
    given = pairs(p, positives) + pairs(q, negatives)
    y += [label for pair in given for label in pair]
    x += [10.0 * place + member for place in range(len(given)) for member in (0, 1)]
    group += [a] * (2 * len(given))
  return np.array(x)[:, None], np.array(y), np.array(group)


take = jax.jit(lambda data, rows: data.take(rows))


def transition(p, q):
  return [[1 - q, q], [1 - p, p]]


def test_rates_are_exact_where_each_row_has_a_twin():
  """Also by a prior that is not 1/2, in any order, with padding and rows without a group."""
  x, y, group = of_pairs(1, 3)
  member = np.concatenate([np.eye(2)[group], np.zeros((3, 2))])
  more = (np.concatenate([x, x[:3] + 0.1]), np.concatenate([y, [0, 0, 0]]), member)
  order = np.random.default_rng(0).permutation(len(y) + 5)
  run = jax.jit(lambda d, p: convergence.group_noise_rates(d, prior=p, block=7))
  with jax.enable_x64(True):
    data = take(rfjax.Batch.from_arrays(*more), np.minimum(order, len(y) + 3))
    found = run(data, np.array([0.25, 0.25]))
    wanted = np.array([transition(*RATES[a]) for a in (0, 1)])
    np.testing.assert_allclose(found.transition, wanted, atol=1e-12)
    np.testing.assert_allclose(found.delta, [0.7, 0.5], atol=1e-12)


def authors_delta(x, y, group, a):
  """The formula of the authors' loop: 2 c2 - c1 ** 2 under the root; of ties the first."""
  rows = np.flatnonzero(group == a)
  agree = 0
  for i in rows[y[rows] == 1]:
    others = rows[rows != i]
    agree += y[others[np.argmin(np.sum((x[others] - x[i]) ** 2, axis=1))]] == 1
  c1, c2 = 2 * np.mean(y[rows]), 2 * agree / len(rows)
  return np.sqrt(max(2 * c2 - c1 * c1, 0)), c1


def test_delta_is_that_of_the_authors_loop_with_ties():
  rng = np.random.default_rng(1)
  x, group = rng.integers(0, 3, (60, 3)).astype(float), rng.integers(0, 3, 60)
  y = (rng.uniform(size=60) < 0.2 + 0.3 * (x[:, 0] > 0)).astype(int)
  data = rfjax.Batch.from_arrays(x, y, group)
  run = jax.jit(convergence.group_noise_rates)
  found, deltas = jax.tree.map(np.asarray, run(data)), []
  moved = run(take(data, rng.permutation(60)))
  np.testing.assert_allclose(moved.delta, found.delta, atol=1e-6)
  for a in range(3):
    delta, c1 = authors_delta(x, y, group, a)
    deltas.append(delta)
    np.testing.assert_allclose(found.delta[a], delta, atol=1e-6)
    p, q = np.clip([(c1 + delta) / 2, (c1 - delta) / 2], 0, 1)
    np.testing.assert_allclose(found.transition[a], transition(p, q), atol=1e-6)
  assert max(deltas) > 0.1


def test_balanced_samples_in_bounded_memory():
  rng = np.random.default_rng(2)
  y, group = rng.permutation(np.arange(4000) % 2), rng.integers(0, 2, 4000)
  x = (
    rng.normal(size=(4000, 10))
    + 4.0 * y[:, None] * np.eye(10)[0]
    + 3.0 * y[:, None] * np.eye(10)[1]
  )
  clean = rfjax.Batch.from_arrays(x, y, group)
  matrices = np.array([transition(*RATES[a]) for a in (0, 1)])
  corrupt = jax.jit(lambda d: rfjax.transform(noise.group_dependent(matrices), d, key=KEY))
  noisy = corrupt(clean)
  run = jax.jit(lambda d, p: convergence.group_noise_rates(d, prior=p)).lower(noisy, 0.5).compile()
  assert run.memory_analysis().temp_size_in_bytes < 4000 * 4000
  found = run(noisy, 0.5)
  np.testing.assert_allclose(found.delta, [0.7, 0.5], atol=0.05)  # some 2.5 standard errors
  np.testing.assert_allclose(found.transition, matrices, atol=0.05)
  wrong_prior = run(noisy, 0.2).delta
  np.testing.assert_allclose(wrong_prior, np.minimum(np.asarray(found.delta) / 0.8, 1), rtol=1e-5)


def test_groups_without_neighbours_have_no_noise_and_noise_of_more_than_all_is_cut():
  y = np.array([0, 1, 0, 1, 1])
  data = rfjax.Batch.from_arrays(np.arange(5.0)[:, None], y, [0, 0, 0, 0, 1], num_groups=2)
  found = jax.tree.map(np.asarray, jax.jit(convergence.group_noise_rates)(data))
  assert found.delta.tolist() == [0.0, 1.0]  # no neighbours of group 0 agree
  np.testing.assert_array_equal(found.transition[0], 0.5)
  np.testing.assert_array_equal(found.transition[1], np.eye(2))


def test_refusals_name_the_remedy():
  data = rfjax.Batch.from_arrays([[0.0], [1.0], [2.0]], [0, 1, 2], [0, 1, 0])
  with pytest.raises(ValueError, match="num_classes must be 2"):
    convergence.group_noise_rates(data)
  two = rfjax.Batch.from_arrays([[0.0], [1.0], [2.0]], [0, 1, 1], [0, 1, 0])
  with pytest.raises(ValueError, match=r"prior must lie in \(0, 1\)"):
    convergence.group_noise_rates(two, prior=1.0)
  with pytest.raises(ValueError, match="prior must be one number, or one for each of the 2 groups"):
    convergence.group_noise_rates(two, prior=[0.5, 0.5, 0.5])
  with pytest.raises(ValueError, match="block must be an integer"):
    convergence.group_noise_rates(two, block=0)
