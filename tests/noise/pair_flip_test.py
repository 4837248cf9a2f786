"""Pair flipping: frequencies, counts, common draws, what is refused."""

import functools
import itertools

import host
import jax
import numpy as np
import pytest

import rfjax
from rfjax import noise

KEY = jax.random.key(0)


@functools.cache
def dataset(rows, classes, seed=0):
  y = np.random.default_rng(seed).integers(0, classes, rows)
  return host.batch(np.zeros((rows, 1), np.float32), y, num_classes=classes)


def matrix(rate, classes):
  result = np.zeros((classes, classes))
  for i in range(classes):
    result[i, i] += 1 - rate
    result[i, (i + 1) % classes] += rate
  return result


RATES = {4: [0.0, 0.3, 1.0], 10: [0.45]}


@functools.cache
def noisy_of(classes):
  """Noisy data of each rate."""
  run = lambda clean: {
    rate: rfjax.transform(noise.pair_flip(rate), clean, key=KEY) for rate in RATES[classes]
  }
  return host.run(run, dataset(1_000_000, classes))


@pytest.mark.parametrize(("rate", "classes"), [(0.0, 4), (0.3, 4), (0.45, 10), (1.0, 4)])
def test_frequencies_are_the_formula(rate, classes):
  noisy = noisy_of(classes)[rate]
  counts = np.zeros((classes, classes))
  np.add.at(counts, (np.asarray(noisy.truth.y), np.asarray(noisy.y)), 1)
  totals, expected = counts.sum(1, keepdims=True), matrix(rate, classes)
  error = 5 * np.sqrt(expected * (1 - expected) / totals)
  assert (np.abs(counts / totals - expected) <= error + 1e-12).all()


@pytest.mark.parametrize(("rate", "classes"), [(0.0, 2), (0.25, 2), (0.3, 7), (1.0, 3)])
def test_the_matrix_is_the_formula(rate, classes):
  found = host.run(lambda: noise.pair_flip_matrix(rate, classes))
  np.testing.assert_allclose(found, matrix(rate, classes), atol=1e-7)


def test_the_noise_is_that_of_its_matrix():
  def run(clean):
    by_matrix = rfjax.noise.class_conditional(noise.pair_flip_matrix(0.3, 5))
    return [rfjax.transform(t, clean, key=KEY).y for t in (noise.pair_flip(0.3), by_matrix)]

  one, two = host.run(run, dataset(5000, 5))
  np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("exact_count", [False, True])
def test_two_classes_have_symmetric_noise(exact_count):
  clean, makers = host.on_device(dataset(1000, 2)), (noise.pair_flip, rfjax.noise.symmetric)
  flips = [make(0.3, exact_count=exact_count) for make in makers]
  pair, any_other = host.run(lambda key: [rfjax.transform(t, clean, key=key).y for t in flips], KEY)
  np.testing.assert_array_equal(pair, any_other)


SHARES = [0.0, 0.1, 0.29, 0.57, 1.0]


@functools.cache
def exact():
  make = lambda rate: noise.pair_flip(rate, exact_count=True)
  return host.at_rates(make, SHARES, dataset(1000, 10), key=KEY)


@pytest.mark.parametrize("rate", SHARES)
def test_exact_counts_are_exact(rate):
  clean, noisy = dataset(1000, 10), exact()[rate]
  assert (noisy.y != clean.y).sum() == round(1000 * rate)


@pytest.mark.parametrize("exact_count", [False, True])
def test_a_higher_rate_strikes_the_same_rows_and_some_more(exact_count):
  clean = dataset(2000, 7)
  known, rates = host.on_device(clean), np.linspace(0, 1, 6, dtype=np.float32)
  make = lambda rate: noise.pair_flip(rate, exact_count=exact_count)
  run = lambda rate: rfjax.transform(make(rate), known, key=KEY).y
  y, loop = host.run(lambda many: (jax.vmap(run)(many), [run(float(r)) for r in rates]), rates)
  struck = y != np.asarray(clean.y)
  for low, high in itertools.pairwise(struck):
    assert (high | ~low).all() and high.sum() > low.sum()
  np.testing.assert_array_equal(y, loop)


@pytest.mark.parametrize("exact_count", [False, True])
def test_rows_take_their_noise_along(exact_count):
  clean, flip = dataset(300, 5), noise.pair_flip(0.5, exact_count=exact_count)
  order = np.random.default_rng(3).permutation(300)
  taken = host.take(clean, order, np.full(40, 300))
  noisy, moved = host.transform(flip, clean, taken, key=KEY)
  np.testing.assert_array_equal(moved.y[:300], noisy.y[order])
  np.testing.assert_array_equal(moved.y[300:], taken.y[300:])


def test_the_first_truth_stays():
  clean = dataset(300, 5)
  chain = rfjax.chain(noise.pair_flip(1.0), noise.pair_flip(1.0))
  (twice,) = host.transform(chain, clean, key=KEY)
  np.testing.assert_array_equal(twice.truth.y, clean.y)
  np.testing.assert_array_equal(twice.y, (clean.y + 2) % 5)


@pytest.mark.parametrize("rate", [-0.1, 1.5, float("nan"), "a"])
def test_a_rate_out_of_range_is_refused(rate):
  with pytest.raises(ValueError, match="rate must"):
    noise.pair_flip(rate)
  with pytest.raises(ValueError, match="rate must"):
    noise.pair_flip_matrix(rate, 3)


def test_a_number_of_classes_out_of_range_is_refused():
  with pytest.raises(ValueError, match="num_classes must be an integer of at least 2, got 1"):
    noise.pair_flip_matrix(0.1, 1)
