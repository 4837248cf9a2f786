"""Active-passive losses: sums of their two parts."""

import numpy as np
import pytest

import rfjax
from rfjax import losses

LOGITS = 3.0 * np.random.default_rng(1).normal(size=(6, 5)).astype(np.float32)


def nce_and_rce(log_probs, k, alpha, beta):
  p = np.exp(log_probs)
  reverse = 0
  for j in range(len(p)):
    reverse -= p[j] * np.log(1.0 if j == k else 1e-4)
  return alpha * log_probs[k] / log_probs.sum() + beta * reverse


def make(alpha, beta):
  active = losses.normalized(losses.cross_entropy())
  return losses.active_passive(active, losses.rce(), alpha=alpha, beta=beta)


SETTINGS = [(0.0, 2.0), (3.0, 0.0), (10.0, 0.1), (1.0, 1.0)]


def test_costs_and_slopes_are_the_formula(check):
  check.follows(make, nce_and_rce, SETTINGS)


def test_stays_right_and_finite_at_the_edges(check):
  check.survives(make, nce_and_rce, SETTINGS)


def test_is_a_loss(check):
  check.is_a_loss(make(1.0, 10.0))


@pytest.mark.parametrize("alpha, beta", [(1.0, 1.0), (0.25, 8.0)])
def test_is_the_sum_of_its_parts(check, alpha, beta):
  active, passive = losses.normalized(losses.focal(0.5)), losses.mae()
  both = losses.active_passive(active, passive, alpha=alpha, beta=beta)
  parts = (check.cost(part, LOGITS) for part in (active, passive))
  first, second = parts
  np.testing.assert_allclose(check.cost(both, LOGITS), alpha * first + beta * second, rtol=1e-6)
  default = check.cost(losses.active_passive(active, passive), LOGITS)
  np.testing.assert_allclose(default, first + second, rtol=1e-6)


ACTIVE = {  # the loss of label k, from the probabilities of all labels
  "cross_entropy": (losses.cross_entropy, lambda p, k: -np.log(p[k])),
  "focal": (lambda: losses.focal(0.5), lambda p, k: -np.sqrt(1 - p[k]) * np.log(p[k])),
  "gce": (lambda: losses.gce(0.7), lambda p, k: (1 - p[k] ** 0.7) / 0.7),
}
PASSIVE = {
  "mae": (losses.mae, lambda p, k: np.abs(p - np.eye(len(p))[k]).sum()),
  "rce": (losses.rce, lambda p, k: -(p * np.log(np.where(np.eye(len(p))[k] > 0, 1, 1e-4))).sum()),
}


@pytest.mark.parametrize("normal", [False, True])
@pytest.mark.parametrize("passive", PASSIVE)
@pytest.mark.parametrize("active", ACTIVE)
def test_every_pair_is_the_formula(check, active, passive, normal):
  (one, first), (two, second) = ACTIVE[active], PASSIVE[passive]
  other = losses.normalized(two()) if normal else two()
  pair = losses.active_passive(losses.normalized(one()), other, alpha=2.0, beta=0.5)
  p = np.exp(LOGITS.astype(float))
  p /= p.sum(1, keepdims=True)
  wanted = np.zeros(p.shape)
  for i, k in np.ndindex(*p.shape):
    scale = sum(second(p[i], j) for j in range(p.shape[1])) if normal else 1.0
    wanted[i, k] = 2 * first(p[i], k) / sum(first(p[i], j) for j in range(p.shape[1]))
    wanted[i, k] += 0.5 * second(p[i], k) / scale
  np.testing.assert_allclose(check.cost(pair, LOGITS), wanted, rtol=1e-5)


def test_sce_is_cross_entropy_with_its_reverse(check):
  both = losses.active_passive(losses.cross_entropy(), losses.rce(1e-3), alpha=0.2, beta=0.7)
  sce = check.cost(losses.sce(0.2, 0.7, clip=1e-3), LOGITS)
  np.testing.assert_allclose(check.cost(both, LOGITS), sce, rtol=1e-6)


def test_both_parts_see_the_same_predictions(check):
  """A loss that overwrites must not be what the second part reads."""
  swapped = [
    losses.active_passive(one, two)
    for one, two in [(losses.mae(), losses.gce()), (losses.gce(), losses.mae())]
  ]
  a, b = (check.cost(method, LOGITS) for method in swapped)
  np.testing.assert_allclose(a, b, rtol=1e-6)


@pytest.mark.parametrize(
  "refused",
  [
    lambda: losses.active_passive(losses.mae(), losses.mae(), alpha=-1.0),
    lambda: losses.active_passive(losses.mae(), losses.mae(), beta=float("nan")),
    lambda: losses.active_passive(rfjax.core.identity, losses.mae()),
    lambda: losses.active_passive(losses.mae(), losses.peer_loss()),
  ],
)
def test_refuses(refused):
  with pytest.raises(ValueError, match="must"):
    refused()
