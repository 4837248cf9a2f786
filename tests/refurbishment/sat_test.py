"""Self-adaptive training: its memory, targets and weights against a loop with dictionaries."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rfjax
from rfjax import architectures, refurbishment

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
ROWS, CLASSES = 10, 3
Y = np.arange(ROWS) % CLASSES
X = RNG.normal(size=(ROWS, 2))


def softmax(z):
  e = np.exp(z - z.max(-1, keepdims=True))
  return e / e.sum(-1, keepdims=True)


def dataset():
  return rfjax.Batch.from_arrays(X, Y, num_classes=CLASSES)


def start(decay=0.9, first=1):
  return refurbishment.sat(decay, start=first).init(dataset(), key=KEY, spec=None)


@jax.jit
def update(decay, first, flow, state, epoch):
  return refurbishment.sat(decay, start=first).update(flow, state, None, epoch=epoch)


@jax.jit
def gradient(flow, decay, first, logits):
  def objective(logits):
    return update(decay, first, flow.fill(logits), start(), 5)[0].objective

  return jax.value_and_grad(objective)(logits)


@pytest.mark.parametrize("decay, first", [(0.9, 2), (0.0, 0), (0.5, 3), (1.0, 0)])
def test_follows_the_loop_by_hand(decay, first):
  rng = np.random.default_rng(1)
  soft = {i: np.eye(CLASSES)[Y[i]] for i in range(ROWS)}
  with jax.enable_x64(True):
    data, state = dataset(), start()
    for epoch in range(5):
      rows = rng.permutation(np.append(rng.permutation(ROWS)[:6], [ROWS] * 2))
      keep = rng.choice([0.0, 0.5, 1.0], 8) * (rows < ROWS)
      weight = rng.choice([0.5, 2.0], 8)
      before = rng.dirichlet(np.ones(CLASSES), 8)
      logits = 3 * rng.normal(size=(8, CLASSES))
      flow = data.take(jnp.asarray(rows)).fill(jnp.asarray(logits))
      columns = {"keep": keep, "weight": weight, "target": before}
      flow = flow.replace(**jax.tree.map(jnp.asarray, columns))
      out, state = update(decay, first, flow, state, epoch)
      if epoch < first:
        target, expected = before, weight
      else:
        target, largest = before.copy(), np.ones(8)
        for j, i in enumerate(rows):
          if i < ROWS:
            soft[i] = decay * soft[i] + (1 - decay) * softmax(logits[j])
            target[j], largest[j] = soft[i], soft[i].max()
        expected = weight * largest * keep.sum() / (keep @ largest)
      real = rows < ROWS
      np.testing.assert_allclose(out.target, target, rtol=1e-12)
      np.testing.assert_allclose(out.weight[real], expected[real], rtol=1e-12)
      np.testing.assert_array_equal(out.keep, keep)
      np.testing.assert_allclose(state.soft, [soft[i] for i in range(ROWS)], rtol=1e-12)


def test_weights_have_mean_one_over_what_is_kept():
  logits = jnp.asarray(RNG.normal(size=(ROWS, CLASSES)), jnp.float32)
  keep = jnp.asarray(RNG.choice([0.0, 0.5, 1.0], ROWS), jnp.float32)
  out, _ = update(0.3, 0, dataset().fill(logits).replace(keep=keep), start(), 0)
  np.testing.assert_allclose(jnp.sum(keep * out.weight) / jnp.sum(keep), 1, rtol=1e-6)
  nothing, _ = update(0.3, 0, dataset().fill(logits).replace(keep=0 * keep), start(), 0)
  np.testing.assert_array_equal(nothing.weight, 1)


def test_the_gradient_is_that_of_fixed_soft_labels():
  logits = RNG.normal(size=(ROWS, CLASSES))
  p = softmax(logits)
  soft = 0.6 * np.eye(CLASSES)[Y] + 0.4 * p
  weight = soft.max(1) / soft.max(1).mean()
  value, found = gradient(dataset(), 0.6, 2, jnp.asarray(logits, jnp.float32))
  np.testing.assert_allclose(value, -(weight * (soft * np.log(p)).sum(1)).mean(), rtol=1e-5)
  np.testing.assert_allclose(found, weight[:, None] * (p - soft) / ROWS, atol=1e-6)


def test_full_decay_and_a_late_start_are_cross_entropy():
  logits = RNG.normal(size=(ROWS, CLASSES))
  p = softmax(logits)
  for decay, first in ((1.0, 0), (0.1, 6), (0.1, np.inf)):
    value, found = gradient(dataset(), decay, first, jnp.asarray(logits, jnp.float32))
    np.testing.assert_allclose(value, -np.log(p[np.arange(ROWS), Y]).mean(), rtol=1e-6)
    np.testing.assert_allclose(found, (p - np.eye(CLASSES)[Y]) / ROWS, atol=1e-6)


def test_the_memory_starts_with_the_given_labels_at_their_addresses():
  order = jnp.asarray(RNG.permutation(ROWS))
  method = refurbishment.sat()
  state = method.init(dataset().take(order), key=KEY, spec=None)
  np.testing.assert_array_equal(state.soft, np.eye(CLASSES)[Y])


def test_the_memory_lives_through_the_epochs_of_a_run():
  params = {"kernel": jnp.asarray(RNG.normal(size=(2, 2)), jnp.float32), "bias": jnp.zeros(2)}
  state, _ = rfjax.fit(
    architectures.logistic(CLASSES), rfjax.chain(refurbishment.sat(0.7, start=1)), optax.sgd(0.0),
    dataset(), key=KEY, epochs=4, batch_size=4, params=params,
  )  # fmt: skip
  p = softmax(np.pad(X @ np.asarray(params["kernel"], float), ((0, 0), (1, 0))))
  expected = 0.7**3 * np.eye(CLASSES)[Y] + (1 - 0.7**3) * p
  np.testing.assert_allclose(state.method[0].soft, expected, rtol=1e-4)


@pytest.mark.parametrize(
  "settings", [{"decay": -0.1}, {"decay": 1.1}, {"start": -1}, {"start": float("nan")}]
)
def test_settings_out_of_range_are_refused(settings):
  with pytest.raises(ValueError, match=f"{next(iter(settings))} must"):
    refurbishment.sat(**settings)
