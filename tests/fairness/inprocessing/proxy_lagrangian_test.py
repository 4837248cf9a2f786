"""Proxy-Lagrangian constraints against loops, eigenvectors of NumPy, and the hard measure."""

import jax
import numpy as np
import optax
import pytest
from constraint_oracles import adam, by_hand, favoured, filled, step, train

import rfjax
from rfjax.fairness import inprocessing
from rfjax.fairness.inprocessing._constraints import at_least, stationary

KEY = jax.random.key(0)


def floored(column, floor):
  """The projection by relative entropy: a scale by bisection."""
  low, high = 0.0, 2 / column.max()
  for _ in range(200):
    middle = (low + high) / 2
    over = np.maximum(middle * column, floor).sum() > 1
    low, high = (low, middle) if over else (middle, high)
  return np.maximum(low * column, floor)


def eigenvector(matrix):
  values, vectors = np.linalg.eig(matrix)
  vector = np.real(vectors[:, np.argmax(np.real(values))])
  return vector / vector.sum()


def test_columns_get_their_floor():
  rng, project = np.random.default_rng(0), jax.jit(at_least)
  for floor in (0.0, 0.01, 0.15):
    columns = rng.dirichlet(np.full(5, 0.3), size=20).T
    found = np.asarray(project(np.float32(columns), floor))
    expected = np.stack([floored(c, floor) for c in columns.T], axis=1)
    np.testing.assert_allclose(found, expected, atol=2e-6)
    np.testing.assert_allclose(found.sum(0), 1, atol=1e-6)
    assert found.min() >= np.float32(floor)


def test_the_stationary_distribution_is_the_eigenvector():
  rng, solve = np.random.default_rng(1), jax.jit(stationary)
  for n in (2, 5, 13):
    matrix = rng.dirichlet(np.full(n, 0.2), size=n).T
    sticky = 0.999 * np.eye(n) + 0.001 * matrix  # forgets in a thousand steps only
    for m in (matrix, 0.999 * sticky + 0.001 / n):
      found = np.asarray(solve(np.float32(m)), np.float64)
      np.testing.assert_allclose(m @ found, found, atol=1e-6)
      np.testing.assert_allclose(found.sum(), 1, atol=1e-6)
    np.testing.assert_allclose(solve(matrix), eigenvector(matrix), atol=1e-5)


@pytest.mark.parametrize("regret", ["swap", "external"])
def test_weights_move_by_hand(regret):
  flows = [filled(seed, groups=2) for seed in (1, 2, 3, 4)]
  made = inprocessing.proxy_lagrangian(
    0.01, method="to_overall", regret=regret, floor=0.2, temperature=0.5, tx=optax.sgd(30.0)
  )
  state = jax.jit(lambda flow: made.init(flow, key=KEY, spec=None))(flows[0])
  floor, act = 0.2 / 5, step(made)
  first = np.full(5, floor)
  first[0] = 1 - 4 * floor
  matrix = np.tile(first[:, None], (1, 5)) if regret == "swap" else first[:, None]
  for flow in flows:
    alpha = eigenvector(matrix) if regret == "swap" else matrix[:, 0]
    soft = by_hand(flow, "selection_rate", "to_overall", 0.01, 0.5)
    gain = np.append(0, by_hand(flow, "selection_rate", "to_overall", 0.01))[:, None]
    matrix = matrix * np.exp(30 * (gain * alpha if regret == "swap" else gain))
    matrix = np.stack([floored(c, floor) for c in (matrix / matrix.sum(0)).T], axis=1)
    out, state = act(flow, state)
    np.testing.assert_allclose(out.weight, alpha[0], rtol=1e-5)
    np.testing.assert_allclose(out.penalty, alpha[1:] @ soft, atol=1e-6)
    found = np.exp(state.log_weights.params).reshape(matrix.shape)
    np.testing.assert_allclose(found, matrix, rtol=2e-5)
    np.testing.assert_allclose(state.constraints, gain[1:, 0], atol=1e-6)
  assert matrix[0].min() < 0.95 * first[0]  # the weights have moved


@pytest.mark.parametrize("regret", ["swap", "external"])
def test_decisions_meet_the_bound_and_the_matrix_stays_stochastic(regret):
  x, y, group = favoured()
  data, bound = rfjax.Batch.from_arrays(x, y, group), 0.05
  one = 1 / min(np.bincount(group))
  made = inprocessing.proxy_lagrangian(bound, regret=regret)
  state, gaps, accuracies = train(made, data, 600, adam())
  assert abs(gaps.mean() - bound) < one and gaps.max() < bound + 3 * one
  assert accuracies.mean() > 0.7
  matrix = np.exp(state.method.log_weights.params)
  np.testing.assert_allclose(matrix.sum(0), 1, atol=1e-5)
  assert matrix.min() >= 0.999 * 1e-3 / 3
  weights = np.asarray(state.method.weights)
  np.testing.assert_allclose(weights.sum(), 1, atol=1e-5)
  if regret == "swap":
    np.testing.assert_allclose(matrix @ weights, weights, atol=1e-6)


def test_it_needs_a_group():
  data = rfjax.Batch.from_arrays([[0.0], [1.0]], [0, 1])
  with pytest.raises(ValueError, match="proxy_lagrangian needs group"):
    inprocessing.proxy_lagrangian(0.1).init(data, key=KEY, spec=None)
