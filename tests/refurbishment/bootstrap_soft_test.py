"""Soft bootstrapping: its target and its gradient in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rfjax
from rfjax import architectures, correction, losses, refurbishment

RNG = np.random.default_rng(0)
ROWS, CLASSES = 9, 4
Y = np.arange(ROWS) % CLASSES
Z = 2 * RNG.normal(size=(ROWS, CLASSES))
DATA = rfjax.Batch.from_arrays(RNG.normal(size=(ROWS, 2)), Y, num_classes=CLASSES)


def softmax(z):
  e = np.exp(z - z.max(-1, keepdims=True))
  return e / e.sum(-1, keepdims=True)


def update(t, flow):
  return t.update(flow, (), None, key=None, step=0, epoch=0, forward=None)[0]


def objective(t, z, data=DATA):
  return update(t, data.fill(z)).objective


@jax.jit
def _slopes(z, beta):
  found = []
  for flows in (True, False):
    t = lambda b, flows=flows: refurbishment.bootstrap_soft(b, differentiable=flows)
    value = jax.value_and_grad(lambda z, b, t=t: objective(t(b), z))
    found.append(jax.vmap(value, (None, 0))(z, beta))
  return found


def test_value_and_gradient_are_those_of_the_paper():
  betas = np.array([0.0, 0.3, 0.95, 1.0])
  with jax.enable_x64(True):
    data = rfjax.Batch.from_arrays(np.zeros((ROWS, 2)), Y, num_classes=CLASSES)
    flow = data.fill(jnp.asarray(Z))
    for beta in betas:
      out = update(refurbishment.bootstrap_soft(beta), flow)
      p = softmax(Z)
      target = beta * np.eye(CLASSES)[Y] + (1 - beta) * p
      np.testing.assert_allclose(out.target, target, rtol=1e-12)
      for name in ("log_probs", "cost", "keep", "weight", "penalty"):
        assert getattr(out, name) is getattr(flow, name)
    (value, through), (same, held) = _slopes(jnp.asarray(Z), jnp.asarray(betas))
  for i, beta in enumerate(betas):
    p, e = softmax(Z), np.eye(CLASSES)[Y]
    log_p = np.log(p)
    entropy = -(p * log_p).sum(1, keepdims=True)
    cross = beta * -(e * log_p).sum(1) + (1 - beta) * entropy[:, 0]
    np.testing.assert_allclose([value[i], same[i]], cross.mean(), rtol=1e-10)
    # With p as a constant the pull is that of a fixed target; through p it is the entropy's.
    fixed = beta * (p - e)
    np.testing.assert_allclose(held[i], fixed / ROWS, atol=1e-12)
    whole = fixed - (1 - beta) * p * (log_p + entropy)
    np.testing.assert_allclose(through[i], whole / ROWS, atol=1e-12)


def test_the_default_is_the_papers():
  p = softmax(Z)
  out = update(refurbishment.bootstrap_soft(), DATA.fill(jnp.asarray(Z, jnp.float32)))
  np.testing.assert_allclose(out.target, 0.95 * np.eye(CLASSES)[Y] + 0.05 * p, rtol=1e-5)
  z = jnp.asarray(Z, jnp.float32)
  default, through = (
    jax.grad(lambda z, t=t: objective(t, z))(z)
    for t in (refurbishment.bootstrap_soft(), refurbishment.bootstrap_soft(differentiable=True))
  )
  np.testing.assert_array_equal(default, through)
  assert refurbishment.bootstrap_soft().writes == ("target",)


def test_it_mixes_what_came_before_with_what_the_loss_reads():
  matrix = 0.7 * np.eye(CLASSES) + 0.1 * (1 - np.eye(CLASSES))
  chained = rfjax.chain(
    correction.forward(matrix), losses.label_smoothing(0.2), refurbishment.bootstrap_soft(0.6)
  )
  flow = DATA.fill(jnp.asarray(Z, jnp.float32))
  state = chained.init(flow, key=jax.random.key(0), spec=None)
  out, _ = chained.update(flow, state, None, key=jax.random.key(0), step=0, epoch=0, forward=None)
  smooth = 0.8 * np.eye(CLASSES)[Y] + 0.2 / CLASSES
  np.testing.assert_allclose(out.target, 0.6 * smooth + 0.4 * softmax(Z) @ matrix, rtol=1e-5)


@pytest.mark.parametrize("flows", [True, False])
def test_far_logits_and_padding_are_harmless(flows):
  far = np.where(np.eye(CLASSES)[RNG.integers(CLASSES, size=ROWS)], 1e4, -1e4)
  far[-1] = 0.0
  rows = jnp.array([3, ROWS, 1, ROWS])
  t = refurbishment.bootstrap_soft(0.5, differentiable=flows)
  padded = DATA.take(rows)
  both = jax.jit(jax.value_and_grad(lambda z: objective(t, z, padded)))
  value, slope = both(jnp.asarray(far[:4], jnp.float32))
  assert np.isfinite(value) and np.isfinite(slope).all()
  value, slope = both(jnp.asarray(Z[:4], jnp.float32))
  plain = DATA.take(jnp.array([3, 1]))
  np.testing.assert_allclose(
    value, objective(t, jnp.asarray(Z[[0, 2]], jnp.float32), plain), rtol=1e-5
  )
  np.testing.assert_array_equal(np.asarray(slope)[[1, 3]], 0)


def test_beta_one_trains_as_cross_entropy():
  run = lambda t: (
    rfjax.fit(
      architectures.logistic(CLASSES), t, optax.sgd(0.5), DATA, key=jax.random.key(0), epochs=4
    )[1].risk
  )
  one, two = run(refurbishment.bootstrap_soft(1.0)), run(rfjax.chain())
  np.testing.assert_allclose(one, two, rtol=1e-6)


@pytest.mark.parametrize("beta", [-0.1, 1.1, float("nan"), "a"])
def test_a_beta_out_of_range_is_refused(beta):
  with pytest.raises(ValueError, match="beta must"):
    refurbishment.bootstrap_soft(beta)
