"""Forward correction against products in float64, and what it makes a network fit."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rfjax
from rfjax import correction, losses

RNG = np.random.default_rng(0)
ROWS, CLASSES = 8, 4
LOGITS = 2.0 * RNG.normal(size=(ROWS, CLASSES))
Y = np.arange(ROWS) % CLASSES
T = RNG.dirichlet(np.ones(CLASSES), CLASSES)
PAIR = 0.7 * np.eye(CLASSES) + 0.3 * np.roll(np.eye(CLASSES), 1, axis=1)  # with zeros


def batch(logits):
  rows = np.zeros((len(logits), 1), np.float32)
  data = rfjax.Batch.from_arrays(rows, np.arange(len(logits)) % CLASSES, num_classes=CLASSES)
  return data.fill(logits)


def apply(method, flow, act="update"):
  extra = {"key": jax.random.key(0), "step": 0, "epoch": 0, "forward": None}
  state = method.init(flow, key=extra["key"], spec=None)
  return getattr(method, act)(flow, state, (), **extra)[0]


def softmax(z):
  e = np.exp(z - z.max(-1, keepdims=True))
  return e / e.sum(-1, keepdims=True)


@pytest.mark.parametrize("dtype", [float, jnp.float32])
def test_is_the_product_and_so_is_its_gradient(dtype):
  many = np.stack([T, PAIR, np.eye(CLASSES), np.full((CLASSES, CLASSES), 1 / CLASSES)])

  def one(transition, logits):
    out = apply(correction.forward(transition), batch(logits))
    return out.risk, (out.log_probs, out.cost)

  with jax.enable_x64(dtype is float):
    run = jax.jit(jax.vmap(jax.value_and_grad(one, argnums=1, has_aux=True), (0, None)))
    (_, (log_probs, cost)), slopes = run(jnp.asarray(many, dtype), jnp.asarray(LOGITS, dtype))
  rtol, atol = (1e-12, 1e-13) if dtype is float else (2e-6, 1e-6)
  p = softmax(LOGITS)
  for lane, transition in enumerate(many):
    noisy = p @ transition
    np.testing.assert_allclose(log_probs[lane], np.log(noisy), rtol=rtol, atol=atol)
    np.testing.assert_array_equal(cost[lane], -log_probs[lane])
    # The gradient is p less the posterior of the true label, given the noisy one.
    posterior = p * transition[:, Y].T / noisy[np.arange(ROWS), Y][:, None]
    np.testing.assert_allclose(slopes[lane], (p - posterior) / ROWS, rtol=rtol, atol=atol)
  assert log_probs.dtype == dtype


def test_a_fixed_matrix_is_the_traced_one_and_refresh_is_update():
  @jax.jit
  def both(logits):
    method, flow = correction.forward(T), batch(logits)
    return [apply(method, flow, act).log_probs for act in ("update", "refresh")]

  for found in both(jnp.asarray(LOGITS, jnp.float32)):
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, np.log(softmax(LOGITS) @ T), rtol=2e-6, atol=1e-6)
  method = correction.forward(T)
  assert method.writes == ("log_probs",)


def test_the_identity_is_cross_entropy():
  @jax.jit
  def both(logits):
    slope = jax.value_and_grad(lambda z, m: apply(m, batch(z)).risk)
    return slope(logits, correction.forward(np.eye(CLASSES))), slope(logits, rfjax.chain())

  one, two = both(jnp.asarray(LOGITS, jnp.float32))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), one, two)
  np.testing.assert_allclose(two[0], -np.log(softmax(LOGITS)[np.arange(ROWS), Y]).mean(), rtol=1e-6)


@pytest.mark.parametrize("transition", [0.5 * T + 0.5 * np.eye(CLASSES), PAIR])
def test_the_minimiser_is_the_clean_posterior(transition):
  # Free logits of each of six x, whose given labels are the clean posterior behind the noise.
  clean = RNG.dirichlet(np.ones(CLASSES), 6)
  with jax.enable_x64(True):
    noisy = jnp.asarray(clean @ transition)
    method = correction.forward(transition)
    risk = lambda z: apply(method, batch(z).replace(target=noisy)).risk
    tx = optax.lbfgs(linesearch=optax.scale_by_backtracking_linesearch(20, store_grad=True))
    value_and_grad = optax.value_and_grad_from_state(risk)

    def step(_, carry):
      z, opt = carry
      value, slope = value_and_grad(z, state=opt)
      updates, opt = tx.update(slope, opt, z, value=value, grad=slope, value_fn=risk)
      return optax.apply_updates(z, updates), opt

    zeros = jnp.zeros(clean.shape)
    z, _ = jax.jit(lambda: jax.lax.fori_loop(0, 300, step, (zeros, tx.init(zeros))))()
  np.testing.assert_allclose(softmax(np.asarray(z)), clean, atol=1e-6)


def test_a_loss_behind_it_reads_the_corrected_output():
  q = 0.7
  method = rfjax.chain(correction.forward(T), losses.gce(q))
  found = jax.jit(lambda z: apply(method, batch(z)).cost)(jnp.asarray(LOGITS, jnp.float32))
  np.testing.assert_allclose(found, (1 - (softmax(LOGITS) @ T) ** q) / q, rtol=1e-5, atol=1e-6)
  with pytest.raises(ValueError, match="corrects log_probs after the loss"):
    rfjax.chain(losses.gce(q), correction.forward(T))


def test_two_corrections_are_that_of_the_product():
  @jax.jit
  def both(logits):
    first, second = correction.forward(T), correction.forward(PAIR)
    flow = batch(logits)
    return [
      apply(method, flow).log_probs
      for method in (rfjax.chain(first, second), correction.forward(T @ PAIR))
    ]

  one, two = both(jnp.asarray(LOGITS, jnp.float32))
  np.testing.assert_allclose(one, two, atol=2e-6)


def test_values_and_gradients_are_finite_at_far_logits():
  far = np.array([[1e4, -1e4, -1e4, -1e4], [-1e4, -1e4, 1e4, 1e4], [0, 0, 0, -1e4], [1e4] * 4])
  far = np.concatenate([np.roll(far, k, 1) for k in range(CLASSES)])
  absorbing = np.eye(CLASSES)[[0, 0, 0, 0]]  # the given label is always 0
  many = jnp.asarray(np.stack([T, PAIR, np.eye(CLASSES), absorbing]), jnp.float32)
  each = jax.value_and_grad(lambda z, t: apply(correction.forward(t), batch(z)).risk)
  run = jax.jit(jax.vmap(each, (None, 0)))
  values, slopes = run(jnp.asarray(far, jnp.float32), many)
  assert np.isfinite(values).all() and np.isfinite(slopes).all()
  # Where no entry is 0 the values are right.
  best = (far == far.max(1, keepdims=True)) / (far == far.max(1, keepdims=True)).sum(1)[:, None]
  wanted = -np.log((best @ T)[np.arange(16), np.arange(16) % CLASSES]).mean()
  np.testing.assert_allclose(values[0], wanted, rtol=1e-6)


@pytest.mark.parametrize(
  "bad", [[[0.5, 0.6], [0.0, 1.0]], [[1.1, -0.1], [0.0, 1.0]], [[1.0, 0.0]], np.eye(3)[None]]
)
def test_what_is_no_transition_is_refused(bad):
  with pytest.raises(ValueError, match="transition must"):
    correction.forward(bad)


def test_a_matrix_of_other_classes_is_refused():
  with pytest.raises(ValueError, match="transition"):
    apply(correction.forward(np.eye(3)), batch(jnp.zeros((ROWS, CLASSES))))
