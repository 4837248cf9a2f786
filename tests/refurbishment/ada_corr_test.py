"""AdaCorr: labels against a loop over rows, and the retroactive loss against its matrices."""

import jax
import numpy as np
import optax
import pytest

import rfjax
from oracles import stages
from rfjax import architectures, refurbishment

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
ROWS, CLASSES, WINDOW = 11, 4, 3
Y = np.arange(ROWS) % CLASSES
X = RNG.normal(size=(ROWS, 2)).astype(np.float32)
NAMES = ("start", "ratio", "growth", "retroactive", "retroactive_start", "retroactive_interval")


def log_softmax(z):
  return (
    z - z.max(-1, keepdims=True) - np.log(np.exp(z - z.max(-1, keepdims=True)).sum(-1))[:, None]
  )


def dataset():
  return rfjax.Batch.from_arrays(X, Y, num_classes=CLASSES)


def make(settings):
  return refurbishment.ada_corr(**dict(zip(NAMES, settings, strict=True)), window=WINDOW)


start, update, refresh = stages(make, dataset)


@jax.jit
def served(rows, logits, columns):
  return dataset().take(rows).fill(logits).replace(**columns)


filled = jax.jit(lambda logits: dataset().fill(logits))


class Loop:
  """The authors' correction and correction matrices, row by row."""

  def __init__(self, start, ratio, growth, strength, first, interval):
    self.start, self.ratio, self.growth = start, ratio, growth
    self.strength, self.first, self.interval = strength, first, interval
    self.labels, self.matrices = Y.copy(), {}
    self.record = np.zeros((ROWS, WINDOW, CLASSES))

  def soft(self, i):
    """The smoothed label in use, by which the authors multiply the matrix."""
    result = np.full(CLASSES, 1e-2 / (CLASSES - 1))
    result[self.labels[i]] = 1 - 1e-2
    return result

  def end(self, epoch):
    if epoch + 1 in (self.first, self.first + self.interval):
      for i in range(ROWS):
        self.matrices[i] = np.full((CLASSES, CLASSES), 1e-4)
        self.matrices[i][self.soft(i).argmax()] = 0.9 - 1e-4 / (CLASSES - 1)
    delta = self.ratio + self.growth * max(epoch - self.start + 1, 0)
    for i in range(ROWS):
      mean = self.record[i].mean(0)
      if epoch >= self.start and mean.argmax() != self.labels[i] and mean.max() > 0:
        if mean.max() / mean[self.labels[i]] > delta:
          self.labels[i] = mean.argmax()

  def penalty(self, rows, logits, keep, weight, epoch):
    if epoch < self.first:
      return 0.0
    loss = [
      -(self.matrices[i] @ self.soft(i)) @ z if i < ROWS else 0.0
      for i, z in zip(rows, log_softmax(logits), strict=True)
    ]
    return self.strength * (keep * weight * loss).sum() / max(keep.sum(), 1)


SETTINGS = [(3, 1.2, 0.1, 1.0, 2, 4), (0, 1.0, 0.0, 0.5, 1, 5), (2, 2.0, 0.5, 0.0, 2, 4)]


@pytest.mark.parametrize("settings", SETTINGS)
def test_labels_and_penalty_are_those_of_the_loop(settings):
  rng, loop, seen = np.random.default_rng(3), Loop(*settings), []
  with jax.enable_x64(True):
    data, state = filled(np.zeros((ROWS, CLASSES))), start(settings)
    belief = rng.normal(size=(ROWS, CLASSES))
    for epoch in range(10):
      state = refresh(settings, data, state, epoch)
      if epoch:
        loop.end(epoch - 1)
      seen.append(loop.labels.copy())
      np.testing.assert_array_equal(state.labels, loop.labels)
      belief += 1.5 * rng.normal(size=belief.shape)
      rows = np.setdiff1d(rng.permutation(ROWS), [4])  # one row is never seen
      for some in np.append(rng.permutation(rows), [ROWS] * 2).reshape(3, 4):
        logits = 2 * np.append(belief, np.zeros((1, CLASSES)), 0)[some]
        keep, weight = rng.choice([0.0, 0.5, 1.0], 4) * (some < ROWS), rng.choice([0.5, 2.0], 4)
        columns = {"keep": keep, "weight": weight, "penalty": np.asarray(0.25)}
        out, state = update(settings, served(some, logits, columns), state, epoch)
        np.testing.assert_array_equal(out.target, np.eye(CLASSES)[np.append(loop.labels, 0)[some]])
        expected = 0.25 + loop.penalty(some, logits, keep, weight, epoch)
        np.testing.assert_allclose(out.penalty, expected, rtol=1e-10)
        for i, z in zip(some, np.exp(log_softmax(logits)), strict=True):
          if i < ROWS:
            loop.record[i, epoch % WINDOW] = z
  changes = (np.diff(seen, axis=0) != 0).sum(1)
  assert (changes > 0).sum() > 1 and changes[: settings[0]].sum() == 0
  assert np.asarray(state.labels)[4] == Y[4]


def test_the_ratio_grows_by_the_schedule():
  settings = (2, 1.2, 0.1, 0.0, 0, 40)
  ratios = 1.15 + 0.1 * np.arange(ROWS)  # of the next label to the given one
  logits = np.log(ratios)[:, None] * np.eye(CLASSES)[(Y + 1) % CLASSES]
  flow = filled(logits.astype(np.float32))
  _, seen = update(settings, flow, start(settings), 0)
  for epoch in range(1, 9):
    flipped = np.asarray(refresh(settings, flow, seen, epoch).labels) != Y
    delta = 1.2 + 0.1 * (epoch - 1 - 2 + 1)
    np.testing.assert_array_equal(flipped, (ratios > delta) & (epoch - 1 >= 2))


def test_an_infinite_ratio_changes_no_label_and_without_the_retroactive_loss_is_cross_entropy():
  never = (0, np.inf, 0.02, 0.0, 0, 40)

  @jax.jit
  def both(settings):
    fit = lambda method: rfjax.fit(
      architectures.logistic(CLASSES), method, optax.sgd(2.0), dataset(), key=KEY, epochs=6,
      batch_size=4,
    )  # fmt: skip
    return fit(make(settings)), fit(rfjax.chain())

  (state, log), (plain, plain_log) = jax.device_get(both(never))
  np.testing.assert_array_equal(state.method.labels, Y)
  np.testing.assert_allclose(log.risk, plain_log.risk, rtol=1e-5)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4), state.params, plain.params)
  assert (log.penalty == 0).all()


def test_the_gradient_pulls_to_the_label_in_use_and_to_the_anchor():
  settings = (0, 1.0, 0.0, 1.0, 0, 40)
  logits = 2 * RNG.normal(size=(ROWS, CLASSES))
  p = np.exp(log_softmax(logits))
  flow = filled(logits.astype(np.float32))
  state = refresh(settings, flow, update(settings, flow, start(settings), 0)[1], 1)
  objective = lambda z: update(settings, dataset().fill(z), state, 1)[0].objective
  found = jax.jit(jax.grad(objective))(flow.logits)
  retro = np.where(np.eye(CLASSES)[Y], 0.9 - 1e-4 / (CLASSES - 1), 1e-4)
  pull = np.eye(CLASSES)[p.argmax(1)] + retro
  np.testing.assert_allclose(found, (pull.sum(1)[:, None] * p - pull) / ROWS, atol=1e-6)


@pytest.mark.parametrize(
  "settings",
  [{"start": -1}, {"ratio": 0.9}, {"growth": -0.1}, {"window": 0}, {"retroactive": -1.0}]
  + [{"retroactive_start": -1}, {"retroactive_interval": 0}, {"ratio": float("nan")}]
  + [{"retroactive_start": 0.5}, {"retroactive_interval": 2.5}],
)
def test_settings_out_of_range_are_refused(settings):
  with pytest.raises(ValueError, match=f"{next(iter(settings))} must"):
    refurbishment.ada_corr(**settings)
