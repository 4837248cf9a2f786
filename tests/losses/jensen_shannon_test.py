"""Jensen-Shannon loss: both divergences by loops, symmetry, and the limits CE and MAE / 2."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rfjax import losses

LOGITS = np.random.default_rng(1).normal(size=(6, 5)).astype(np.float32)
SETTINGS = [(0.1,), (0.5,), (0.9,), (0.01,), (0.99,)]


def divergence(a, b):
  """KL(a, b), where 0 log 0 is 0."""
  return sum(p * np.log(p / q) for p, q in zip(a, b, strict=True) if p != 0)


def formula(log_probs, k, pi):
  p, label = np.exp(log_probs), np.eye(len(log_probs))[k]
  m = pi * label + (1 - pi) * p
  total = pi * divergence(label, m) + (1 - pi) * divergence(p, m)
  return total / (-(1 - pi) * np.log(1 - pi))


def test_costs_and_slopes_are_the_formula(check):
  check.follows(losses.jensen_shannon, formula, SETTINGS)


def test_stays_right_and_finite_at_the_edges(check):
  check.survives(losses.jensen_shannon, formula, SETTINGS)


def test_is_a_loss(check):
  check.is_a_loss(losses.jensen_shannon())


def test_a_small_pi_is_close_to_cross_entropy(check):
  """JS = CE + pi (CE - (1 - p) / p) / 2 + O(pi^2 / p^2)."""
  with jax.enable_x64(True):
    flow = check.batch(jnp.asarray(LOGITS, float))
    p, ce = np.asarray(flow.probs), np.asarray(flow.cost)
    for pi in (1e-3, 1e-5):
      cost = check.cost(losses.jensen_shannon(pi), flow.logits)
      np.testing.assert_array_less(np.abs(cost - ce - pi * (ce - 1 / p + 1) / 2), (pi / p) ** 2)
      assert np.abs(cost - ce).max() < 60 * pi


def test_a_large_pi_is_close_to_half_of_mae(check):
  """JS = (1 - p) + (1 - p + p log p) / -log(1 - pi) + O(1 - pi)."""
  with jax.enable_x64(True):
    flow = check.batch(jnp.asarray(LOGITS, float))
    p = np.asarray(flow.probs)
    for rest in (1e-3, 1e-6, 1e-9):
      cost = np.asarray(check.apply(losses.jensen_shannon(1 - rest), flow).cost)
      wanted = 1 - p + (1 - p + p * np.log(p)) / -np.log(rest)
      np.testing.assert_allclose(cost, wanted, atol=3 * rest)
      assert np.abs(cost - (1 - p)).max() < 1 / -np.log(rest)


def test_a_half_is_symmetric_and_bounded(check):
  """At pi = 1/2 both arguments may be swapped, and the loss is 2 JS / log 2 <= 2."""
  cost = np.asarray(check.cost(losses.jensen_shannon(), LOGITS))
  p = np.asarray(check.batch(LOGITS).probs, np.float64)
  for i in range(6):
    for k in range(5):
      label = np.eye(5)[k]
      m = (p[i] + label) / 2
      swapped = 0.5 * divergence(p[i], m) + 0.5 * divergence(label, m)
      assert np.isclose(cost[i, k], swapped / (0.5 * np.log(2)), rtol=1e-5)
  hopeless = check.cost(losses.jensen_shannon(), jnp.array([[1e4, -1e4, 0.0]]))
  np.testing.assert_allclose(hopeless, [[0, 2, 2]], atol=1e-5)


@pytest.mark.parametrize("pi", [0.0, 1.0, -0.5, float("nan"), "a"])
def test_refuses(pi):
  with pytest.raises(ValueError, match="pi must"):
    losses.jensen_shannon(pi)
