"""Conditional repair against reweighing in each stratum, and against mutual information."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rfjax
from rfjax.fairness import preprocessing

KEY, ROWS, STRATA, GROUPS, CLASSES = jax.random.key(0), 300, 4, 3, 2
METHOD = preprocessing.conditional_repair(lambda batch: batch.x[:, 1], STRATA)


@jax.jit
def repair(data):
  return rfjax.transform(METHOD, data, key=KEY).weight, METHOD.init(data).lost


@jax.jit
def reweigh(data):
  return rfjax.transform(preprocessing.reweighing(), data, key=KEY).weight


def table(seed, rows=ROWS):
  rng = np.random.default_rng(seed)
  stratum = rng.integers(0, STRATA, rows)
  group = rng.integers(0, GROUPS, rows)
  y = (rng.random(rows) < 0.2 + 0.6 * rng.random((STRATA, GROUPS))[stratum, group]).astype(int)
  return stratum, group, y, rng.uniform(0, 2, rows)


def data_of(stratum, group, y, weight):
  x = np.stack([np.zeros_like(stratum), stratum], axis=1)
  data = rfjax.Batch.from_arrays(x, y, np.eye(GROUPS)[group], num_classes=CLASSES)
  return data.replace(weight=jnp.asarray(weight, jnp.float32))


def counts(stratum, group, y, weight):
  """The table [A, G, C], row by row."""
  out = np.zeros((STRATA, GROUPS, CLASSES))
  for a, g, k, w in zip(stratum, group, y, weight, strict=True):
    out[a, g, k] += w
  return out


def information(n):
  """The conditional mutual information of label and group, in nats."""
  total = 0.0
  for p in n / n.sum():
    if p.sum() > 0:
      outer = np.outer(p.sum(1), p.sum(0)) / p.sum()
      there = p > 0
      total += (p[there] * np.log(p[there] / outer[there])).sum()
  return total


@pytest.mark.parametrize("seed", range(3))
def test_information_goes_and_margins_stay(seed):
  rows = table(seed)
  given = counts(*rows)
  assert given.min() > 0
  weight, lost = repair(data_of(*rows))
  fair = counts(*rows[:3], np.asarray(weight, float))
  assert information(fair) < 1e-10 < 1e-2 < information(given)
  np.testing.assert_allclose(fair.sum(2), given.sum(2), rtol=1e-5)
  np.testing.assert_allclose(fair.sum(1), given.sum(1), rtol=1e-5)
  assert lost == 0


def test_it_is_reweighing_in_each_stratum():
  stratum, group, y, weight = table(7)
  got = np.asarray(repair(data_of(stratum, group, y, weight))[0])
  for a in range(STRATA):
    inside = np.where(stratum == a, weight, 0)
    alone = reweigh(data_of(stratum, group, y, inside))
    np.testing.assert_allclose(got[stratum == a], alone[stratum == a], rtol=1e-5)
  one = data_of(np.zeros(ROWS, int), group, y, weight)
  np.testing.assert_allclose(repair(one)[0], reweigh(one), rtol=1e-5)


def test_what_no_row_can_bear_is_lost_and_said():
  rows = np.array([[0, 0, 0], [0, 0, 1], [0, 1, 1], [0, 1, 1], [1, 0, 0], [1, 1, 1]]).T
  weight, lost = repair(data_of(*rows, np.ones(6)))
  given, fair = counts(*rows, np.ones(6)), counts(*rows, np.asarray(weight, float))
  coupling = np.stack([np.outer(n.sum(1), n.sum(0)) / max(n.sum(), 1) for n in given])
  np.testing.assert_allclose(fair, np.where(given > 0, coupling, 0), rtol=1e-6)
  np.testing.assert_allclose(lost, coupling[given == 0].sum() / 6, rtol=1e-6)
  np.testing.assert_allclose(lost, (0.5 + 0.5 + 0.5) / 6, rtol=1e-6)


def test_soft_and_missing_groups_padding_and_other_strata():
  stratum, group, y, weight = table(8)
  weight[:10] = 0
  data = data_of(stratum, group, y, weight)
  clean = data_of(*(v[10:] for v in (stratum, group, y, weight)))
  np.testing.assert_allclose(repair(data)[0][10:], repair(clean)[0], rtol=1e-5)
  rows = np.array([[1, 0, 1], [-1, 0, 1], [STRATA, 0, 1], [1, 0, 1]]).T
  mixed = data_of(*rows, [1, 2, 3, 4])
  mixed = mixed.replace(group=jnp.array([[0.25, 0.5, 0.25]] * 3 + [[0.0, 0.0, 0.0]]))
  got = rfjax.transform(METHOD, mixed, key=KEY, fitted_on=data).weight
  n = counts(stratum, group, y, weight)[1]
  factor = n.sum(1) * n[:, 1].sum() / n.sum() / n[:, 1]
  expected = [0.25 * factor[0] + 0.5 * factor[1] + 0.25 * factor[2], 2, 3, 4]
  np.testing.assert_allclose(got, expected, rtol=1e-5)
  part = mixed.replace(group=0.4 * mixed.group)
  got = rfjax.transform(METHOD, part, key=KEY, fitted_on=data).weight
  np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_what_is_no_stratum_is_refused():
  data = data_of(*table(0))
  for strata in (lambda batch: batch.x, lambda batch: batch.x[:, 1] / 2):
    with pytest.raises(ValueError, match="strata must give one integer a row"):
      preprocessing.conditional_repair(strata, 2).init(data)
  with pytest.raises(ValueError, match="conditional_repair needs group"):
    METHOD.init(rfjax.Batch.from_arrays([[0, 1]], [0]))
