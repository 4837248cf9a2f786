"""Dynamic bootstrapping: its mixture, targets and penalty by hand, and a run that corrects."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats

import rfjax
from rfjax import architectures, refurbishment

KEY = jax.random.key(0)
ROWS, CLASSES, EPOCH = 40, 3, 2
RNG = np.random.default_rng(0)
X = RNG.normal(size=(ROWS, 4))
Y = RNG.integers(CLASSES, size=ROWS)


def softmax(z):
  e = np.exp(z - z.max(-1, keepdims=True))
  return e / e.sum(-1, keepdims=True)


def dataset(invalid=()):
  data = rfjax.Batch.from_arrays(X, Y, num_classes=CLASSES)
  return data.replace(valid=data.valid & ~np.isin(np.arange(ROWS), invalid))


def logits(seed, sharp=3.0):
  """Most rows agree with their label."""
  rng = np.random.default_rng(seed)
  agree = rng.random(ROWS) < 0.7
  said = np.where(agree, Y, (Y + 1 + rng.integers(2, size=ROWS)) % CLASSES)
  return sharp * rng.random((ROWS, 1)) * np.eye(CLASSES)[said] + rng.normal(size=(ROWS, CLASSES))


def linear(params, batch, key=None):
  del key
  return batch.fill(batch.x @ params)


def refreshed(t, data, z, epoch=EPOCH):
  state = t.init(data, key=KEY, spec=None)
  return t.refresh(data.fill(z), state, None, key=KEY, step=0, epoch=epoch, forward=None)[1]


def updated(t, flow, state, params=None, epoch=EPOCH, forward=None):
  return t.update(flow, state, params, key=KEY, step=9, epoch=epoch, forward=forward)


def fitted(z, rows):
  """Mixture and limits by loops: losses between their percentiles, scaled, fitted."""
  loss = -np.log(softmax(z)[np.arange(ROWS), Y])[rows]
  low, high = np.percentile(loss, 5), np.percentile(loss, 95)
  kept = loss[(loss >= low) & (loss <= high)]
  x = np.clip((kept - low) / (high - low + 1e-6), 1e-3, 1 - 1e-3)
  a, b, w = [1.0, 2.0], [2.0, 1.0], [0.5, 0.5]
  for _ in range(10):
    r = np.array([np.maximum(w[k] * stats.beta.pdf(x, a[k], b[k]), 1e-12) for k in range(2)])
    r /= r.sum(0)
    for k in range(2):
      mean = np.average(x, weights=r[k])
      a[k] = mean * (mean * (1 - mean) / np.average((x - mean) ** 2, weights=r[k]) - 1)
      b[k] = a[k] * (1 - mean) / mean
    w = r.sum(1) / r.sum()
  return (w, a, b), low, high


def share(z, y, fit):
  """How much the label of each row is mistrusted."""
  (w, a, b), low, high = fit
  loss = -np.log(softmax(z)[np.arange(len(y)), y])
  x = np.clip((loss - low) / (high - low + 1e-6), 1e-3, 1 - 1e-3)
  grid = np.linspace(1e-4, 1 - 1e-4, 20_001)
  of = lambda v: [w[k] * stats.beta.pdf(v, a[k], b[k]) for k in range(2)]
  curve = of(grid)[1] / sum(of(grid))
  top = curve.argmax() if 0 < curve.argmax() < len(grid) - 1 else len(grid) - 1
  bottom = curve.argmin() if 0 < curve.argmin() < len(grid) - 1 else 0
  x = np.clip(x, grid[bottom], grid[top])
  return np.clip(of(x)[1] / sum(of(x)), 1e-4, 1 - 1e-4)


def prior(p):
  return sum(np.log(1 / CLASSES / q) / CLASSES for q in p.mean(0))


@pytest.mark.parametrize("hard", [True, False])
def test_targets_and_penalty_are_those_of_the_loops(hard):
  with jax.enable_x64(True):
    t = refurbishment.dynamic_bootstrap(hard=hard, warmup=EPOCH, strength=0.7, alpha=0.0)
    invalid = [3, 17]
    rows = np.setdiff1d(np.arange(ROWS), invalid)
    chosen = np.array([5, ROWS, 9, 20, 1, ROWS, 30, 31])
    real = chosen < ROWS
    z = logits(2)[np.minimum(chosen, ROWS - 1)]
    soft = RNG.dirichlet(np.ones(CLASSES), len(chosen))

    @jax.jit
    def everything(first, z, soft):
      state = refreshed(t, dataset(invalid), first)
      flow = dataset().take(chosen).fill(z).replace(penalty=jnp.asarray(0.5), target=soft)
      return state, flow, *updated(t, flow, state)

    state, flow, out, same = jax.device_get(everything(logits(1), z, soft))
    fit = fitted(logits(1), rows)
    np.testing.assert_allclose([state.low, state.high], fit[1:], rtol=1e-12)
    for one, two in zip(state.mixture[:3], fit[0], strict=True):
      np.testing.assert_allclose(one, two, rtol=1e-8)
    np.testing.assert_allclose(
      np.clip(state.mixture.posterior, 1e-4, 1 - 1e-4), share(logits(1), Y, fit), atol=1e-6
    )
  jax.tree.map(np.testing.assert_array_equal, same, state)
  p, b = softmax(z[real]), share(z[real], Y[chosen[real]], fit)[:, None]
  assert b.min() < 0.2 and b.max() > 0.8
  said = np.eye(CLASSES)[p.argmax(1)] if hard else p
  np.testing.assert_allclose(out.target[real], (1 - b) * soft[real] + b * said, atol=1e-6)
  np.testing.assert_allclose(out.penalty, 0.5 + 0.7 * prior(p), rtol=1e-9)
  for name in ("log_probs", "cost", "keep", "weight", "x"):
    np.testing.assert_array_equal(getattr(out, name), getattr(flow, name))


def test_the_target_holds_no_gradient():

  def both(hard, first, z):
    t = refurbishment.dynamic_bootstrap(hard=hard, warmup=0, strength=0.0)
    state = refreshed(t, dataset(), first)
    run = lambda z: updated(t, dataset().fill(z), state)[0]
    slope = jax.grad(lambda z: run(z).objective)(z)
    return slope, (jax.nn.softmax(z) - run(z).target) / ROWS

  first, z = logits(1).astype(np.float32), logits(2).astype(np.float32)
  for slope, expected in jax.jit(lambda *of: [both(hard, *of) for hard in (True, False)])(first, z):
    np.testing.assert_allclose(slope, expected, atol=1e-6)


def test_the_defaults_are_the_authors():
  t = refurbishment.dynamic_bootstrap()

  @jax.jit
  def both(z):
    state = refreshed(t, dataset(), z)
    return [updated(t, dataset().fill(z), state, epoch=e)[0] for e in (104, 105)]

  before, after = jax.device_get(both(logits(1).astype(np.float32)))
  np.testing.assert_array_equal(before.target, np.eye(CLASSES)[Y])
  assert before.penalty == 0
  b = share(logits(1), Y, fitted(logits(1), np.arange(ROWS)))[:, None]
  said = np.eye(CLASSES)[logits(1).argmax(1)]
  np.testing.assert_allclose(after.target, (1 - b) * np.eye(CLASSES)[Y] + b * said, atol=2e-3)
  np.testing.assert_allclose(after.penalty, prior(softmax(logits(1))), rtol=1e-4)
  assert t.writes == ("target", "penalty")


@jax.jit
def mixed_and_plain(params, epoch):
  """What a mixing method makes of unit rows, and the targets of one that does not mix."""
  make = functools.partial(refurbishment.dynamic_bootstrap, warmup=EPOCH, strength=0.7)
  data = rfjax.Batch.from_arrays(np.eye(ROWS, dtype=np.float32), Y, num_classes=CLASSES)
  state, flow = refreshed(make(), data, params), linear(params, data)
  mixed, plain = (
    updated(t, flow, state, params, epoch, linear)[0] for t in (make(alpha=4.0), make())
  )
  return mixed, plain.target


@pytest.mark.parametrize("epoch", [0, EPOCH])
def test_mixing_comes_after_the_targets_and_before_the_penalty(epoch):
  """Rows of the unit matrix show in what shares they were mixed."""
  t = refurbishment.dynamic_bootstrap(warmup=EPOCH, strength=0.7, alpha=4.0)
  assert set(t.writes) == {"logits", "log_probs", "target", "penalty"}
  out, alone = jax.device_get(mixed_and_plain(logits(1).astype(np.float32), epoch))
  mixing = np.asarray(out.x, float)
  assert 1 < (mixing > 0).sum(1).max() and not np.allclose(mixing, np.eye(ROWS))
  np.testing.assert_allclose(out.target, mixing @ alone, atol=1e-6)
  np.testing.assert_allclose(out.log_probs, np.log(softmax(mixing @ logits(1))), atol=1e-5)
  expected = 0.7 * prior(softmax(mixing @ logits(1))) if epoch else 0.0
  np.testing.assert_allclose(out.penalty, expected, rtol=1e-4, atol=1e-7)


def test_extremes_are_finite():
  far = np.where(np.eye(CLASSES)[Y] > 0, 1e4, -1e4).astype(np.float32)
  t = refurbishment.dynamic_bootstrap(warmup=0)

  @jax.jit
  def both(z, rows):
    flow = dataset().take(rows)
    run = lambda v: updated(t, flow.fill(v), refreshed(t, dataset(), z))[0].objective
    return jax.value_and_grad(run)(z)

  for z in (far, np.roll(far, 1, 1), np.zeros_like(far)):
    for rows in (np.arange(ROWS), np.full(ROWS, ROWS)):
      value, slope = both(jnp.asarray(z), jnp.asarray(rows))
      assert np.isfinite(value) and np.isfinite(slope).all()
  assert value == 0 and not slope.any()


def test_a_run_finds_and_corrects_the_wrong_labels():
  rng = np.random.default_rng(1)
  true = np.arange(60) % 2
  x = np.c_[4.0 * true - 2, np.ones(60)] + 0.3 * rng.normal(size=(60, 2))
  wrong = rng.random(60) < 0.3
  data = rfjax.Batch.from_arrays(x, np.where(wrong, 1 - true, true))
  t = refurbishment.dynamic_bootstrap(warmup=10, alpha=0.5)
  run = jax.jit(lambda data: rfjax.fit(
    architectures.logistic(), rfjax.chain(t), optax.sgd(0.3), data, key=KEY, epochs=30,
    batch_size=20,
  ))  # fmt: skip
  state, log = jax.device_get(run(data))
  posterior = state.method[0].mixture.posterior
  np.testing.assert_array_equal(np.asarray(posterior) > 0.5, wrong)
  assert (log.penalty[:10] == 0).all() and (log.penalty[10:] > 0).all()


@pytest.mark.parametrize(
  "settings",
  [{"warmup": -1}, {"alpha": -1.0}, {"alpha": "a"}, {"strength": -1.0}, {"steps": 0}],
)
def test_settings_out_of_range_are_refused(settings):
  with pytest.raises(ValueError, match=f"{next(iter(settings))} must"):
    refurbishment.dynamic_bootstrap(**settings)
