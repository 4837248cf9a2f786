"""Focal loss: its formula, its hand-derived slope, cross-entropy at gamma = 0."""

import host
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rfjax import losses

LOGITS = 3.0 * np.random.default_rng(1).normal(size=(6, 5)).astype(np.float32)
SETTINGS = [(0.0,), (0.5,), (1.0,), (2.0,), (3.7,)]


def formula(log_probs, k, gamma):
  return -((1 - np.exp(log_probs[k])) ** gamma) * log_probs[k]


def test_costs_and_slopes_are_the_formula(check):
  check.follows(losses.focal, formula, SETTINGS)


def test_stays_right_and_finite_at_the_edges(check):
  check.survives(losses.focal, formula, [*SETTINGS, (0.01,), (20.0,)])


def test_is_a_loss(check):
  check.is_a_loss(losses.focal())


def test_slope_by_hand(check):
  """dL/dz = (gamma (1-p)^(gamma-1) p log p - (1-p)^gamma) (e_y - p)."""
  z = np.asarray(LOGITS, np.float64)
  p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
  y = np.arange(6) % 5
  q = p[np.arange(6), y][:, None]
  gammas = 0.5, 2.0
  loss = lambda z, gamma: check.apply(losses.focal(gamma), check.batch(z)).loss.sum()
  with jax.enable_x64(True):
    slopes = host.run(lambda z: [jax.grad(loss)(z, gamma) for gamma in gammas], z)
  for gamma, slope in zip(gammas, slopes, strict=True):
    wanted = (gamma * (1 - q) ** (gamma - 1) * q * np.log(q) - (1 - q) ** gamma) * (
      np.eye(5)[y] - p
    )
    np.testing.assert_allclose(slope, wanted, rtol=1e-10, atol=1e-14)


def test_without_focus_it_is_cross_entropy(check):
  flow = check.batch(np.float32(np.r_[LOGITS, [[300, 0, 0, 0, 0]]]))
  np.testing.assert_array_equal(check.apply(losses.focal(0.0), flow).cost, flow.cost)


def test_two_classes_are_the_binary_form_of_optax(check):
  margin = np.linspace(-4, 4, 9).astype(np.float32)
  cost = check.cost(losses.focal(), np.stack([0 * margin, margin], 1))
  for k in (0, 1):
    loss = lambda z, y: optax.sigmoid_focal_loss(z, y, gamma=2.0)
    theirs = host.run(loss, margin, np.full(9, k, np.float32))
    np.testing.assert_allclose(cost[:, k], theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("gamma", [-0.1, float("nan"), "a"])
def test_refuses(gamma):
  with pytest.raises(ValueError, match="gamma must"):
    losses.focal(gamma)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_a_probability_above_1_by_rounding_costs_nothing(gamma):
  data, t = host.batch([[0.0]], [0]), losses.focal(gamma)

  def cost(v):
    flow = data.fill(jnp.zeros((1, 2))).replace(log_probs=jnp.array([[v, -1.0]]))
    return t.update(flow, ())[0].cost[0, 0]

  value, slope = host.run(jax.value_and_grad(cost), 2.4e-7)
  assert value == 0 and slope == 0
