"""Pixels of the memorization suite: permutations shared and not, Gaussian moments, common draws."""

import functools
import itertools
import math

import host
import jax
import numpy as np
import pytest

import rfjax
from rfjax.noise import _pixels as noise

KEY = jax.random.key(0)
KINDS = [((12,), np.float32), ((3, 4), np.float32), ((3, 4, 2), np.uint8)]
MAKERS = {
  "shuffled": noise.shuffled_pixels,
  "random": noise.random_pixels,
  "gaussian": noise.gaussian_pixels,
}
every_kind = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


@functools.cache
def compiled(make):
  return jax.jit(lambda data, key=KEY, rate=1.0: rfjax.transform(make(rate), data, key=key))


def dataset(x):
  rows = np.arange(len(x))
  return host.batch(x, rows % 3, rows % 2)


def numbered(rows, shape, dtype=np.float32):
  """Images whose pixel p has the value p, and p + 100 in a second channel."""
  values = np.arange(12).reshape(shape[:2] if len(shape) > 1 else shape)
  if len(shape) == 3:
    values = np.stack([values, values + 100], -1)
  return dataset(np.broadcast_to(values, (rows, *shape)).astype(dtype))


def orders(noisy, shape):
  """The permutation of each image, [B, 12], checked to be the same in each channel."""
  x = np.asarray(noisy.x)
  assert x.shape[1:] == shape
  x = x.reshape(len(x), 12, -1)
  for channel in range(x.shape[2]):
    np.testing.assert_array_equal(x[:, :, channel], x[:, :, 0] + 100 * channel)
  np.testing.assert_array_equal(np.sort(x[:, :, 0], axis=1), np.tile(np.arange(12), (len(x), 1)))
  return x[:, :, 0].astype(int)


@pytest.mark.parametrize(("shape", "dtype"), KINDS)
def test_one_permutation_is_shared_by_all_images_and_by_the_test_set(shape, dtype):
  run = lambda data, key: rfjax.transform(noise.shuffled_pixels(), data, key=key)
  all_runs = lambda train, test, one, two: (run(train, one), run(test, one), run(test, two))
  batches = numbered(20, shape, dtype), numbered(7, shape, dtype)
  train, test, other = host.run(all_runs, *batches, KEY, jax.random.key(1))
  assert train.x.dtype == dtype
  first = orders(train, shape)[0]
  assert (first != np.arange(12)).any()
  np.testing.assert_array_equal(orders(train, shape), np.tile(first, (20, 1)))
  np.testing.assert_array_equal(orders(test, shape), np.tile(first, (7, 1)))
  assert (orders(other, shape)[0] != first).any()


@pytest.mark.parametrize(("shape", "dtype"), KINDS)
def test_each_image_has_a_permutation_of_its_own(shape, dtype):
  noisy = compiled(noise.random_pixels)(numbered(200, shape, dtype))
  assert noisy.x.dtype == dtype
  found = orders(noisy, shape)
  assert len(np.unique(found, axis=0)) == 200


def test_all_permutations_are_equally_likely():
  x = np.tile(np.arange(3.0), (25_600, 1))
  own = np.asarray(compiled(noise.random_pixels)(dataset(x)).x)
  small = host.on_device(dataset(x[:1]))
  run = lambda seed: rfjax.transform(noise.shuffled_pixels(), small, key=jax.random.key(seed)).x[0]
  shared = np.asarray(jax.jit(jax.vmap(run))(np.arange(25_600)))
  for found in (own, shared):
    kinds, counts = np.unique(found, axis=0, return_counts=True)
    assert len(kinds) == 6
    assert (np.abs(counts - 25_600 / 6) < 5 * np.sqrt(25_600 * (1 / 6) * (5 / 6))).all()


def coloured(rows, seed=0):
  """Mid-range images [rows, 8, 8, 3], whose channels differ in mean and deviation."""
  rng = np.random.default_rng(seed)
  means = rng.normal(size=(rows, 1, 1, 1)) * 5
  x = rng.normal(size=(rows, 8, 8, 3)) * [8.0, 15.0, 4.0] + [100.0, 128.0, 150.0] + means
  return np.round(x)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_gaussian_images_have_the_moments_of_each_channel(dtype):
  x = coloured(2048).astype(dtype)
  noisy = np.asarray(compiled(noise.gaussian_pixels)(dataset(x)).x)
  assert noisy.dtype == dtype and noisy.shape == x.shape
  values, count = noisy.reshape(-1, 3).astype(np.float64), 2048 * 64
  mean, scale = x.mean((0, 1, 2), np.float64), x.std((0, 1, 2), np.float64)
  rounding = 1 / 12 if dtype == np.uint8 else 0
  expected = np.sqrt(scale**2 + rounding)
  assert (np.abs(values.mean(0) - mean) < 5 * expected / np.sqrt(count)).all()
  assert (np.abs(values.std(0) - expected) < 5 * expected / np.sqrt(2 * count)).all()
  kurtosis = (((values - mean) / expected) ** 4).mean(0)
  assert (np.abs(kurtosis - 3) < 5 * np.sqrt(96 / count)).all()
  assert (noisy == np.round(noisy)).all() == (dtype == np.uint8)


def test_gaussian_pixels_are_independent():
  x = coloured(2048).astype(np.float32)
  noisy = np.asarray(compiled(noise.gaussian_pixels)(dataset(x)).x)
  pairs = {
    "images": (noisy[1:], noisy[:-1]),
    "pixels": (noisy[:, 1:], noisy[:, :-1]),
    "channels": (noisy[..., 1:], noisy[..., :-1]),
  }
  for a, b in pairs.values():
    correlation = np.corrcoef(a[..., 0].ravel(), b[..., 0].ravel())[0, 1]
    assert abs(correlation) < 5 / np.sqrt(a[..., 0].size)


def test_draws_beyond_the_range_are_clipped_for_uint8_only():
  dark = np.zeros((2048, 8, 8), np.uint8)
  dark[::2] = 20
  noisy = np.asarray(compiled(noise.gaussian_pixels)(dataset(dark)).x)
  # N(10, 10^2): what rounds to 0 or less is 0, and nothing wraps around to 255.
  zero = 0.5 * (1 + math.erf((0.5 - 10) / 10 / math.sqrt(2)))
  assert abs((noisy == 0).mean() - zero) < 5 * np.sqrt(zero * (1 - zero) / noisy.size)
  assert noisy.max() < 80
  light = np.asarray(compiled(noise.gaussian_pixels)(dataset(255 - dark)).x)
  assert light.min() > 175 and (light == 255).mean() > 0.1
  floats = compiled(noise.gaussian_pixels)(dataset(dark.astype(np.float32)))
  assert np.asarray(floats.x).min() < -20


def test_moments_are_those_of_the_valid_rows_of_what_is_fitted_on():
  x = coloured(300).astype(np.float32)
  padded = host.take(dataset(x), np.arange(300), np.full(40, 300))
  few = dataset(np.zeros((5, 8, 8, 3), np.float32))

  def fits(padded, whole, flat, few):
    t = noise.gaussian_pixels()
    states = [t.init(data, key=KEY, spec=None) for data in (padded, flat)]
    return *states, rfjax.transform(t, few, key=KEY, fitted_on=whole)

  state, flat, fitted = host.run(fits, padded, dataset(x), dataset(x.reshape(300, -1)), few)
  np.testing.assert_allclose(state.mean, x.mean((0, 1, 2), np.float64), rtol=1e-6)
  np.testing.assert_allclose(state.scale, x.std((0, 1, 2), np.float64), rtol=1e-5)
  np.testing.assert_allclose(flat.mean, [x.mean(dtype=np.float64)], rtol=1e-6)
  np.testing.assert_allclose(flat.scale, [x.std(dtype=np.float64)], rtol=1e-5)
  assert abs(float(fitted.x[..., 0].mean()) - 100) < 5 * 10 / np.sqrt(5 * 64)


def test_what_is_fitted_on_other_channels_is_refused():
  grey, colour = dataset(np.zeros((4, 8, 8, 1), np.float32)), dataset(coloured(4))
  for data, fitted_on, message in (
    (colour, grey, "fitted on 1 channels, but x has 3: pass"),
    (grey, colour, "fitted on 3 channels, but x has 1: pass"),
  ):
    with pytest.raises(ValueError, match=message):
      host.refuse(rfjax.transform, noise.gaussian_pixels(), data, key=KEY, fitted_on=fitted_on)


@every_kind
def test_a_rate_strikes_its_share_and_labels_stay(make):
  x = np.random.default_rng(0).normal(size=(5120, 2, 4)).astype(np.float32)
  clean = dataset(x)
  noisy = jax.device_get(compiled(make)(clean, KEY, 0.3))
  struck = (np.asarray(noisy.x) != x).any((1, 2))
  # A permutation of eight pixels is the identity once in 40320.
  assert abs(struck.mean() - 0.3) < 5 * np.sqrt(0.3 * 0.7 / 5120) + 0.3 / 40320
  np.testing.assert_array_equal(noisy.y, clean.y)
  np.testing.assert_array_equal(noisy.group, clean.group)
  assert noisy.truth is None and make(0.3).writes == ("x",)


@every_kind
def test_a_higher_rate_strikes_the_same_images_and_some_more(make):
  x = np.random.default_rng(0).normal(size=(300, 8)).astype(np.float32)
  clean = dataset(x)
  rates = np.linspace(0, 1, 6, dtype=np.float32)
  run = lambda rate: compiled(make)(clean, KEY, rate).x
  found = host.run(jax.vmap(run), rates)
  np.testing.assert_array_equal(found[0], x)
  struck = (found != x).any(2)
  for (low, high), was in zip(itertools.pairwise(found), struck, strict=False):
    np.testing.assert_array_equal(high[was], low[was])
  assert (np.diff(struck.sum(1)) > 0).all() and struck[-1].all()
  for i, rate in enumerate(rates):
    np.testing.assert_allclose(found[i], run(float(rate)), rtol=1e-5, atol=1e-6)


@every_kind
def test_rows_take_their_noise_along(make):
  x = np.random.default_rng(0).normal(size=(300, 8)).astype(np.float32)
  clean = dataset(x)
  order = np.random.default_rng(3).permutation(260)
  run = jax.jit(lambda data: rfjax.transform(make(0.7), data, key=KEY, fitted_on=clean))
  taken = host.take(clean, order, np.full(40, 300))
  noisy, moved, all_moved = jax.device_get(
    [run(clean), run(taken), compiled(make)(taken, KEY, 1.0)]
  )
  np.testing.assert_array_equal(moved.x[:260], noisy.x[order])
  np.testing.assert_array_equal(all_moved.x[260:], 0)


@every_kind
@pytest.mark.parametrize("rate", [-0.1, 1.5, float("nan"), "a"])
def test_a_rate_out_of_range_is_refused(make, rate):
  with pytest.raises(ValueError, match="rate must"):
    make(rate)


@every_kind
@pytest.mark.parametrize("shape", [(4,), (4, 2, 2, 2, 2)])
def test_what_are_no_images_is_refused(make, shape):
  with pytest.raises(ValueError, match=r"_pixels needs x of shape \[B, d\].* got \(4,"):
    host.refuse(rfjax.transform, make(), dataset(np.zeros(shape, np.float32)), key=KEY)
