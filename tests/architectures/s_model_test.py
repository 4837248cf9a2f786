"""The s-model: its channel and gradients by formula, and joint steps of network and channel."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rfjax
from rfjax import architectures, correction

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
ROWS, CLASSES = 9, 3
X = RNG.normal(size=(ROWS, 2))
Y = np.arange(ROWS) % CLASSES
Q = 0.4 * np.eye(CLASSES) + 0.6 * RNG.dirichlet(np.ones(CLASSES), CLASSES)
LOGITS = 2.0 * RNG.normal(size=(ROWS, CLASSES))


def dataset(dtype=np.float32):
  return rfjax.Batch.from_arrays(X.astype(dtype), Y, num_classes=CLASSES)


def softmax(z):
  e = np.exp(z - z.max(-1, keepdims=True))
  return e / e.sum(-1, keepdims=True)


def act(method, flow, state=None, name="update"):
  state = method.init(dataset(), key=KEY, spec=None) if state is None else state
  extra = {"key": KEY, "step": 0, "epoch": 0, "forward": None}
  return getattr(method, name)(flow, state, (), **extra)


def test_a_channel_of_the_identity_is_cross_entropy():
  @jax.jit
  def both(logits):
    slope = lambda m: jax.value_and_grad(lambda z: act(m, dataset().fill(z))[0].risk)(logits)
    return slope(architectures.s_model(np.eye(CLASSES))), slope(rfjax.core.identity)

  found, plain = both(jnp.asarray(LOGITS, jnp.float32))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), found, plain)


@pytest.mark.parametrize("dtype, tolerance", [(float, 1e-12), (jnp.float32, 1e-6)])
def test_the_gradients_are_those_of_the_posterior(dtype, tolerance):
  keep = RNG.choice([0.0, 0.5, 1.0], ROWS)

  def step(logits, keep):
    method = architectures.s_model(Q, optax.sgd(1.0))
    flow = dataset(dtype).replace(keep=keep)

    def risk(z):
      out, state = act(method, flow.fill(z))
      return out.risk, (out.log_probs, state.params)

    start = method.init(flow, key=KEY, spec=None).params
    return start, jax.grad(risk, has_aux=True)(logits)

  with jax.enable_x64(dtype is float):
    found = jax.jit(step)(jnp.asarray(LOGITS, dtype), jnp.asarray(keep, dtype))
    start, (slope, (log_probs, after)) = jax.tree.map(np.asarray, found)
  p = softmax(LOGITS)
  np.testing.assert_allclose(np.exp(log_probs), p @ Q, atol=tolerance)
  posterior = p * Q[:, Y].T / (p @ Q)[np.arange(ROWS), Y][:, None]
  share = keep / keep.sum()
  np.testing.assert_allclose(slope, share[:, None] * (p - posterior), atol=tolerance)
  # By U the gradient is the sum of posterior_i (Q_ij - [j is given]), and the step is against it.
  moved = np.zeros((CLASSES, CLASSES))
  for t in range(ROWS):
    moved -= share[t] * posterior[t][:, None] * (Q - np.eye(CLASSES)[Y[t]])
  np.testing.assert_allclose(after - start, moved, atol=10 * tolerance)
  np.testing.assert_allclose(start, np.log(Q), atol=10 * tolerance)


def test_a_channel_that_does_not_learn_is_forward_correction():
  U = RNG.normal(size=(CLASSES, CLASSES)).astype(np.float32)
  data = dataset()
  settings = {"key": KEY, "epochs": 5, "batch_size": 4}

  def run(method):
    return rfjax.fit(architectures.logistic(CLASSES), method, optax.sgd(0.3), data, **settings)

  @jax.jit
  def both(transition):
    fixed = architectures.s_model(transition, optax.sgd(0.0))
    (one, log), (two, other) = run(fixed), run(correction.forward(transition))
    views = [
      act(m, data.fill(jnp.asarray(LOGITS, jnp.float32)), None, "refresh")[0].log_probs
      for m in (fixed, correction.forward(transition))
    ]
    return (one.params, log, views[0]), (two.params, other, views[1]), one.method.params

  found, wanted, params = both(softmax(U))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), found, wanted)
  np.testing.assert_allclose(softmax(np.asarray(params)), softmax(U), rtol=1e-6)


def joint_loss(both, x, y, kept):
  """The mean of -log sum_i p_i Q_iy over the kept rows, of weights and channel together."""
  network, channel = both
  z = jnp.concatenate([jnp.zeros((len(x), 1)), x @ network["kernel"] + network["bias"]], 1)
  p, q = jnp.exp(z) / jnp.exp(z).sum(1, keepdims=True), jnp.exp(channel)
  noisy = p @ (q / q.sum(1, keepdims=True))
  return jnp.sum(kept * -jnp.log(noisy[jnp.arange(len(y)), y])) / kept.sum()


def test_joint_steps_are_those_of_one_descent_from_the_old_values():
  rates, steps = (0.3, 0.7), 6
  rng = np.random.default_rng(2)
  order = np.stack([rng.permutation(ROWS + 2)[:7] for _ in range(steps)])  # ROWS and above: padding
  order = np.minimum(order, ROWS).astype(np.int32)
  keeps = rng.choice([0.0, 1.0, 1.0], (steps, 7)) * (order < ROWS)
  start = {"kernel": rng.normal(size=(2, CLASSES - 1)), "bias": rng.normal(size=CLASSES - 1)}
  with jax.enable_x64(True):
    data, params = dataset(float), start
    method = architectures.s_model(Q, optax.sgd(rates[1]))
    step = rfjax.train_step(architectures.logistic(CLASSES), method, optax.sgd(rates[0]))

    def body(state, at):
      rows, keep = at
      batch = data.take(rows).replace(keep=keep)
      return step.update(state, batch, key=KEY, step=0, epoch=0)[0], None

    run = lambda params: jax.lax.scan(body, step.init(params, data, key=KEY), (order, keeps))[0]
    state = jax.device_get(jax.jit(run)(params))
    both, slopes = (params, np.log(Q)), jax.jit(jax.grad(joint_loss))
    for rows, keep in zip(order, keeps, strict=True):
      safe = np.where(rows < ROWS, rows, 0)
      slope = jax.device_get(slopes(both, X[safe], Y[safe], keep))
      both = (
        jax.tree.map(lambda v, g: v - rates[0] * g, both[0], slope[0]),
        both[1] - rates[1] * slope[1],
      )
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12),
    (state.params, state.method.params),
    both,
  )
  assert np.abs(np.asarray(state.method.params) - np.log(Q)).max() > 0.05


def test_the_channel_has_adam_when_no_optimizer_is_given():
  method = architectures.s_model(Q)

  @jax.jit
  def both(z):
    start = method.init(dataset(), key=KEY, spec=None)
    return start, act(method, dataset().fill(z))[1]

  start, after = jax.device_get(both(jnp.asarray(LOGITS, jnp.float32)))
  # Its first step is the rate, whatever the gradient.
  np.testing.assert_allclose(np.abs(after.params - start.params), 1e-3, rtol=1e-2)


def test_predictions_leave_the_channel_out():
  flip = np.roll(np.eye(CLASSES), 1, axis=1)
  network, data = architectures.logistic(CLASSES), dataset()
  method = architectures.s_model(0.1 * np.eye(CLASSES) + 0.9 * flip)

  @jax.jit
  def run(data):
    state, _ = rfjax.fit(network, method, optax.sgd(1.0), data, key=KEY, epochs=30)
    return state, rfjax.predict(network, state, data)

  state, said = jax.device_get(run(data))
  z = np.pad(X @ np.asarray(state.params["kernel"], float), ((0, 0), (1, 0)))
  z[:, 1:] += state.params["bias"]
  np.testing.assert_allclose(said.log_probs, np.log(softmax(z)), rtol=1e-4, atol=1e-5)
  # Given labels are one class further than what the network says.
  behind = softmax(z) @ softmax(np.asarray(state.method.params, float))
  right = lambda p: p[np.arange(ROWS), Y].mean()
  assert right(behind) > right(softmax(z))


def test_padding_leaves_no_trace():
  data, method = dataset(), architectures.s_model(Q, optax.sgd(1.0))
  z = jnp.asarray(LOGITS, jnp.float32)

  @jax.jit
  def both():
    some = act(method, data.take(jnp.arange(5)).fill(z[:5]))[1].params
    rows = jnp.array([0, ROWS, 1, 2, 3, ROWS, 4])
    padded = data.take(rows).fill(z[jnp.array([0, 8, 1, 2, 3, 7, 4])])
    nothing = act(method, data.take(jnp.full(4, ROWS)).fill(z[:4]))[1].params
    return some, act(method, padded)[1].params, nothing

  some, padded, nothing = both()
  np.testing.assert_allclose(padded, some, atol=1e-6)
  np.testing.assert_allclose(nothing, np.log(Q), rtol=1e-6)


def test_far_logits_and_zeros_give_finite_values_and_gradients():
  far = np.array([[1e4, -1e4, 0], [-1e4, -1e4, 1e4], [0, 0, -1e4], [1e4] * 3], np.float32)
  far = np.concatenate([far, far[:, ::-1], np.zeros((1, 3), np.float32)])

  @jax.jit
  def step(z):
    method = architectures.s_model(np.roll(np.eye(CLASSES), 1, axis=1), optax.sgd(1.0))
    each = lambda z: (lambda out, state: (out.risk, state.params))(*act(method, dataset().fill(z)))
    return jax.value_and_grad(each, has_aux=True)(z)

  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(step(far)))


def confusion_by_loop(p, y, rows):
  table = np.eye(CLASSES)
  for i in range(CLASSES):
    mass = sum(p[t, i] for t in rows)
    for j in range(CLASSES):
      if mass > 0:
        table[i, j] = sum(p[t, i] for t in rows if y[t] == j) / mass
  return table


def test_confusion_is_the_loop():
  p, valid = softmax(LOGITS), RNG.random(ROWS) < 0.6
  log_probs = jnp.asarray(np.log(p), jnp.float32)
  one, two = jax.jit(
    lambda z: (architectures.confusion(z, Y), architectures.confusion(z, Y, jnp.asarray(valid)))
  )(log_probs)
  np.testing.assert_allclose(one, confusion_by_loop(p, Y, range(ROWS)), atol=1e-6)
  np.testing.assert_allclose(two, confusion_by_loop(p, Y, np.flatnonzero(valid)), atol=1e-6)
  np.testing.assert_allclose(np.sum(one, 1), 1, rtol=1e-6)


def test_confusion_of_certain_predictions_counts_them():
  predicted = np.array([0, 0, 0, 2, 2, 0, 2, 0, 2])  # never 1
  with np.errstate(divide="ignore"):
    log_probs = np.log(np.eye(CLASSES, dtype=np.float32)[predicted])
  counts = np.zeros((CLASSES, CLASSES))
  for i, j in zip(predicted, Y, strict=True):
    counts[i, j] += 1
  wanted = counts / np.maximum(counts.sum(1, keepdims=True), 1)
  wanted[1] = [0, 1, 0]  # who never speaks has the row of the identity
  unsure = np.log(0.9 * np.eye(CLASSES)[predicted] + 0.1 / CLASSES).astype(np.float32)

  @jax.jit
  def everything(log_probs, unsure):
    hard = architectures.confusion(unsure, Y, hard=True)
    none = architectures.confusion(log_probs, Y, jnp.zeros(ROWS, bool))
    return architectures.confusion(log_probs, Y), hard, none

  found, hard, none = jax.device_get(everything(log_probs, unsure))
  np.testing.assert_allclose(found, wanted, rtol=1e-6)
  np.testing.assert_array_equal(found[1], wanted[1])
  np.testing.assert_array_equal(hard, found)
  np.testing.assert_array_equal(none, np.eye(CLASSES))


def test_the_confusion_is_a_start():
  @jax.jit
  def both(log_probs):
    start = architectures.confusion(log_probs, Y)
    return start, architectures.s_model(start).init(dataset(), key=KEY, spec=None).params

  start, params = both(np.log(softmax(LOGITS)).astype(np.float32))
  np.testing.assert_allclose(softmax(np.asarray(params)), start, rtol=1e-5)


def test_it_writes_log_probs():
  assert architectures.s_model(Q).writes == ("log_probs",)
  with pytest.raises(ValueError, match="initial must"):
    architectures.s_model([[0.5, 0.6], [0.0, 1.0]])
  with pytest.raises(ValueError, match="initial"):
    architectures.s_model(np.eye(4)).init(dataset(), key=KEY, spec=None)
