"""The barycentre of scores against a loop over rows and groups, and against its promises."""

import functools

import jax
import numpy as np
import pytest
from scipy.stats import ks_2samp

import rfjax
from rfjax.fairness import postprocessing

KEY = jax.random.key(0)
FILL = jax.jit(rfjax.Batch.fill)


def filled(score, group, weight=None):
  data = rfjax.Batch.from_arrays(np.zeros((len(score), 1)), np.zeros(len(score), int), group)
  if weight is not None:
    data = data.replace(weight=weight)
  return FILL(data, np.stack([np.log1p(-score), np.log(score)], axis=1))


def apart(seed, rows=600, groups=2):
  rng = np.random.default_rng(seed)
  group = np.append(np.arange(groups), rng.integers(0, groups, rows - groups))
  return rng.beta(1 + 2 * group, 2.0, rows) * 0.9 + 0.05, group


def oracle(score, group, weight):
  """F of a row by counting, Q of every other group between the middles of its rows."""
  found, total = [], weight.sum()
  of = [np.flatnonzero(group == g) for g in range(group.max() + 1)]
  for i, s in enumerate(score):
    mine = of[group[i]]
    below = sum(weight[j] for j in mine if score[j] < s)
    equal = sum(weight[j] for j in mine if score[j] == s)
    u = (below + equal / 2) / weight[mine].sum()
    value = 0.0
    for g, rows in enumerate(of):
      share = weight[rows].sum() / total
      rows = rows[np.argsort(score[rows])]
      middles = [(weight[rows[:k]].sum() + weight[rows[k]] / 2) for k in range(len(rows))]
      other = np.interp(u, np.array(middles) / weight[rows].sum(), score[rows])
      value += share * (s if g == group[i] else other)
    found.append(value)
  return np.array(found)


@functools.partial(jax.jit, static_argnames="randomize")
def _apply(data, fitted_on, amount, randomize):
  method = postprocessing.wasserstein_barycenter(amount, randomize=randomize)
  return rfjax.transform(method, data, key=KEY, fitted_on=fitted_on).probs[:, 1]


def apply(data, fitted_on=None, amount=1.0, randomize=False):
  return np.asarray(_apply(data, fitted_on or data, amount, randomize))


@pytest.mark.parametrize("groups", [2, 3])
def test_scores_are_those_of_a_loop(groups):
  score, group = apart(0, 80, groups)
  weight = np.random.default_rng(1).integers(1, 4, 80).astype(float)
  with jax.enable_x64(True):
    data = filled(score, np.eye(groups)[group], weight)
    whole = apply(data)
    np.testing.assert_allclose(whole, oracle(score, group, weight), atol=1e-12)
    np.testing.assert_allclose(apply(data, amount=0.3), score + 0.3 * (whole - score), atol=1e-12)
    np.testing.assert_allclose(apply(data, amount=0.0), score, atol=1e-12)


def test_groups_get_one_distribution_and_the_mean_stays():
  score, group = apart(2)
  assert ks_2samp(score[group == 0], score[group == 1]).statistic > 0.3
  fair = apply(filled(score, np.eye(2)[group]))
  rows = np.bincount(group).min()
  assert ks_2samp(fair[group == 0], fair[group == 1]).statistic < 1.5 / rows
  np.testing.assert_allclose(fair.mean(), score.mean(), atol=1e-3)
  for g in range(2):  # the order within a group stays
    order = np.argsort(score[group == g])
    assert np.all(np.diff(fair[group == g][order]) > 0)
  new, others = apart(3)
  fair = apply(filled(new, np.eye(2)[others]), filled(score, np.eye(2)[group]))
  assert ks_2samp(fair[others == 0], fair[others == 1]).statistic < 0.12


def test_one_group_stays_as_it_is_and_ties_share_a_place_or_are_drawn():
  score, group = apart(4)
  one = np.eye(2)[np.zeros(600, int)]
  np.testing.assert_allclose(apply(filled(score, one)), score, rtol=1e-6)
  tied = np.where(group == 0, 0.5, score)
  data = filled(tied, np.eye(2)[group])
  fair = apply(data)
  assert np.ptp(fair[group == 0]) < 1e-6
  drawn = apply(data, randomize=True)
  assert ks_2samp(drawn[group == 0], drawn[group == 1]).statistic < 0.12
  assert ks_2samp(fair[group == 0], fair[group == 1]).statistic > 0.4


def test_soft_rows_are_mixed_and_rows_without_a_known_group_stay():
  score, group = apart(6, 60)
  data = filled(score, np.eye(3)[group])  # the third group has no rows
  soft = np.array([[1, 0, 0], [0, 1, 0], [0.25, 0.75, 0], [0, 0, 0], [0, 0, 1]], float)
  found = apply(filled(np.full(5, 0.4), soft), data)
  np.testing.assert_allclose(found[2], 0.25 * found[0] + 0.75 * found[1], rtol=1e-5)
  np.testing.assert_allclose(found[3:], 0.4, rtol=1e-5)
  assert found[0] > 0.4 + 0.02 > 0.4 - 0.02 > found[1]
