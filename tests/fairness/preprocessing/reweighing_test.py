"""Reweighing against counts in a loop, and against what it promises."""

import jax
import numpy as np
import pytest

import rfjax
from rfjax.fairness import preprocessing

KEY = jax.random.key(0)


def weights(y, group, weight=None, **extra):
  data = rfjax.Batch.from_arrays(np.zeros((len(y), 1)), y, group, **extra)
  data = data if weight is None else data.replace(weight=np.asarray(weight, np.float32))
  return np.asarray(rfjax.transform(preprocessing.reweighing(), data, key=KEY).weight)


def expected(y, group, weight):
  """n_g n_y / (n n_gy) times the weight, row by row."""
  out = []
  for label, g, w in zip(y, group, weight, strict=True):
    share = lambda rows: sum(v for v, keep in zip(weight, rows, strict=True) if keep)
    cell = share((y == label) & (group == g))
    out.append(w * share(group == g) * share(y == label) / (sum(weight) * cell))
  return out


@pytest.mark.parametrize("seed", range(5))
def test_weights_are_those_of_a_loop_and_make_label_and_group_independent(seed):
  rng = np.random.default_rng(seed)
  classes, groups = rng.integers(2, 5, 2)
  y, group = rng.integers(0, classes, 200), rng.integers(0, groups, 200)
  given = rng.uniform(0, 2, 200)
  got = weights(y, group, given, num_classes=int(classes))
  np.testing.assert_allclose(got, expected(y, group, given), rtol=1e-5)
  table = np.zeros((groups, classes))
  np.add.at(table, (group, y), got)
  np.testing.assert_allclose(table, np.outer(table.sum(1), table.sum(0)) / table.sum(), rtol=1e-5)
  np.testing.assert_allclose(table.sum(), given.sum(), rtol=1e-5)


def test_a_weight_of_two_is_two_rows():
  y, group = np.array([0, 1, 1, 0, 1]), np.array([0, 0, 1, 1, 1])
  twice = weights(np.append(y, y[0]), np.append(group, group[0]))
  got = weights(y, group, [2, 1, 1, 1, 1])
  np.testing.assert_allclose(got, twice[:5] * [2, 1, 1, 1, 1], rtol=1e-6)


def test_soft_membership_mixes_and_a_missing_group_changes_nothing():
  y, hard = np.array([0, 1, 1, 0]), np.array([0, 0, 1, 1])
  np.testing.assert_allclose(weights(y, np.eye(2)[hard]), weights(y, hard), rtol=1e-6)
  missing = weights(np.append(y, 1), np.vstack([np.eye(2)[hard], [0, 0]]))
  np.testing.assert_allclose(missing[:4], weights(y, hard), rtol=1e-6)
  assert missing[4] == 1


def test_of_partial_membership_the_factor_is_the_mean_over_the_groups_of_the_row():
  y, hard = np.array([0, 1, 1, 1, 0]), np.array([0, 0, 1, 1, 0])
  fit = rfjax.Batch.from_arrays(np.zeros((5, 1)), y, hard)
  factor = np.asarray(preprocessing.reweighing().init(fit).factor)
  for share in (0.5, 0.25, 1e-3):
    part = rfjax.Batch.from_arrays(np.zeros((5, 1)), y, share * np.array([[0.75, 0.25]] * 5))
    got = rfjax.transform(preprocessing.reweighing(), part, key=KEY, fitted_on=fit).weight
    np.testing.assert_allclose(got, 0.75 * factor[0, y] + 0.25 * factor[1, y], rtol=1e-6)
  # All rows are alike, so that nothing is to be balanced.
  np.testing.assert_allclose(weights(y, np.full((5, 2), 0.25)), 1, rtol=1e-6)


def test_it_needs_a_group():
  with pytest.raises(ValueError, match="reweighing needs group"):
    weights(np.array([0, 1]), None)
