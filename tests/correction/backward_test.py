"""Backward correction: unbiased for every cost, by enumeration of the noise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rfjax
from rfjax import correction, losses

RNG = np.random.default_rng(0)
ROWS, CLASSES = 8, 4
T = 0.5 * np.eye(CLASSES) + 0.5 * RNG.dirichlet(np.ones(CLASSES), CLASSES)
PAIR = 0.55 * np.eye(CLASSES) + 0.45 * np.roll(np.eye(CLASSES), 1, axis=1)
SYMMETRIC = 0.2 * np.ones((CLASSES, CLASSES)) + 0.2 * np.eye(CLASSES)
COST = RNG.normal(size=(ROWS, CLASSES))  # of any loss


def batch(logits):
  y = np.arange(len(logits)) % CLASSES
  rows = np.zeros((len(logits), 1), np.float32)
  return rfjax.Batch.from_arrays(rows, y, num_classes=CLASSES).fill(logits)


def apply(method, flow, act="update"):
  extra = {"key": jax.random.key(0), "step": 0, "epoch": 0, "forward": None}
  state = method.init(flow, key=extra["key"], spec=None)
  return getattr(method, act)(flow, state, (), **extra)[0]


def corrected(transition, cost, **settings):
  flow = batch(jnp.zeros_like(cost)).replace(cost=cost)
  return apply(correction.backward(transition, **settings), flow).cost


def mean_over_noise(transition, cost):
  """sum over given labels of T[y, given] cost[given], for each y."""
  mean = np.zeros(cost.shape)
  for y in range(CLASSES):
    for given in range(CLASSES):
      mean[:, y] += transition[y, given] * np.asarray(cost, float)[:, given]
  return mean


@pytest.mark.parametrize("transition", [T, PAIR, SYMMETRIC, np.eye(CLASSES)])
def test_is_unbiased(transition):
  with jax.enable_x64(True):
    found = corrected(transition, jnp.asarray(COST))
    traced = jax.jit(corrected)(jnp.asarray(transition), jnp.asarray(COST))
  assert found.dtype == float
  np.testing.assert_allclose(mean_over_noise(transition, found), COST, rtol=1e-12, atol=1e-12)
  np.testing.assert_allclose(traced, found, rtol=1e-12, atol=1e-13)
  single = corrected(transition, jnp.asarray(COST, jnp.float32))
  assert single.dtype == jnp.float32
  np.testing.assert_allclose(mean_over_noise(transition, single), COST, rtol=1e-5, atol=1e-5)


def test_rates_may_be_traced():
  pair = lambda rate: (1 - rate) * jnp.eye(CLASSES) + rate * jnp.roll(jnp.eye(CLASSES), 1, 1)
  rates = [0.0, 0.2, 0.45]
  run = jax.jit(jax.vmap(lambda rate, cost: corrected(pair(rate), cost), (0, None)))
  found = run(jnp.array(rates), jnp.asarray(COST, jnp.float32))
  for rate, lane in zip(rates, found, strict=True):
    np.testing.assert_allclose(mean_over_noise(np.asarray(pair(rate)), lane), COST, atol=2e-5)


def test_the_risk_is_that_of_true_labels_and_so_is_its_gradient():
  # The expected gradient over the noise, of cross-entropy and another loss before it.
  logits = RNG.normal(size=(CLASSES, CLASSES))

  for loss in (rfjax.chain(), losses.gce(0.7)):

    @jax.jit
    def slopes(logits, loss=loss):
      flow = batch(logits)
      clean = jax.grad(lambda z: apply(loss, batch(z)).risk)(logits)
      method = rfjax.chain(loss, correction.backward(T))
      noisy = jnp.asarray(T)[flow.y]
      return clean, jax.grad(lambda z: apply(method, batch(z).replace(target=noisy)).risk)(logits)

    with jax.enable_x64(True):
      clean, mean = slopes(jnp.asarray(logits))
    np.testing.assert_allclose(mean, clean, rtol=1e-11, atol=1e-13)
    assert np.abs(clean).max() > 1e-3


def test_the_identity_leaves_the_cost_and_refresh_is_update():
  with jax.enable_x64(True):
    np.testing.assert_array_equal(corrected(np.eye(CLASSES), jnp.asarray(COST)), COST)
    flow = batch(jnp.asarray(COST))
    method = correction.backward(T)
    np.testing.assert_array_equal(apply(method, flow, "refresh").cost, apply(method, flow).cost)
  assert method.writes == ("cost",)


@pytest.mark.parametrize("ridge", [1e-3, 0.5])
def test_a_ridge_is_added_to_the_diagonal(ridge):
  singular = np.full((CLASSES, CLASSES), 1 / CLASSES)
  with jax.enable_x64(True):
    for transition in (T, singular):
      found = corrected(transition, jnp.asarray(COST), ridge=ridge)
      wanted = np.linalg.solve(transition + ridge * np.eye(CLASSES), COST.T).T
      np.testing.assert_allclose(found, wanted, rtol=1e-10, atol=1e-11)


def test_a_singular_matrix_is_refused():
  twice = np.array([[0.5, 0.5, 0.0], [0.5, 0.5, 0.0], [0.0, 0.0, 1.0]])
  for transition in (twice, jnp.asarray(twice), np.full((4, 4), 0.25)):
    with pytest.raises(ValueError, match=r"transition must be invertible.*pass ridge="):
      correction.backward(transition)
    correction.backward(transition, ridge=0.01)


def test_it_comes_behind_a_loss_only():
  with pytest.raises(ValueError, match="would overwrite the cost"):
    rfjax.chain(correction.backward(T), losses.gce(0.7))


def test_far_logits_give_finite_values_and_gradients():
  far = np.concatenate([np.roll([[1e4, -1e4, 0.0, -1e4]], k, 1) for k in range(CLASSES)])
  each = jax.value_and_grad(lambda z: apply(correction.backward(PAIR), batch(z)).risk)
  value, slope = jax.jit(each)(jnp.asarray(far, jnp.float32))
  assert np.isfinite(value) and np.isfinite(slope).all()


def test_the_product_is_taken_in_full_precision():
  # On a device of short products a cost of 10 would be off by a hundredth.
  method = correction.backward(T)
  text = str(jax.make_jaxpr(lambda z: apply(method, batch(z)).cost)(jnp.asarray(COST, jnp.float32)))
  assert text.count("dot_general") == text.count("precision=(Precision.HIGHEST") == 1


@pytest.mark.parametrize("bad", [[[0.5, 0.6], [0.0, 1.0]], [[1.1, -0.1], [0.0, 1.0]], [[1.0, 0.0]]])
def test_what_is_no_transition_is_refused(bad):
  with pytest.raises(ValueError, match="transition must"):
    correction.backward(bad)


@pytest.mark.parametrize("ridge", [-0.1, float("inf"), float("nan")])
def test_a_ridge_out_of_range_is_refused(ridge):
  with pytest.raises(ValueError, match="ridge must"):
    correction.backward(np.eye(2), ridge=ridge)


def test_a_matrix_of_other_classes_is_refused():
  with pytest.raises(ValueError, match="transition"):
    corrected(np.eye(3), jnp.asarray(COST, jnp.float32))
