"""Gradient-based poisoning: its gradient by finite differences, its path by an oracle in NumPy."""

import functools
import zlib

import host
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rfjax
from rfjax import data, metrics
from rfjax.core import logistic_regression
from rfjax.noise import _append
from rfjax.noise import _solans as noise

KEY = jax.random.key(0)
ROWS, HELD_OUT = 40, 30
SEEDS = 6


def dataset(rows=ROWS, seed=0):
  return host.zafar(rows, seed)


def poison(clean, held_out, rate=0.1, key=KEY, **options):
  options = {"steps": 8, "step_size": 0.4, "newton_steps": 6} | options
  attack = noise.solans(rate, **options)
  return rfjax.transform(attack, clean, key=key, fitted_on=held_out)


@functools.cache
def compiled(**options):
  run = lambda clean, held_out, **traced: poison(clean, held_out, **traced, **options)
  return jax.jit(run)


def attack(clean, held_out, *, step_size=0.4, l2=1.0, privileged=1, **options):
  traced = {"step_size": step_size, "l2": l2, "privileged": privileged}
  return jax.device_get(compiled(**options)(clean, held_out, **traced))


@jax.jit
def gradient(clean, held_out, row, l2):
  state = noise.solans(0.1).init(held_out)
  return noise.poison_gradient(clean.x, clean.y, jnp.ones(ROWS), row, state, l2=l2, steps=20)


def regression(x, y, l2):
  """The minimum of the summed loss with l2 half the squared kernel, by undamped Newton steps."""
  rows, theta = np.column_stack([x, np.ones(len(x))]), np.zeros(x.shape[1] + 1)
  ridge = l2 * np.diag(np.append(np.ones(x.shape[1]), 0))
  for _ in range(15):
    prob = 1 / (1 + np.exp(-rows @ theta))
    hessian = rows.T @ ((prob * (1 - prob))[:, None] * rows) + ridge
    theta = theta - np.linalg.solve(hessian, (prob - y) @ rows + ridge @ theta)
  return theta


def damage(x, y, held_out, l2, privileged=1):
  """The attacker's loss after a refit on (x, y)."""
  theta, group = regression(x, y, l2), np.asarray(held_out.group)
  score = np.asarray(held_out.x, float) @ theta[:-1] + theta[-1]
  down, up = np.log1p(np.exp(-score)), np.log1p(np.exp(score))
  return down[group != privileged].mean() + up[group == privileged].mean()


def slope(x, y, held_out, l2, row, size=1e-5):
  """Central differences of the refitted loss in one training point."""
  result = []
  for feature in range(x.shape[1]):
    move = np.zeros_like(x)
    move[row, feature] = size
    rise = damage(x + move, y, held_out, l2) - damage(x - move, y, held_out, l2)
    result.append(rise / (2 * size))
  return np.array(result)


@pytest.mark.parametrize("l2", [0.3, 2.0])
def test_the_gradient_is_that_of_refit_and_evaluation(l2):
  with jax.enable_x64(True):
    clean, held_out = dataset(), dataset(HELD_OUT, 1)
    x, y = clean.x, clean.y
    for row in (0, 7, 31):
      loss, got = gradient(clean, held_out, row, l2)
      np.testing.assert_allclose(loss, damage(x, y, held_out, l2), rtol=1e-10)
      np.testing.assert_allclose(got, slope(x, y, held_out, l2, row), rtol=1e-5, atol=1e-9)


def climb(x, y, held_out, rows, l2, step_size, steps):
  """The path of each point in turn, its best place kept."""
  low, high = (getattr(np.asarray(held_out.x), name)(0) for name in ("min", "max"))
  x[rows] = np.clip(x[rows], low, high)
  for row in rows:
    best, top = x[row].copy(), -np.inf
    for step in range(steps + 1):
      loss = damage(x, y, held_out, l2)
      if loss > top:
        best, top = x[row].copy(), loss
      if step == steps:
        break
      gradient = slope(x, y, held_out, l2, row)
      x[row] = np.clip(x[row] + step_size * gradient / np.linalg.norm(gradient), low, high)
    x[row] = best
  return x


@pytest.mark.parametrize("step_size", [0.3, 3.0])
def test_points_climb_as_in_the_oracle(step_size):
  with jax.enable_x64(True):
    clean, held_out = dataset(), dataset(HELD_OUT, 1)
    options = {"l2": 0.5, "step_size": step_size, "steps": 12}
    new = attack(clean, held_out, rate=0.08, newton_steps=15, **options)
  match = (np.asarray(clean.y) != np.asarray(new.y[ROWS:, None])) & (
    np.asarray(clean.group) == np.asarray(new.group[ROWS:, None])
  )
  # The starts are the rows with the smallest draws, in their order.
  draws = np.asarray(start_order(clean))
  starts = np.argsort(draws)[:3]
  assert match[np.arange(3), starts].all()
  x = np.concatenate([np.asarray(clean.x), np.asarray(clean.x)[starts]])
  y = np.append(clean.y, 1 - np.asarray(clean.y)[starts])
  expected = climb(x, y, held_out, range(ROWS, ROWS + 3), **options)
  np.testing.assert_allclose(new.x, expected, atol=1e-4)
  assert np.abs(expected[ROWS:] - np.asarray(clean.x)[starts]).max() > 0.5


def start_order(clean):
  """The draws by which `rfjax.transform` with KEY orders the rows."""
  with jax.enable_x64(True):
    tag = zlib.crc32(b"x,y,group,valid")

    def draw(i):
      data_key = jax.random.fold_in(jax.random.fold_in(KEY, 0x64617461), tag)
      return jax.random.uniform(jax.random.fold_in(jax.random.split(data_key)[1], i))

    return jax.jit(jax.vmap(draw))(np.arange(clean.num_rows))


def test_structure():
  clean, held_out = dataset(), dataset(HELD_OUT, 1)
  clean = clean.replace(truth=rfjax.Truth(clean.y, 1 - clean.group))
  new = attack(clean, held_out)
  assert new.num_rows == ROWS + 4 and new.index.tolist() == list(range(ROWS + 4))
  for name in ("x", "y", "group", "valid"):
    np.testing.assert_array_equal(getattr(new, name)[:ROWS], getattr(clean, name))
  np.testing.assert_array_equal(new.truth.y[ROWS:], 1 - new.y[ROWS:])
  np.testing.assert_array_equal(new.truth.group[ROWS:], 1 - new.group[ROWS:])
  low, high = held_out.x.min(0), held_out.x.max(0)
  assert ((new.x[ROWS:] >= low) & (new.x[ROWS:] <= high)).all()


def test_more_slots_than_rows_start_from_the_first_again():
  clean, held_out = dataset(), dataset(HELD_OUT, 1)
  small = host.take(clean, [0, 1, ROWS])
  new = attack(small, held_out, rate=1.0, capacity=5, steps=1, step_size=1e-6)
  moved = np.clip(clean.x[:2], held_out.x.min(0), held_out.x.max(0))
  rows = new.x[3:5]
  assert new.valid.tolist() == [True, True, False, True, True, False, False, False]
  np.testing.assert_allclose(np.sort(rows, axis=0), np.sort(moved, axis=0), atol=1e-5)


def test_every_step_is_judged():
  clean, held_out = dataset(), dataset(HELD_OUT, 1)
  still, moved = (attack(clean, held_out, steps=1, step_size=size) for size in (1e-6, 0.4))
  far = np.abs(np.asarray(still.x - moved.x))[ROWS:].max(1)
  assert (far > 0.1).all()
  losses = [damage(np.asarray(n.x, float), np.asarray(n.y), held_out, 1.0) for n in (still, moved)]
  assert losses[0] < losses[1]


@pytest.mark.parametrize("kind", [jnp.bfloat16, jnp.float16])
def test_points_of_half_precision_climb_in_single(kind):
  clean, held_out = dataset(), dataset(HELD_OUT, 1)
  short = lambda batch: batch.replace(x=batch.x.astype(kind))
  long = lambda batch: batch.replace(x=batch.x.astype(kind).astype(np.float32))
  new = attack(short(clean), short(held_out), step_size=0.02)
  expected = attack(long(clean), long(held_out), step_size=0.02)
  assert new.x.dtype == kind
  np.testing.assert_array_equal(new.y, expected.y)
  np.testing.assert_array_equal(new.x, expected.x.astype(kind))


def test_starts_with_equal_draws_go_by_index(monkeypatch):
  monkeypatch.setattr(noise, "uniform", lambda key, batch: jnp.full(batch.num_rows, 0.5))
  clean = dataset()
  order = np.random.default_rng(3).permutation(ROWS)
  starts = jax.jit(lambda batch: noise._starts(batch, 4, KEY))
  start, permuted = starts(clean), starts(host.take(clean, order))
  jax.tree.map(np.testing.assert_array_equal, permuted, start)
  np.testing.assert_array_equal(start.x, clean.x[:4])


@pytest.mark.parametrize("privileged", [0, 1])
def test_the_loss_after_the_attack_is_above_that_of_its_starts(privileged):
  clean, held_out = dataset(), dataset(HELD_OUT, 1)
  losses = []
  for steps in (1, 4, 16):
    new = attack(clean, held_out, steps=steps, privileged=privileged, l2=1.0)
    x, y = np.asarray(new.x, float), np.asarray(new.y)
    losses.append(damage(x, y, held_out, 1.0, privileged))
  assert losses[0] < losses[1] < losses[2]


def test_rows_take_their_noise_along():
  clean, held_out = dataset(), dataset(HELD_OUT, 1)
  order = np.random.default_rng(3).permutation(ROWS)
  new = attack(clean, held_out)
  permuted = attack(host.take(clean, order), held_out)
  padded = attack(
    host.take(clean, np.arange(ROWS), np.full(10, ROWS)),
    host.take(held_out, np.arange(HELD_OUT), np.full(5, HELD_OUT)),
    capacity=6,
  )
  np.testing.assert_array_equal(permuted.y[ROWS:], new.y[ROWS:])
  np.testing.assert_allclose(permuted.x[ROWS:], new.x[ROWS:], atol=1e-3)
  np.testing.assert_array_equal(padded.y[50:54], new.y[ROWS:])
  np.testing.assert_allclose(padded.x[50:54], new.x[ROWS:], atol=1e-3)
  assert padded.valid.sum() == ROWS + 4


def test_traced_settings_equal_the_loop():
  clean, held_out = host.on_device((dataset(), dataset(HELD_OUT, 1)))
  run = lambda rate, size, group: poison(
    clean, held_out, rate, step_size=size, privileged=group, capacity=6
  )
  settings = np.float32([0.0, 0.05, 0.15]), np.float32([0.1, 0.4, 0.2]), np.array([0, 1, 0])
  swept, single = jax.device_get(jax.jit(jax.vmap(run))(*settings)), jax.jit(run)
  for i, each in enumerate(zip(*settings, strict=True)):
    one = jax.device_get(single(*each))
    for name in ("y", "group", "valid", "index"):
      np.testing.assert_array_equal(getattr(swept, name)[i], getattr(one, name))
    np.testing.assert_allclose(swept.x[i], one.x, atol=1e-3)
    assert int(one.valid.sum()) == ROWS + [0, 2, 6][i]


def gap(train, test):
  kernel, intercept = logistic_regression(train.x, train.y, weight=train.valid)
  guess = (test.x @ kernel + intercept > 0).astype(jnp.int32)
  return metrics.demographic_parity_difference(
    test.y, guess, test.group, num_groups=2, num_classes=2
  )


def uniform(train, pool, key):
  rows = jax.random.permutation(key, pool.num_rows)[: train.num_rows // 10]
  taken = jax.tree.map(lambda v: v[rows], _append.rows_of(pool))
  return _append.append(train, taken, jnp.ones(rows.size, bool))


def test_the_gap_of_a_plain_model_rises_more_than_with_uniform_rows():
  def run(seed):
    keys = jax.random.split(jax.random.key(seed), 5)
    sizes = (200, 200, 100, 1000)
    train, pool, held_out, test = (data.zafar(keys[i], n) for i, n in enumerate(sizes))
    way = lambda g: poison(train, held_out, key=keys[4], privileged=g, steps=20)
    joined = jax.tree.map(
      lambda v, rest: jnp.concatenate([v[None], rest]),
      uniform(train.with_columns("keep", "weight"), pool, keys[4]),
      jax.lax.map(way, jnp.array([1, 0])),
    )
    return jax.lax.map(lambda t: gap(t, test), joined)

  gaps = np.asarray(jax.jit(lambda seeds: jax.lax.map(run, seeds))(np.arange(SEEDS)))
  assert (gaps[:, 1] > gaps[:, 0]).all() and (gaps[:, 2] < gaps[:, 0]).all()
  assert gaps[:, 1].mean() - gaps[:, 0].mean() > 0.04


@pytest.mark.parametrize(
  "bad",
  [
    {"rate": 1.1},
    {"privileged": 2},
    {"privileged": 0.5},
    {"privileged": [0, 1]},
    {"steps": 0},
    {"step_size": 0.0},
    {"l2": 0.0},
    {"newton_steps": 0},
    {"capacity": -1},
  ],
)
def test_the_factory_refuses_values_out_of_range(bad):
  with pytest.raises(ValueError, match=next(iter(bad))):
    noise.solans(**{"rate": 0.1} | bad)


def test_data_of_another_kind_are_refused():
  clean, held_out = dataset(), dataset(HELD_OUT, 1)
  with pytest.raises(ValueError, match="solans needs group"):
    host.refuse(poison, clean, held_out.replace(group=None))
  with pytest.raises(ValueError, match="solans needs group"):
    host.refuse(poison, clean.replace(group=None), held_out)
  with pytest.raises(
    ValueError, match="validation data of both groups, got no row of group 1: pass"
  ):
    host.refuse(poison, clean, held_out.replace(valid=held_out.group == 0))
  wide = held_out.replace(x=np.ones((HELD_OUT, 5), np.float32))
  with pytest.raises(
    ValueError, match="solans was fitted on 5 features, but x has 3: pass fitted_on="
  ):
    host.refuse(poison, clean, wide)
  with pytest.raises(ValueError, match="solans moves points"):
    host.refuse(poison, clean.replace(x=clean.x.astype(int)), held_out)
