"""FairBalance against counts in a loop, and against what it promises."""

import functools

import jax
import numpy as np
import pytest

import rfjax
from rfjax.fairness import preprocessing

KEY = jax.random.key(0)


def weights(y, group, weight, groups="kept", **extra):
  data = rfjax.Batch.from_arrays(np.zeros((len(y), 1)), y, group, **extra)
  data = data.replace(weight=np.asarray(weight, np.float32))
  return np.asarray(applied(data, groups))


@functools.partial(jax.jit, static_argnums=1)
def applied(data, groups="kept", fitted_on=None):
  method = preprocessing.fair_balance(groups)
  return rfjax.transform(method, data, key=KEY, fitted_on=fitted_on).weight


def expected(y, group, weight, groups):
  """n_g / (C n_gy), or n / (G C n_gy), times the weight, row by row."""
  out, (classes, number) = [], (len(set(y)), len(set(group)))
  for label, g, w in zip(y, group, weight, strict=True):
    cell = sum(v for v, k, h in zip(weight, y, group, strict=True) if (k, h) == (label, g))
    in_group = sum(v for v, h in zip(weight, group, strict=True) if h == g)
    share = in_group if groups == "kept" else sum(weight) / number
    out.append(w * share / classes / cell)
  return out


@pytest.mark.parametrize("groups", ["kept", "equal"])
@pytest.mark.parametrize("seed", range(3))
def test_weights_are_those_of_a_loop_and_balance_the_labels_in_each_group(seed, groups):
  rng = np.random.default_rng(seed)
  classes, number = rng.integers(2, 5, 2)
  y, group = rng.integers(0, classes, 100), rng.integers(0, number, 100)
  given = rng.uniform(0, 2, 100)
  got = weights(y, group, given, groups, num_classes=int(classes))
  np.testing.assert_allclose(got, expected(y, group, given, groups), rtol=1e-5)
  table = np.zeros((number, classes))
  np.add.at(table, (group, y), got)
  before = np.bincount(group, given) if groups == "kept" else np.full(number, given.sum() / number)
  np.testing.assert_allclose(table, np.outer(before, np.full(classes, 1 / classes)), rtol=1e-5)


def test_a_label_that_nobody_has_counts_for_nothing_and_a_cell_without_rows_gets_nothing():
  y, group = np.array([0, 0, 1, 0, 0, 0]), np.array([0, 0, 0, 0, 1, 1])
  got = weights(y, group, np.ones(6), num_classes=3)
  np.testing.assert_allclose(got, [2 / 3, 2 / 3, 2, 2 / 3, 0.5, 0.5], rtol=1e-6)


def test_soft_membership_mixes_and_a_missing_group_changes_nothing():
  y, hard = np.array([0, 1, 1, 0, 1]), np.array([0, 0, 0, 1, 1])
  one = weights(y, hard, np.ones(5))
  soft = np.vstack([np.eye(2)[hard], [0, 0]])
  np.testing.assert_allclose(weights(np.append(y, 1), soft, np.ones(6)), [*one, 1], rtol=1e-6)
  mixed = rfjax.Batch.from_arrays([[0.0]], [1], [[0.25, 0.75]])
  data = rfjax.Batch.from_arrays(np.zeros((5, 1)), y, hard)
  got = applied(mixed, fitted_on=data)
  np.testing.assert_allclose(got, [0.25 * one[1] + 0.75 * one[4]], rtol=1e-6)


def test_padding_has_no_influence():
  y, group = np.array([0, 1, 1, 0, 1, 0, 1]), np.array([0, 0, 0, 1, 1, 1, 0])
  alone = weights(y[:5], group[:5], np.ones(5))
  np.testing.assert_allclose(weights(y, group, [1, 1, 1, 1, 1, 0, 0])[:5], alone, rtol=1e-6)


def test_it_needs_a_group():
  with pytest.raises(ValueError, match="fair_balance needs group"):
    weights(np.array([0, 1]), None, [1, 1])
