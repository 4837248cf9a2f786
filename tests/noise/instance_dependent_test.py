"""Part-dependent noise: against SciPy's truncated normal and a NumPy oracle of the formula."""

import functools
import itertools

import host
import jax
import numpy as np
import pytest
import scipy.special
import scipy.stats

import rfjax
from rfjax import noise
from rfjax.noise import _instance_dependent

KEY = jax.random.key(0)


@functools.cache
def dataset(rows, classes, width=6, seed=0, scale=1.0):
  rng = np.random.default_rng(seed)
  x = scale * rng.normal(size=(rows, width)).astype(np.float32)
  y = rng.integers(0, classes, rows)
  return host.batch(x, y, num_classes=classes)


def truncated(rate, std):
  return scipy.stats.truncnorm(-rate / std, (1 - rate) / std, loc=rate, scale=std)


def run(clean, rate, std):
  return rfjax.transform(noise.instance_dependent(rate, std=std), clean, key=KEY).y


compiled = jax.jit(run)
goals_of = jax.jit(_instance_dependent._goals)
distribution = jax.jit(_instance_dependent._distribution)
truncated_normal = jax.jit(_instance_dependent._truncated_normal)


def flips(rate, std, u):
  padded = np.append(u, np.full(1002 - u.size, 0.5, np.float32))
  return np.asarray(truncated_normal(padded, rate, std))[: u.size]


@pytest.mark.parametrize("std", [0.01, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("rate", [0.0, 0.03, 0.4, 0.99, 1.0])
def test_flip_rates_are_the_quantiles_of_a_truncated_normal(rate, std):
  u = np.concatenate([np.linspace(0.001, 0.999, 999), [1e-5, 2**-20, 1 - 2**-20]])
  flip = flips(rate, std, np.float32(u))
  expected = truncated(rate, std).ppf(np.float32(u).astype(np.float64))
  np.testing.assert_allclose(flip, expected, atol=3e-6)


@pytest.mark.parametrize("std", [0.0, 1e-12])
@pytest.mark.parametrize("rate", [0.0, 0.3, 1.0])
def test_without_spread_all_flip_rates_are_the_rate(rate, std):
  flip = flips(rate, std, np.float32([0.0, 0.5, 1 - 2**-24]))
  np.testing.assert_allclose(flip, np.float32(rate), rtol=0, atol=10 * std)


def test_the_ends_of_the_draws_give_draws():
  flip = flips(0.5, 0.05, np.float32([0.0, 1 - 2**-23]))
  assert 0.2 < flip[0] < 0.25 and 0.75 < flip[1] < 0.8


def test_the_distribution_is_the_formula():
  """W is read off unit features, up to a constant a row, which the softmax does not see."""
  rows, classes, width = 60, 4, 5
  units = host.batch(
    np.tile(np.eye(width), (classes, 1)), np.repeat(np.arange(classes), width), num_classes=classes
  )
  with np.errstate(divide="ignore"):
    log_goals = np.log(np.asarray(goals_of(units, KEY), np.float64))
  weights = log_goals.reshape(classes, width, classes)
  clean = dataset(rows, classes, width)
  x, y = np.asarray(clean.x, np.float64), np.asarray(clean.y)
  expected = np.zeros((rows, classes))
  for i in range(rows):
    others = [j for j in range(classes) if j != y[i]]
    expected[i, others] = scipy.special.softmax(x[i] @ weights[y[i]][:, others])
  goals = goals_of(clean, KEY)
  np.testing.assert_allclose(goals, expected, atol=2e-6)
  flip_key, goal_key = jax.random.split(KEY)
  draw = lambda i: jax.random.uniform(jax.random.fold_in(flip_key, i))
  own = jax.jit(jax.vmap(draw))(clean.index)
  flip = truncated(0.3, 0.1).ppf(np.asarray(own, np.float64))[:, None]
  expected = flip * np.asarray(goals_of(clean, goal_key), np.float64)
  expected[np.arange(rows), y] = 1 - flip[:, 0]
  np.testing.assert_allclose(distribution(clean, 0.3, 0.1, KEY), expected, atol=2e-6)


def test_projections_are_standard_normal_and_differ_between_classes():
  width, classes = 4000, 3
  units = host.batch(
    np.tile(np.eye(width, dtype=np.float32), (classes, 1)), np.repeat(np.arange(3), width)
  )
  goals = np.asarray(goals_of(units, KEY), np.float64).reshape(3, width, 3)
  contrasts = np.stack(
    [np.log(goals[c][:, (c + 1) % 3] / goals[c][:, (c + 2) % 3]) for c in range(3)]
  )
  for contrast in contrasts:
    assert scipy.stats.kstest(contrast / np.sqrt(2), "norm").pvalue > 1e-4
  assert (np.abs(np.corrcoef(contrasts) - np.eye(3)) < 5 / np.sqrt(width)).all()


@pytest.mark.parametrize(
  ("rate", "std"), [(0.0, 0.1), (0.1, 0.1), (0.3, 0.1), (0.5, 0.3), (0.9, 0.1), (1.0, 0.1)]
)
def test_the_realised_rate_is_the_mean_of_the_truncated_normal(rate, std):
  clean = dataset(100_000, 4, width=2)
  wrong = float((np.asarray(compiled(clean, rate, std)) != clean.y).mean())
  expected = truncated(rate, std).mean()
  assert abs(wrong - expected) < 5 * np.sqrt(expected * (1 - expected) / 100_000)


def test_the_docstrings_rates_are_right():
  means = [truncated(rate, 0.1).mean() for rate in (0, 0.1, 0.2, 1)]
  np.testing.assert_allclose(means, [0.08, 0.129, 0.206, 0.92], atol=5.1e-4)


def test_labels_follow_the_rows_own_distributions():
  clean = dataset(100_000, 4, width=3)
  transform = noise.instance_dependent(0.4)

  def labels_and_distribution(clean, key):
    noisy, _ = transform.update(clean, (), None, key=key)
    rows_key, _ = jax.random.split(key)
    return noisy.y, _instance_dependent._distribution(clean, 0.4, 0.1, rows_key)

  noisy, p = host.run(labels_and_distribution, clean, KEY)
  p = p.astype(np.float64)
  hit = np.eye(4)[noisy]
  x, y = np.asarray(clean.x), np.asarray(clean.y)
  for c, k, side in itertools.product(range(4), range(3), (-1, 1)):
    part = (y == c) & (side * x[:, k] > 0)
    error = 5 * np.sqrt((p[part] * (1 - p[part])).sum(0))
    assert (np.abs(hit[part].sum(0) - p[part].sum(0)) < error).all()


def test_similar_examples_of_one_class_go_to_one_label():
  x = np.full((2000, 6), 1e5, np.float32)
  clean = host.batch(x, np.arange(2000) % 5)
  noisy = np.asarray(compiled(clean, 0.5, 0.1))
  for c in range(5):
    labels = noisy[c::5]
    assert len(np.unique(labels[labels != c])) == 1


def test_a_higher_rate_strikes_the_same_rows_and_some_more():
  clean = dataset(2000, 5)
  rates = np.linspace(0, 1, 6, dtype=np.float32)
  known = host.on_device(clean)
  many = lambda rates, std: jax.vmap(run, (None, 0, None))(known, rates, std)
  both = lambda *traced: (many(*traced), run(known, float(rates[2]), 0.1))
  y, single = host.run(both, rates, 0.1)
  for low, high in itertools.pairwise(y):
    struck = low != np.asarray(clean.y)
    np.testing.assert_array_equal(high[struck], low[struck])
    assert (high != np.asarray(clean.y)).sum() > struck.sum()
  for row, rate in zip(y, rates, strict=True):
    np.testing.assert_array_equal(row, compiled(clean, float(rate), 0.1))
  np.testing.assert_array_equal(y[2], single)


def test_no_spread_and_no_rate_is_no_noise():
  clean = dataset(2000, 5)
  np.testing.assert_array_equal(compiled(clean, 0.0, 0.0), clean.y)
  assert (np.asarray(compiled(clean, 1.0, 0.0)) != clean.y).all()


def test_pixels_are_scaled_and_images_are_flattened():
  rng = np.random.default_rng(4)
  images = rng.integers(0, 256, (2000, 1, 3, 2), np.uint8)
  y = rng.integers(0, 5, 2000)
  flat = images.reshape(2000, -1)
  one, two, other = (
    np.asarray(compiled(host.batch(x, y), 0.8, 0.1))
    for x in (images, flat / np.float32(255), flat.astype(np.float32))
  )
  np.testing.assert_array_equal(one, two)
  assert (one != other).any()


def test_large_features_give_probabilities():
  clean = dataset(60, 4, width=5, scale=1e4)
  rows = np.asarray(distribution(clean, 0.3, 0.1, KEY))
  assert (rows >= 0).all()
  np.testing.assert_allclose(rows.sum(1), 1, atol=1e-6)


def test_memory_does_not_hold_a_projection_for_each_row():
  clean = dataset(1000, 10, width=3072)
  temporary = compiled.lower(clean, 0.3, 0.1).compile().memory_analysis().temp_size_in_bytes
  assert temporary < 30e6  # x has 12 MB, and x W[y] row by row would read 123 MB


def test_rows_take_their_noise_along():
  clean = dataset(2000, 5)
  order = np.random.default_rng(3).permutation(2000)[:1960]
  noisy = np.asarray(compiled(clean, 0.5, 0.1))
  moved = np.asarray(compiled(host.take(clean, order, np.full(40, 2000)), 0.5, 0.1))
  np.testing.assert_array_equal(moved[:1960], noisy[order])
  np.testing.assert_array_equal(moved[1960:], 0)


def test_the_first_truth_stays():
  clean = dataset(300, 5)
  t = noise.instance_dependent(1.0, std=0.0)
  (twice,) = host.transform(rfjax.chain(t, t), clean, key=KEY)
  np.testing.assert_array_equal(twice.truth.y, clean.y)
  assert (twice.y == clean.y).any() and (twice.y != clean.y).any()


@pytest.mark.parametrize("bad", [-0.1, 1.5, float("nan"), "a"])
def test_values_out_of_range_are_refused(bad):
  with pytest.raises(ValueError, match="rate must"):
    noise.instance_dependent(bad)
  with pytest.raises(ValueError, match="std must"):
    noise.instance_dependent(0.1, std=bad)
