"""Inverse probability weights against the authors' own, a loop, and what they promise."""

import jax
import numpy as np
import pytest

import rfjax
from rfjax.fairness import preprocessing

KEY = jax.random.key(0)
# Of the 32,561 training rows of Adult: neither, female, black, both; and with an income above 50K.
ADULT = np.array([20221, 9216, 1569, 1555])
ADULT_LABELS = np.array([[13856, 6365], [8127, 1089], [1272, 297], [1465, 90]])
# The files IPS_example_weights_* of google-research/group_agnostic_fairness, from the same rows.
AUTHORS = [1.6102566638642994, 3.5330946180555554, 20.752708731676226, 20.939549839228295]
AUTHORS_LABELS = [
  [2.3499566974595845, 5.115632364493323],
  [4.00652147163775, 29.899908172635445],
  [25.59827044025157, 109.63299663299664],
  [22.2259385665529, 361.7888888888889],
]


def weights(y, group, weight=None, method=None, **extra):
  data = rfjax.Batch.from_arrays(np.zeros((len(y), 1)), y, group, **extra)
  if weight is not None:
    data = data.replace(weight=np.asarray(weight, np.float32))
  method = preprocessing.inverse_probability_weights() if method is None else method
  return np.asarray(rfjax.transform(method, data, key=KEY).weight)


def test_the_weights_of_the_authors_for_adult():
  group = np.repeat(np.arange(4), 2)
  y, count = np.arange(8) % 2, ADULT_LABELS.reshape(-1)
  np.testing.assert_array_equal(ADULT_LABELS.sum(1), ADULT)
  found = weights(y, group, count) / count
  np.testing.assert_allclose(4 * found, np.repeat(AUTHORS, 2), rtol=1e-6)
  both = weights(y, group, count, preprocessing.fair_balance("equal")) / count
  np.testing.assert_allclose(8 * both.reshape(4, 2), AUTHORS_LABELS, rtol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_all_groups_count_alike_and_the_total_stays(seed):
  rng = np.random.default_rng(seed)
  number = int(rng.integers(2, 5))
  y, group, given = rng.integers(0, 3, 60), rng.integers(0, number, 60), rng.uniform(0, 2, 60)
  got = weights(y, group, given, num_classes=3)
  expected = given * given.sum() / number / np.bincount(group, given)[group]
  np.testing.assert_allclose(got, expected, rtol=1e-5)
  np.testing.assert_allclose(np.bincount(group, got), given.sum() / number, rtol=1e-5)


def test_empty_soft_and_missing_groups():
  y = np.array([0, 1, 1, 0])
  member = np.array([[1, 0, 0], [1, 0, 0], [0.5, 0, 0.5], [0, 0, 0]])
  each = 3 / 2 / np.array([2.5, 0.5])  # the second group of three has no row
  expected = [each[0], each[0], each.mean(), 1]
  np.testing.assert_allclose(weights(y, member), expected, rtol=1e-6)


def test_padding_has_no_influence_and_the_group_is_needed():
  y, group = np.array([0, 1, 1, 0, 1]), np.array([0, 0, 1, 1, 1])
  alone = weights(y[:3], group[:3])
  np.testing.assert_allclose(weights(y, group, [1, 1, 1, 0, 0])[:3], alone, rtol=1e-6)
  with pytest.raises(ValueError, match="inverse_probability_weights needs group"):
    weights(y, None)
