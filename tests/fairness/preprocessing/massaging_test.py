"""Massaging against a sort of each group, and against what it promises of base rates."""

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rfjax
from rfjax.fairness import preprocessing
from rfjax.fairness.preprocessing._massaging import _promotions

KEY, ROWS = jax.random.key(0), 60


@jax.jit
def massage(data, scores, strength):
  return rfjax.transform(preprocessing.massaging(scores, strength=strength), data, key=KEY).y


def table(seed, groups):
  rng = np.random.default_rng(seed)
  group = np.append(np.arange(groups), rng.integers(0, groups, ROWS - groups))
  y = (rng.random(ROWS) < 0.2 + 0.6 * rng.random(groups)[group]).astype(int)
  scores = np.round(rng.normal(size=(ROWS, 2)), 1)  # with ties
  return y, group, scores


def data_of(y, group, groups):
  return rfjax.Batch.from_arrays(np.zeros((len(y), 1)), y, group, num_classes=2, num_groups=groups)


def expected(y, group, scores, strength=1.0):
  """Sorts the negatives, or the positives, of each group and flips the first ones."""
  new, u = y.copy(), np.float32(scores[:, 1]) - np.float32(scores[:, 0])
  for g in set(group):
    rows = np.flatnonzero(group == g)
    short = strength * (len(rows) * y.sum() / len(y) - y[rows].sum())
    number = int(np.floor(abs(short) + 0.5 + 1e-9))
    label = 0 if short > 0 else 1
    sign = -1 if label == 0 else 1
    candidates = sorted((r for r in rows if y[r] == label), key=lambda r: (sign * u[r], r))
    new[candidates[:number]] = 1 - label
  return new


@pytest.mark.parametrize("groups", [2, 4])
def test_labels_are_those_of_a_sort_and_base_rates_are_equal(groups):
  flips = 0
  for seed in range(15):
    y, group, scores = table(seed, groups)
    new = np.asarray(massage(data_of(y, group, groups), jnp.asarray(scores), 1.0))
    np.testing.assert_array_equal(new, expected(y, group, scores))
    size = np.bincount(group)
    rate = np.bincount(group, new) / size
    allowed = 0.5 * (1 / size[:, None] + 1 / size[None])
    assert np.all(np.abs(rate[:, None] - rate) <= allowed + 1e-9)
    assert abs(new.sum() - y.sum()) <= (0 if groups == 2 else groups / 2)
    flips += (new != y).sum()
  assert flips > 50


def test_two_groups_exchange_the_published_number():
  for seed in range(5):
    y, group, scores = table(seed, 2)
    new = np.asarray(massage(data_of(y, group, 2), jnp.asarray(scores), 1.0))
    n, positive = np.bincount(group), np.bincount(group, y)
    number = (n[0] * positive[1] - n[1] * positive[0]) / n.sum()
    promoted, demoted = ((new > y) & (group == 0)).sum(), ((new < y) & (group == 1)).sum()
    if number < 0:
      promoted, demoted = ((new < y) & (group == 0)).sum(), ((new > y) & (group == 1)).sum()
    assert promoted == demoted == np.floor(abs(number) + 0.5)
    assert (new != y).sum() == 2 * promoted


def test_a_weaker_strength_flips_a_part_of_the_same_rows_and_none_at_0():
  y, group, scores = table(3, 2)
  data, scores_ = data_of(y, group, 2), jnp.asarray(scores)
  half = np.asarray(massage(data, scores_, 0.5))
  np.testing.assert_array_equal(half, expected(y, group, scores, 0.5))
  full = np.asarray(massage(data, scores_, 1.0)) != y
  assert 0 < (half != y).sum() < full.sum() and np.all(full[half != y])
  np.testing.assert_array_equal(massage(data, scores_, 0.0), y)


def test_promotions_are_the_fractions_rounded_for_millions_of_rows_too():
  promotions = jax.jit(_promotions)
  rng = np.random.default_rng(0)
  tables = [[[69_999, 30_001], [600_000, 300_000]], [[1, 0], [0, 1]], [[3, 1], [1, 3]]]
  for _ in range(60):
    rows = rng.integers(1, [10 ** rng.integers(2, 7)] * 2)
    tables.append([(n - p, p) for n, p in zip(rows, rng.integers(0, rows + 1), strict=True)])
  for size in np.array(tables):
    total, positive, share = size.sum(1), size[:, 1], size[:, 1].sum()
    for strength in (1, 0.5):
      exact = [
        Fraction(strength) * (Fraction(int(n * share), int(total.sum())) - int(p))
        for n, p in zip(total, positive, strict=True)
      ]
      wanted = [(1 if v > 0 else -1) * int(abs(v) + Fraction(1, 2)) for v in exact]
      np.testing.assert_array_equal(promotions(jnp.asarray(size), strength), wanted)
    for strength in (0.1, 0.3, 0.7, 1 / 3):
      assert promotions(jnp.asarray(size), strength).sum() == 0


def test_rows_without_a_group_and_padding_stay_and_count_for_nothing():
  y, group, scores = table(4, 2)
  alone = np.asarray(massage(data_of(y[10:], group[10:], 2), jnp.asarray(scores[10:]), 1.0))
  soft = np.eye(2)[group]
  soft[:5] = [[0, 0], [0.5, 0.5], [0.4, 0.4], [0, 0], [0.5, 0.4]]
  data = data_of(y, soft, 2).replace(weight=jnp.ones(ROWS).at[5:10].set(0))
  new = np.asarray(massage(data, jnp.asarray(scores), 1.0))
  np.testing.assert_array_equal(new[:10], y[:10])
  np.testing.assert_array_equal(new[10:], alone)


def test_the_logits_of_the_data_are_scores_too_and_its_target_follows():
  y, group, scores = table(5, 2)

  @jax.jit
  def act(data, scores):
    return rfjax.transform(preprocessing.massaging(), data.fill(scores), key=KEY)

  new = act(data_of(y, group, 2), jnp.asarray(scores, jnp.float32))
  np.testing.assert_array_equal(new.y, expected(y, group, scores))
  np.testing.assert_array_equal(new.target, np.eye(2)[new.y])


def test_what_cannot_be_massaged_is_refused():
  y, group, scores = table(0, 2)
  for data, given, message in [
    (data_of(y, group, 2), None, "massaging needs logits"),
    (rfjax.Batch.from_arrays(np.zeros((ROWS, 1)), y, num_classes=2), scores, "needs group"),
    (data_of(y, group, 2), np.zeros((ROWS, 3)), "scores is of 3 classes"),
    (rfjax.Batch.from_arrays(np.zeros((ROWS, 1)), y, group, num_classes=3), scores, "must be 2"),
  ]:
    with pytest.raises(ValueError, match=message):
      rfjax.transform(preprocessing.massaging(given), data, key=KEY)
