"""Reverse and symmetric cross-entropy: formulas, and RCE as a multiple of MAE."""

import numpy as np
import pytest

from rfjax import losses

LOGITS = 3.0 * np.random.default_rng(1).normal(size=(6, 10)).astype(np.float32)


def rce(log_probs, k, clip):
  total = 0
  for j, p in enumerate(np.exp(log_probs)):
    total -= p * np.log(max(float(j == k), clip))
  return total


def sce(log_probs, k, alpha, beta, clip):
  return -alpha * log_probs[k] + beta * rce(log_probs, k, clip)


def symmetric(alpha, beta, clip):
  return losses.sce(alpha, beta, clip=clip)


RCE = [(1e-4,), (1e-7,), (0.5,)]
SCE = [(0.1, 1.0, 1e-4), (0.0, 2.0, 0.3), (1.5, 0.0, 1e-4), (6.0, 0.1, 1e-7)]


def test_costs_and_slopes_are_the_formula(check):
  check.follows(losses.rce, rce, RCE)
  check.follows(symmetric, sce, SCE)


def test_stays_right_and_finite_at_the_edges(check):
  check.survives(losses.rce, rce, RCE)
  check.survives(symmetric, sce, SCE)


def test_are_losses(check):
  check.is_a_loss(losses.rce())
  check.is_a_loss(losses.sce())


def test_defaults_are_the_published_ones(check):
  a = -np.log(1e-4)
  mae = check.cost(losses.mae(), LOGITS)
  np.testing.assert_allclose(check.cost(losses.rce(), LOGITS), a / 2 * mae, rtol=1e-5)
  both = 0.1 * check.batch(LOGITS).cost + a / 2 * mae
  np.testing.assert_allclose(check.cost(losses.sce(), LOGITS), both, rtol=1e-5)


@pytest.mark.parametrize("clip", [1e-7, 1e-4, 0.2])
def test_reverse_is_a_multiple_of_mae_and_symmetric(check, clip):
  a, cost = -np.log(clip), check.cost(losses.rce(clip), LOGITS)
  np.testing.assert_allclose(cost, a / 2 * check.cost(losses.mae(), LOGITS), rtol=1e-5)
  np.testing.assert_allclose(cost.sum(1), 9 * a, rtol=1e-5)


def test_without_the_reverse_it_is_cross_entropy(check):
  flow = check.batch(LOGITS)
  np.testing.assert_array_equal(check.apply(losses.sce(1.0, 0.0), flow).cost, flow.cost)


@pytest.mark.parametrize(
  "make, name",
  [
    (lambda: losses.rce(0.0), "clip"),
    (lambda: losses.rce(1.0), "clip"),
    (lambda: losses.rce(float("nan")), "clip"),
    (lambda: losses.sce(-0.1), "alpha"),
    (lambda: losses.sce(float("nan")), "alpha"),
    (lambda: losses.sce(0.1, -1.0), "beta"),
    (lambda: losses.sce(0.1, "b"), "beta"),
    (lambda: losses.sce(clip=2.0), "clip"),
  ],
)
def test_refuses(make, name):
  with pytest.raises(ValueError, match=f"{name} must"):
    make()
