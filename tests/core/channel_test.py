"""Channels against sums of probabilities in float64, and their edges."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rfjax.core import log_transition, through

RNG = np.random.default_rng(0)
B, C = 6, 4
LOGITS = 2 * RNG.normal(size=(B, C))
ZEROS = np.array([[0.7, 0.3, 0, 0], [0, 1, 0, 0], [0, 0, 0.5, 0.5], [0.1, 0, 0, 0.9]])


def softmax(z):
  e = np.exp(z - z.max(-1, keepdims=True))
  return e / e.sum(-1, keepdims=True)


def stochastic(*shape):
  return RNG.dirichlet(np.ones(C), shape)


def behind(z, t):
  """log of p T, of one matrix or of a matrix for each row, by a loop."""
  p, out = softmax(z), np.zeros(z.shape)
  for b in range(len(z)):
    for j in range(z.shape[1]):
      own = t if t.ndim == 2 else t[b]
      out[b, j] = np.log(sum(p[b, i] * own[i, j] for i in range(z.shape[1])))
  return out


def act(z, t):
  return through(jax.nn.log_softmax(z), log_transition(t))


@pytest.mark.parametrize("matrix", ["one", "one a row", "zeros"])
@pytest.mark.parametrize("wide", [False, True])
def test_is_the_log_of_the_product(matrix, wide):
  t = {"one": stochastic(C), "one a row": stochastic(B, C), "zeros": ZEROS}[matrix]
  with jax.enable_x64(wide):
    dtype = jnp.float64 if wide else jnp.float32
    found = jax.jit(act)(jnp.asarray(LOGITS, dtype), jnp.asarray(t, dtype))
  assert found.dtype == dtype and found.shape == (B, C)
  np.testing.assert_allclose(found, behind(LOGITS, t), rtol=1e-12 if wide else 1e-5, atol=1e-6)
  np.testing.assert_allclose(np.exp(found).sum(1), 1, rtol=1e-5)


def test_the_identity_changes_nothing():
  log_probs = jax.nn.log_softmax(jnp.asarray(LOGITS, jnp.float32))
  np.testing.assert_allclose(through(log_probs, log_transition(np.eye(C))), log_probs, atol=1e-6)


def test_the_gradients_are_those_of_the_product():
  t = stochastic(C)

  def plain(z, t):
    return jnp.log(jax.nn.softmax(z) @ t)

  with jax.enable_x64(True):
    arguments = jnp.asarray(LOGITS), jnp.asarray(t)
    slopes = [jax.jit(jax.jacrev(f, (0, 1)))(*arguments) for f in (act, plain)]
  for one, two in zip(*slopes, strict=True):
    np.testing.assert_allclose(one, two, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("scale", [1.0, 50.0, 1e4])
@pytest.mark.parametrize("t", [ZEROS, np.eye(C), np.eye(C)[[0, 0, 0, 0]]])
def test_zeros_and_far_logits_leave_values_and_gradients_finite(t, scale):
  signs = np.where(np.eye(C)[np.arange(B) % C], scale, -scale)
  value = lambda z, t: act(z, t).sum()
  found, slopes = jax.jit(jax.value_and_grad(value, (0, 1)))(
    jnp.asarray(signs, jnp.float32), jnp.asarray(t, jnp.float32)
  )
  assert np.isfinite(found)
  assert all(np.isfinite(slope).all() for slope in slopes)


def test_the_logarithm_of_a_transition():
  found = log_transition(ZEROS.tolist())
  assert found.dtype == jnp.float32 and np.isfinite(found).all()
  np.testing.assert_allclose(found[ZEROS > 0], np.log(ZEROS[ZEROS > 0]), rtol=1e-6)
  np.testing.assert_allclose(found[ZEROS == 0], -1e30, rtol=1e-6)
  np.testing.assert_array_equal(jnp.exp(found[1]) > 1e-30, [False, True, False, False])
  slope = np.asarray(jax.grad(lambda t: log_transition(t).sum())(jnp.asarray(ZEROS, jnp.float32)))
  np.testing.assert_allclose(slope[ZEROS > 0], 1 / ZEROS[ZEROS > 0], rtol=1e-6)
  assert np.isfinite(slope).all()


@pytest.mark.parametrize("given, wide, kept", [
  (jnp.float16, False, jnp.float32), (jnp.bfloat16, False, jnp.float32),
  (jnp.int32, False, jnp.float32), (jnp.float32, True, jnp.float32),
  (jnp.float64, True, jnp.float64),
])  # fmt: skip
def test_short_types_are_widened(given, wide, kept):
  with jax.enable_x64(wide):
    found = log_transition(jnp.eye(2, dtype=given))
    assert found.dtype == kept and np.isfinite(found).all()
