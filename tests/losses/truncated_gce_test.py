"""Truncated generalised cross-entropy: which examples are in, and when that changes."""

import functools

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
ROWS, CLASSES = 12, 3
X = RNG.normal(size=(ROWS, 2))
Y = RNG.integers(0, CLASSES, ROWS)
LOGITS = RNG.normal(size=(ROWS, CLASSES)).astype(np.float32)


def softmax(z):
  z = np.asarray(z, np.float64)
  e = np.exp(z - z.max(1, keepdims=True))
  return e / e.sum(1, keepdims=True)


def dataset(x=X):
  return host.on_device(host.batch(x, Y, num_classes=CLASSES))


def start(t, data):
  return t.init(
    data, key=KEY, spec=rfjax.core.Spec(jax.ShapeDtypeStruct((ROWS, CLASSES), "float32"))
  )


def at(epoch):
  return {"key": KEY, "step": 7 * epoch, "epoch": epoch, "forward": None}


@functools.partial(jax.jit, static_argnums=0)
def _update(t, data, state, epoch):
  return t.update(data.fill(jnp.asarray(LOGITS)), state, None, **at(epoch))[0]


def weights(t, data, state, epoch=0):
  return np.asarray(_update(t, data, state, epoch).weight)


@functools.partial(jax.jit, static_argnums=0)
def refresh(t, data, state, logits, epoch):
  """The state after a refresh, of a new one where there is none yet."""
  state = start(t, data) if state is None else state
  return t.refresh(data.fill(logits), state, None, **at(epoch))[1]


def _orders(epoch):
  return (np.arange(ROWS) + 5 * epoch) % ROWS


sampler = rfjax.Transform(
  refresh=lambda d, s, p=None, *, epoch, **_: (
    d.replace(order=((jnp.arange(ROWS) + 5 * epoch) % ROWS).reshape(-1, 4)),
    s,
  )
)


def oracle(kernel, bias, q, threshold, first, every, epochs, rate):
  """Gradient descent by hand; the parameters, risk and examples of every epoch."""
  inside, seen = np.ones(ROWS), []
  for epoch in range(epochs):
    if epoch >= first and (epoch - first) % every == 0:
      logits = np.pad(X @ kernel + bias, ((0, 0), (1, 0)))
      inside = (softmax(logits)[np.arange(ROWS), Y] > threshold).astype(float)
    risks = []
    for rows in _orders(epoch).reshape(-1, 4):
      p = softmax(np.pad(X[rows] @ kernel + bias, ((0, 0), (1, 0))))
      given = p[np.arange(4), Y[rows]]
      risks.append((inside[rows] * (1 - given**q) / q).sum() / 4)
      slope = -(inside[rows] * given**q)[:, None] * (np.eye(CLASSES)[Y[rows]] - p) / 4
      kernel = kernel - rate * X[rows].T @ slope[:, 1:]
      bias = bias - rate * slope[:, 1:].sum(0)
    seen.append((kernel, bias, np.mean(risks), inside))
  return seen


@pytest.mark.parametrize(
  "first, every, changes", [(2, 3, {2, 5, 8}), (0, 1, None), (3, 20, {3}), (40, 10, set())]
)
def test_follows_the_loop_by_hand(first, every, changes):
  q, threshold, epochs, rate = 0.7, 0.45, 10, 1.0
  kernel, bias = 0.5 * np.random.default_rng(1).normal(size=(2, 2)), np.array([0.1, -0.2])
  expected = oracle(kernel, bias, q, threshold, first, every, epochs, rate)
  masks = np.array([mask for *_, mask in expected])
  moved = {e for e in range(1, epochs) if (masks[e] != masks[e - 1]).any()}
  if changes is None:
    assert len(moved) > 2 and (np.diff(masks, axis=0) == 1).any(), "rows should come back, too"
  else:
    assert moved == changes and masks[0].all()
  with jax.enable_x64(True):
    method = rfjax.chain(losses.truncated_gce(q, threshold, start=first, every=every), sampler)
    _, log = rfjax.fit(
      architectures.logistic(CLASSES), method, optax.sgd(rate), dataset(), key=KEY, epochs=epochs,
      params={"kernel": kernel, "bias": bias},
      observe=lambda state, view: state.params,
    )  # fmt: skip
  observed, risks = jax.device_get((log.observed, log.risk))
  for epoch, (kernel, bias, risk, _) in enumerate(expected):
    np.testing.assert_allclose(observed["kernel"][epoch], kernel, rtol=0, atol=1e-12)
    np.testing.assert_allclose(observed["bias"][epoch], bias, rtol=0, atol=1e-12)
    np.testing.assert_allclose(risks[epoch], risk, rtol=1e-12)


@pytest.mark.parametrize("first, every", [(0, 1), (0, 3), (2, 3), (4, 1)])
def test_the_examples_change_at_these_epochs_only(first, every):
  t, data = losses.truncated_gce(0.7, 0.3, start=first, every=every), dataset()
  state, expected = host.run(lambda: start(t, data)), np.ones(ROWS)
  for epoch in range(9):
    logits = np.random.default_rng(epoch).normal(size=(ROWS, CLASSES)).astype(np.float32)
    state = refresh(t, data, state, logits, epoch)
    if epoch in range(first, 9, every):
      expected = softmax(logits)[np.arange(ROWS), Y] > 0.3
      assert 0 < expected.sum() < ROWS
    np.testing.assert_array_equal(weights(t, data, state, epoch), expected)


def _half_out(t, data):
  """A state in which the rows of an odd number are out."""
  logits = np.float32(4.0 * np.eye(CLASSES)[(Y + np.arange(ROWS) % 2) % CLASSES])
  return refresh(t, data, None, logits, 0), 1.0 - np.arange(ROWS) % 2


def test_the_weight_is_multiplied_by_index_and_not_renormalised():
  t, data = losses.truncated_gce(start=0), dataset()
  state, inside = _half_out(t, data)
  rows = np.array([7, 2, 12, 5, 4, 12, 9])
  real = rows < ROWS
  logits, mine = RNG.normal(size=(7, CLASSES)), np.arange(1.0, 8)

  def run(data, state, mine, logits):
    act = lambda z: t.update(data.take(rows).replace(weight=mine).fill(z), state, None, **at(0))
    risk = lambda z: (lambda out, after: (out.risk, (out, after)))(*act(z))
    return jax.value_and_grad(risk, has_aux=True)(logits)

  (risk, (out, after)), gradient = host.run(run, data, state, np.float32(mine), np.float32(logits))
  here = np.where(real, inside[np.where(real, rows, 0)], 0)
  np.testing.assert_allclose(out.weight[real], (mine * here)[real], rtol=1e-6)
  np.testing.assert_array_equal(out.keep, real)
  given = softmax(logits)[np.arange(7), Y[np.where(real, rows, 0)]]
  np.testing.assert_allclose(risk, (mine * here * (1 - given**0.7) / 0.7).sum() / 5, rtol=1e-5)
  jax.tree.map(np.testing.assert_array_equal, after, state)
  np.testing.assert_array_equal(np.any(gradient != 0, axis=1), here > 0)


def test_weighs_in_update_only_and_sets_the_loss_in_refresh():
  t = losses.truncated_gce(start=0)
  data = dataset().replace(weight=jax.device_put(np.full(ROWS, 3, np.float32)))
  state, inside = _half_out(t, data)
  np.testing.assert_array_equal(weights(t, data, state), 3 * inside)
  look = lambda data, state: t.refresh(data.fill(jnp.asarray(LOGITS)), state, None, **at(1))[0]
  view = host.run(look, data, state)
  np.testing.assert_array_equal(view.weight, 3)
  np.testing.assert_allclose(view.cost, (1 - softmax(LOGITS) ** 0.7) / 0.7, rtol=1e-5)


@pytest.mark.parametrize("q", [0.0, 0.3, 0.7, 1.0])
def test_the_cost_is_that_of_gce(q):
  t, data = losses.truncated_gce(q), dataset()
  out = host.run(lambda data: _update(t, data, start(t, data), 0), data)
  p = softmax(LOGITS)
  expected = (1 - p**q) / q if q else -np.log(p)
  np.testing.assert_allclose(out.cost, expected, rtol=1e-5, atol=1e-6)
  np.testing.assert_array_equal(out.weight, 1)
  assert set(t.writes) == {"loss", "weight"}


@pytest.mark.parametrize("threshold, left", [(0.0, ROWS), (1.0, 0)])
def test_the_ends_of_the_threshold(threshold, left):
  t, data = losses.truncated_gce(threshold=threshold, start=0), dataset()
  state = refresh(t, data, None, LOGITS, 0)
  assert weights(t, data, state).sum() == left
  state = refresh(t, data, state, np.float32(1e4 * np.eye(CLASSES)[Y]), 10)
  assert weights(t, data, state).sum() == left, "a probability of 1 is not above 1"


def test_traced_settings_are_the_loop():
  data = dataset()

  def run(q, threshold):
    t = losses.truncated_gce(q, threshold, start=0)
    state = t.refresh(data.fill(jnp.asarray(LOGITS)), start(t, data), None, **at(0))[1]
    out = t.update(data.fill(jnp.asarray(LOGITS)), state, None, **at(0))[0]
    return out.cost, out.weight

  settings = [(0.2, 0.1), (0.7, 0.3), (1.0, 0.5)]
  both = lambda *lanes: (jax.vmap(run)(*lanes), [run(*each) for each in settings])
  (cost, weight), loop = host.run(both, *np.float32(settings).T)
  for i, (one_cost, one_weight) in enumerate(loop):
    np.testing.assert_allclose(cost[i], one_cost, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(weight[i], one_weight)
  assert len(set(np.asarray(weight).sum(1))) == 3


@pytest.mark.parametrize("q", [0.01, 0.7, 1.0])
def test_values_and_gradients_are_finite_at_far_logits(q):
  far = np.where(RNG.random((ROWS, CLASSES)) < 0.5, 1e4, -1e4).astype(np.float32)
  t, data = losses.truncated_gce(q, start=0), dataset()

  def risk(z):
    state = t.refresh(data.fill(z), start(t, data), None, **at(0))[1]
    out = t.update(data.fill(z), state, None, **at(0))[0]
    return jnp.sum(out.cost) + out.risk

  value, gradient = host.run(jax.value_and_grad(risk), far)
  assert np.isfinite(value) and np.isfinite(gradient).all()


@pytest.mark.parametrize(
  "settings",
  [
    {"q": -0.1},
    {"q": 1.5},
    {"threshold": -0.1},
    {"threshold": 1.5},
    {"start": -1},
    {"start": 1.5},
    {"every": 0},
    {"every": 2.5},
  ],
)
def test_settings_out_of_range_are_refused(settings):
  with pytest.raises(ValueError, match=f"{next(iter(settings))} must"):
    losses.truncated_gce(**settings)


def test_a_threshold_of_0_drops_no_row_whose_probability_underflows():
  t, data = losses.truncated_gce(0.5, 0.0, start=0), dataset()
  far = np.where(np.eye(CLASSES)[Y] > 0, np.float32(-200), np.float32(200))
  state = refresh(t, data, None, far, 0)
  assert weights(t, data, state).sum() == len(Y)
