"""Anchoring attacks against oracles in NumPy, and the gap that they open on Zafar's data."""

import functools

import host
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rfjax
from rfjax import data, metrics
from rfjax.core import logistic_regression
from rfjax.noise import _append
from rfjax.noise import _mehrabi as noise

KEY = jax.random.key(0)
ROWS = 200
SEEDS = 6


def dataset(rows=ROWS, seed=0):
  return host.zafar(rows, seed)


def poison(clean, rate=0.1, key=KEY, **options):
  return rfjax.transform(noise.mehrabi(rate, **options), clean, key=key)


TRACED = {"advantaged": None, "tolerance": (1.0, 1.0), "percentile": 90.0}


@functools.cache
def compiled(**options):
  return jax.jit(lambda clean, **traced: poison(clean, **traced, **options))


def attack(clean, **options):
  """The attack, whose numbers may be of JAX and share a program."""
  traced = {name: options.pop(name) for name in TRACED if name in options}
  return jax.device_get(compiled(**options)(clean, **traced))


def subset(batch, rows):
  return jax.device_get(jax.jit(rfjax.Batch.subset)(batch, rows))


def cells(clean, advantaged):
  y, group = np.asarray(clean.y), np.asarray(clean.group)
  return (
    np.flatnonzero((y == 0) & (group == advantaged)),
    np.flatnonzero((y == 1) & (group != advantaged)),
  )


def popular(x, rows, tolerance):
  """The first row with most rows of its cell near it."""
  near = [sum(np.allclose(x[i], x[j], rtol=0, atol=tolerance) for j in rows) for i in rows]
  return rows[int(np.argmax(near))]


def bounds(x, y, label, percentile):
  centres = [x[y == k].mean(0) for k in (0, 1)]
  normal = (centres[0] - centres[1]) / np.linalg.norm(centres[0] - centres[1])
  away = x[y == label] - centres[label]
  radius = np.percentile(np.linalg.norm(away, axis=1), percentile)
  return centres[label], normal, radius, np.percentile(np.abs(away @ normal), percentile)


def dykstra(x, centre, normal, radius, width, slab=True):
  """Dykstra's alternating projections onto a ball and a slab, [..., d]."""
  z, p, q = x - centre, np.zeros_like(x), np.zeros_like(x)
  radius, width = np.expand_dims(radius, -1), np.expand_dims(width, -1)
  for _ in range(4000):
    a = z + p
    length = np.linalg.norm(a, axis=-1, keepdims=True)
    ball = a * np.minimum(1, radius / np.maximum(length, 1e-30))
    p = a - ball
    if not slab:
      return centre + ball
    b = ball + q
    along = np.sum(b * normal, axis=-1, keepdims=True)
    z = b - (along - np.clip(along, -width, width)) * normal
    q = b - z
  return centre + z


@pytest.mark.parametrize("slab", [True, False])
def test_projection_is_the_nearest_point(slab):
  rng = np.random.default_rng(0)
  centre, normal, x = np.moveaxis(rng.normal(size=(40, 3, 3)) * [[1], [1], [2]], 1, 0)
  normal /= np.linalg.norm(normal, axis=1, keepdims=True)
  width, radius = np.sort(rng.uniform(0.1, 2.0, (40, 2))).T
  onto = noise.Feasible(centre, normal, radius, width)
  expected = dykstra(x, *onto, slab)
  with jax.enable_x64(True):
    found = jax.jit(jax.vmap(lambda *row: noise.project(*row, slab)))(x, onto)
  np.testing.assert_allclose(found, expected, atol=1e-5)
  away = expected - centre
  far = np.linalg.norm(away, axis=1) > radius - 1e-6
  aside = np.abs((away * normal).sum(1)) > width - 1e-6
  assert len(set(zip(far, aside, strict=True))) == (4 if slab else 3)


@jax.jit
def feasible(x, y, valid):
  return noise.feasible(x, y, valid, 75.0)


def test_feasible_sets_equal_percentiles_of_each_label():
  clean = dataset()
  x, y = np.asarray(clean.x, np.float64), np.asarray(clean.y)
  padded = host.take(clean, np.arange(ROWS), np.full(9, ROWS))
  for batch in (clean, padded):
    sets = jax.device_get(feasible(batch.x, batch.y, batch.valid))
    for label in (0, 1):
      expected = bounds(x, y, label, 75)
      for got, want in zip(jax.tree.map(lambda v, k=label: v[k], sets), expected, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("advantaged", [0, 1])
@pytest.mark.parametrize("percentile", [None, 60.0])
def test_the_non_random_attack_equals_the_oracle(advantaged, percentile):
  clean = dataset()
  tolerance = (0.5, 1.0)
  new = attack(
    clean,
    rate=0.13,
    kind="non_random",
    advantaged=advantaged,
    tolerance=tolerance,
    percentile=percentile,
  )
  x, y = np.asarray(clean.x), np.asarray(clean.y)
  both = zip(cells(clean, advantaged), tolerance, strict=True)
  first, second = (popular(x, rows, t) for rows, t in both)
  count = round(0.13 * ROWS)
  ones = int(np.round(count * np.mean(y == 0)))
  move = lambda row, label: (
    x[row] if percentile is None else dykstra(x[row], *bounds(x, y, label, percentile))
  )
  expected = [move(first, 1)] * ones + [move(second, 0)] * (count - ones)
  np.testing.assert_allclose(new.x[ROWS:], expected, atol=2e-5)
  assert new.y[ROWS:].tolist() == [1] * ones + [0] * (count - ones)
  assert new.group[ROWS:].tolist() == [advantaged] * ones + [1 - advantaged] * (count - ones)


def test_one_tolerance_is_for_both_anchors():
  clean = dataset()
  pairs = 0.7, (0.7, 0.7), [0.7, 0.7], np.array([0.7, 0.7])
  run = lambda batch: [poison(batch, kind="non_random", tolerance=pair) for pair in pairs]
  new, *others = jax.device_get(jax.jit(run)(clean))
  for other in others:
    np.testing.assert_array_equal(other.y, new.y)
  run = lambda batch, *traced: [poison(batch, kind="non_random", tolerance=t).x for t in traced]
  for x in jax.jit(run)(clean, np.float32([0.7, 0.7]), 0.7):
    np.testing.assert_allclose(x, new.x, atol=1e-6)


def test_labels_are_shared_out_against_the_balance():
  clean = dataset(100)
  rows = np.flatnonzero((np.asarray(clean.y) == 1) | (np.arange(100) % 3 == 0))
  clean = subset(clean, rows)
  zeros = np.mean(np.asarray(clean.y) == 0)
  assert 0.2 < zeros < 0.35
  new = attack(clean, rate=0.5)
  count = int(0.5 * len(rows))
  assert int(new.y[len(rows) :].sum()) == int(np.round(count * zeros))


def test_random_anchors_come_from_their_cells_and_from_all_of_them():
  clean = host.on_device(dataset(30))
  sources = cells(clean, 1)
  run = lambda key: poison(clean, 0.2, key, advantaged=1, percentile=None)
  new = jax.device_get(jax.jit(lambda: jax.vmap(run)(jax.random.split(KEY, 400)))())
  for slot, rows in ((30, sources[0]), (35, sources[1])):
    match = (np.asarray(new.x[:, slot, None]) == np.asarray(clean.x)[rows]).all(-1)
    assert (match.sum(1) == 1).all()
    share, chance = match.mean(0), 1 / len(rows)
    assert (np.abs(share - chance) < 5 * np.sqrt(chance * (1 - chance) / 400)).all()
  assert (new.x[:, 30] == new.x[:, 31]).all() and (new.y[:, 30] == 1).all()


def test_anchors_with_equal_draws_go_by_index(monkeypatch):
  monkeypatch.setattr(noise, "uniform", lambda key, batch: jnp.full(batch.num_rows, 0.5))
  clean = dataset(60)
  order = np.random.default_rng(3).permutation(60)
  run = jax.jit(lambda batch: poison(batch, advantaged=1, percentile=None).x)
  new, permuted = (np.asarray(run(batch)) for batch in (clean, host.take(clean, order)))
  np.testing.assert_array_equal(new[60], clean.x[cells(clean, 1)[0][0]])
  np.testing.assert_array_equal(permuted[60:], new[60:])


def test_structure():
  clean = dataset()
  new = attack(clean)
  assert new.num_rows == ROWS + 20 and new.index.tolist() == list(range(ROWS + 20))
  for name in ("x", "y", "group", "valid"):
    np.testing.assert_array_equal(getattr(new, name)[:ROWS], getattr(clean, name))
  np.testing.assert_array_equal(new.truth.y[ROWS:], 1 - new.y[ROWS:])
  np.testing.assert_array_equal(new.truth.group[ROWS:], new.group[ROWS:])
  np.testing.assert_array_equal(new.truth.y[:ROWS], clean.y)


def test_truth_of_a_poisoned_row_is_that_of_its_anchor():
  clean = dataset()
  given = clean.replace(truth=rfjax.Truth(clean.y, 1 - clean.group))
  new = attack(given)
  np.testing.assert_array_equal(new.truth.group, 1 - new.group)


def test_the_group_with_more_positive_labels_is_advantaged():
  clean = dataset()
  share = [np.asarray(clean.y)[np.asarray(clean.group) == g].mean() for g in (0, 1)]
  mirrored = clean.replace(group=1 - clean.group)
  for batch, best in ((clean, np.argmax(share)), (mirrored, 1 - np.argmax(share))):
    new, named = attack(batch), attack(batch, advantaged=int(best))
    np.testing.assert_array_equal(new.x, named.x)
    np.testing.assert_array_equal(new.group, named.group)
    assert new.group[ROWS] == best


@pytest.mark.parametrize("kind", noise.KINDS)
def test_rows_take_their_noise_along(kind):
  clean = dataset(60)
  order = np.random.default_rng(3).permutation(60)
  new = attack(clean, kind=kind)
  permuted = attack(host.take(clean, order), kind=kind)
  wider = host.take(clean, np.arange(60), np.full(40, 60))
  padded = attack(wider, kind=kind, capacity=9)
  for name in ("y", "group"):
    np.testing.assert_array_equal(getattr(permuted, name)[60:], getattr(new, name)[60:])
    np.testing.assert_array_equal(getattr(padded, name)[100:106], getattr(new, name)[60:])
  np.testing.assert_allclose(permuted.x[60:], new.x[60:], atol=1e-5)
  np.testing.assert_allclose(padded.x[100:106], new.x[60:], atol=1e-5)
  assert not padded.valid[106:].any()


def test_traced_settings_equal_the_loop():
  clean = host.on_device(dataset(60))
  run = lambda rate, percentile, best: poison(
    clean, rate, percentile=percentile, advantaged=best, capacity=18
  )
  rates, percentiles = np.float32([0.0, 0.1, 0.29]), np.float32([90, 50, 70])
  single, sweep = jax.jit(run), jax.jit(jax.vmap(run))
  swept = jax.device_get(sweep(rates, percentiles, np.array([1, 0, 1])))
  for i, best in enumerate((1, 0, 1)):
    one = jax.device_get(single(rates[i], percentiles[i], best))
    np.testing.assert_array_equal(swept.valid[i], one.valid)
    np.testing.assert_array_equal(swept.y[i], one.y)
    np.testing.assert_allclose(swept.x[i], one.x, atol=1e-5)
    assert int(one.valid[60:].sum()) == [0, 6, 17][i]


def gap(train, test):
  kernel, intercept = logistic_regression(train.x, train.y, weight=train.valid)
  guess = (test.x @ kernel + intercept > 0).astype(jnp.int32)
  return metrics.equalized_odds_difference(test.y, guess, test.group, num_groups=2, num_classes=2)


def uniform(train, pool, key):
  rows = jax.random.permutation(key, pool.num_rows)[: train.num_rows // 10]
  taken = jax.tree.map(lambda v: v[rows], _append.rows_of(pool))
  return _append.append(train, taken, jnp.ones(rows.size, bool))


def test_the_gap_of_a_plain_model_rises_more_than_with_uniform_rows():
  def run(seed):
    keys = jax.random.split(jax.random.key(seed), 4)
    train, pool, test = (data.zafar(keys[i], n) for i, n in enumerate((400, 400, 1000)))
    attacks = [poison(train, kind=kind, key=keys[3]) for kind in noise.KINDS]
    ways = uniform(train.with_columns("keep", "weight"), pool, keys[3]), *attacks
    return jax.lax.map(lambda t: gap(t, test), jax.tree.map(lambda *v: jnp.stack(v), *ways))

  gaps = np.asarray(jax.jit(lambda seeds: jax.lax.map(run, seeds))(np.arange(SEEDS)))
  assert (gaps[:, 1:] > gaps[:, :1]).all()
  assert (gaps.mean(0)[1:] - gaps.mean(0)[0] > 0.05).all()


@pytest.mark.parametrize(
  "bad",
  [
    {"rate": 1.1},
    {"kind": "best"},
    {"advantaged": 2},
    {"advantaged": 0.5},
    {"advantaged": [0, 1]},
    {"advantaged": np.array([0, 1])},
    {"tolerance": (1.0, -1.0)},
    {"tolerance": -1.0},
    {"tolerance": (1.0,)},
    {"tolerance": [1.0, 2.0, 3.0]},
    {"tolerance": np.ones(3)},
    {"tolerance": ((1.0, 2.0), 3.0)},
    {"tolerance": "12"},
    {"tolerance": None},
    {"percentile": 101.0},
    {"capacity": -1},
  ],
)
def test_the_factory_refuses_values_out_of_range(bad):
  with pytest.raises(ValueError, match=next(iter(bad))):
    noise.mehrabi(**{"rate": 0.1} | bad)


def test_data_without_anchors_are_refused_or_left_as_they_are():
  clean = dataset(60)
  rows = np.flatnonzero((clean.y == 1) | (clean.group == 0))
  bare = host.on_device(subset(clean, rows))
  with pytest.raises(ValueError, match="a row of the advantaged group with label 0"):
    poison(bare, advantaged=1)
  with pytest.raises(ValueError, match="a row of the other group with label 1"):
    poison(bare.replace(y=1 - bare.y), advantaged=0)
  new = attack(bare, advantaged=1)
  assert not new.valid[rows.size :].any()
  with pytest.raises(ValueError, match="mehrabi moves points"):
    host.refuse(poison, clean.replace(x=np.zeros((60, 1), np.int32)))
  assert attack(clean.replace(x=np.zeros((60, 1), np.int32)), percentile=None).num_rows == 66
