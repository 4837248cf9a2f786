"""Group-dependent noise: frequencies in each group, soft and missing membership, refusals."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rfjax
from rfjax import noise

KEY = jax.random.key(0)
RNG = np.random.default_rng(1)
MATRICES = RNG.dirichlet(np.ones(3), (2, 3))
MATRICES[1, 2] = [0, 0, 1]


def dataset(rows, group=None, classes=3, groups=2, seed=0):
  rng = np.random.default_rng(seed)
  y = rng.integers(0, classes, rows)
  group = rng.integers(0, groups, rows) if group is None else np.broadcast_to(group, (rows, groups))
  x = np.zeros((rows, 1), np.float32)
  return rfjax.Batch.from_arrays(x, y, group, num_classes=classes, num_groups=groups)


def run(clean, matrix):
  return rfjax.transform(noise.group_dependent(matrix), clean, key=KEY)


def assert_frequencies(noisy, expected, part=slice(None)):
  counts = np.zeros(expected.shape)
  np.add.at(counts, (np.asarray(noisy.truth.y)[part], np.asarray(noisy.y)[part]), 1)
  totals = counts.sum(1, keepdims=True)
  error = 5 * np.sqrt(expected * (1 - expected) / totals)
  assert (np.abs(counts / totals - expected) <= error + 1e-6).all()
  assert (counts[expected == 0] == 0).all()


def test_each_group_has_its_own_matrix():
  noisy = run(dataset(1_000_000), MATRICES)
  for g in range(2):
    assert_frequencies(noisy, MATRICES[g], np.asarray(noisy.group) == g)


def test_rates_are_symmetric_noise_in_each_group():
  noisy = run(dataset(300_000, groups=3), [0.0, 0.3, 1.0])
  for g, rate in enumerate([0.0, 0.3, 1.0]):
    expected = (1 - rate) * np.eye(3) + rate * (1 - np.eye(3)) / 2
    assert_frequencies(noisy, expected, np.asarray(noisy.group) == g)


@pytest.mark.parametrize("membership", [[0.3, 0.7], [0.5, 0.0], [1.0, 0.0], [0.0, 0.0]])
def test_soft_membership_mixes_the_matrices_and_its_rest_keeps_the_label(membership):
  noisy = run(dataset(300_000, group=np.float32(membership)), MATRICES)
  rest = (1 - sum(membership)) * np.eye(3)
  assert_frequencies(noisy, np.tensordot(membership, MATRICES, 1) + rest)


def test_hard_groups_are_soft_ones_of_one():
  clean = dataset(2000)
  soft = clean.replace(group=jax.nn.one_hot(clean.group, 2))
  np.testing.assert_array_equal(run(clean, MATRICES).y, run(soft, MATRICES).y)


def test_one_matrix_for_all_groups_is_class_conditional_noise():
  clean = dataset(2000)
  plain = rfjax.transform(rfjax.noise.class_conditional(MATRICES[0]), clean, key=KEY)
  np.testing.assert_array_equal(run(clean, MATRICES[[0, 0]]).y, plain.y)
  matrix = rfjax.noise.symmetric_matrix(0.3, 3)
  plain = rfjax.transform(rfjax.noise.class_conditional(matrix), clean, key=KEY)
  np.testing.assert_array_equal(run(clean, [0.3, 0.3]).y, plain.y)


def test_higher_rates_strike_the_same_rows_and_some_more():
  clean = dataset(2000)
  rates = jnp.array([[0.0, 0.0], [0.1, 0.0], [0.1, 0.4], [1.0, 0.4], [1.0, 1.0]])
  y = np.asarray(jax.jit(jax.vmap(lambda r: run(clean, r).y))(rates))
  for row, rate in zip(y, rates, strict=True):
    np.testing.assert_array_equal(row, run(clean, np.asarray(rate)).y)
  for low, high in itertools.pairwise(y):
    struck = low != np.asarray(clean.y)
    np.testing.assert_array_equal(high[struck], low[struck])
    assert (high != np.asarray(clean.y)).sum() > struck.sum()


def test_matrices_may_be_traced():
  clean = dataset(500)
  traced = jax.jit(lambda m: run(clean, m).y)(jnp.asarray(MATRICES, jnp.float32))
  np.testing.assert_array_equal(traced, run(clean, MATRICES).y)


def test_rows_take_their_noise_along():
  clean = dataset(300)
  order = np.random.default_rng(3).permutation(300)
  noisy = run(clean, MATRICES)
  rows = jnp.append(jnp.asarray(order), jnp.full(40, 300))
  moved = run(clean.take(rows), MATRICES)
  np.testing.assert_array_equal(moved.y[:300], noisy.y[order])
  np.testing.assert_array_equal(moved.y[300:], 0)


def test_it_reads_the_given_group_and_keeps_the_truth():
  clean = dataset(300)
  turned = clean.replace(group=1 - clean.group, truth=rfjax.core.Truth(group=clean.group))
  noisy = run(turned, [0.0, 1.0])
  np.testing.assert_array_equal(noisy.y != clean.y, clean.group == 0)
  np.testing.assert_array_equal(noisy.truth.group, clean.group)
  np.testing.assert_array_equal(run(noisy, [1.0, 1.0]).truth.y, clean.y)


@pytest.mark.parametrize(
  ("matrix", "message"),
  [
    ([0.1, 1.5], r"matrix must lie in \[0, 1\]"),
    ([0.1, np.nan], r"matrix must lie in \[0, 1\]"),
    (np.eye(3), "matrix must have 3 axes"),
    (0.2, "matrix must have 3 axes"),
    (["0.1", "0.2"], "matrix must hold numbers"),
    ([[[1.0, 0.0], [1.0]]] * 2, "matrix must have rows of equal length"),
    (np.full((2, 3, 3), 0.5), r"row 0, 0 is \[0.5, 0.5, 0.5\] with sum 1.5"),
  ],
)
def test_bad_matrices_are_refused(matrix, message):
  with pytest.raises(ValueError, match=message):
    noise.group_dependent(matrix)


def test_other_groups_and_classes_are_refused():
  with pytest.raises(ValueError, match="of 3 groups, but the data set has num_groups 2"):
    run(dataset(300), [0.1, 0.2, 0.3])
  with pytest.raises(ValueError, match=r"of 4 classes, but .* num_classes 3"):
    run(dataset(300), np.stack([np.eye(4)] * 2))
  with pytest.raises(ValueError, match="group_dependent needs group"):
    run(rfjax.Batch.from_arrays([[0.0]], [0]), [0.1])
