"""PLC: its labels and threshold against the authors' loop over rows."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rfjax
from oracles import stages
from rfjax import architectures, refurbishment

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
ROWS, CLASSES = 11, 3
Y = np.arange(ROWS) % CLASSES
X = RNG.normal(size=(ROWS, 2)).astype(np.float32)
NAMES = ("threshold", "increment", "cap", "few", "warmup")


def softmax(z):
  e = np.exp(z - z.max(-1, keepdims=True))
  return e / e.sum(-1, keepdims=True)


def dataset():
  return rfjax.Batch.from_arrays(X, Y, num_classes=CLASSES)


def make(settings, window=3):
  return refurbishment.plc(**dict(zip(NAMES, settings, strict=True)), window=window)


start, update, refresh = stages(make, dataset)


class Loop:
  """The authors' correction, row by row; rows that were never seen keep their label."""

  def __init__(self, threshold, increment, cap, few, warmup, window=3):
    self.labels, self.threshold = Y.copy(), threshold
    self.increment, self.cap, self.few, self.warmup = increment, cap, few, warmup
    self.record = np.zeros((window, ROWS, CLASSES))

  def end(self, epoch, valid):
    """The end of an epoch; returns how many labels change."""
    if epoch < self.warmup:
      return 0
    flips = 0
    for i in range(ROWS):
      f = self.record[:, i].mean(0)
      if valid[i] and f.max() > 0 and f[self.labels[i]] / f.max() < self.threshold:
        self.labels[i] = f.argmax()
        flips += 1
    if flips < self.few * valid.sum():
      self.threshold = max(self.threshold, min(self.threshold + self.increment, self.cap))
    return flips


SETTINGS = [
  (0.3, 0.1, 0.9, 0.001, 2),
  (0.6, 0.15, 0.8, 0.3, 0),
  (0.95, 0.1, 0.9, 0.2, 1),
  (0.0, 0.0, 0.9, 0.5, 0),
]


@pytest.mark.parametrize("settings", SETTINGS)
def test_labels_and_threshold_are_those_of_the_loop(settings):
  rng, loop, state = np.random.default_rng(3), Loop(*settings), start(settings)
  valid = np.arange(ROWS) != 7
  data = dataset().replace(valid=jnp.asarray(valid)).fill(jnp.zeros((ROWS, CLASSES)))
  belief, flips = rng.normal(size=(ROWS, CLASSES)), []
  for epoch in range(12):
    state = refresh(settings, data, state, epoch)
    if epoch:
      flips.append(loop.end(epoch - 1, valid))
    np.testing.assert_array_equal(state.labels, loop.labels)
    np.testing.assert_allclose(state.threshold, loop.threshold, rtol=1e-6)
    belief += 0.4 * rng.normal(size=belief.shape)
    rows = np.setdiff1d(rng.permutation(ROWS), [4])  # one row is never seen
    for some in np.append(rng.permutation(rows), [ROWS] * 2).reshape(3, 4):
      logits = 2 * np.append(belief, np.zeros((1, CLASSES)), 0)[some]
      before = rng.dirichlet(np.ones(CLASSES), 4)
      flow = data.take(jnp.asarray(some)).fill(jnp.asarray(logits, jnp.float32))
      out, state = update(settings, flow.replace(target=jnp.asarray(before)), state, epoch)
      now, given = np.append(loop.labels, 0)[some], np.append(Y, 0)[some]
      changed = (now != given)[:, None]
      expected = np.where(changed, np.eye(CLASSES)[now], before)
      np.testing.assert_allclose(out.target, expected, rtol=1e-6)
      for i, z in zip(some, logits, strict=True):
        if i < ROWS:
          loop.record[epoch % 3, i] = softmax(z)
  assert state.labels[4] == Y[4] and state.labels[7] == Y[7]
  if settings[0] == 0:
    assert sum(flips) == 0 and state.threshold == 0
  else:
    assert sum(flips) > 2


def test_a_threshold_of_zero_changes_no_label_and_the_threshold_never_falls():
  many = jnp.asarray([(0.0, 0.0, 0.9, 0.5, 0), (0.0, 0.2, 0.9, 0.5, 0), (0.95, 0.1, 0.9, 1.0, 0)])

  @jax.vmap
  def run(settings):
    return rfjax.fit(
      architectures.logistic(CLASSES), make(list(settings)), optax.sgd(2.0), dataset(), key=KEY,
      epochs=9, batch_size=4, observe=lambda state, view: state.method,
    )  # fmt: skip

  _, log = jax.jit(run)(many)
  threshold, labels = log.observed.threshold, log.observed.labels
  assert (labels[0] == Y).all() and (threshold[0] == 0).all()
  assert (np.diff(threshold, axis=1) >= 0).all() and threshold[1].max() > 0.7
  np.testing.assert_allclose(threshold[1].max(), 0.9, rtol=1e-6)
  assert (labels[1] != Y).any() and (labels[1, :3] == Y).all()
  assert (threshold[2] == jnp.float32(0.95)).all()


def test_corrections_start_at_the_end_of_the_epoch_after_the_warm_up():
  settings = (0.9, 0.0, 0.9, 0.0, 3)
  logits = 5.0 * jax.nn.one_hot((dataset().y + 1) % CLASSES, CLASSES)
  data, state = dataset().fill(logits), start(settings)
  for epoch in range(6):
    state = refresh(settings, data, state, epoch)
    assert (np.asarray(state.labels) != Y).all() == (epoch > 3), epoch
    _, state = update(settings, data, state, epoch)


def test_few_is_a_share_of_the_valid_rows():
  settings = (0.5, 0.1, 0.9, 0.5, 0)
  wrong = (dataset().y + (jnp.arange(ROWS) < 5)) % CLASSES  # five of ten labels are rejected
  logits = 5.0 * jax.nn.one_hot(wrong, CLASSES)
  data = dataset().replace(valid=jnp.arange(ROWS) < 10).fill(logits)
  state = refresh(settings, data, update(settings, data, start(settings), 0)[1], 1)
  np.testing.assert_array_equal(np.asarray(state.labels) != Y, np.arange(ROWS) < 5)
  assert state.threshold == 0.5
  state = refresh(settings, data, state, 1)  # and now none is
  assert state.threshold == jnp.float32(0.6)


@functools.cache
def _bad():
  return [{n: v} for n in NAMES[:4] for v in (-0.1, 1.1)] + [{"warmup": -1}, {"window": 0}]


@pytest.mark.parametrize("settings", _bad())
def test_settings_out_of_range_are_refused(settings):
  with pytest.raises(ValueError, match=f"{next(iter(settings))} must"):
    refurbishment.plc(**settings)
