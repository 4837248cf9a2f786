"""Early-learning regularisation: its memory and penalty against a loop, and its gradient."""

import host
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rfjax
from rfjax import architectures, losses

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
ROWS, CLASSES = 10, 3
Y = np.arange(ROWS) % CLASSES
X = RNG.normal(size=(ROWS, 2))


def softmax(z):
  e = np.exp(z - z.max(-1, keepdims=True))
  return e / e.sum(-1, keepdims=True)


def dataset():
  return host.on_device(host.batch(X, Y, num_classes=CLASSES))


def start(t, data):
  spec = rfjax.core.Spec(jax.ShapeDtypeStruct((data.num_rows, CLASSES), data.x.dtype))
  return t.init(data, key=KEY, spec=spec)


def update(t, flow, state=None, step=0):
  state = start(t, dataset()) if state is None else state
  return t.update(flow, state, None, key=KEY, step=step, epoch=step, forward=None)


def memory(state):
  """The one leaf of a state that has a row an example."""
  [found] = [leaf for leaf in jax.tree.leaves(state) if leaf.shape == (ROWS, CLASSES)]
  return np.asarray(found, np.float64)


class Oracle:
  def __init__(self, strength, decay, clip):
    self.strength, self.decay, self.clip = strength, decay, clip
    self.t = np.zeros((ROWS, CLASSES))

  def step(self, rows, logits, keep):
    """One step on these rows; returns the penalty."""
    total = 0.0
    for i, z, k in zip(rows, logits, keep, strict=True):
      if i >= ROWS:
        continue
      p = np.clip(softmax(z), self.clip, 1 - self.clip)
      self.t[i] = self.decay * self.t[i] + (1 - self.decay) * p / p.sum()
      total += k * np.log(1 - self.t[i] @ p)
    return self.strength * total / max(np.sum(keep[rows < ROWS]), 1)


@pytest.mark.parametrize(
  "strength, decay, clip, scale",
  [(3.0, 0.7, 1e-4, 1.0), (1.0, 0.9, 1e-4, 8.0), (0.5, 0.0, 0.1, 3.0), (2.0, 0.98, 0.01, 1.0)],
)
def test_follows_the_loop_by_hand(strength, decay, clip, scale):
  rng, oracle = np.random.default_rng(1), Oracle(strength, decay, clip)
  with jax.enable_x64(True):
    t, data = losses.elr(strength, decay=decay, clip=clip), dataset()

    @jax.jit
    def act(rows, keep, logits, state):
      flow = data.take(rows).replace(keep=keep).fill(logits).replace(penalty=jnp.asarray(0.25))
      return flow, *update(t, flow, state)

    state = host.run(lambda: start(t, data))
    np.testing.assert_array_equal(memory(state), 0)
    for step in range(8):
      rows = np.append(rng.permutation(ROWS)[: 3 + step % 3], [ROWS] * (3 - step % 3))
      rows = rng.permutation(rows)
      keep = (rng.random(6) < 0.7) * rng.choice([0.5, 1.0], 6) * (rows < ROWS)
      logits = scale * rng.normal(size=(6, CLASSES))
      flow, out, state = jax.device_get(act(rows, keep, logits, state))
      expected = 0.25 + oracle.step(rows, logits, keep)
      np.testing.assert_allclose(out.penalty, expected, rtol=1e-12)
      np.testing.assert_allclose(memory(state), oracle.t, rtol=1e-12, atol=1e-15)
      for name in ("cost", "target", "keep", "weight"):
        np.testing.assert_array_equal(getattr(out, name), getattr(flow, name))


def test_the_defaults_are_those_of_the_card():
  logits = RNG.normal(size=(ROWS, CLASSES)).astype(np.float32)
  oracle = Oracle(3.0, 0.7, 1e-4)
  expected = oracle.step(np.arange(ROWS), logits.astype(float), np.ones(ROWS))
  penalty = host.run(lambda z: update(losses.elr(), dataset().fill(z))[0].penalty, logits)
  np.testing.assert_allclose(penalty, expected, rtol=1e-5)
  assert losses.elr().writes == ("penalty",)


def test_rows_not_kept_leave_the_penalty_but_move_their_memory():
  logits = RNG.normal(size=(ROWS, CLASSES)).astype(np.float32)
  keep, t = (np.arange(ROWS) % 2).astype(np.float32), losses.elr()

  def run(logits, keep):
    kept, rows = dataset().replace(keep=keep), jnp.arange(1, ROWS, 2)
    alone, _ = update(t, dataset().take(rows).fill(logits[rows]))
    _, whole = update(t, dataset().fill(logits))
    gradient = jax.grad(lambda z: update(t, kept.fill(z))[0].penalty)(logits)
    return *update(t, kept.fill(logits)), alone, whole, gradient

  out, state, alone, whole, gradient = host.run(run, logits, keep)
  np.testing.assert_allclose(out.penalty, alone.penalty, rtol=1e-6)
  np.testing.assert_array_equal(memory(state), memory(whole))
  assert (memory(state) > 0).all()
  np.testing.assert_array_equal(np.any(gradient != 0, 1), np.arange(ROWS) % 2 == 1)


def test_padding_leaves_no_trace():
  logits, t = RNG.normal(size=(ROWS, CLASSES)).astype(np.float32), losses.elr()

  def run(logits):
    padded = dataset().take(jnp.array([3, ROWS, 9, ROWS, 0, ROWS])).fill(logits[:6])
    plain = dataset().take(jnp.array([3, 9, 0])).fill(logits[jnp.array([0, 2, 4])])
    nothing = dataset().take(jnp.full(4, ROWS)).fill(logits[:4])
    one, state = update(t, padded)
    return one, state, *update(t, plain), *update(t, nothing, state)

  one, state, two, other, out, after = host.run(run, logits)
  np.testing.assert_allclose(one.penalty, two.penalty, rtol=1e-6)
  np.testing.assert_allclose(memory(state), memory(other), rtol=1e-6)
  assert set(np.flatnonzero(memory(state).any(1))) == {0, 3, 9}
  assert out.penalty == 0
  np.testing.assert_array_equal(memory(after), memory(state))


def test_the_gradient_is_the_identity_of_the_card():
  first, second = RNG.normal(size=(2, ROWS, CLASSES))
  with jax.enable_x64(True):
    t, data = losses.elr(3.0, decay=0.6), dataset()

    def run(first, second):
      _, state = update(t, data.fill(first))
      gradient = jax.grad(lambda z: update(t, data.fill(z), state)[0].penalty)(second)
      return gradient, update(t, data.fill(second), state)[1]

    gradient, after = host.run(run, first, second)
  after, p = memory(after), softmax(second)
  inner = (after * p).sum(1, keepdims=True)
  np.testing.assert_allclose(
    gradient, -3.0 / ROWS * p / (1 - inner) * (after - inner), rtol=1e-9, atol=1e-12
  )


@pytest.mark.parametrize("steps", [1, 30])
def test_values_and_gradients_are_finite_at_far_logits(steps):
  far = np.where(np.eye(CLASSES)[RNG.permutation(ROWS) % CLASSES], 1e4, -1e4).astype(np.float32)
  far[0], far[1], t = 1e4, -1e4, losses.elr()

  def run(far):
    flow = dataset().fill(far)
    move = lambda s, _: (update(t, flow, s)[1], None)
    state, _ = jax.lax.scan(move, start(t, dataset()), None, length=steps)
    objective = lambda z: update(t, dataset().fill(z), state)[0].objective
    return *jax.value_and_grad(objective)(far), update(t, flow, state)[0].penalty

  value, gradient, penalty = host.run(run, far)
  assert np.isfinite(value) and np.isfinite(gradient).all()
  oracle = Oracle(3.0, 0.7, 1e-4)
  for _ in range(steps + 1):
    expected = oracle.step(np.arange(ROWS), far.astype(float), np.ones(ROWS))
  np.testing.assert_allclose(penalty, expected, rtol=1e-3)


def test_no_strength_is_cross_entropy():
  logits = RNG.normal(size=(ROWS, CLASSES)).astype(np.float32)
  objective = lambda t: jax.value_and_grad(lambda z: update(t, dataset().fill(z))[0].objective)
  both = losses.elr(0.0), rfjax.core.identity
  jax.tree.map(np.testing.assert_array_equal, *(host.run(objective(t), logits) for t in both))


def test_traced_settings_are_the_loop():
  logits = RNG.normal(size=(ROWS, CLASSES)).astype(np.float32)

  def run(strength, decay):
    t = losses.elr(strength, decay=decay)
    flow = dataset().fill(logits)
    return update(t, flow, update(t, flow)[1])[0].penalty

  settings = [(0.0, 0.7), (1.0, 0.9), (3.0, 0.2)]
  both = lambda *lanes: (jax.vmap(run)(*lanes), [run(*each) for each in settings])
  many, loop = host.run(both, *np.float32(settings).T)
  np.testing.assert_allclose(many, loop, rtol=1e-5)


def test_the_memory_lives_through_the_epochs_of_a_run():
  params = {"kernel": RNG.normal(size=(2, 2)).astype(np.float32), "bias": np.zeros(2, np.float32)}
  state, log = rfjax.fit(
    architectures.logistic(CLASSES), rfjax.chain(losses.elr(2.0, decay=0.7)), optax.sgd(0.0),
    dataset(), key=KEY, epochs=4, batch_size=4, params=params,
  )  # fmt: skip
  p = softmax(np.pad(X @ np.asarray(params["kernel"], float), ((0, 0), (1, 0))))
  np.testing.assert_allclose(memory(state.method), (1 - 0.7**4) * p, rtol=1e-4)
  assert (np.diff(np.asarray(log.penalty)) < 0).all()


@pytest.mark.parametrize(
  "settings",
  [
    {"strength": -1.0},
    {"strength": float("nan")},
    {"decay": -0.1},
    {"decay": 1.0},
    {"decay": 1.5},
    {"clip": -0.1},
    {"clip": 1.5},
    {"clip": "a"},
  ],
)
def test_settings_out_of_range_are_refused(settings):
  with pytest.raises(ValueError, match=f"{next(iter(settings))} must"):
    losses.elr(**settings)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_sure_logits_of_half_precision_are_finite(dtype):
  data, t = host.on_device(host.batch(np.zeros((2, 1), np.float32), [0, 1])), losses.elr()
  state = t.init(data, key=jax.random.key(0), spec=None)
  step = jax.jit(lambda s: t.update(data.fill(20 * jnp.eye(2, dtype=dtype)), s, None))
  for _ in range(30):
    out, state = step(state)
    assert np.isfinite(out.penalty)
  assert out.penalty < -10
