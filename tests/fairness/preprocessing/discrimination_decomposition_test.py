"""Bias, variance and noise against sums over trainings and labels, and bounds of noise."""

import functools

import jax
import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

import rfjax
from rfjax.fairness import preprocessing

ROWS, SIZES = 40, np.array([100.0, 300.0, 1000.0, 3000.0])


def decompose(data, votes, size=None, chance=None):
  return jax.device_get(decomposed(data, votes, size, chance))


@jax.jit
def decomposed(data, votes, size, chance):
  return preprocessing.discrimination_decomposition(data, votes, size, chance=chance)


bounds = jax.jit(functools.partial(preprocessing.noise_bounds, block=64))


def table(seed, groups=2):
  rng = np.random.default_rng(seed)
  group = np.append(np.arange(groups), rng.integers(0, groups, ROWS - groups))
  y, chance = rng.integers(0, 2, ROWS), np.round(rng.random(ROWS), 2)
  votes = (rng.random((4, 7, ROWS)) < rng.random(ROWS)).astype(int)
  return rfjax.Batch.from_arrays(np.zeros((ROWS, 1)), y, group), y, group, chance, votes


def by_hand(votes, chance):
  """Error, bias, variance and noise of a row, by sums over trainings and both labels."""
  trainings = len(votes)
  label = {0: 1 - chance, 1: chance}
  error = sum(label[y] * np.mean(votes != y) for y in (0, 1))
  best = 1 if chance > 0.5 else 0
  main = 1 if votes.sum() * 2 > trainings else 0
  noise = label[1 - best] * (np.mean(votes == best) - np.mean(votes != best))
  bias = float(main != best)
  variance = np.mean(votes != main) * (1 if main == best else -1)
  return error, bias, variance, noise


@pytest.mark.parametrize("known", [True, False])
def test_parts_are_those_of_a_loop_and_add_up_to_the_error(known):
  data, y, group, chance, votes = table(0, 3)
  found = decompose(data, votes, None, chance if known else None)
  truth = chance if known else y.astype(float)
  rows = np.array([[by_hand(v[:, i], truth[i]) for i in range(ROWS)] for v in votes])
  np.testing.assert_allclose(rows[..., 0], rows[..., 1:].sum(-1), atol=1e-15)
  for g in range(3):
    mean = rows[:, group == g].mean(1)
    for place, part in enumerate(found[:4]):
      np.testing.assert_allclose(part[:, g], mean[:, place], rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(found.error, found.bias + found.variance + found.noise, atol=1e-6)
  assert known == bool(np.any(found.noise != 0)) and found.curve is None
  gap, *parts = found.between(0, 2)
  np.testing.assert_allclose(gap, found.error[:, 0] - found.error[:, 2])
  np.testing.assert_allclose(gap, sum(parts), atol=1e-6)


def test_without_chances_the_error_is_how_often_votes_are_wrong():
  data, y, group, _, votes = table(1)
  found = decompose(data, votes[0])
  wrong = (votes[0] != y).mean(0)
  np.testing.assert_allclose(
    found.error[0], [wrong[group == g].mean() for g in range(2)], rtol=1e-5
  )


def test_weights_and_soft_groups_are_means_and_padding_counts_for_nothing():
  data, y, _, _, votes = table(2)
  rng = np.random.default_rng(3)
  weight, soft = rng.uniform(0, 2, ROWS), rng.dirichlet([1, 1], ROWS)
  soft[:3] = 0
  given = data.replace(weight=np.float32(weight), group=np.float32(soft))
  padded = jax.jit(rfjax.Batch.take)(given, np.append(np.arange(30), [ROWS] * 10))
  wrong = (votes[0] != y).mean(0)
  for batch, rows in ((given, slice(None)), (padded, slice(30))):
    found = decompose(batch, votes[0]).error[0]
    wanted = [np.average(wrong[rows], weights=(weight * soft[:, g])[rows]) for g in range(2)]
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_more_rows_take_away_variance_and_the_curve_tells_what_they_leave():
  # Trainings on n rows fail by chance with n^-1/2, in group 1 three times as often; and in group 1
  # a fifth of the rows is beyond the model: bias 0.2 is what stays.
  rng = np.random.default_rng(4)
  rows, trainings = 2000, 40
  group = np.arange(rows) % 2
  y = rng.integers(0, 2, rows)
  beyond = (group == 1) & (rng.random(rows) < 0.2)
  fails = SIZES[:, None] ** -0.5 * np.where(group == 1, 3, 1)
  wrong = (rng.random((4, trainings, rows)) < fails[:, None]) | beyond
  data = rfjax.Batch.from_arrays(np.zeros((rows, 1)), y, group)
  found = decompose(data, np.where(wrong, 1 - y, y), SIZES)
  share = beyond.sum() / 1000
  np.testing.assert_allclose(found.bias[-1], [0, share], atol=1e-6)
  np.testing.assert_allclose(found.curve.offset, [0, share], atol=0.02)
  np.testing.assert_allclose(
    found.curve.at(1e5), [1e5**-0.5, share + 0.8 * 3 * 1e5**-0.5], atol=0.02
  )
  difference, bias, variance, _ = found.between(1, 0)
  np.testing.assert_allclose(bias[-1], share, atol=1e-6)
  assert variance[0] > variance[-1] > 0 and difference[0] > difference[-1]


@pytest.mark.parametrize("classes", [2, 3])
def test_the_share_is_that_of_nearest_neighbours_in_the_group(classes):
  rng = np.random.default_rng(5)
  x, y = rng.normal(size=(90, 2)).astype(np.float32), rng.integers(0, classes, 90)
  y[x[:, 0] > 0] = 1
  group = rng.integers(0, 3, 90)
  data = rfjax.Batch.from_arrays(x, y, group)
  low, high = bounds(data)
  for g in range(3):
    own, wrong = np.flatnonzero(group == g), 0
    for i in own:
      rest = own[own != i]
      wrong += KNeighborsClassifier(1).fit(x[rest], y[rest]).predict(x[[i]])[0] != y[i]
    e = wrong / len(own)
    np.testing.assert_allclose(high[g], e, rtol=1e-5)
    # The lower bound is the root of Cover and Hart's R (2 - C / (C - 1) R) = e.
    r = float(low[g])
    np.testing.assert_allclose(r * (2 - classes / (classes - 1) * r), e, rtol=1e-4, atol=1e-6)
    assert 0 < r < e


def test_the_bounds_hold_the_noise_that_was_put_in_and_groups_do_not_mix():
  rng = np.random.default_rng(6)
  rows, rate = 2400, np.array([0.05, 0.3])
  x, group = rng.uniform(-1, 1, (rows, 1)).astype(np.float32), np.arange(rows) % 2
  clean = (x[:, 0] > 0) ^ (group == 1)  # the groups have opposite labels
  y = (clean ^ (rng.random(rows) < rate[group])).astype(int)
  low, high = bounds(rfjax.Batch.from_arrays(x, y, group))
  error = 2 * rate * (1 - rate)  # of the nearest of infinitely many rows
  np.testing.assert_allclose(high, error, atol=4 * 0.5 / np.sqrt(rows / 2))
  np.testing.assert_allclose(low, rate, atol=0.05)  # tight, as the noise is the same everywhere
  assert np.all(high > rate)


def test_rows_of_no_group_are_nobodys_neighbours_and_one_row_alone_tells_nothing():
  x = np.array([[0.0], [0.1], [1.0], [1.2], [5.0]], np.float32)
  soft = np.array([[1, 0], [0.4, 0.4], [1, 0], [1, 0], [0, 1]])
  data = rfjax.Batch.from_arrays(x, [0, 1, 0, 1, 1], soft)
  _, high = bounds(data)
  np.testing.assert_allclose(high, [0.5, 0], rtol=1e-6)  # capped: 2 of 3 are wrong
  _, without = bounds(data.replace(weight=np.float32([1, 1, 1, 0, 1])))
  np.testing.assert_allclose(without, [0, 0], atol=1e-6)
  take = jax.jit(rfjax.Batch.take)
  tied = rfjax.Batch.from_arrays(np.float32([[0], [-1], [1]]), [0, 0, 1], soft[[0, 0, 0]])
  for rows in ([0, 1, 2, 3, 3], [3, 2, 3, 1, 0]):  # the lower index is the nearer one, and right
    np.testing.assert_allclose(bounds(take(tied, np.array(rows)))[1], [1 / 3, 0], rtol=1e-6)


def test_what_cannot_be_decomposed_is_refused():
  data, _, _, _, votes = table(0)
  of = preprocessing.discrimination_decomposition
  bare = rfjax.Batch.from_arrays([[0.0], [1.0]], [0, 1])
  cases = (
    (lambda: of(bare, [[0, 1]]), "discrimination_decomposition needs group"),
    (lambda: of(rfjax.Batch.from_arrays([[0.0]], [2], [0]), [[0]]), "num_classes must be 2"),
    (lambda: of(data, votes[..., :3]), "votes must have shape"),
    (lambda: of(data, votes * 0.5), "votes must be 0 or 1"),
    (lambda: of(data, votes, chance=np.full(ROWS, 1.5)), "chance must lie in"),
    (lambda: of(data, votes, chance=0.5), "chance must have shape"),
    (lambda: of(data, votes, [1.0, 2.0]), "size must have one number"),
    (lambda: preprocessing.noise_bounds(bare), "noise_bounds needs group"),
    (lambda: preprocessing.noise_bounds(data, block=0), "block must be"),
  )
  for call, message in cases:
    with pytest.raises(ValueError, match=message):
      call()
