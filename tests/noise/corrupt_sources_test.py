"""Manipulated data sources against oracles in NumPy, which know the rows by a number in x."""

import functools

import host
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rfjax
from rfjax.noise import _corrupt_sources as noise

KEY = jax.random.key(0)
ROWS, SOURCES, BAD = 200, 5, [1, 3]
VALUES = {
  "flip_group": lambda y, z: (y, 1 - z),
  "flip_label": lambda y, z: (1 - y, z),
  "flip_both": lambda y, z: (1 - y, 1 - z),
  "copy_label_to_group": lambda y, z: (y, y),
  "copy_group_to_label": lambda y, z: (z, z),
}
KINDS = [*VALUES, "shuffle_group", "resample", "random_anchor"]
WRITES = {"flip_label": "y", "copy_group_to_label": "y", "flip_both": "y group"}
WRITES |= {"resample": "x y", "random_anchor": "x y group"}


@functools.cache
def source():
  return np.random.default_rng(7).permutation(np.arange(ROWS) % SOURCES)


@functools.cache
def dataset(rows=ROWS):
  """Rows with two columns of features; the first one tells them apart."""
  rng = np.random.default_rng(0)
  x = np.stack([rng.permutation(rows) / rows, rng.normal(size=rows)], 1).astype(np.float32)
  group = (rng.random(rows) < 0.4).astype(int)
  y = (rng.random(rows) < 0.3 + 0.3 * group).astype(int)
  return host.batch(x, y, group)


def arrays(data):
  return np.asarray(data.x), np.asarray(data.y), np.asarray(data.group)


@functools.cache
def compiled(kind, group=1):
  """The transform, with the malicious sources, their rows and the key as arguments."""

  def run(data, bad, of_row, key):
    t = noise.corrupt_sources(kind, of_row, bad, group=group)
    return rfjax.transform(t, data, key=key)

  return jax.jit(run)


def mask(ids=BAD):
  return np.isin(np.arange(SOURCES), ids)


def corrupt(kind, group=1, data=None, bad=None, key=KEY):
  bad = mask() if bad is None else bad
  return jax.device_get(compiled(kind, group)(data or dataset(), bad, source(), key))


def seeds(kind, number):
  """The noise with keys 0, 1, ... on a leading axis."""
  run = lambda seed: compiled(kind)(dataset(), mask(), source(), jax.random.key(seed))
  return jax.device_get(jax.jit(jax.vmap(run))(np.arange(number)))


def origin(noisy):
  """Which row each row was, by its features."""
  first = {float(v): i for i, v in enumerate(np.asarray(dataset().x)[:, 0])}
  rows = np.array([first[float(v)] for v in np.asarray(noisy.x)[:, 0]])
  np.testing.assert_array_equal(noisy.x, np.asarray(dataset().x)[rows])
  return rows


@pytest.mark.parametrize("kind", VALUES)
def test_values_are_the_oracles(kind):
  x, y, z = arrays(dataset())
  noisy = corrupt(kind)
  bad = np.isin(source(), BAD)
  new_y, new_z = VALUES[kind](y, z)
  np.testing.assert_array_equal(noisy.y, np.where(bad, new_y, y))
  np.testing.assert_array_equal(noisy.group, np.where(bad, new_z, z))
  np.testing.assert_array_equal(noisy.x, x)
  assert noisy.y.dtype == noisy.group.dtype == jnp.int32


@pytest.mark.parametrize("kind", KINDS)
def test_honest_sources_and_what_is_not_written_stay(kind):
  noisy, good = corrupt(kind), ~np.isin(source(), BAD)
  writes = noise.corrupt_sources(kind, source(), BAD).writes
  assert list(writes) == WRITES.get(kind, "group").split()
  for name in ("x", "y", "group"):
    new, old = np.asarray(getattr(noisy, name)), np.asarray(getattr(dataset(), name))
    np.testing.assert_array_equal(new[good], old[good])
    assert (name in writes) == (new != old).any()
  untouched = corrupt(kind, bad=mask([]))
  for new, old in zip(arrays(untouched), arrays(dataset()), strict=True):
    np.testing.assert_array_equal(new, old)


def test_shuffles_stay_inside_of_a_source():
  _, y, z = arrays(dataset())
  noisy = corrupt("shuffle_group")
  np.testing.assert_array_equal(noisy.y, y)
  for s in range(SOURCES):
    rows = source() == s
    assert np.asarray(noisy.group)[rows].sum() == z[rows].sum()
    assert (np.asarray(noisy.group)[rows] != z[rows]).any() == (s in BAD)


def test_all_shuffles_of_a_source_are_equally_likely():
  data = host.on_device(host.batch(np.zeros((8, 1)), [0, 1] * 4, [0, 0, 1, 0, 1, 2, 3, 2]))
  of_row = [0, 1, 0, 2, 1, 0, 1, 0]
  t = noise.corrupt_sources("shuffle_group", of_row, [0, 1])
  run = lambda seed: rfjax.transform(t, data, key=jax.random.key(seed)).group
  groups = np.asarray(jax.jit(jax.vmap(run))(np.arange(24_000)))
  np.testing.assert_array_equal(groups[:, 3], 0)
  for rows, kinds in (((1, 4, 6), 6), ((0, 2, 5, 7), 12)):
    _, counts = np.unique(groups[:, rows], axis=0, return_counts=True)
    assert len(counts) == kinds
    assert (np.abs(counts - 24_000 / kinds) < 5 * np.sqrt(24_000 / kinds)).all()


@pytest.mark.parametrize("group", [0, 1])
def test_resampling_takes_each_row_equally_often_and_keeps_the_rest(group):
  _, y, z = arrays(dataset())
  noisy = corrupt("resample", group)
  rows, goal = origin(noisy), z == group
  np.testing.assert_array_equal(noisy.group, z)
  np.testing.assert_array_equal(noisy.y, y[rows])
  assert set(source()[rows[np.isin(source(), BAD) & (y != goal)]]) == set(range(SOURCES))
  for s in BAD:
    mine = source() == s
    np.testing.assert_array_equal(np.asarray(noisy.y)[mine], goal[mine])
    keeps = mine & (y == goal)
    np.testing.assert_array_equal(rows[keeps], np.flatnonzero(keeps))
    for side in (goal, ~goal):
      pool = np.flatnonzero(side & (y == goal))
      drawn = rows[mine & side & (y != goal)]
      counts = np.bincount(drawn, minlength=ROWS)
      assert counts.sum() == counts[pool].sum() == drawn.size > 0
      assert np.ptp(counts[pool]) <= 1


def test_a_pool_that_is_too_small_is_used_over_again():
  y, z = np.array([0] * 7 + [1] * 2 + [1] * 5), np.array([1] * 9 + [0] * 5)
  data = host.on_device(host.batch(np.arange(14.0)[:, None], y, z))
  of_row = np.array([0] * 7 + [1] * 2 + [0] * 5)
  run = lambda key: rfjax.transform(noise.corrupt_sources("resample", of_row, [0]), data, key=key)
  noisy = jax.device_get(jax.jit(run)(KEY))
  counts = np.bincount(np.asarray(noisy.x[:7, 0]).astype(int), minlength=9)
  assert sorted(counts[7:]) == [3, 4] and counts[:7].sum() == 0
  np.testing.assert_array_equal(noisy.x[7:], data.x[7:])
  np.testing.assert_array_equal(noisy.y, [1] * 14)


def test_sources_draw_their_own_and_evenly():
  numbers = np.asarray(seeds("resample", 1000).x[:, :, 0])
  _, y, z = arrays(dataset())
  pool = (z == 1) & (y == 1)
  counts = []
  for s in BAD:
    struck = np.flatnonzero((source() == s) & (z == 1) & (y == 0))
    found = numbers[:, struck[0]]
    values, count = np.unique(found, return_counts=True)
    np.testing.assert_array_equal(values, np.sort(np.asarray(dataset().x)[pool, 0]))
    assert (np.abs(count - 1000 / pool.sum()) < 5 * np.sqrt(1000 / pool.sum())).all()
    counts.append(found)
  assert abs((counts[0] == counts[1]).mean() - 1 / pool.sum()) < 5 * np.sqrt(1 / pool.sum() / 1000)


def neighbours(s, label, group):
  """Row by row for each anchor of source s: the rows nearest to it, over and over, sorted."""
  x, y, z = arrays(dataset())
  side = (z == group) == label
  mine = (source() == s) & (y == label)
  pool = np.flatnonzero(side & (y != label))
  found = []
  for anchor in np.flatnonzero(mine & side):
    distance = ((x[pool].astype(np.float64) - x[anchor]) ** 2).sum(1)
    found.append(np.sort(np.resize(pool[np.argsort(distance)], mine.sum())))
  return mine, np.array(found)


@pytest.mark.parametrize("group", [0, 1])
def test_rows_are_the_neighbours_of_one_anchor_with_the_other_label(group):
  _, y, z = arrays(dataset())
  noisy = corrupt("random_anchor", group)
  rows, bad = origin(noisy), np.isin(source(), BAD)
  np.testing.assert_array_equal(noisy.y, np.where(bad, 1 - y, y))
  np.testing.assert_array_equal(noisy.group, np.where(bad, np.where(y == 1, group, 1 - group), z))
  for s in BAD:
    for label in (0, 1):
      mine, expected = neighbours(s, label, group)
      assert (np.sort(rows[mine]) == expected).all(1).any()


def test_each_anchor_is_equally_likely():
  numbers = np.asarray(seeds("random_anchor", 400).x[:, :, 0])
  mine, expected = neighbours(1, 0, 1)
  sets, shares = np.unique(
    np.sort(np.asarray(dataset().x)[expected, 0], axis=1), axis=0, return_counts=True
  )
  found, counts = np.unique(np.sort(numbers[:, mine], axis=1), axis=0, return_counts=True)
  np.testing.assert_array_equal(found, sets)
  assert len(sets) > 10
  share = shares / len(expected)
  assert (np.abs(counts - 400 * share) < 5 * np.sqrt(400 * share * (1 - share))).all()


@pytest.mark.parametrize("kind", ["resample", "random_anchor"])
def test_rows_stay_where_there_is_none_to_take(kind):
  x, of_row, z = np.arange(6.0)[:, None], np.array([0, 1] * 3), [1, 1, 0, 0, 0, 1]
  run = lambda data: compiled(kind)(data, np.array([True, False]), of_row, KEY)
  without_pool = host.batch(x, [0] * 6, z)
  for new, old in zip(arrays(run(without_pool)), arrays(without_pool), strict=True):
    np.testing.assert_array_equal(new, old)
  # Source 0 has no row to change by resampling, and no anchor.
  without_anchor = host.batch(x, [1, 1, 1, 0, 1, 1], [1, 1, 1, 0, 1, 1])
  anchored = without_anchor.replace(group=1 - without_anchor.group)
  data = without_anchor if kind == "resample" else anchored
  np.testing.assert_array_equal(run(data).x, data.x)


@pytest.mark.parametrize("kind", ["flip_both", "shuffle_group"])
def test_the_first_truth_stays(kind):
  clean = dataset()
  noisy = corrupt("flip_both", data=corrupt(kind))
  np.testing.assert_array_equal(noisy.truth.group, clean.group)
  np.testing.assert_array_equal(noisy.truth.y, clean.y)
  assert corrupt("shuffle_group").truth.y is None


@pytest.mark.parametrize("kind", ["resample", "random_anchor"])
def test_replaced_rows_bring_their_truth_along(kind):
  wrong = corrupt("flip_both")
  noisy = corrupt(kind, data=wrong)
  rows = origin(noisy)
  np.testing.assert_array_equal(noisy.truth.y, np.asarray(dataset().y)[rows])
  np.testing.assert_array_equal(noisy.truth.group, np.asarray(dataset().group)[rows])
  np.testing.assert_array_equal(noisy.y, np.asarray(wrong.y)[rows])
  np.testing.assert_array_equal(noisy.group, np.asarray(wrong.group)[rows])
  first = corrupt(kind)
  np.testing.assert_array_equal(first.truth.y, first.y)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_take_their_noise_along_and_padding_none(kind):
  order = np.random.default_rng(3).permutation(ROWS)
  taken = host.take(dataset(), order, np.full(20, ROWS))
  for new, old, empty in zip(
    arrays(corrupt(kind, data=taken)), arrays(corrupt(kind)), arrays(taken), strict=True
  ):
    np.testing.assert_array_equal(new[:ROWS], old[order])
    np.testing.assert_array_equal(new[ROWS:], empty[ROWS:])


@pytest.mark.parametrize("kind", KINDS)
def test_equal_draws_go_by_index(kind, monkeypatch):
  monkeypatch.setattr(noise, "uniform", lambda key, batch: jnp.full(batch.num_rows, 0.5))
  order = np.random.default_rng(3).permutation(ROWS)
  run = jax.jit(
    lambda data: rfjax.transform(noise.corrupt_sources(kind, source(), BAD), data, key=KEY)
  )
  moved = run(host.take(dataset(), order))
  for new, old in zip(arrays(moved), arrays(run(dataset())), strict=True):
    np.testing.assert_array_equal(new, old[order])


@pytest.mark.parametrize("kind", KINDS)
def test_rows_that_are_not_valid_stay_and_are_not_taken(kind):
  valid = np.random.default_rng(5).random(ROWS) < 0.6
  noisy = corrupt(kind, data=dataset().replace(valid=valid))
  for new, old in zip(arrays(noisy), arrays(dataset()), strict=True):
    np.testing.assert_array_equal(new[~valid], old[~valid])
  assert valid[origin(noisy)[valid]].all()
  if kind == "shuffle_group":
    for s in BAD:
      rows = valid & (source() == s)
      assert np.asarray(noisy.group)[rows].sum() == np.asarray(dataset().group)[rows].sum()


@pytest.mark.parametrize("kind", ["flip_group", "shuffle_group", "resample", "random_anchor"])
def test_traced_sources_are_those_of_a_loop(kind):
  masks = np.array([mask(ids) for ids in ([], [0], [1, 3], range(SOURCES))])
  run = lambda bad: compiled(kind)(dataset(), bad, source(), KEY)
  runs = jax.device_get(jax.jit(jax.vmap(run))(masks))
  for i, bad in enumerate(masks):
    single = corrupt(kind, bad=bad)
    for name in ("x", "y", "group"):
      np.testing.assert_array_equal(getattr(runs, name)[i], getattr(single, name))


@pytest.mark.parametrize("ids", [[], [3], (4, 0), np.array([1, 2]), jnp.array([0])])
def test_ids_are_a_mask(ids):
  flip = noise.corrupt_sources("flip_both", source(), ids)
  by_ids = jax.jit(lambda data: rfjax.transform(flip, data, key=KEY))(dataset())
  by_mask = corrupt("flip_both", bad=mask(np.asarray(ids)))
  np.testing.assert_array_equal(by_ids.y, by_mask.y)
  np.testing.assert_array_equal(by_ids.group, by_mask.group)


def test_labels_and_groups_of_more_than_two_values():
  y, z = [0, 1, 2, 0], [2, 1, 0, 2]
  data = host.on_device(host.batch([[0.0]] * 4, y, z))
  kinds = "copy_label_to_group", "copy_group_to_label", "shuffle_group"
  flips = {kind: noise.corrupt_sources(kind, [0] * 4, [0]) for kind in kinds}
  run = lambda key: {kind: rfjax.transform(flips[kind], data, key=key) for kind in kinds}
  found = jax.jit(run)(KEY)
  assert found["copy_label_to_group"].group.tolist() == y
  assert found["copy_group_to_label"].y.tolist() == z
  assert sorted(found["shuffle_group"].group.tolist()) == sorted(z)
  without = host.on_device(host.batch([[0.0]] * 2, [0, 1]))
  flip = noise.corrupt_sources("flip_label", [0, 1], [1])
  flipped = jax.jit(lambda key: rfjax.transform(flip, without, key=key))(KEY)
  assert flipped.y.tolist() == [0, 0]


@pytest.mark.parametrize(
  ("kind", "classes", "groups", "message"),
  [
    ("flip_group", 2, 3, "flip_group needs two groups, got num_groups 3"),
    ("flip_label", 3, 2, "flip_label needs two classes, got num_classes 3"),
    ("flip_both", 2, 3, "two groups"),
    ("flip_both", 3, 2, "two classes"),
    ("resample", 3, 2, "two classes"),
    ("random_anchor", 2, 3, "two groups"),
    ("copy_label_to_group", 3, 2, "a group for each class, got 2 for 3"),
    ("copy_group_to_label", 2, 3, "a class for each group, got 2 for 3"),
    ("shuffle_group", 2, 0, "shuffle_group needs group"),
  ],
)
def test_other_classes_and_groups_are_refused(kind, classes, groups, message):
  group = np.arange(6) % groups if groups else None
  data = host.batch(np.zeros((6, 1)), np.arange(6) % classes, group)
  with pytest.raises(ValueError, match=message):
    host.refuse(rfjax.transform, noise.corrupt_sources(kind, [0] * 6, [0]), data, key=KEY)


@pytest.mark.parametrize("kind", [k for k in KINDS if k != "flip_label"])
def test_soft_groups_are_refused(kind):
  soft = dataset().replace(group=np.eye(2, dtype=np.float32)[dataset().group])
  with pytest.raises(ValueError, match="soft membership"):
    host.refuse(rfjax.transform, noise.corrupt_sources(kind, source(), BAD), soft, key=KEY)


@pytest.mark.parametrize(
  ("settings", "message"),
  [
    ({"kind": "poison"}, "kind must be one of 'flip_group'"),
    ({"group": 2}, "group must be one of 0, 1, got 2"),
    ({"source": [0, -1]}, "source must lie in"),
    ({"source": [0.0, 1.0]}, "source must hold integers"),
    ({"malicious": [2]}, r"malicious must lie in \[0, 2\), got 2"),
    ({"malicious": [-1]}, r"malicious must lie in \[0, 2\), got -1"),
    ({"malicious": [0.5]}, "malicious must hold integers"),
    ({"malicious": [True]}, r"malicious has shape \(1,\), but source has ids up to 1"),
  ],
)
def test_bad_settings_are_refused(settings, message):
  with pytest.raises(ValueError, match=message):
    noise.corrupt_sources(**{"kind": "flip_group", "source": [0, 1], "malicious": [1]} | settings)


def test_traced_ids_and_rows_without_a_source_are_refused():
  make = lambda ids: noise.corrupt_sources("flip_group", source(), ids).update(
    dataset(), (), key=KEY
  )
  with pytest.raises(ValueError, match="malicious is traced with dtype int32: pass a bool"):
    jax.eval_shape(make, np.array([1]))
  short = noise.corrupt_sources("flip_group", source()[:-1], BAD)
  with pytest.raises(ValueError, match="source has 199 rows, but the data set has index 199"):
    host.refuse(rfjax.transform, short, dataset(), key=KEY)
