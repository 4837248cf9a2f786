"""The c-model: its steps by hand, the s-model where it does not look at features."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rfjax
from rfjax import architectures

RNG = np.random.default_rng(0)
ROWS, CLASSES, WIDTH, LR = 9, 3, 4, 0.5
LOGITS = RNG.normal(size=(ROWS, CLASSES))
FEATURES = RNG.normal(size=(ROWS, WIDTH))
Y = np.arange(ROWS) % CLASSES
Q0 = np.array([[0.7, 0.2, 0.1], [0.0, 0.9, 0.1], [0.3, 0.3, 0.4]])


def by_hand(check, steps):
  """The parameters after each step, and what the layer says before it."""
  u = np.zeros((CLASSES, CLASSES, WIDTH))
  b = np.where(Q0 > 0, np.log(np.maximum(Q0, 1e-300)), -1e30)
  p, trail, said = check.softmax(LOGITS), [], []
  for _ in range(steps):
    du, db, rows = np.zeros_like(u), np.zeros_like(b), []
    for t in range(ROWS):
      q = check.softmax(np.einsum("ijd,d->ij", u, FEATURES[t]) + b)
      noisy = p[t] @ q
      rows.append(np.log(noisy))
      posterior = p[t] * q[:, Y[t]] / noisy[Y[t]]
      slope = posterior[:, None] * (q - np.eye(CLASSES)[Y[t]]) / ROWS
      db += slope
      du += slope[:, :, None] * FEATURES[t]
    u, b = u - LR * du, b - LR * db
    trail.append((u, b))
    said.append(rows)
  return trail, said


def test_follows_the_loop_by_hand(check):
  trail, said = by_hand(check, 4)
  with jax.enable_x64(True):
    t = architectures.c_model(Q0, optax.sgd(LR))
    flow = check.filled(LOGITS, Y, FEATURES)
    state = check.trail(t, flow, 4)
    for k in range(4):
      np.testing.assert_allclose(state.params["kernel"][k], trail[k][0], rtol=1e-9, atol=1e-12)
      np.testing.assert_allclose(state.params["bias"][k], trail[k][1], rtol=1e-9, atol=1e-12)
    third = jax.tree.map(lambda leaf: leaf[2], state)
    out, _ = check.update(t, flow, third)
    np.testing.assert_allclose(out.log_probs, said[3], rtol=1e-9)
    np.testing.assert_allclose(out.cost, -out.log_probs)
  assert np.abs(trail[-1][0]).max() > 0.01


def test_it_starts_as_the_s_model(check):
  flow = check.filled(LOGITS, Y, FEATURES)
  out, state = check.update(architectures.c_model(Q0, optax.sgd(LR)), flow)
  other, simple = check.update(architectures.s_model(Q0, optax.sgd(LR)), flow)
  np.testing.assert_allclose(out.log_probs, other.log_probs, rtol=1e-6)
  np.testing.assert_allclose(state.params["bias"], simple.params, rtol=1e-5, atol=1e-6)


def test_the_network_learns_through_its_features_too(check):
  with jax.enable_x64(True):
    t, flow = architectures.c_model(Q0, optax.sgd(LR)), check.filled(LOGITS, Y, FEATURES)
    state = jax.tree.map(lambda leaf: leaf[1], check.trail(t, flow, 2))
    loss = lambda h: jnp.mean(check.update(t, check.filled(LOGITS, Y, h), state)[0].loss)
    slopes = jax.grad(loss)(jnp.asarray(FEATURES))
    step = 1e-5 * RNG.normal(size=FEATURES.shape)
    moved = float(loss(FEATURES + step) - loss(FEATURES - step))
    slopes = np.asarray(slopes)
  np.testing.assert_allclose(moved, 2 * np.sum(slopes * step), rtol=1e-5)
  assert np.abs(slopes).max() > 1e-3


def test_it_needs_features(check):
  with pytest.raises(ValueError, match="c_model needs features"):
    check.init(architectures.c_model(Q0), check.filled(LOGITS, Y))
  data = rfjax.Batch.from_arrays([[0.0], [1.0]], [0, 1])
  with pytest.raises(ValueError, match="c_model needs features"):
    rfjax.fit(architectures.logistic(), architectures.c_model(np.eye(2)), optax.sgd(0.1), data,
              key=jax.random.key(0), epochs=1)  # fmt: skip


def test_bad_matrices_are_refused(check):
  with pytest.raises(ValueError, match="initial must"):
    architectures.c_model([[0.5, 0.6], [0.0, 1.0]])
  with pytest.raises(ValueError, match="initial is of 2 classes"):
    check.init(architectures.c_model(np.eye(2)), check.filled(LOGITS, Y, FEATURES))
