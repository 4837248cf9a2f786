"""Meta label correction: its hypergradient by double differentiation and by finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rfjax
from rfjax import architectures, refurbishment

KEY = jax.random.key(0)
ROWS, CLASSES, TRUSTED, WIDTH, RATE = 8, 3, 5, 6, 0.4
RNG = np.random.default_rng(0)
X, CLEAN_X = RNG.normal(size=(ROWS, 4)), RNG.normal(size=(TRUSTED, 4))
Y, CLEAN_Y = RNG.integers(0, CLASSES, ROWS), RNG.integers(0, CLASSES, TRUSTED)
MLP = architectures.mlp([WIDTH], CLASSES)


def dataset(x=X, y=Y, clean_x=CLEAN_X, clean_y=CLEAN_Y):
  make = lambda x, y, **more: rfjax.Batch.from_arrays(x, y, num_classes=CLASSES, **more)
  return make(x, y, trusted=make(clean_x, clean_y))


def forward(params, flow, key=None):
  logits, features, _ = MLP.apply(params, (), flow.x, key=key, train=True)
  return flow.fill(logits, features)


def start(t, data, width=WIDTH):
  shapes = [jax.ShapeDtypeStruct((data.num_rows, n), data.x.dtype) for n in (CLASSES, width)]
  return t.init(data, key=KEY, spec=rfjax.core.Spec(*shapes))


def update(t, flow, params, state, key=KEY, step=0):
  return t.update(flow, state, params, key=key, step=step, epoch=step, forward=forward)


def teach(phi, features, y, skip):
  """The teacher by NumPy, row by row."""
  rows = []
  for h, k in zip(features, y, strict=True):
    v = np.concatenate([h, phi["embedding"][k]])
    for layer in phi["layers"][:-1]:
      v = np.tanh(v @ layer["kernel"] + layer["bias"])
    v = v @ phi["layers"][-1]["kernel"] + phi["layers"][-1]["bias"]
    e = np.exp(v[:CLASSES])
    p = e / e.sum()
    if skip:
      gate = 1 / (1 + np.exp(-v[CLASSES]))
      p = (1 - gate) * p + gate * np.eye(CLASSES)[k]
    rows.append(p)
  return np.array(rows)


def teacher(phi, features, y, skip):
  v = jnp.concatenate([features, phi["embedding"][y]], 1)
  for layer in phi["layers"][:-1]:
    v = jnp.tanh(v @ layer["kernel"] + layer["bias"])
  v = v @ phi["layers"][-1]["kernel"] + phi["layers"][-1]["bias"]
  p = jax.nn.softmax(v[:, :CLASSES])
  if skip:
    gate = jax.nn.sigmoid(v[:, CLASSES:])
    p = (1 - gate) * p + gate * jax.nn.one_hot(y, CLASSES)
  return p


def after_a_virtual_step(phi, params, flow, skip):
  """The trusted loss after a step on the teacher's labels, from the definition."""
  log_probs = lambda p, x: jax.nn.log_softmax(MLP.apply(p, (), x, key=None, train=True)[0])
  features = MLP.apply(params, (), flow.x, key=None, train=True)[1]
  share = flow.keep * flow.weight / jnp.maximum(jnp.sum(flow.keep), 1)
  target = teacher(phi, features, flow.y, skip)
  inner = lambda p: -jnp.sum(share[:, None] * target * log_probs(p, flow.x))
  ahead = jax.tree.map(lambda p, g: p - RATE * g, params, jax.grad(inner)(params))
  clean = jax.nn.one_hot(flow.trusted.y, CLASSES)
  return -jnp.mean(jnp.sum(clean * log_probs(ahead, flow.trusted.x), -1))


def uneven(params):
  """A filled batch with padding and uneven columns."""
  rng = np.random.default_rng(1)
  flow = dataset().take(jnp.asarray([3, 0, ROWS, 7, 5, 1, ROWS, 2]))
  keep = jnp.asarray(rng.choice([0.0, 0.5, 1.0], ROWS, p=[0.2, 0.3, 0.5])) * flow.valid
  return forward(params, flow.replace(keep=keep, weight=jnp.asarray(rng.uniform(0.5, 2, ROWS))))


@pytest.mark.parametrize("skip", [False, True])
def test_the_hypergradient_is_exact(skip):
  tx = optax.sgd(1.0)
  t = refurbishment.mlc(RATE, tx=tx, hidden=5, embedding=2, skip=skip)
  with jax.enable_x64(True):
    params, phi = jax.device_get(
      jax.jit(lambda: (MLP.init(KEY, X)[0], start(t, dataset()).params))()
    )
    noise = np.random.default_rng(2)
    phi = jax.tree.map(lambda v: v + 0.3 * noise.normal(size=v.shape), phi)

    @jax.jit
    def everything(params, phi):
      flow = uneven(params)
      out, new = update(t, flow, params, rfjax.core.player(phi, tx))
      exact = jax.grad(lambda phi: after_a_virtual_step(phi, params, flow, skip))(phi)
      return flow, out, new.params, exact

    flow, out, new, exact = jax.device_get(everything(params, phi))
    taken = jax.tree.map(lambda old, new: old - new, phi, new)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-14), taken, exact)
    value = jax.jit(lambda phi: after_a_virtual_step(phi, params, flow, skip))
    leaves, structure = jax.tree.flatten(phi)
    for at, (leaf, slope) in enumerate(zip(leaves, jax.tree.leaves(taken), strict=True)):
      spot, h = np.unravel_index(np.abs(slope).argmax(), leaf.shape), 1e-4
      unit = np.zeros(leaf.shape)
      unit[spot] = h
      moved = [
        float(value(structure.unflatten([*leaves[:at], leaf + step, *leaves[at + 1 :]])))
        for step in (unit, -unit)
      ]
      quotient = (moved[0] - moved[1]) / (2 * h)
      assert abs(slope[spot]) > 1e-5
      np.testing.assert_allclose(quotient, slope[spot], rtol=1e-5)
  # The labels are those of the teacher before its step.
  expected = teach(phi, flow.features, flow.y, skip)
  np.testing.assert_allclose(out.target, expected, rtol=1e-10)
  for name in ("cost", "keep", "weight", "penalty"):
    np.testing.assert_array_equal(getattr(out, name), getattr(flow, name))


def test_no_gradient_flows_through_the_target():
  t = refurbishment.mlc(RATE, hidden=4, embedding=2)

  def run(params):
    out, _ = update(t, forward(params, dataset()), params, start(t, dataset()))
    return jnp.sum(out.target * np.arange(24.0).reshape(8, 3))

  for leaf in jax.tree.leaves(jax.jit(lambda: jax.grad(run)(MLP.init(KEY, X)[0]))()):
    np.testing.assert_array_equal(leaf, 0)


def test_the_teacher_starts_as_the_authors_have_it():
  begin = lambda **settings: start(refurbishment.mlc(**settings), dataset(), width=64).params
  phi, gated = jax.device_get(jax.jit(lambda: (begin(), begin(skip=True)))())
  assert phi["embedding"].shape == (3, 128)
  shapes = [layer["kernel"].shape for layer in phi["layers"]]
  assert shapes == [(192, 128), (128, 128), (128, 3)]
  for layer in phi["layers"]:
    expected = np.sqrt(2 / sum(layer["kernel"].shape))
    np.testing.assert_allclose(layer["kernel"].std(), expected, rtol=0.1)
    assert not layer["bias"].any()
  far = np.sqrt(6 / (3 + 128))
  assert 0.95 * far < np.abs(phi["embedding"]).max() <= far
  assert gated["layers"][-1]["kernel"].shape == (128, 4)


def test_the_default_step_is_that_of_amsgrad_and_the_rate_may_be_a_schedule():
  schedule = optax.piecewise_constant_schedule(0.5, {3: 0.0})

  def moved(rate, step):
    params, _ = MLP.init(KEY, X)
    flow = forward(params, dataset())
    t = refurbishment.mlc(rate, hidden=4, embedding=2)
    state = start(t, dataset())
    new = update(t, flow, params, state, step=step)[1]
    return jnp.abs(new.params["layers"][-1]["bias"] - state.params["layers"][-1]["bias"])

  early, fixed, late = jax.jit(lambda: (moved(schedule, 0), moved(0.5, 0), moved(schedule, 5)))()
  np.testing.assert_allclose(early, 3e-4, rtol=1e-2)
  np.testing.assert_allclose(fixed, early, rtol=1e-6)
  np.testing.assert_array_equal(late, 0)


def test_a_run_corrects_labels():
  rng = np.random.default_rng(3)
  truth, clean_y = rng.integers(0, CLASSES, 60), np.arange(12) % CLASSES
  place = lambda y: 2 * np.eye(CLASSES)[y] + 0.3 * rng.normal(size=(len(y), CLASSES))
  wrong = np.arange(60) % 5 < 2
  given = np.where(wrong, (truth + 1) % CLASSES, truth)
  data = dataset(place(truth), given, place(clean_y), clean_y)
  t = refurbishment.mlc(
    0.5, tx=optax.adam(0.02), hidden=16, embedding=4, trusted_batch_size=6, skip=True
  )

  @jax.jit
  def run(data):
    state, log = rfjax.fit(MLP, t, optax.sgd(0.5), data, key=KEY, epochs=40, batch_size=30)
    flow = rfjax.predict(MLP, state, data)
    return log, update(t, flow, state.params, state.method)[0].target

  log, target = jax.device_get(run(data))
  assert (target.argmax(-1) == truth)[wrong].mean() > 0.9
  assert np.isfinite(log.risk).all()


def test_it_says_what_is_missing():
  t = refurbishment.mlc()
  with pytest.raises(ValueError, match="mlc needs trusted"):
    start(t, rfjax.Batch.from_arrays(X, Y))
  with pytest.raises(ValueError, match=r"mlc needs features.*penultimate layer"):
    t.init(dataset(), key=KEY, spec=rfjax.core.Spec(jax.ShapeDtypeStruct((8, 3), jnp.float32)))


@pytest.mark.parametrize(
  ("settings", "named"),
  [
    ({"rate": -0.1}, "rate"),
    ({"hidden": 0}, "hidden"),
    ({"embedding": 0}, "embedding"),
    ({"trusted_batch_size": 0}, "trusted_batch_size"),
  ],
)
def test_settings_out_of_range_are_refused(settings, named):
  with pytest.raises(ValueError, match=f"{named} must"):
    refurbishment.mlc(**settings)
