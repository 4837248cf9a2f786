"""Partially Huberised losses: formulas, the joint of the two pieces, and their limits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rfjax import losses

LOGITS = 3.0 * np.random.default_rng(1).normal(size=(6, 10)).astype(np.float32)


def ce_form(log_probs, k, tau):
  p = np.exp(log_probs[k])
  return -log_probs[k] if p.real > 1 / tau else -tau * p + np.log(tau) + 1


def gce_form(log_probs, k, tau, q):
  p = np.exp(log_probs[k])
  if q == 0:
    return ce_form(log_probs, k, tau)
  if q == 1:
    return 1 - p
  p0 = tau ** (1 / (q - 1))
  if p.real > p0:
    return (1 - p**q) / q
  return -tau * p + tau * p0 + (1 - p0**q) / q


def phuber_gce(tau, q):
  return losses.phuber(tau, q=q)


CE = [(1.5,), (4.0,), (10.0,), (1e3,), (1e30,)]
GCE = [(4.0, 0.0), (3.0, 1.0), (4.0, 0.3), (1.5, 0.7), (10.0, 0.5), (1.2, 0.9), (30.0, 1e-3)]


def test_costs_and_slopes_are_the_formula(check):
  check.follows(losses.phuber, ce_form, CE)
  check.follows(phuber_gce, gce_form, GCE)


def test_both_pieces_are_met(check):
  p = np.asarray(check.batch(LOGITS).probs)
  for threshold in (1 / 4, 1 / 10, 4 ** (1 / (0.3 - 1))):
    assert 5 < (p < threshold).sum() < 60 and (p > threshold).sum() > 3


def test_stays_right_and_finite_at_the_edges(check):
  check.survives(losses.phuber, ce_form, CE)
  check.survives(phuber_gce, gce_form, GCE)


def test_are_losses(check):
  check.is_a_loss(losses.phuber())
  check.is_a_loss(losses.phuber(2.0, q=0.7))


def curve(check, method, p):
  """Cost and its derivative by p of two classes with p for the first."""
  p = jnp.asarray(p, float)
  value = lambda p: check.cost(method, jnp.log(jnp.stack([p, 1 - p], 1)))[:, 0]
  cost, slopes = jax.jit(lambda p: jax.jvp(value, (p,), (jnp.ones_like(p),)))(p)
  return np.asarray(cost), np.asarray(slopes)


@pytest.mark.parametrize("tau, q", [(2.0, None), (10.0, None), (10.0, 0.4), (2.0, 0.7)])
def test_the_pieces_meet_in_value_and_slope(check, tau, q):
  threshold = 1 / tau if q is None else tau ** (1 / (q - 1))
  with jax.enable_x64(True):
    method = losses.phuber(tau) if q is None else losses.phuber(tau, q=q)
    cost, slope = curve(check, method, threshold + 1e-9 * np.array([-1, -0.01, 0.01, 1]))
    np.testing.assert_allclose(np.diff(cost) / tau, [-0.99e-9, -0.02e-9, -0.99e-9], rtol=1e-3)
    np.testing.assert_allclose(slope, -tau, rtol=1e-6)
    p = np.linspace(1e-6, 1 - 1e-6, 999)
    cost, slope = curve(check, method, p)
  assert (slope >= -tau * (1 + 1e-9)).all() and (slope < 0).all()
  np.testing.assert_allclose(slope[p < threshold], -tau, rtol=1e-9)
  assert (slope[p > 1.01 * threshold] > -tau).all()
  assert (np.diff(slope) >= -1e-9 * tau).all(), "convex"
  assert cost[-1] < 1e-5 < cost[0] and np.isfinite(cost).all()


def test_a_large_tau_is_the_plain_loss(check):
  flow = check.batch(LOGITS)
  plain = check.cost(losses.phuber(1e30), flow.logits)
  np.testing.assert_allclose(plain, flow.cost, rtol=1e-6, atol=1e-7)
  gce = check.cost(losses.gce(0.3), flow.logits)
  huge = check.cost(losses.phuber(1e12, q=0.3), flow.logits)
  np.testing.assert_allclose(huge, gce, rtol=1e-5, atol=1e-6)


def test_a_power_of_one_is_unhinged_and_a_small_one_the_ce_form(check):
  flow = check.batch(LOGITS)
  unhinged = check.cost(losses.unhinged(), flow.logits)
  np.testing.assert_allclose(check.cost(losses.phuber(q=1.0), flow.logits), unhinged, rtol=1e-6)
  near, ce = (check.cost(losses.phuber(8.0, q=q), flow.logits) for q in (1e-6, 0.0))
  np.testing.assert_allclose(near, ce, rtol=1e-4, atol=1e-5)


def test_ten_is_the_default(check):
  a, b = (check.cost(method, LOGITS) for method in (losses.phuber(), losses.phuber(10)))
  np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
  "tau, q, name",
  [
    (1.0, None, "tau"), (0.5, None, "tau"), (float("nan"), None, "tau"), ("a", None, "tau"),
    (0.5, 0.7, "tau"), (2.0, 1.1, "q"), (2.0, -1.0, "q"), (2.0, float("nan"), "q"),
  ],
)  # fmt: skip
def test_refuses(tau, q, name):
  with pytest.raises(ValueError, match=f"{name} must"):
    losses.phuber(tau, **({} if q is None else {"q": q}))
