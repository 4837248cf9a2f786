"""Generalized cross-entropy: its formula, and the road from CE at q = 0 to unhinged at q = 1."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rfjax import losses

LOGITS = 3.0 * np.random.default_rng(1).normal(size=(6, 10)).astype(np.float32)
SETTINGS = [(0.0,), (1.0,), (0.7,), (1e-9,), (0.01,), (0.3,)]


def formula(log_probs, k, q):
  return -log_probs[k] if q == 0 else -np.expm1(q * log_probs[k]) / q


def test_costs_and_slopes_are_the_formula(check):
  check.follows(losses.gce, formula, SETTINGS)


def test_the_formula_is_the_power_of_the_paper():
  log_probs = np.log([0.2, 0.5, 0.3])
  for q in (0.1, 0.7, 1.0):
    assert np.isclose(formula(log_probs, 1, q), (1 - 0.5**q) / q, rtol=1e-12)


def test_stays_right_and_finite_at_the_edges(check):
  check.survives(losses.gce, formula, SETTINGS)


def test_is_a_loss(check):
  check.is_a_loss(losses.gce())


def test_ends_are_cross_entropy_and_unhinged(check):
  flow = check.batch(LOGITS)
  np.testing.assert_array_equal(check.apply(losses.gce(0.0), flow).cost, flow.cost)
  unhinged = check.apply(losses.unhinged(), flow).cost
  np.testing.assert_allclose(check.apply(losses.gce(1.0), flow).cost, unhinged, rtol=1e-6)
  seven = (1 - flow.probs**0.7) / 0.7
  np.testing.assert_allclose(check.apply(losses.gce(), flow).cost, seven, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("q", [1e-2, 1e-4, 1e-6, 1e-12, 1e-30])
def test_a_small_q_is_close_to_cross_entropy(check, q):
  # CE - GCE = q CE^2 / 2 - q^2 CE^3 / 6 + ...
  flow = check.batch(LOGITS)
  ce, cost = (np.asarray(c, np.float64) for c in (flow.cost, check.cost(losses.gce(q), LOGITS)))
  gap = ce - cost
  slack = 2e-6 * (1 + ce)
  assert (gap >= -slack).all() and (gap <= q * ce**2 / 2 + slack).all()
  if q == 1e-2:
    assert (gap >= q * ce**2 / 2 - q**2 * ce**3 / 6 - slack).all() and gap.max() > 0.1


def test_the_slope_is_the_weighted_one_of_the_paper(check):
  """d L_q / d theta = p_y^q d CE / d theta."""
  with jax.enable_x64(True):
    z = jnp.asarray(LOGITS, float)
    slope = lambda q: jax.grad(lambda z: check.apply(losses.gce(q), check.batch(z)).loss.sum())(z)
    p_y = np.asarray(jax.nn.softmax(z))[np.arange(6), np.arange(6)]
    np.testing.assert_allclose(slope(0.4), p_y[:, None] ** 0.4 * slope(0.0), rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("q", [-0.1, 1.1, float("nan"), "a"])
def test_refuses(q):
  with pytest.raises(ValueError, match="q must"):
    losses.gce(q)
