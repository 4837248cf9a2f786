"""The disparate impact remover against quantiles in a loop and normal distributions."""

import functools

import jax
import numpy as np
import pytest
from scipy import stats

import rfjax
from rfjax.fairness import preprocessing

KEY, ROWS = jax.random.key(0), 60


def repair(data, fitted_on, strength, columns=None):
  return np.asarray(repaired(data, fitted_on, strength, columns))


@functools.partial(jax.jit, static_argnums=3)
def repaired(data, fitted_on, strength, columns):
  method = preprocessing.disparate_impact_remover(strength, columns=columns)
  return rfjax.transform(method, data, key=KEY, fitted_on=fitted_on).x


def data_of(x, group, groups=3):
  return rfjax.Batch.from_arrays(x, np.zeros(len(x), int), group, num_classes=2, num_groups=groups)


def table(seed, groups=3):
  rng = np.random.default_rng(seed)
  group = np.append(np.arange(groups), rng.integers(0, groups, ROWS - groups))
  x = rng.normal(size=(ROWS, 3)) * (1 + group[:, None]) + group[:, None]
  x[:, 1] = np.round(x[:, 1])  # with ties
  return x, group


def rank_of(x, values):
  """The middle rank of x among sorted values, linear between them, in [0, 1]."""
  equal, last = np.flatnonzero(values == x), len(values) - 1
  if equal.size:
    return equal.mean() / last
  if x < values[0] or x > values[-1]:
    return float(x > values[-1])
  after = np.flatnonzero(values > x)[0]
  share = (x - values[after - 1]) / (values[after] - values[after - 1])
  return (after - 1 + share) / last


def expected(x, group, fit, fit_group, strength):
  out = x.copy()
  for i, g in enumerate(group):
    for j in range(x.shape[1]):
      sets = {h: np.sort(fit[fit_group == h, j]) for h in set(fit_group)}
      u = rank_of(x[i, j], sets[g])
      target = np.median([np.quantile(v, u) for v in sets.values()])
      out[i, j] = (1 - strength) * x[i, j] + strength * target
  return out


@pytest.mark.parametrize("groups", [2, 3])
def test_values_are_those_of_a_loop_also_on_other_rows(groups):
  with jax.enable_x64(True):
    (x, group), (other, other_group) = table(0, groups), table(1, groups)
    other[-2:] = [[99.0], [-99.0]]
    data, test = data_of(x, group, groups), data_of(other, other_group, groups)
    for strength in (1.0, 0.4):
      got = repair(data, data, strength)
      np.testing.assert_allclose(got, expected(x, group, x, group, strength), atol=1e-12)
      got = repair(test, data, strength)
      np.testing.assert_allclose(got, expected(other, other_group, x, group, strength), atol=1e-12)


def test_normal_distributions_become_the_median_one():
  mean, spread = np.array([0.0, 2.0, -1.0]), np.array([1.0, 3.0, 0.5])
  z = stats.norm.ppf((np.arange(20) + 0.5) / 20)
  group = np.repeat(np.arange(3), 20)
  x = mean[group] + spread[group] * np.tile(z, 3)
  order = np.random.default_rng(0).permutation(60)
  data = data_of(x[order, None].astype(np.float32), group[order])
  target = np.median(mean[:, None] + spread[:, None] * z, axis=0)
  for strength in (1.0, 0.25):
    got = np.asarray(repair(data, data, strength))[:, 0]
    wanted = (1 - strength) * x + strength * np.tile(target, 3)
    np.testing.assert_allclose(got, wanted[order], rtol=1e-5, atol=1e-5)
  two = data_of(x[:40, None].astype(np.float32), group[:40], 2)
  halfway = (mean[0] + mean[1]) / 2 + (spread[0] + spread[1]) / 2 * np.tile(z, 2)
  np.testing.assert_allclose(repair(two, two, 1.0)[:, 0], halfway, rtol=1e-5, atol=1e-5)


def test_groups_cannot_be_told_apart_afterwards():
  rng = np.random.default_rng(5)
  x, group = rng.normal(size=(ROWS, 3)), np.arange(ROWS) % 3
  x = (x * (1 + group[:, None]) + group[:, None]).astype(np.float32)
  data = data_of(x, group)
  fair = np.asarray(repair(data, data, 1.0))
  first, *others = (np.sort(fair[group == g], axis=0) for g in range(3))
  for other in others:
    np.testing.assert_allclose(first, other, rtol=1e-5, atol=1e-6)
  for g in range(3):  # ranks in a group stay
    np.testing.assert_array_equal(x[group == g].argsort(0), fair[group == g].argsort(0))
  assert stats.ks_2samp(x[group == 0, 0], x[group == 2, 0]).statistic > 0.4


def test_strength_0_and_other_columns_stay_to_the_bit():
  x, group = table(6)
  data = data_of(x.astype(np.float32), group)
  np.testing.assert_array_equal(repair(data, data, 0.0), data.x)
  one, all_ = repair(data, data, 1.0, (2,)), repair(data, data, 1.0)
  np.testing.assert_array_equal(one[:, :2], np.asarray(data.x)[:, :2])
  np.testing.assert_allclose(one[:, 2], all_[:, 2], rtol=1e-6)
  assert not np.array_equal(one[:, 2], np.asarray(data.x)[:, 2])


def test_rows_without_a_group_padding_and_empty_groups_count_for_nothing():
  x, group = table(7)
  x = x.astype(np.float32)
  keep = (np.arange(ROWS) >= 10) & (group != 1)
  wanted = expected(x[keep], group[keep], x[keep], group[keep], 1.0)
  soft = np.eye(3)[group]
  soft[:5] = [0.5, 0.5, 0]
  weight = np.where((np.arange(ROWS) < 10) & (np.arange(ROWS) >= 5) | (group == 1), 0.0, 1.0)
  data = data_of(x, soft).replace(weight=np.float32(weight))
  got = repair(data, data, 1.0)
  np.testing.assert_allclose(got[keep], wanted, rtol=1e-5, atol=1e-6)
  np.testing.assert_array_equal(got[:5], x[:5])
  fresh = repair(data.replace(weight=None), data, 1.0)  # of group 1 the fit saw nothing
  stay = (group == 1) | (np.arange(ROWS) < 5)
  np.testing.assert_array_equal(fresh[stay], x[stay])


def test_what_is_missing_is_refused():
  x, group = table(0)
  bare = rfjax.Batch.from_arrays(x, np.zeros(ROWS, int), num_classes=2)
  with pytest.raises(ValueError, match="disparate_impact_remover needs group"):
    repair(bare, bare, 1.0)
  with pytest.raises(ValueError, match=r"must lie in \[0, 3\)"):
    repair(data_of(x, group), data_of(x, group), 1.0, (3,))
