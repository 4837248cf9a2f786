"""Group-dependent noise: frequencies in each group, soft and missing membership, refusals."""

import itertools

import host
import jax
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
  return host.batch(x, y, group, num_classes=classes, num_groups=groups)


def run(clean, matrix):
  return rfjax.transform(noise.group_dependent(matrix), clean, key=KEY)


@jax.jit
def compiled(clean):
  return run(clean, MATRICES)


def assert_frequencies(noisy, expected, part=slice(None)):
  counts = np.zeros(expected.shape)
  np.add.at(counts, (np.asarray(noisy.truth.y)[part], np.asarray(noisy.y)[part]), 1)
  totals = counts.sum(1, keepdims=True)
  error = 5 * np.sqrt(expected * (1 - expected) / totals)
  assert (np.abs(counts / totals - expected) <= error + 1e-6).all()
  assert (counts[expected == 0] == 0).all()


def test_each_group_has_its_own_matrix():
  noisy = jax.device_get(compiled(dataset(1_000_000)))
  for g in range(2):
    assert_frequencies(noisy, MATRICES[g], np.asarray(noisy.group) == g)


def test_rates_are_symmetric_noise_in_each_group():
  noisy = host.run(lambda clean: run(clean, [0.0, 0.3, 1.0]), dataset(300_000, groups=3))
  for g, rate in enumerate([0.0, 0.3, 1.0]):
    expected = (1 - rate) * np.eye(3) + rate * (1 - np.eye(3)) / 2
    assert_frequencies(noisy, expected, np.asarray(noisy.group) == g)


@pytest.mark.parametrize("membership", [[0.3, 0.7], [0.5, 0.0], [1.0, 0.0], [0.0, 0.0]])
def test_soft_membership_mixes_the_matrices_and_its_rest_keeps_the_label(membership):
  noisy = jax.device_get(compiled(dataset(300_000, group=np.float32(membership))))
  rest = (1 - sum(membership)) * np.eye(3)
  assert_frequencies(noisy, np.tensordot(membership, MATRICES, 1) + rest)


def test_hard_groups_are_soft_ones_of_one():
  clean = dataset(2000)
  soft = clean.replace(group=np.eye(2, dtype=np.float32)[clean.group])
  np.testing.assert_array_equal(compiled(clean).y, compiled(soft).y)


def test_one_matrix_for_all_groups_is_class_conditional_noise():
  def both(clean):
    matrices = MATRICES[0], rfjax.noise.symmetric_matrix(0.3, 3)
    plain = [rfjax.noise.class_conditional(matrix) for matrix in matrices]
    grouped = [run(clean, matrix).y for matrix in (MATRICES[[0, 0]], [0.3, 0.3])]
    return grouped, [rfjax.transform(t, clean, key=KEY).y for t in plain]

  np.testing.assert_array_equal(*host.run(both, dataset(2000)))


def test_higher_rates_strike_the_same_rows_and_some_more():
  clean = host.on_device(dataset(2000))
  rates = np.float32([[0.0, 0.0], [0.1, 0.0], [0.1, 0.4], [1.0, 0.4], [1.0, 1.0]])
  sweep = jax.vmap(lambda rate: run(clean, rate).y)
  y, loop = host.run(lambda many: (sweep(many), [run(clean, rate).y for rate in rates]), rates)
  np.testing.assert_array_equal(y, loop)
  for low, high in itertools.pairwise(y):
    struck = low != np.asarray(clean.y)
    np.testing.assert_array_equal(high[struck], low[struck])
    assert (high != np.asarray(clean.y)).sum() > struck.sum()


def test_matrices_may_be_traced():
  clean = host.on_device(dataset(500))
  both = lambda matrices: (run(clean, matrices).y, run(clean, MATRICES).y)
  np.testing.assert_array_equal(*host.run(both, np.float32(MATRICES)))


def test_rows_take_their_noise_along():
  clean = dataset(300)
  order = np.random.default_rng(3).permutation(300)
  moved = host.take(clean, order, np.full(40, 300))
  noisy, moved = host.transform(noise.group_dependent(MATRICES), clean, moved, key=KEY)
  np.testing.assert_array_equal(moved.y[:300], noisy.y[order])
  np.testing.assert_array_equal(moved.y[300:], 0)


def test_it_reads_the_given_group_and_keeps_the_truth():
  clean = dataset(300)
  turned = clean.replace(group=1 - clean.group, truth=rfjax.core.Truth(group=clean.group))

  def steps(turned):
    noisy = run(turned, [0.0, 1.0])
    return noisy, run(noisy, [1.0, 1.0]).truth.y

  noisy, true_y = host.run(steps, turned)
  np.testing.assert_array_equal(noisy.y != clean.y, clean.group == 0)
  np.testing.assert_array_equal(noisy.truth.group, clean.group)
  np.testing.assert_array_equal(true_y, clean.y)


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
    host.refuse(run, dataset(300), [0.1, 0.2, 0.3])
  with pytest.raises(ValueError, match=r"of 4 classes, but .* num_classes 3"):
    host.refuse(run, dataset(300), np.stack([np.eye(4)] * 2))
  with pytest.raises(ValueError, match="group_dependent needs group"):
    host.refuse(run, host.batch([[0.0]], [0]), [0.1])
