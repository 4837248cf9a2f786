"""Noise of sensitive attributes: frequencies, exact counts, common draws, what is refused."""

import functools
import itertools

import host
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rfjax
from rfjax.noise import _group_flip as noise

KEY = jax.random.key(0)
DRAWS = 300_000
RATES = [[0.0, 0.3, 1.0], [0.1, 0.5, 0.25]]


@functools.cache
def dataset(rows, groups, seed=0):
  rng = np.random.default_rng(seed)
  group = np.append(np.arange(groups), rng.integers(0, groups, rows - groups))
  y = rng.integers(0, 2, rows)
  return host.batch(group[:, None].astype(np.float32), y, group)


def assert_matrix(true, given, matrix):
  """Each entry within five binomial standard errors; what cannot happen never does."""
  groups = len(matrix)
  counts = np.bincount(np.asarray(true) * groups + np.asarray(given), minlength=groups**2)
  counts = counts.reshape(groups, groups)
  totals = counts.sum(1, keepdims=True)
  matrix = np.asarray(matrix, float)
  error = 5 * np.sqrt(matrix * (1 - matrix) / totals)
  assert (np.abs(counts / totals - matrix) <= error + 1e-12).all()


def symmetric(rate, groups):
  matrix = np.full((groups, groups), rate / (groups - 1))
  np.fill_diagonal(matrix, 1 - rate)
  return matrix


SHARES = [0.0, 0.2, 1.0]
MATRICES = [
  [[0.9, 0.1], [0.35, 0.65]],
  [[1.0, 0.0], [0.6, 0.4]],
  [[0.2, 0.5, 0.3], [0.0, 1.0, 0.0], [0.5, 0.0, 0.5]],
]


@functools.cache
def given(groups):
  """The groups that each kind of noise gives in data of so many, as one program."""
  makers = {f"symmetric {rate}": noise.group_symmetric(rate) for rate in SHARES if groups != 3}
  makers |= {str(m): noise.group_matrix(m) for m in MATRICES if len(m) == groups}
  makers |= {"class": noise.group_class_conditional(RATES)} if groups == 3 else {}
  run = lambda clean: {n: rfjax.transform(t, clean, key=KEY).group for n, t in makers.items()}
  return host.run(run, dataset(DRAWS, groups))


@pytest.mark.parametrize("rate", SHARES)
@pytest.mark.parametrize("groups", [2, 4])
def test_symmetric_frequencies_are_the_formula(rate, groups):
  clean, found = dataset(DRAWS, groups), given(groups)[f"symmetric {rate}"]
  assert_matrix(clean.group, found, symmetric(rate, groups))


@pytest.mark.parametrize("matrix", MATRICES)
def test_a_matrix_is_recovered(matrix):
  clean = dataset(DRAWS, len(matrix))
  assert_matrix(clean.group, given(len(matrix))[str(matrix)], matrix)


def test_rates_by_label_and_group_are_recovered():
  clean, found = dataset(DRAWS, 3), given(3)["class"]
  for label, rates in enumerate(RATES):
    rows = np.asarray(clean.y) == label
    matrix = [symmetric(rate, 3)[group] for group, rate in enumerate(rates)]
    assert_matrix(clean.group[rows], found[rows], matrix)


EXACT = [0.0, 0.1, 0.29, 0.57, 1.0]


@functools.cache
def exact():
  """The groups of each rate."""
  clean = host.on_device(dataset(1000, 3))
  flips = {rate: noise.group_symmetric(rate, exact_count=True) for rate in EXACT}
  run = lambda key: {r: rfjax.transform(t, clean, key=key).group for r, t in flips.items()}
  return host.run(run, KEY)


@pytest.mark.parametrize("rate", EXACT)
def test_exact_counts_are_exact(rate):
  clean = dataset(1000, 3)
  assert (exact()[rate] != clean.group).sum() == round(1000 * rate)


def test_part_of_a_row_is_not_struck():
  clean = dataset(10, 2)
  (noisy,) = host.transform(noise.group_symmetric(0.19, exact_count=True), clean, key=KEY)
  assert (noisy.group != clean.group).sum() == 1


MAKERS = {
  "symmetric": noise.group_symmetric,
  "exact": lambda rate: noise.group_symmetric(rate, exact_count=True),
  "matrix": lambda rate: noise.group_matrix((1 - rate) * jnp.eye(3) + rate * (1 - jnp.eye(3)) / 2),
  "class": lambda rate: noise.group_class_conditional(jnp.full((2, 3), rate)),
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_a_higher_rate_strikes_the_same_rows_and_some_more(make):
  clean = dataset(2000, 3)
  known, rates = host.on_device(clean), np.linspace(0, 1, 11, dtype=np.float32)
  run = lambda rate: rfjax.transform(make(rate), known, key=KEY).group
  loop = lambda: [run(float(rate)) for rate in rates[[0, 3, 10]]]
  group, singles = host.run(lambda many: (jax.vmap(run)(many), loop()), rates)
  for low, high in itertools.pairwise(group):
    struck = low != np.asarray(clean.group)
    np.testing.assert_array_equal(high[struck], low[struck])
  np.testing.assert_array_equal(group[[0, 3, 10]], singles)
  counts = (group != np.asarray(clean.group)).sum(1)
  assert (np.diff(counts) > 0).all() and counts[0] == 0 and counts[-1] == 2000


def test_symmetric_noise_has_the_draws_of_its_matrix_and_of_equal_rates():
  makers = [MAKERS[name] for name in ("symmetric", "matrix", "class")]
  run = lambda clean: [rfjax.transform(make(0.25), clean, key=KEY).group for make in makers]
  first, *others = host.run(run, dataset(2000, 3))
  for other in others:
    np.testing.assert_array_equal(other, first)


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_rows_take_their_noise_along(make):
  clean = dataset(300, 3)
  order = np.random.default_rng(3).permutation(300)
  padded = host.take(clean, np.arange(300), np.full(40, 300))
  run = lambda *batches: [rfjax.transform(make(0.5), data, key=KEY) for data in batches]
  noisy, moved, with_padding = host.run(run, clean, host.take(clean, order), padded)
  np.testing.assert_array_equal(moved.group, noisy.group[order])
  np.testing.assert_array_equal(with_padding.group[:300], noisy.group)
  np.testing.assert_array_equal(with_padding.group[300:], padded.group[300:])


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_only_the_group_changes_and_the_first_truth_stays(make):
  clean = dataset(3000, 3)
  run = lambda data: rfjax.transform(rfjax.chain(make(0.5), make(0.5)), data, key=KEY)
  twice = host.run(run, clean)
  np.testing.assert_array_equal(twice.truth.group, clean.group)
  assert twice.truth.y is None
  assert twice.group.dtype == jnp.int32
  np.testing.assert_array_equal(twice.x, clean.x)
  np.testing.assert_array_equal(twice.y, clean.y)
  rate = float((twice.group != clean.group).mean())
  assert abs(rate - 0.625) < 5 * np.sqrt(0.625 * 0.375 / 3000)
  assert make(0.5).writes == ("group",)


def test_keys_give_other_noise():
  clean, flip = host.on_device(dataset(300, 2)), noise.group_symmetric(0.5)
  run = lambda seed: rfjax.transform(flip, clean, key=jax.random.key(seed)).group
  one, two = host.run(jax.vmap(run), np.arange(2))
  assert (one != two).mean() > 0.3


@pytest.mark.parametrize("rate", [-0.1, 1.5, float("nan"), "a"])
def test_a_rate_out_of_range_is_refused(rate):
  with pytest.raises(ValueError, match="rate must"):
    noise.group_symmetric(rate)
  with pytest.raises(ValueError, match="rates must"):
    noise.group_class_conditional([[rate, 0.0], [0.0, 0.0]])


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_soft_or_no_groups_are_refused(make):
  apply = lambda data: rfjax.transform(make(0.5), data, key=KEY)
  clean = dataset(10, 3)
  soft = clean.replace(group=np.eye(3, dtype=np.float32)[clean.group])
  with pytest.raises(ValueError, match=r"shape \(10, 3\): put it in front of group_missing"):
    host.refuse(apply, soft)
  without = host.batch([[0.0]] * 4, [0, 1, 0, 1])
  with pytest.raises(ValueError, match="needs group"):
    host.refuse(apply, without)


def test_a_single_group_is_refused():
  with pytest.raises(ValueError, match="needs two groups, got num_groups 1"):
    host.refuse(rfjax.transform, noise.group_symmetric(0.5), dataset(10, 1), key=KEY)


def test_a_bad_matrix_is_refused():
  with pytest.raises(ValueError, match=r"row 1 is \[0.5, 0.6\] with sum 1.1"):
    noise.group_matrix([[0.5, 0.5], [0.5, 0.6]])
  with pytest.raises(ValueError, match="matrix must have rows of equal length"):
    noise.group_matrix([[0.5, 0.5], [1.0]])
  with pytest.raises(ValueError, match=r"of 2 groups, but .* num_groups 3"):
    host.refuse(rfjax.transform, noise.group_matrix(np.eye(2)), dataset(10, 3), key=KEY)


def test_rates_of_another_shape_are_refused():
  with pytest.raises(ValueError, match="rates must have rows of equal length"):
    noise.group_class_conditional([[0.5, 0.5], [1.0]])
  with pytest.raises(ValueError, match=r"rates must have shape .* got shape \(2,\)"):
    noise.group_class_conditional([0.1, 0.2])
  with pytest.raises(ValueError, match=r"shape \(2, 2\), but .* num_classes 2 and num_groups 3"):
    host.refuse(rfjax.transform, noise.group_class_conditional(np.eye(2)), dataset(10, 3), key=KEY)
