"""Pair flipping: frequencies, counts, common draws, what is refused."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rfjax
from rfjax import noise

KEY = jax.random.key(0)


def dataset(rows, classes, seed=0):
  y = np.random.default_rng(seed).integers(0, classes, rows)
  return rfjax.Batch.from_arrays(np.zeros((rows, 1), np.float32), y, num_classes=classes)


def matrix(rate, classes):
  result = np.zeros((classes, classes))
  for i in range(classes):
    result[i, i] += 1 - rate
    result[i, (i + 1) % classes] += rate
  return result


@pytest.mark.parametrize(("rate", "classes"), [(0.0, 4), (0.3, 4), (0.45, 10), (1.0, 4)])
def test_frequencies_are_the_formula(rate, classes):
  noisy = rfjax.transform(noise.pair_flip(rate), dataset(1_000_000, classes), key=KEY)
  counts = np.zeros((classes, classes))
  np.add.at(counts, (np.asarray(noisy.truth.y), np.asarray(noisy.y)), 1)
  totals, expected = counts.sum(1, keepdims=True), matrix(rate, classes)
  error = 5 * np.sqrt(expected * (1 - expected) / totals)
  assert (np.abs(counts / totals - expected) <= error + 1e-12).all()


@pytest.mark.parametrize(("rate", "classes"), [(0.0, 2), (0.25, 2), (0.3, 7), (1.0, 3)])
def test_the_matrix_is_the_formula(rate, classes):
  np.testing.assert_allclose(
    noise.pair_flip_matrix(rate, classes), matrix(rate, classes), atol=1e-7
  )


def test_the_noise_is_that_of_its_matrix():
  clean = dataset(5000, 5)
  by_matrix = rfjax.noise.class_conditional(noise.pair_flip_matrix(0.3, 5))
  one, two = (rfjax.transform(t, clean, key=KEY).y for t in (noise.pair_flip(0.3), by_matrix))
  np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("exact_count", [False, True])
def test_two_classes_have_symmetric_noise(exact_count):
  clean = dataset(1000, 2)
  pair, any_other = (
    rfjax.transform(make(0.3, exact_count=exact_count), clean, key=KEY).y
    for make in (noise.pair_flip, rfjax.noise.symmetric)
  )
  np.testing.assert_array_equal(pair, any_other)


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.29, 0.57, 1.0])
def test_exact_counts_are_exact(rate):
  clean = dataset(1000, 10)
  noisy = rfjax.transform(noise.pair_flip(rate, exact_count=True), clean, key=KEY)
  assert (noisy.y != clean.y).sum() == round(1000 * rate)


@pytest.mark.parametrize("exact_count", [False, True])
def test_a_higher_rate_strikes_the_same_rows_and_some_more(exact_count):
  clean = dataset(2000, 7)
  rates = jnp.linspace(0, 1, 6)
  run = lambda rate: (
    rfjax.transform(noise.pair_flip(rate, exact_count=exact_count), clean, key=KEY).y
  )
  y = np.asarray(jax.jit(jax.vmap(run))(rates))
  struck = y != np.asarray(clean.y)
  for low, high in itertools.pairwise(struck):
    assert (high | ~low).all() and high.sum() > low.sum()
  for row, rate in zip(y, rates, strict=True):
    np.testing.assert_array_equal(row, run(float(rate)))


@pytest.mark.parametrize("exact_count", [False, True])
def test_rows_take_their_noise_along(exact_count):
  clean, flip = dataset(300, 5), noise.pair_flip(0.5, exact_count=exact_count)
  order = np.random.default_rng(3).permutation(300)
  noisy = rfjax.transform(flip, clean, key=KEY)
  rows = jnp.append(jnp.asarray(order), jnp.full(40, 300))
  moved = rfjax.transform(flip, clean.take(rows), key=KEY)
  np.testing.assert_array_equal(moved.y[:300], noisy.y[order])
  np.testing.assert_array_equal(moved.y[300:], clean.take(rows).y[300:])


def test_the_first_truth_stays():
  clean = dataset(300, 5)
  twice = rfjax.transform(rfjax.chain(noise.pair_flip(1.0), noise.pair_flip(1.0)), clean, key=KEY)
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
