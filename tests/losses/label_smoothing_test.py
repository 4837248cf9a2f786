"""Label smoothing against optax and its formula."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rfjax
from rfjax import losses

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(6, 4)).astype(np.float32)
Y = np.array([0, 1, 2, 3, 1, 1])


def filled(logits=LOGITS):
  return rfjax.Batch.from_arrays(np.zeros((6, 1)), Y, num_classes=4).fill(jnp.asarray(logits))


def update(t, flow, epoch=0):
  state = t.init(flow, key=KEY, spec=None)
  return t.update(flow, state, None, key=KEY, step=0, epoch=epoch, forward=None)[0]


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.3, 0.9, 1.0])
def test_is_the_smoothing_of_optax(rate):
  out = update(losses.label_smoothing(rate), filled())
  expected = optax.smooth_labels(jax.nn.one_hot(Y, 4), rate)
  np.testing.assert_allclose(out.target, expected, rtol=1e-6, atol=1e-7)
  np.testing.assert_allclose(out.target[0], [1 - 0.75 * rate] + [rate / 4] * 3, rtol=1e-6)
  np.testing.assert_allclose(out.target.sum(1), 1, rtol=1e-6)
  for name in ("cost", "keep", "weight", "penalty", "y"):
    np.testing.assert_array_equal(getattr(out, name), getattr(filled(), name))


def test_the_default_is_a_tenth():
  one, two = (
    update(t, filled()).target for t in (losses.label_smoothing(), losses.label_smoothing(0.1))
  )
  np.testing.assert_array_equal(one, two)
  np.testing.assert_allclose(one[0, 0], 0.925, rtol=1e-6)


def test_the_loss_is_that_of_optax():
  out = update(losses.label_smoothing(0.3), filled())
  z = LOGITS.astype(np.float64)
  log_probs = z - np.log(np.exp(z).sum(1, keepdims=True))
  expected = -0.7 * log_probs[np.arange(6), Y] - 0.3 * log_probs.mean(1)
  np.testing.assert_allclose(out.loss, expected, rtol=1e-5)
  np.testing.assert_allclose(out.risk, expected.mean(), rtol=1e-5)


def test_smooths_a_soft_target_and_any_loss():
  soft, cost = RNG.dirichlet(np.ones(4), 6), RNG.normal(size=(6, 4))
  flow = filled().replace(
    target=jnp.asarray(soft, jnp.float32), cost=jnp.asarray(cost, jnp.float32)
  )
  out = update(losses.label_smoothing(0.25), flow)
  np.testing.assert_allclose(out.target, 0.75 * soft + 0.0625, rtol=1e-6)
  np.testing.assert_allclose(out.loss, 0.75 * (soft * cost).sum(1) + 0.25 * cost.mean(1), atol=1e-6)


def test_rate_zero_changes_nothing():
  np.testing.assert_array_equal(update(losses.label_smoothing(0.0), filled()).target, np.eye(4)[Y])


def test_two_are_one_of_the_rates_together():
  both = rfjax.chain(losses.label_smoothing(0.2), losses.label_smoothing(0.5))
  expected = update(losses.label_smoothing(1 - 0.8 * 0.5), filled()).target
  np.testing.assert_allclose(update(both, filled()).target, expected, rtol=1e-6)


def test_acts_in_update_only():
  t, flow = losses.label_smoothing(0.5), filled()
  seen, _ = t.refresh(flow, t.init(flow, key=KEY, spec=None), None, key=KEY, step=0, epoch=0)
  np.testing.assert_array_equal(seen.target, flow.target)
  assert t.writes == ("target",)


def test_traced_rates_are_the_loop():
  run = lambda rate: update(losses.label_smoothing(rate), filled()).target
  rates = [0.0, 0.3, 1.0]
  many = jax.jit(jax.vmap(run))(jnp.array(rates))
  np.testing.assert_allclose(many, [run(rate) for rate in rates], rtol=1e-6, atol=1e-8)


def test_the_gradient_is_finite_where_a_class_has_no_probability():
  far = np.where(RNG.random((6, 4)) < 0.5, 1e4, -1e4).astype(np.float32)
  risk = lambda z: update(losses.label_smoothing(0.1), filled(z)).risk
  value, gradient = jax.value_and_grad(risk)(jnp.asarray(far))
  assert np.isfinite(value) and np.isfinite(gradient).all() and (gradient != 0).any()


@pytest.mark.parametrize("rate", [-0.1, 1.1, float("nan"), "a"])
def test_a_rate_out_of_range_is_refused(rate):
  with pytest.raises(ValueError, match="rate must"):
    losses.label_smoothing(rate)
