"""Taylor cross-entropy: its formula, its bounds, and the road from MAE / 2 to CE."""

import numpy as np
import pytest

from rfjax import losses

LOGITS = 3.0 * np.random.default_rng(1).normal(size=(6, 10)).astype(np.float32)
ORDERS = (1, 2, 6)


def formula(log_probs, k, order):
  total = 0
  for i in range(1, order + 1):
    total += (1 - np.exp(log_probs[k])) ** i / i
  return total


def test_costs_and_slopes_are_the_formula(check):
  check.follows(losses.taylor, formula, [(order,) for order in ORDERS], static=True)


def test_stays_right_and_finite_at_the_edges(check):
  check.survives(losses.taylor, formula, [(order,) for order in ORDERS], static=True)


def test_is_a_loss(check):
  check.is_a_loss(losses.taylor())


@pytest.mark.parametrize("order", [1, 2, 4, 6])
def test_the_sum_over_labels_is_bounded(check, order):
  total = np.asarray(check.cost(losses.taylor(order), LOGITS).sum(1))
  assert (total >= 9 - 1e-5).all()
  assert (total <= 9 * sum(1 / i for i in range(1, order + 1)) + 1e-5).all()


def test_one_term_is_half_of_mae_and_many_are_cross_entropy(check):
  flow = check.batch(LOGITS)
  half = check.cost(losses.mae(), flow.logits) / 2
  np.testing.assert_allclose(check.cost(losses.taylor(1), flow.logits), half, rtol=1e-6)
  likely = np.asarray(flow.probs) > 0.1
  assert likely.sum() > 5
  many = check.cost(losses.taylor(150), flow.logits)
  np.testing.assert_allclose(many[likely], flow.cost[likely], rtol=1e-5, atol=1e-6)


def test_two_terms_are_the_default(check):
  p = check.batch(LOGITS).probs
  wanted = (1 - p) + (1 - p) ** 2 / 2
  np.testing.assert_allclose(check.cost(losses.taylor(), LOGITS), wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("order", [0, -1, 1.5, "a"])
def test_refuses(order):
  with pytest.raises(ValueError, match="order must"):
    losses.taylor(order)
