"""The linear noise layer: its steps by hand, forward correction, and why the trace is penalised."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rfjax
from rfjax import architectures, correction

RNG = np.random.default_rng(0)
ROWS, CLASSES, LAM, LR = 12, 4, 0.3, 0.05
LOGITS = RNG.normal(size=(ROWS, CLASSES))
Y = np.arange(ROWS) % CLASSES


def project(row):
  """The nearest point of the simplex, by trying every support of the sorted entries."""
  u = np.sort(row)[::-1]
  best = max(k for k in range(1, len(u) + 1) if u[k - 1] + (1 - u[:k].sum()) / k > 0)
  return np.maximum(row + (1 - u[:best].sum()) / best, 0)


def slope(p, q, y):
  """The derivative of the mean of -log (p q)[y] by q."""
  result = np.zeros_like(q)
  for probs, label in zip(p, y, strict=True):
    result[:, label] -= probs / (probs @ q[:, label]) / len(y)
  return result


def test_projected_steps_are_those_by_hand(check):
  q, expected = np.eye(CLASSES), []
  for _ in range(4):
    step = slope(check.softmax(LOGITS), q, Y) + LAM * np.eye(CLASSES)
    q = np.stack([project(row) for row in q - LR * step])
    expected.append(q)
  with jax.enable_x64(True):
    flow = check.filled(LOGITS, Y)
    state = check.trail(architectures.noise_layer(LAM, tx=optax.sgd(LR)), flow, 4)
  np.testing.assert_allclose(state.params, expected, rtol=1e-9, atol=1e-12)
  assert (np.asarray(state.params) == 0).any() and (expected[0] != np.eye(CLASSES)).any()


def test_softmax_steps_are_those_by_hand(check):
  start = check.stochastic(RNG, CLASSES)
  u, expected = np.log(start), []
  for _ in range(4):
    q = check.softmax(u)
    by_q = slope(check.softmax(LOGITS), q, Y) + LAM * np.eye(CLASSES)
    u = u - LR * q * (by_q - (q * by_q).sum(1, keepdims=True))
    expected.append(u)
  with jax.enable_x64(True):
    t = architectures.noise_layer(LAM, initial=start, param="softmax", tx=optax.sgd(LR))
    state = check.trail(t, check.filled(LOGITS, Y), 4)
  np.testing.assert_allclose(state.params, expected, rtol=1e-9)


@pytest.mark.parametrize("param", ["projected", "softmax"])
def test_a_fixed_layer_is_forward_correction(check, param):
  noise = check.stochastic(RNG, CLASSES)
  with jax.enable_x64(True):
    flow = check.filled(5 * LOGITS, Y)
    t = architectures.noise_layer(LAM, initial=noise, param=param, tx=optax.set_to_zero())
    other = correction.forward(noise)

    @jax.jit
    def everything(flow):
      before = check.init(t, flow)
      seen = t.refresh(flow, before, None, key=None, step=0, epoch=0, forward=None)[0]
      slopes = [check.gradient(method, flow) for method in (t, other)]
      return *check.update(t, flow), check.update(other, flow)[0], slopes, before, seen

    out, state, forward, slopes, before, seen = everything(flow)
    np.testing.assert_allclose(out.log_probs, forward.log_probs, rtol=1e-12)
    np.testing.assert_allclose(*slopes, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(state.params, before.params, atol=1e-15)
    np.testing.assert_allclose(seen.log_probs, out.log_probs, rtol=1e-14)


def test_frozen_until_the_burn_in_is_over(check):
  t = architectures.noise_layer(LAM, warmup=2, tx=optax.adam(0.1))
  state = jax.device_get(check.trail(t, check.filled(LOGITS, Y), 4, epochs=[0, 1, 2, 3]))
  np.testing.assert_array_equal(state.params[:2], [np.eye(CLASSES)] * 2)
  assert state.opt[0][0].count.tolist() == [0, 0, 1, 2]
  assert (state.params[2] != np.eye(CLASSES)).any()


def test_rows_that_are_not_kept_teach_the_layer_nothing(check):
  t = architectures.noise_layer(LAM, tx=optax.sgd(0.1))

  @jax.jit
  def both(flow):
    some = flow.replace(keep=flow.keep * (jnp.arange(ROWS) % 3 == 0))
    batches = some, flow.take(jnp.arange(0, ROWS, 3))
    return [check.update(t, b, check.init(t, flow))[1].params for b in batches]

  states = both(check.filled(LOGITS.astype(np.float32), Y))
  np.testing.assert_allclose(*states, rtol=1e-5)


@pytest.mark.parametrize("param", ["projected", "softmax"])
def test_it_leaves_the_identity_and_keeps_its_rows(check, param):
  state = check.trail(architectures.noise_layer(0.1, param=param), check.filled(LOGITS, Y), 50)
  q = np.asarray(state.params)
  q = q if param == "projected" else check.softmax(q)
  np.testing.assert_allclose(np.sum(q, -1), 1, atol=1e-6)
  assert np.min(q) >= 0
  assert np.all(np.diff(np.trace(q, axis1=1, axis2=2)) < 0)


def test_far_logits_stay_finite(check):
  far = np.where(np.eye(CLASSES)[(Y + 1) % CLASSES], 1e4, -1e4).astype(np.float32)
  far[0], far[1] = 50 * np.eye(CLASSES)[2], 1e4
  flow = check.filled(far, Y)
  shut = np.tile([1.0, 0.0, 0.0, 0.0], (CLASSES, 1))  # no class ever gives the other labels
  for initial in (None, shut):
    t = architectures.noise_layer(1.0, initial=initial)
    run = jax.jit(
      lambda flow, t=t: (check.update(t, flow), check.gradient(t, flow), check.init(t, flow))
    )
    (out, state), slopes, start = jax.device_get(run(flow))
    assert np.isfinite(out.cost).all() and np.isfinite(slopes).all()
    assert np.isfinite(state.params).all() and (state.params != start.params).any()


def test_the_trace_is_least_at_the_noise(check):
  """Any model that errs by A, with a layer Q behind it, has A Q = T, and then tr T <= tr Q."""
  rng, tried = np.random.default_rng(1), 0
  for _ in range(300):
    q, a = check.stochastic(rng, CLASSES), check.stochastic(rng, CLASSES, stay=rng.random())
    if (q.argmax(0) == np.arange(CLASSES)).all():
      tried += 1
      assert np.trace(a @ q) <= np.trace(q) + 1e-12
  assert tried > 50


def test_the_penalty_finds_the_noise_and_without_it_the_layer_stays(check):
  """Labels in their exact shares: one free row of logits a class, and a layer that starts at I."""
  noise = np.array([[0.8, 0.1, 0.1], [0.1, 0.7, 0.2], [0.2, 0.1, 0.7]])
  y = np.repeat(np.tile(np.arange(3), 3), (10 * noise).round().astype(int).ravel())
  x = np.repeat(np.arange(3), 10)
  data = rfjax.Batch.from_arrays(np.eye(3, dtype=np.float32)[x], y)
  network = architectures.from_function(lambda key, x: jnp.zeros((3, 3)), lambda w, x: x @ w)

  @jax.jit
  def learned(strength):
    t = architectures.noise_layer(strength, warmup=20, tx=optax.sgd(0.05))
    state, _ = rfjax.fit(network, t, optax.adam(0.05), data, key=jax.random.key(0), epochs=3000)
    return state.method.params, jax.nn.softmax(state.params)

  q, p = jax.device_get(learned(0.02))
  np.testing.assert_allclose(q, noise, atol=0.08)
  np.testing.assert_allclose(p, np.eye(3), atol=0.08)
  assert np.trace(np.asarray(learned(0.0)[0])) > np.trace(q) + 0.1


@pytest.mark.parametrize(
  "settings",
  [
    {"strength": -1.0},
    {"strength": float("nan")},
    {"initial": [[0.5, 0.6], [0.0, 1.0]]},
    {"warmup": -1},
    {"param": "clipped"},
  ],
)
def test_settings_out_of_range_are_refused(settings):
  with pytest.raises(ValueError, match=f"{next(iter(settings))} must"):
    architectures.noise_layer(**({"strength": 0.1} | settings))


def test_a_matrix_of_other_classes_is_refused(check):
  with pytest.raises(ValueError, match="initial is of 2 classes"):
    check.init(architectures.noise_layer(0.1, initial=np.eye(2)), check.filled(LOGITS, Y))
