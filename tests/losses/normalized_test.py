"""Normalized losses: shares of a loss among the labels."""

import numpy as np
import pytest

import rfjax
from rfjax import losses

LOGITS = 3.0 * np.random.default_rng(1).normal(size=(6, 5)).astype(np.float32)


def share(formula):
  """The cost of label k among those of all labels."""

  def normalized(log_probs, k, *setting):
    costs = [formula(log_probs, j, *setting) for j in range(len(log_probs))]
    return costs[k] / sum(costs)

  return normalized


def ce(log_probs, k):
  return -log_probs[k]


def gce(log_probs, k, q):
  return (1 - np.exp(log_probs[k]) ** q) / q if q else -log_probs[k]


def focal(log_probs, k, gamma):
  return -((1 - np.exp(log_probs[k])) ** gamma) * log_probs[k]


def nce():
  return losses.normalized(losses.cross_entropy())


def ngce(q):
  return losses.normalized(losses.gce(q))


def nfl(gamma):
  return losses.normalized(losses.focal(gamma))


def test_costs_and_slopes_are_the_formula(check):
  check.follows(nce, share(ce), [()], static=True)
  check.follows(ngce, share(gce), [(0.3,), (0.7,), (1.0,)])
  check.follows(nfl, share(focal), [(0.0,), (0.5,), (2.0,)])


def test_stays_right_and_finite_at_the_edges(check):
  check.survives(nce, share(ce), [()], static=True)
  check.survives(ngce, share(gce), [(0.0,), (0.7,), (1.0,)])
  check.survives(nfl, share(focal), [(0.0,), (0.5,), (2.0,)])


LOSSES = [
  losses.cross_entropy(),
  losses.mae(),
  losses.rce(),
  losses.gce(),
  losses.focal(0.5),
  losses.jensen_shannon(),
  losses.taylor(3),
]


@pytest.mark.parametrize("loss", LOSSES)
def test_the_sum_over_labels_is_one(check, loss):
  method = losses.normalized(loss)
  check.is_a_loss(method)
  cost = check.cost(method, LOGITS)
  np.testing.assert_allclose(cost.sum(1), 1, rtol=1e-6)
  assert (cost >= 0).all() and (cost <= 1).all()
  whole = check.cost(loss, LOGITS)
  np.testing.assert_allclose(cost * whole.sum(1, keepdims=True), whole, rtol=1e-5, atol=1e-7)


def test_of_symmetric_losses_it_is_a_constant_factor(check):
  # N-MAE = MAE / (2 (K - 1)); N-RCE = RCE / (A (K - 1)), not the published code's RCE 4 / (K - 1).
  k, a = 5, -np.log(1e-4)
  for loss, factor in ((losses.mae(), 2 * (k - 1)), (losses.rce(), a * (k - 1))):
    cost = check.cost(losses.normalized(loss), LOGITS)
    np.testing.assert_allclose(cost, check.cost(loss, LOGITS) / factor, rtol=1e-5)


def test_takes_a_loss_with_all_that_comes_before_and_after_it(check):
  double = rfjax.pointwise(lambda b, **_: b.replace(cost=2 * b.cost), writes=("cost",))
  whole = rfjax.chain(losses.normalized(losses.gce(0.5)), double)
  cost = check.cost(whole, LOGITS)
  np.testing.assert_allclose(cost.sum(1), 2, rtol=1e-6)


def test_a_normalized_loss_is_a_loss_of_a_chain():
  with pytest.raises(ValueError, match="second loss"):
    rfjax.chain(losses.normalized(losses.mae()), losses.cross_entropy())


@pytest.mark.parametrize(
  "what",
  [rfjax.core.identity, rfjax.stateless(lambda b, **_: b, writes=("weight",)), losses.peer_loss()],
)
def test_refuses_what_is_no_loss(what):
  with pytest.raises(ValueError, match="must"):
    losses.normalized(what)
