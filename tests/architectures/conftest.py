"""What the tests of noise layers share: rows with logits, one update, and NumPy's softmax."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rfjax

KEY = jax.random.key(0)


def softmax(z):
  e = np.exp(z - np.max(z, -1, keepdims=True))
  return e / e.sum(-1, keepdims=True)


def stochastic(rng, classes, stay=1.0):
  """A random matrix with rows of probabilities, the diagonal raised by `stay`."""
  q = rng.random((classes, classes)) + stay * np.eye(classes)
  return q / q.sum(1, keepdims=True)


@jax.jit
def _fill(data, logits, features):
  return data.fill(logits, features)


def filled(logits, y, features=None, classes=None):
  """Rows with what a network says of them."""
  classes = logits.shape[1] if classes is None else classes
  data = rfjax.Batch.from_arrays(np.zeros((len(y), 1), np.float32), y, num_classes=classes)
  return _fill(data, jnp.asarray(logits), None if features is None else jnp.asarray(features))


def init(t, flow, key=KEY):
  return t.init(flow, key=key, spec=rfjax.core.Spec(flow.logits, flow.features))


def update(t, flow, state=None, key=KEY, step=0, epoch=0):
  """The batch and the state after one update, compiled."""

  def run(flow, state, step, epoch):
    state = init(t, flow) if state is None else state
    return t.update(flow, state, None, key=key, step=step, epoch=epoch, forward=None)

  return jax.jit(run)(flow, state, step, epoch)


def gradient(t, flow, state=None, key=KEY):
  """The derivative of the sum of the losses by the logits, [B, C]."""

  def loss(z):
    return jnp.sum(update(t, flow.fill(z, flow.features), state, key)[0].loss)

  return jax.jit(jax.grad(loss))(flow.logits)


def trail(t, flow, steps, key=KEY, epochs=None):
  """The states after 1, 2, ... updates on the same batch, compiled, stacked."""
  epochs = np.zeros(steps, int) if epochs is None else np.asarray(epochs)

  def body(state, at):
    _, state = update(t, flow, state, jax.random.fold_in(key, at[0]), at[0], at[1])
    return state, state

  run = lambda: jax.lax.scan(body, init(t, flow), (jnp.arange(steps), jnp.asarray(epochs)))[1]
  return jax.jit(run)()


@pytest.fixture
def check():
  names = (softmax, stochastic, filled, init, update, gradient, trail)
  return types.SimpleNamespace(**{function.__name__: function for function in names})
