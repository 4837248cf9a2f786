"""Active Bias: its weights against variances of recorded histories."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rfjax
from rfjax import architectures, reweighting

KEY = jax.random.key(0)
ROWS, CLASSES = 10, 3
Y = np.arange(ROWS) % CLASSES
X = np.random.default_rng(0).normal(size=(ROWS, 2))


def dataset():
  return rfjax.Batch.from_arrays(X, Y, num_classes=CLASSES)


def start(t):
  return t.init(dataset(), key=KEY, spec=None)


def update(t, flow, state, epoch=1):
  extra = {"key": KEY, "step": 0, "epoch": epoch, "forward": None}
  return t.update(flow, state, None, **extra)


def given(logits, y):
  """The probability of label y."""
  e = np.exp(logits - logits.max())
  return e[y] / e.sum()


class Oracle:
  """Whole histories, and numpy's variance of each."""

  def __init__(self, smoothing, warmup):
    self.smoothing, self.warmup = smoothing, warmup
    self.past = {i: [] for i in range(ROWS)}

  def step(self, rows, logits, keep, epoch):
    """The weights of the rows, which are then told what the network said."""
    weights = np.ones(len(rows))
    for at, i in enumerate(rows):
      if i < ROWS and epoch >= self.warmup:
        n, variance = len(self.past[i]), np.var(self.past[i]) if self.past[i] else 0.0
        square = variance + variance**2 / (n - 1) if n > 1 else 0.0
        weights[at] = np.sqrt(square) + self.smoothing
    real = rows < ROWS
    total, mass = (keep * weights)[real].sum(), keep[real].sum()
    if epoch >= self.warmup:
      weights = weights * mass / total if total > 0 else np.ones(len(rows))
    for i, z in zip(rows, logits, strict=True):
      if i < ROWS:
        self.past[i].append(given(z, Y[i]))
    return weights


@jax.jit
def served(rows, logits, keep, weight):
  return dataset().take(rows).fill(logits).replace(keep=keep, weight=weight)


@jax.jit
def act(smoothing, flow, state, epoch):
  return update(reweighting.active_bias(warmup=2, smoothing=smoothing), flow, state, epoch)


@pytest.mark.parametrize("smoothing", [0.2, 0.01, 0.0])
def test_weights_follow_the_recorded_histories(smoothing):
  rng, oracle = np.random.default_rng(1), Oracle(smoothing, 2)
  with jax.enable_x64(True):
    state = start(reweighting.active_bias(warmup=2, smoothing=smoothing))
    for step in range(14):
      rows = np.append(rng.permutation(ROWS)[: 4 + step % 3], np.full(2 - step % 3, ROWS))
      rows, width = rng.permutation(rows), 6
      keep = (rng.random(width) < 0.8) * rng.choice([0.5, 1.0], width) * (rows < ROWS)
      keep[np.argmin(rows)] = 1.0
      weight, logits = rng.uniform(1, 2, width), 2 * rng.normal(size=(width, CLASSES))
      flow = served(rows, logits, keep, weight)
      out, state = jax.device_get(act(smoothing, flow, state, step // 3))
      expected, real = oracle.step(rows, logits, keep, step // 3), rows < ROWS
      np.testing.assert_allclose(out.weight[real], (weight * expected)[real], rtol=1e-10)
      for name in ("cost", "target", "keep", "penalty"):
        np.testing.assert_array_equal(getattr(out, name), getattr(flow, name))
    np.testing.assert_array_equal(state.count, [len(oracle.past[i]) for i in range(ROWS)])
    variance = state.spread / np.maximum(state.count, 1)
    wanted = [np.var(oracle.past[i]) if oracle.past[i] else 0 for i in range(ROWS)]
    np.testing.assert_allclose(variance, wanted, rtol=1e-10, atol=1e-16)


def test_small_variances_far_from_zero_are_kept_in_float32():
  rng, t = np.random.default_rng(2), reweighting.active_bias(warmup=0, smoothing=0.0)
  widths = 1e-4 * (1 + np.arange(ROWS))
  said = (0.99 + widths * rng.normal(size=(40, ROWS))).astype(np.float32)
  probs = np.repeat(((1 - said) / 2)[..., None], CLASSES, -1)
  probs[:, np.arange(ROWS), Y] = said

  @jax.jit
  def after(probs):
    step = lambda state, p: (update(t, dataset().fill(jnp.log(p)), state)[1], None)
    state, _ = jax.lax.scan(step, start(t), probs)
    return update(t, dataset().fill(jnp.zeros((ROWS, CLASSES))), state)[0].weight

  weight = after(jnp.asarray(probs))
  deviation = np.std(said.astype(float), 0)
  np.testing.assert_allclose(weight, deviation / deviation.mean(), rtol=5e-3)


def test_equal_histories_weigh_alike_and_the_mean_weight_is_one():
  rng, t = np.random.default_rng(3), reweighting.active_bias(warmup=0)
  state, other = start(t), start(t)
  act = jax.jit(lambda z, state: update(t, dataset().fill(z), state))
  for _ in range(4):
    z = rng.normal(size=CLASSES).astype(np.float32)
    same = np.stack([np.roll(z, y) for y in Y])
    out, state = act(same, state)
    np.testing.assert_allclose(out.weight, 1, rtol=1e-5)
    out, other = act(rng.normal(size=(ROWS, CLASSES)).astype(np.float32), other)
    np.testing.assert_allclose(np.mean(out.weight), 1, rtol=1e-5)
  assert np.ptp(out.weight) > 0.05


def test_the_weight_has_no_gradient_and_rows_not_kept_do_not_count():
  rng, t = np.random.default_rng(4), reweighting.active_bias(warmup=0)

  @jax.jit
  def everything(z, keep):
    state = start(t)
    for shift in (1.0, -2.0, 0.5):
      _, state = update(t, dataset().fill(shift * z), state)
    weight = lambda z: update(t, dataset().fill(z), state)[0].weight
    slope = jax.grad(lambda z: weight(z) @ jnp.arange(10.0))(z)
    out, after = update(t, dataset().fill(z).replace(keep=keep), state)
    alone, _ = update(t, dataset().take(jnp.arange(1, ROWS, 2)).fill(z[1::2]), state)
    return slope, out.weight[1::2], alone.weight, after.count

  keep = (np.arange(ROWS) % 2).astype(np.float32)
  slope, some, alone, count = everything(rng.normal(size=(ROWS, CLASSES)).astype(np.float32), keep)
  np.testing.assert_array_equal(slope, 0)
  np.testing.assert_allclose(some, alone, rtol=1e-6)
  np.testing.assert_array_equal(count, 4)


def test_a_run_remembers_one_probability_an_epoch():
  method = rfjax.chain(reweighting.active_bias(warmup=1))
  run = jax.jit(lambda data: rfjax.fit(
    architectures.logistic(CLASSES), method, optax.sgd(0.5), data, key=KEY, epochs=4,
    batch_size=4,
  ))  # fmt: skip
  state, log = jax.device_get(run(dataset()))
  np.testing.assert_array_equal(state.method[0].count, 4)
  assert np.all(np.isfinite(log.risk)) and np.all(state.method[0].spread > 0)


@pytest.mark.parametrize(
  "settings", [{"smoothing": -0.1}, {"smoothing": float("nan")}, {"warmup": -1}, {"warmup": 0.5}]
)
def test_settings_out_of_range_are_refused(settings):
  with pytest.raises(ValueError, match=f"{next(iter(settings))} must"):
    reweighting.active_bias(**settings)
