"""Symmetric noise and transition matrices: frequencies, counts, common draws, what is refused."""

import functools
import itertools

import host
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rfjax
from rfjax import noise

KEY = jax.random.key(0)
DRAWS = 1_000_000


@functools.cache
def dataset(rows, classes, seed=0):
  y = np.random.default_rng(seed).integers(0, classes, rows)
  return host.batch(np.zeros((rows, 1), np.float32), y, num_classes=classes)


def frequencies(noisy):
  true, given = np.asarray(noisy.truth.y), np.asarray(noisy.y)
  classes = noisy.num_classes
  counts = np.bincount(true * classes + given, minlength=classes**2).reshape(classes, classes)
  return counts, counts.sum(1, keepdims=True)


def assert_matrix(noisy, matrix):
  """Each entry within five binomial standard errors; what cannot happen never does."""
  counts, totals = frequencies(noisy)
  error = 5 * np.sqrt(matrix * (1 - matrix) / totals)
  assert (np.abs(counts / totals - matrix) <= error + 1e-12).all()


KINDS = [(0.0, False), (0.2, False), (0.6, True), (1.0, False), (1.0, True)]


@functools.cache
def symmetric():
  """Noisy data and the matrix, of each rate and kind."""

  def run(clean, key):
    noisy = lambda *kind: rfjax.transform(make(*kind), clean, key=key)
    return {
      (rate, kind): (noisy(rate, kind), noise.symmetric_matrix(rate, 5, inclusive=kind))
      for rate, kind in KINDS
    }

  make = lambda rate, kind: noise.symmetric(rate, inclusive=kind)
  return host.run(run, dataset(DRAWS, 5), KEY)


@pytest.mark.parametrize(("rate", "inclusive"), KINDS)
def test_symmetric_frequencies_are_the_formula(rate, inclusive):
  noisy, matrix = symmetric()[rate, inclusive]
  off = rate / 5 if inclusive else rate / 4
  expected = np.full((5, 5), off)
  np.fill_diagonal(expected, 1 - 4 * off)
  assert_matrix(noisy, expected)
  np.testing.assert_allclose(matrix, expected, atol=1e-7)


def test_a_matrix_is_recovered():
  rng = np.random.default_rng(1)
  matrix = rng.dirichlet(np.ones(4), 4)
  matrix[2] = [0, 0, 1, 0]
  matrix[3] = [0.5, 0, 0.5, 0]
  transform = noise.class_conditional(matrix)
  run = lambda clean: rfjax.transform(transform, clean, key=KEY)
  noisy = host.run(run, dataset(DRAWS, 4))
  assert_matrix(noisy, matrix)


RATES = [0.0, 0.1, 0.29, 0.57, 1.0]


@functools.cache
def exact():
  make = lambda rate: noise.symmetric(rate, exact_count=True)
  return host.at_rates(make, RATES, dataset(1000, 10), key=KEY)


@pytest.mark.parametrize("rate", RATES)
def test_exact_counts_are_exact(rate):
  clean, noisy = dataset(1000, 10), exact()[rate]
  assert (noisy.y != clean.y).sum() == round(1000 * rate)


@pytest.mark.parametrize("exact_count", [False, True])
def test_a_higher_rate_strikes_the_same_rows_and_some_more(exact_count):
  clean = dataset(2000, 7)
  known, rates = host.on_device(clean), np.linspace(0, 1, 11, dtype=np.float32)
  make = lambda rate: noise.symmetric(rate, exact_count=exact_count)
  run = lambda rate: rfjax.transform(make(rate), known, key=KEY).y
  y, single = host.run(lambda many: (jax.vmap(run)(many), run(float(rates[3]))), rates)
  for low, high in itertools.pairwise(y):
    struck = low != np.asarray(clean.y)
    np.testing.assert_array_equal(high[struck], low[struck])
  np.testing.assert_array_equal(y[3], single)
  counts = (y != np.asarray(clean.y)).sum(1)
  assert (np.diff(counts) > 0).all() and counts[0] == 0 and counts[-1] == 2000


def test_matrices_of_one_kind_share_their_draws():
  clean = dataset(2000, 4)
  run = lambda rate: (
    rfjax.transform(noise.class_conditional(noise.symmetric_matrix(rate, 4)), known, key=KEY).y
  )
  known = host.on_device(clean)
  low, high = host.run(jax.vmap(run), np.float32([0.2, 0.5]))
  struck = low != np.asarray(clean.y)
  assert struck.any() and (high != np.asarray(clean.y)).sum() > struck.sum()
  np.testing.assert_array_equal(high[struck], low[struck])


@pytest.mark.parametrize(
  "make", [noise.symmetric, lambda rate: noise.symmetric(rate, exact_count=True)]
)
def test_rows_take_their_noise_along(make):
  clean = dataset(300, 5)
  order = np.random.default_rng(3).permutation(300)
  padded = host.take(clean, np.arange(300), np.full(40, 300))
  batches = clean, host.take(clean, order), padded
  noisy, permuted, with_padding = host.transform(make(0.5), *batches, key=KEY)
  np.testing.assert_array_equal(permuted.y, noisy.y[order])
  np.testing.assert_array_equal(with_padding.y[:300], noisy.y)
  np.testing.assert_array_equal(with_padding.y[300:], padded.y[300:])


def test_keys_give_other_noise():
  clean = host.on_device(dataset(300, 5))
  run = lambda seed: rfjax.transform(noise.symmetric(0.5), clean, key=jax.random.key(seed)).y
  one, two = host.run(jax.vmap(run), np.arange(2))
  assert (one != two).mean() > 0.4


def test_the_first_truth_stays():
  clean = dataset(300, 5)
  chain = rfjax.chain(noise.symmetric(0.5), noise.symmetric(0.5))
  (twice,) = host.transform(chain, clean, key=KEY)
  np.testing.assert_array_equal(twice.truth.y, clean.y)
  rate = float((twice.y != clean.y).mean())
  assert abs(rate - 0.6875) < 5 * np.sqrt(0.6875 * 0.3125 / 300)
  assert twice.y.dtype == jnp.int32


@pytest.mark.parametrize("rate", [-0.1, 1.5, float("nan"), "a"])
def test_a_rate_out_of_range_is_refused(rate):
  with pytest.raises(ValueError, match="rate must"):
    noise.symmetric(rate)
  with pytest.raises(ValueError, match="rate must"):
    noise.symmetric_matrix(rate, 3)


@pytest.mark.parametrize(
  ("matrix", "message"),
  [
    ([[0.5, 0.5], [0.5, 0.6]], r"row 1 is \[0.5, 0.6\] with sum 1.1"),
    ([[1.5, -0.5], [0.5, 0.5]], r"row 0 is \[1.5, -0.5\] with sum 1"),
    ([[np.nan, 0.5], [0.5, 0.5]], "row 0 is"),
    ([[0.5, 0.5]], "square"),
    ([0.5, 0.5], "square"),
    ([[1.0, 0.0], [1.0]], "matrix must have rows of equal length"),
    ([["1", "0"], ["0", "1"]], "matrix must hold numbers, got dtype <U1: convert"),
    ("identity", "matrix must hold numbers"),
    ([[1.0]], "square"),
  ],
)
def test_a_bad_matrix_is_refused_with_its_row_and_sum(matrix, message):
  with pytest.raises(ValueError, match=message):
    noise.class_conditional(matrix)


def test_a_matrix_may_have_traced_entries():
  clean = host.on_device(dataset(300, 2))
  flip = lambda rate: noise.class_conditional([[1 - rate, rate], [0.0, 1.0]])
  run = lambda rate: rfjax.transform(flip(rate), clean, key=KEY).y
  np.testing.assert_array_equal(host.run(run, 0.3), host.run(lambda: run(0.3)))


def test_a_matrix_of_other_classes_is_refused():
  with pytest.raises(ValueError, match=r"of 2 classes, but .* num_classes 3"):
    host.transform(noise.class_conditional(np.eye(2)), dataset(10, 3), key=KEY)


def test_a_row_that_stays_never_leaves_even_after_rounding():
  clean = dataset(DRAWS, 3)
  rows = np.float32([[1 - 1e-7, 0, 0], [0, 1, 0], [0, 0, 1]])
  run = lambda matrix, clean: rfjax.transform(noise.class_conditional(matrix), clean, key=KEY).y
  np.testing.assert_array_equal(host.run(run, rows, clean), clean.y)
