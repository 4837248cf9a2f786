"""Preferential and uniform sampling against sorts in each cell, and against reweighing."""

import jax
import numpy as np
import pytest

import rfjax
from rfjax.fairness import preprocessing

KEY, ROWS = jax.random.key(0), 60


@jax.jit
def preferential(data, scores):
  return rfjax.transform(preprocessing.preferential_sampling(scores), data, key=KEY).weight


@jax.jit
def by_lot(data, key):
  return rfjax.transform(preprocessing.uniform_sampling(), data, key=key).weight


def table(seed, classes=2, groups=2):
  rng = np.random.default_rng(seed)
  group = np.append(np.arange(groups), rng.integers(0, groups, ROWS - groups))
  chance = rng.dirichlet(np.ones(classes), groups)
  y = np.array([rng.choice(classes, p=chance[g]) for g in group])
  scores = np.round(rng.normal(size=(ROWS, classes)), 1)  # with ties
  data = rfjax.Batch.from_arrays(
    np.zeros((ROWS, 1)), y, group, num_classes=classes, num_groups=groups
  )
  return data, y, group, scores


def cells(y, group):
  """The rows of each cell and how many it should have."""
  for g in set(group):
    for label in set(y):
      rows = np.flatnonzero((group == g) & (y == label))
      if rows.size:
        yield rows, round((group == g).sum() * (y == label).sum() / len(y))


def expected(y, group, scores):
  """Drops the nearest of a cell one by one, or repeats them in turns."""
  copies = np.ones(len(y), int)
  for rows, wanted in cells(y, group):
    own = [np.float32(scores[r, y[r]]) - np.float32(np.delete(scores[r], y[r]).max()) for r in rows]
    nearest = [r for _, r in sorted(zip(own, rows, strict=True))]
    for r in nearest[: max(len(rows) - wanted, 0)]:
      copies[r] = 0
    for turn in range(wanted - len(rows)):
      copies[nearest[turn % len(rows)]] += 1
  return copies


@pytest.mark.parametrize(("classes", "groups"), [(2, 2), (3, 4)])
def test_preferential_sampling_is_a_sort_of_each_cell(classes, groups):
  seen = set()
  for seed in range(12):
    data, y, group, scores = table(seed, classes, groups)
    copies = np.asarray(preferential(data, scores))
    np.testing.assert_array_equal(copies, expected(y, group, scores))
    seen |= set(copies)
  assert {0, 1, 2} <= seen


def test_the_lowest_positives_of_the_deprived_are_repeated_and_the_lowest_favoured_are_dropped():
  data, y, group, scores = table(2)
  copies = np.asarray(preferential(data, scores))
  rate = [y[group == g].mean() for g in range(2)]
  deprived, u = int(np.argmin(rate)), scores[:, 1] - scores[:, 0]
  sign = {(deprived, 1): -1, (1 - deprived, 1): 1, (deprived, 0): -1, (1 - deprived, 0): 1}
  for (g, label), direction in sign.items():
    rows = (group == g) & (y == label)
    chosen, others = u[rows & (copies != 1)], u[rows & (copies == 1)]
    if label == 0:  # the highest-ranked negatives
      assert chosen.min() >= others.max()
    else:
      assert chosen.max() <= others.min()
    changes = set(copies[rows]) - {1}
    assert changes == ({2} if (g == deprived) == (label == 1) else {0}), direction


@pytest.mark.parametrize(("classes", "groups"), [(2, 2), (3, 4)])
def test_uniform_sampling_has_the_counts_of_reweighing_and_even_lots(classes, groups):
  for seed in range(4):
    data, y, group, _ = table(seed, classes, groups)
    copies = np.asarray(by_lot(data, jax.random.key(seed)))
    for rows, wanted in cells(y, group):
      assert copies[rows].sum() == wanted
      assert np.ptp(copies[rows]) <= 1

  @jax.jit
  def many(data):
    lots = jax.vmap(by_lot, (None, 0))(data, jax.random.split(KEY, 400))
    return lots, rfjax.transform(preprocessing.reweighing(), data, key=KEY).weight

  weights, fair = jax.device_get(many(data))
  rounded = np.array([wanted / rows.size for rows, wanted in cells(y, group)])
  assert np.abs(weights.var(0)).max() > 0
  for (rows, _), mean in zip(cells(y, group), rounded, strict=True):
    np.testing.assert_allclose(weights[:, rows].mean(0), mean, atol=4 * 0.5 / np.sqrt(400))
    assert np.all(np.abs(fair[rows] - mean) * rows.size <= 0.5 + 1e-4)


def test_rows_without_a_group_are_taken_once_and_padding_counts_for_nothing():
  data, _, group, scores = table(6)
  rest = jax.jit(rfjax.Batch.subset)(data, np.arange(10, ROWS))
  alone = np.asarray(preferential(rest, scores[10:]))
  soft = np.eye(2)[group]
  soft[:5] = [0.5, 0.4]
  given = np.full(ROWS, np.float32(3))
  given[5:10] = 0
  copies = np.asarray(preferential(data.replace(group=np.float32(soft), weight=given), scores))
  np.testing.assert_array_equal(copies[:10], [3.0] * 5 + [0.0] * 5)
  np.testing.assert_array_equal(copies[10:], 3 * alone)


def test_scores_of_fewer_rows_than_there_are_are_refused():
  data, _, _, scores = table(1)
  act = lambda method, data: jax.jit(lambda: rfjax.transform(method, data, key=KEY))()
  for method in (preprocessing.preferential_sampling, preprocessing.massaging):
    with pytest.raises(ValueError, match="scores must have a row for each index"):
      act(method(scores[:-1]), data)  # the rows are known
    # Padding has no index, and more rows are those of other data.
    padded = jax.jit(rfjax.Batch.take)(data, np.arange(ROWS + 3))
    act(method(np.append(scores, scores, 0)), padded)


def test_they_need_a_group_and_the_one_a_ranker():
  data, y, _, scores = table(0)
  with pytest.raises(ValueError, match="preferential_sampling needs logits"):
    preferential(data, None)
  bare = rfjax.Batch.from_arrays(np.zeros((ROWS, 1)), y, num_classes=2)
  with pytest.raises(ValueError, match="uniform_sampling needs group"):
    by_lot(bare, KEY)
  with pytest.raises(ValueError, match="preferential_sampling needs group"):
    preferential(bare, scores)
