"""Cell oversampling against loops over cells and neighbours."""

import functools

import jax
import numpy as np
import pytest

import rfjax
from rfjax.fairness import preprocessing

KEY, ROWS, CAPACITY, NEAR = jax.random.key(0), 40, 60, 3


def table(seed, classes=2, groups=2):
  """Two numbers, a yes or no, and a code of three columns."""
  rng = np.random.default_rng(seed)
  group = np.append(np.arange(groups), rng.integers(0, groups, ROWS - groups))
  y = np.append(np.arange(classes), rng.choice(classes, ROWS - classes, p=_chances(classes)))
  code = np.eye(3)[rng.integers(0, 3, ROWS)]
  x = np.concatenate([rng.normal(size=(ROWS, 2)), rng.integers(0, 2, (ROWS, 1)), code], axis=1)
  data = rfjax.Batch.from_arrays(
    x.astype(np.float32), y, group, num_classes=classes, num_groups=groups
  )
  return data, x.astype(np.float32), y, group


def _chances(classes):
  return np.arange(1, classes + 1) / np.arange(1, classes + 1).sum()


def grow(data, strength=1.0, capacity=CAPACITY):
  return jax.device_get(grown(data, strength, KEY, capacity))


@functools.partial(jax.jit, static_argnums=3)
def grown(data, strength, key, capacity):
  method = preprocessing.cell_oversampling(strength, neighbors=NEAR, capacity=capacity)
  return rfjax.transform(method, data, key=key)


def cells(y, group, valid=None):
  """The rows of each cell."""
  valid = np.ones(len(y), bool) if valid is None else valid
  names = sorted({(int(g), int(c)) for g, c in zip(group[valid], y[valid], strict=True)})
  return {n: np.flatnonzero((group == n[0]) & (y == n[1]) & valid) for n in names}


def nearest(x, rows, i):
  """The nearest rows of a cell to row i, by a sort."""
  far = {j: float(((x[i] - x[j]) ** 2).sum()) for j in rows if j != i}
  return sorted(far, key=far.get)[:NEAR]


def sources(x, rows, new):
  """Rows (i, j) of a cell with j near to i between which a new row may lie, by all pairs."""
  found = []
  for i in rows:
    for j in nearest(x, rows, i) or [i]:
      way = x[j, :2] - x[i, :2]
      u = float((new[:2] - x[i, :2]) @ way / max(float(way @ way), 1e-12))
      on = np.allclose(x[i, :2] + u * way, new[:2], atol=1e-5) and -1e-5 <= u <= 1 + 1e-5
      if on and np.array_equal(new[2:], x[i if u < 0.5 else j, 2:]):
        found.append((int(i), int(j)))
  return found


def group_of(soft):
  return int(np.argmax(soft))


@pytest.mark.parametrize(("classes", "groups"), [(2, 2), (3, 3)])
def test_cells_become_level_by_rows_between_near_rows_of_the_cell(classes, groups):
  for seed in range(3):
    data, x, y, group = table(seed, classes, groups)
    out = grow(data)
    old, level = cells(y, group), max(map(len, cells(y, group).values()))
    assert {n: len(r) for n, r in cells(out.y, out.group, out.valid).items()} == dict.fromkeys(
      old, level
    )
    assert out.valid.sum() == level * len(old) and len(out.y) == ROWS + CAPACITY
    np.testing.assert_array_equal(out.x[:ROWS], x)
    np.testing.assert_array_equal(out.index[:ROWS], np.arange(ROWS))
    live = np.flatnonzero(out.valid[ROWS:]) + ROWS
    np.testing.assert_array_equal(out.index[live], live)
    np.testing.assert_array_equal(out.index[~out.valid], rfjax.core.NO_ADDRESS)
    np.testing.assert_array_equal(out.x[~out.valid], 0)
    for r in live:
      assert sources(x, old[out.group[r], out.y[r]], out.x[r]), r


def test_rows_are_used_evenly_and_neighbours_and_places_by_lot():
  rng = np.random.default_rng(7)
  x = rng.normal(size=(12, 2)).astype(np.float32)
  y, group = np.array([0] * 4 + [1] * 8), np.zeros(12, int)
  data = rfjax.Batch.from_arrays(x, y, group)
  many = jax.jit(jax.vmap(lambda key: grown(data, 1.0, key, 4).x[12:]))
  pairs, places = {}, []
  for new in np.asarray(many(jax.random.split(KEY, 300))):
    of = [sources(x, range(4), row)[0] for row in new if row.any()]
    for i, j in of:
      pairs[frozenset((i, j))] = pairs.get(frozenset((i, j)), 0) + 1
    places += [
      np.linalg.norm(n - x[i]) / np.linalg.norm(x[j] - x[i])
      for n, (i, j) in zip(new, of, strict=True)
    ]
  # All four rows are each other's nearest three: six pairs, each by two rows.
  assert len(pairs) == 6 and sum(pairs.values()) == 1200
  assert np.abs(np.array(list(pairs.values())) - 200).max() < 4 * np.sqrt(200)
  assert abs(np.mean(places) - 0.5) < 0.035 and abs(np.var(places) - 1 / 12) < 0.01


def test_each_row_is_used_once_before_any_is_used_twice():
  # The nearest three of a row in 1D are of its own cluster of four, or mixed: so clusters are told.
  centre = np.repeat([0.0, 10.0], 4)
  x = np.append(centre + np.tile(np.arange(4) / 4, 2), np.full(16, 20.0))[:, None]
  y = np.repeat([0, 1], [8, 16])
  data = rfjax.Batch.from_arrays(x.astype(np.float32), y, np.zeros(24, int))
  new = grow(data, capacity=8).x[24:, 0]
  assert np.sum(new <= 0.75) == 4 and np.sum((new >= 10) & (new <= 10.75)) == 4
  assert len(set(new.tolist())) == 8


def test_a_small_capacity_gives_the_highest_level_that_it_allows():
  data, _, y, group = table(3, 3, 2)
  size = np.array([len(r) for r in cells(y, group).values()])
  for capacity in (0, 5, 12):
    needs = {level: np.maximum(level - size, 0) for level in range(size.max() + 1)}
    level = max(level for level, n in needs.items() if n.sum() <= capacity)
    out = grow(data, capacity=capacity)
    found = [len(r) for r in cells(out.y, out.group, out.valid).values()]
    np.testing.assert_array_equal(found, size + needs[level])


def test_strength_takes_a_share_of_what_is_missing():
  data, _, y, group = table(4)
  size = np.array([len(r) for r in cells(y, group).values()])
  for strength in (0.0, 0.5, 1.0):
    out = grow(data, strength)
    found = [len(r) for r in cells(out.y, out.group, out.valid).values()]
    np.testing.assert_array_equal(found, size + np.floor(strength * (size.max() - size)))


def test_weights_truth_and_soft_groups_follow_the_row_and_what_was_said_is_dropped():
  data, _, y, group = table(5)
  rng = np.random.default_rng(0)
  soft = np.eye(2)[group] * 0.9
  soft[:4] = [0.5, 0.4]
  weight = rng.choice([0.0, 1.0, 2.0], ROWS)
  truth = rfjax.Truth(y=1 - y, group=None)
  given = data.replace(group=np.float32(soft), weight=np.float32(weight), truth=truth)
  out = grow(jax.jit(rfjax.Batch.fill)(given, np.ones((ROWS, 2))))
  assert out.logits is None and out.cost is None and out.penalty is None
  kept = (weight > 0) & (soft.max(1) > 0.5)
  level = max(len(r) for r in cells(y, group, kept).values())
  new = np.flatnonzero(np.asarray(out.valid[ROWS:])) + ROWS
  assert len(new) == sum(level - len(r) for r in cells(y, group, kept).values())
  assert set(np.asarray(out.weight[new])) == {1.0, 2.0}
  np.testing.assert_array_equal(out.truth.y[new], 1 - out.y[new])
  assert out.group.shape == (ROWS + CAPACITY, 2) and float(out.group[new].max(1).min()) > 0.5
  old = cells(y, group, kept)
  for r in new:
    assert sources(np.asarray(data.x), old[group_of(out.group[r]), int(out.y[r])], out.x[r]), r


def test_an_empty_cell_stays_empty_and_named_columns_are_codes():
  x = np.arange(12, dtype=np.float32).reshape(6, 2)
  data = rfjax.Batch.from_arrays(x, [0, 0, 0, 0, 1, 1], [0, 0, 0, 1, 0, 0])
  method = preprocessing.cell_oversampling(indicators=[1], capacity=4)
  out = jax.device_get(jax.jit(lambda d: rfjax.transform(method, d, key=KEY))(data))
  found = cells(out.y, out.group, out.valid)
  assert {n: len(r) for n, r in found.items()} == {(0, 0): 3, (0, 1): 3, (1, 0): 3}
  assert set(out.x[out.valid, 1]) <= set(x[:, 1])
  between = out.x[6:][(out.group[6:] == 0) & out.valid[6:], 0]  # of the cell of two rows
  assert len(between) == 1 and 8 <= between[0] < 10 and between[0] % 2


def test_what_cannot_be_grown_is_refused():
  data, *_ = table(0)
  grown = lambda data, **more: rfjax.transform(
    preprocessing.cell_oversampling(**more), data, key=KEY
  )
  with pytest.raises(ValueError, match="cell_oversampling needs group"):
    grown(rfjax.Batch.from_arrays([[0.0], [1.0]], [0, 1]))
  with pytest.raises(ValueError, match="pass x as float"):
    grown(rfjax.Batch.from_arrays([[0], [1]], [0, 1], [0, 1]))
  with pytest.raises(ValueError, match="apply it before fit"):
    grown(data.replace(order=np.zeros((1, 2), np.int32)))
  with pytest.raises(ValueError, match="columns must lie in"):
    grown(data, indicators=[6])
  with pytest.raises(ValueError, match="needs capacity where data or strength is traced"):
    jax.eval_shape(grown, data)
