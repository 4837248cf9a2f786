"""The masked channel: zeros that stay zero, the s-model without a mask, and its steps by hand."""

import jax
import numpy as np
import optax
import pytest

from rfjax import architectures

RNG = np.random.default_rng(0)
ROWS, CLASSES, LR = 9, 3, 0.5
LOGITS = RNG.normal(size=(ROWS, CLASSES))
Y = np.arange(ROWS) % CLASSES
MASK = np.array([[1, 1, 0], [0, 1, 1], [1, 0, 1]])
Q0 = np.array([[0.7, 0.2, 0.1], [0.2, 0.6, 0.2], [0.3, 0.3, 0.4]])


def test_follows_the_loop_by_hand(check):
  u, p, expected = np.log(Q0), check.softmax(LOGITS), []
  for _ in range(3):
    q = np.exp(u) * MASK
    q /= q.sum(1, keepdims=True)
    slope = np.zeros_like(u)
    for probs, y in zip(p, Y, strict=True):
      posterior = probs * q[:, y] / (probs @ q[:, y])
      slope += posterior[:, None] * (q - np.eye(CLASSES)[y]) / ROWS
    u = u - LR * slope
    expected.append(u)
  with jax.enable_x64(True):
    t, flow = architectures.masked_channel(MASK, Q0, optax.sgd(LR)), check.filled(LOGITS, Y)
    state = check.trail(t, flow, 3)
    np.testing.assert_allclose(state.params, expected, rtol=1e-9)
    third = jax.tree.map(lambda leaf: leaf[1], state)
    out, _ = check.update(t, flow, third)
    np.testing.assert_allclose(out.log_probs, np.log(p @ q), rtol=1e-9)
    matrix = np.asarray(architectures.masked_transition(state.params[2], MASK))
  np.testing.assert_allclose(matrix.sum(1), 1, rtol=1e-12)
  np.testing.assert_array_equal(matrix > 0, MASK)
  masked = np.asarray(state.params)[:, MASK == 0]
  np.testing.assert_array_equal(masked, np.broadcast_to(np.log(Q0)[MASK == 0], masked.shape))


def test_a_mask_of_ones_is_the_s_model(check):
  flow, ones = check.filled(LOGITS, Y), np.ones((CLASSES, CLASSES))
  out, state = check.update(architectures.masked_channel(ones, Q0), flow)
  other, simple = check.update(architectures.s_model(Q0), flow)
  np.testing.assert_array_equal(out.log_probs, other.log_probs)
  np.testing.assert_array_equal(state.params, simple.params)


def test_it_starts_near_the_identity_inside_the_mask(check):
  state = check.init(architectures.masked_channel(MASK), check.filled(LOGITS, Y))
  matrix = architectures.masked_transition(state.params, MASK)
  np.testing.assert_allclose(matrix, 0.9 * np.eye(CLASSES) + 0.05 * MASK, atol=1e-6)


def test_labels_that_the_mask_excludes_stay_finite(check):
  shut = np.array([[1, 1, 0], [1, 1, 0], [1, 1, 0]])  # label 2 cannot be
  flow = check.filled((100 * LOGITS).astype(np.float32), Y)
  t = architectures.masked_channel(shut, tx=optax.sgd(LR))
  (out, state), slopes = check.update(t, flow), check.gradient(t, flow)
  assert np.isfinite(out.cost).all() and np.isfinite(slopes).all()
  assert np.isfinite(state.params).all() and (out.cost[:, 2] > 80).all()


@pytest.mark.parametrize(
  "arguments, message",
  [
    (([[1, 0], [0, 0]],), "mask must allow"),
    (([[1, 0], [0, 0.5]],), "mask must be"),
    (([[1, 0, 1], [0, 1, 1]],), "mask must be"),
    ((np.eye(2), [[0.5, 0.6], [0.0, 1.0]]), "initial must"),
    ((np.eye(2), np.eye(3)), "initial must"),
  ],
)
def test_bad_settings_are_refused(arguments, message):
  with pytest.raises(ValueError, match=message):
    architectures.masked_channel(*arguments)


def test_a_mask_of_other_classes_is_refused(check):
  with pytest.raises(ValueError, match="mask is of 2 classes"):
    check.init(architectures.masked_channel(np.eye(2)), check.filled(LOGITS, Y))
