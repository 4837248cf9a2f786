"""MAE and unhinged: their formulas, the symmetric condition, the half of each other."""

import jax.numpy as jnp
import numpy as np
import pytest

from rfjax import losses

LOGITS = 3.0 * np.random.default_rng(1).normal(size=(6, 10)).astype(np.float32)


def mae(log_probs, k):
  distance = 0
  for j, p in enumerate(np.exp(log_probs)):
    distance += 1 - p if j == k else p
  return distance


def unhinged(log_probs, k):
  return 1 - np.exp(log_probs[k])


@pytest.mark.parametrize("make, formula", [(losses.mae, mae), (losses.unhinged, unhinged)])
def test_costs_and_slopes_are_the_formula(check, make, formula):
  check.follows(make, formula, [()], static=True)


@pytest.mark.parametrize("make, formula", [(losses.mae, mae), (losses.unhinged, unhinged)])
def test_stays_right_and_finite_at_the_edges(check, make, formula):
  check.survives(make, formula, [()], static=True)


@pytest.mark.parametrize("make", [losses.mae, losses.unhinged])
def test_is_a_loss(check, make):
  check.is_a_loss(make())


def test_the_sum_over_labels_is_a_constant(check):
  cost = check.cost(losses.mae(), LOGITS)
  np.testing.assert_allclose(cost.sum(1), 18, rtol=1e-6)
  np.testing.assert_allclose(cost / 2, check.cost(losses.unhinged(), LOGITS), rtol=1e-6)


def test_noise_free_and_hopeless_rows(check):
  certain = jnp.array([[200.0, 0.0, 0.0]])
  np.testing.assert_array_equal(check.cost(losses.mae(), certain), [[0, 2, 2]])
  np.testing.assert_array_equal(check.cost(losses.unhinged(), certain), [[0, 1, 1]])
