"""Joint optimisation: labels and penalty against a loop, and its two steps one by one."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rfjax
from rfjax import architectures, refurbishment

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
ROWS, CLASSES, WINDOW = 10, 3, 3
Y = np.arange(ROWS) % CLASSES
X = RNG.normal(size=(ROWS, 2)).astype(np.float32)
PRIOR = np.array([0.5, 0.3, 0.2])
NETWORK = architectures.logistic(CLASSES)


def log_softmax(z):
  z = z - z.max(-1, keepdims=True)
  return z - np.log(np.exp(z).sum(-1, keepdims=True))


def dataset(**columns):
  return rfjax.Batch.from_arrays(X, Y, num_classes=CLASSES).replace(**columns)


def make(settings, hard=False):
  start, prior_strength, entropy_strength, prior = settings
  return refurbishment.joint_optimization(
    prior_strength, entropy_strength, start=start, prior=prior, window=WINDOW, hard=hard
  )


@jax.jit
def served(rows, logits, columns):
  return dataset().take(rows).fill(logits).replace(**columns)


@functools.partial(jax.jit, static_argnames="hard")
def update(settings, hard, flow, state, epoch):
  return make(settings, hard).update(flow, state, (), epoch=epoch)


@functools.partial(jax.jit, static_argnames="hard")
def refresh(settings, hard, data, state, epoch):
  return make(settings, hard).refresh(data, state, (), epoch=epoch)[1]


@jax.jit
def gradient(settings, flow, logits):
  def objective(logits):
    method = make(settings)
    state = method.init(dataset(), key=KEY, spec=None)
    return method.update(flow.fill(logits), state, (), epoch=0)[0].objective

  return jax.value_and_grad(objective)(logits)


class Loop:
  """The authors' label update, with lists of predictions, and their loss."""

  def __init__(self, start, alpha, beta, prior):
    self.start, self.alpha, self.beta, self.prior = start, alpha, beta, prior
    self.labels = np.eye(CLASSES)[Y]
    self.predictions = [[] for _ in range(ROWS)]

  def end(self, epochs, hard):
    """After so many epochs."""
    if epochs >= self.start:
      for i, seen in enumerate(self.predictions):
        if seen:
          mean = np.mean(seen[-WINDOW:], axis=0)
          self.labels[i] = np.eye(CLASSES)[mean.argmax()] if hard else mean

  def penalty(self, logits, keep):
    log_p = log_softmax(logits)
    mean = keep @ np.exp(log_p) / keep.sum()
    entropy = -(keep @ (np.exp(log_p) * log_p).sum(1)) / keep.sum()
    return -self.alpha * (self.prior * np.log(mean)).sum() + self.beta * entropy


SETTINGS = [(4, 1.0, 0.5, np.ones(3) / 3), (0, 0.3, 0.0, PRIOR), (np.inf, 0.0, 2.0, PRIOR)]


@pytest.mark.parametrize("settings, hard", [*((s, False) for s in SETTINGS), (SETTINGS[0], True)])
def test_labels_and_penalty_are_those_of_the_loop(settings, hard):
  rng, loop = np.random.default_rng(3), Loop(*settings)
  with jax.enable_x64(True):
    settings = jax.tree.map(jnp.asarray, settings)
    data = jax.jit(lambda: dataset().fill(jnp.zeros((ROWS, CLASSES))))()
    state = jax.jit(lambda: make(settings).init(dataset(), key=KEY, spec=None))()
    for epoch in range(8):
      state = refresh(settings, hard, data, state, epoch)
      if epoch:
        loop.end(epoch, hard)
      np.testing.assert_allclose(state.labels, loop.labels, rtol=1e-12)
      rows = np.setdiff1d(rng.permutation(ROWS), [4])  # one row is never seen
      for some in np.append(rng.permutation(rows), [ROWS] * 3).reshape(3, 4):
        logits, before = 2 * rng.normal(size=(4, CLASSES)), rng.dirichlet(np.ones(CLASSES), 4)
        real = some < ROWS
        keep = rng.choice([0.5, 1.0], 4) * real
        columns = {"keep": keep, "target": before, "penalty": np.asarray(0.25)}
        out, state = update(settings, hard, served(some, logits, columns), state, epoch)
        used = np.append(loop.labels, np.zeros((1, CLASSES)), 0)[some]
        expected = np.where(real[:, None] & (epoch >= loop.start), used, before)
        np.testing.assert_allclose(out.target, expected, rtol=1e-12)
        if keep.sum() > 0:
          np.testing.assert_allclose(out.penalty, 0.25 + loop.penalty(logits, keep), rtol=1e-12)
        for i, p in zip(some[real], np.exp(log_softmax(logits))[real], strict=True):
          loop.predictions[i].append(p)
  np.testing.assert_array_equal(state.labels[4], np.eye(CLASSES)[Y[4]])


def test_the_gradient_of_the_penalty_is_its_closed_form():
  logits = RNG.normal(size=(ROWS, CLASSES))
  log_p = log_softmax(logits)
  p, mean = np.exp(log_p), np.exp(log_p).mean(0)
  # d/dz of sum_k g_k p_k is p (g - <g, p>).
  pull = lambda g: p * (g - (g * p).sum(1, keepdims=True))
  expected = p - np.eye(CLASSES)[Y] + 0.7 * pull(-PRIOR / mean) + 0.4 * pull(-log_p)
  settings = (5.0, 0.7, 0.4, jnp.asarray(PRIOR, jnp.float32))
  _, found = gradient(settings, dataset(), jnp.asarray(logits, jnp.float32))
  np.testing.assert_allclose(found, expected / ROWS, atol=1e-6)
  keep = (np.arange(ROWS) % 2).astype(np.float32)
  _, found = gradient(settings, dataset(keep=keep), jnp.asarray(logits, jnp.float32))
  found = np.asarray(found)
  assert (found[::2] == 0).all() and (found[1::2] != 0).all()
  value, found = gradient(settings, dataset(keep=0 * keep), jnp.asarray(logits, jnp.float32))
  assert value == 0 and (np.asarray(found) == 0).all()


def test_far_logits_have_finite_values_and_gradients():
  far = np.where(np.arange(CLASSES) == 0, -1e4, 1e4) * np.ones((ROWS, 1))
  far = far.astype(np.float32)
  settings = (5.0, 1.0, 0.5, jnp.asarray(PRIOR, jnp.float32))
  value, found = jax.device_get(gradient(settings, dataset(), far))
  assert np.isfinite(value) and np.isfinite(found).all()
  # All say that class 0 is impossible, and the prior pulls it up.
  assert value > 0.5 * 1e4 and (found[:, 0] < 0).all()


@functools.partial(jax.jit, static_argnames="hard")
def in_rounds(hard=False):
  return refurbishment.joint_optimization_rounds(
    NETWORK, optax.sgd(0.5), dataset(), key=KEY, epochs=6, second_tx=optax.sgd(0.3),
    second_epochs=4, batch_size=4, start=3, window=WINDOW, hard=hard,
    observe=lambda state, view: state.method[1].labels,
  )  # fmt: skip


@jax.jit
def by_stages():
  method = refurbishment.joint_optimization(start=3, window=WINDOW)
  first, log = rfjax.fit(
    NETWORK, rfjax.chain(rfjax.core.identity, method, rfjax.core.identity), optax.sgd(0.5),
    dataset(), key=KEY, epochs=6, batch_size=4,
  )  # fmt: skip
  total = first.method[1].recent.sum(1)
  labels = total / total.sum(-1, keepdims=True)
  second, second_log = rfjax.fit(
    NETWORK, rfjax.chain(), optax.sgd(0.3), dataset(target=labels),
    key=jax.random.fold_in(KEY, 1), epochs=4, batch_size=4,
  )  # fmt: skip
  return labels, log.risk, second.params, second_log


def test_the_second_step_trains_a_new_network_on_the_last_labels_only():
  state, log = jax.device_get(in_rounds())
  labels, risk, params, second_log = jax.device_get(by_stages())
  close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6)
  close(log.risk, np.append(risk, second_log.risk))
  jax.tree.map(close, state.params, params)
  close(state.method[1].labels, labels)
  close(log.observed[6:], np.broadcast_to(labels, (4, ROWS, CLASSES)))
  assert (log.penalty[:6] > 0).all() and (log.penalty[6:] == 0).all()
  assert (log.observed[:3] == np.eye(CLASSES)[Y]).all() and (
    log.observed[3] != log.observed[2]
  ).any()


def test_hard_labels_are_the_likeliest():
  state, log = jax.device_get(in_rounds(hard=True))
  assert np.isin(log.observed, [0, 1]).all() and (log.observed.sum(-1) == 1).all()
  np.testing.assert_array_equal(state.method[1].labels, log.observed[-1])


def test_labels_of_an_earlier_run_take_the_place_of_the_given_ones():
  labels = RNG.dirichlet(np.ones(CLASSES), ROWS).astype(np.float32)
  method = refurbishment.joint_optimization(0.0, 0.0, start=jnp.inf, labels=labels)

  @jax.jit
  def target():
    state = method.init(dataset(), key=KEY, spec=None)
    flow = dataset().fill(jnp.zeros((ROWS, CLASSES)))
    return method.update(flow, state, (), epoch=0)[0].target

  np.testing.assert_array_equal(target(), labels)


BAD = [
  {"prior_strength": -1.0},
  {"entropy_strength": -1.0},
  {"start": -1},
  {"window": 0},
  {"prior": [0.5, 0.6]},
  {"prior": [1.5, -0.5]},
  {"prior": [[0.5, 0.5]]},
  {"labels": [[0.5, 0.6]]},
  {"labels": [0, 1]},
]


@pytest.mark.parametrize("settings", BAD)
def test_settings_out_of_range_are_refused(settings):
  with pytest.raises(ValueError, match=f"{next(iter(settings))} must"):
    refurbishment.joint_optimization(**settings)


def test_priors_and_labels_of_other_data_are_refused():
  for settings in ({"prior": [0.5, 0.5]}, {"labels": np.eye(CLASSES)}):
    method = refurbishment.joint_optimization(**settings)
    with pytest.raises(ValueError, match=f"{next(iter(settings))} must"):
      method.init(dataset(), key=KEY, spec=None)
  with pytest.raises(ValueError, match="second_epochs must"):
    refurbishment.joint_optimization_rounds(
      NETWORK, optax.sgd(0.1), dataset(), key=KEY, epochs=1, second_epochs=-1
    )


def test_the_second_step_takes_data_with_padding():
  x, y = np.linspace(-1, 1, 6)[:, None].astype(np.float32), [0, 0, 0, 1, 1, 1]
  data = rfjax.Batch.from_arrays(x, y)

  @jax.jit
  def run(data):
    padded = data.take(np.array([0, 1, 2, 3, 4, 5, 6, 6]))
    return refurbishment.joint_optimization_rounds(
      architectures.logistic(), optax.sgd(0.1), padded, key=jax.random.key(0), epochs=2, start=1,
      window=2,
    )  # fmt: skip

  state, _ = jax.device_get(run(data))
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params))
