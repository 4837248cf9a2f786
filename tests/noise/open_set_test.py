"""Open-set noise: which rows are replaced, by what, and what the truth says of them."""

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
POOL = -np.arange(1, 8, dtype=np.float32)[:, None] * np.ones((1, 2), np.float32)


@functools.cache
def dataset(rows, classes=3, seed=0):
  y = np.random.default_rng(seed).integers(0, classes, rows)
  x = np.arange(rows, dtype=np.float32)[:, None] * np.ones((1, 2), np.float32)
  return host.batch(x, y, num_classes=classes)


def run(clean, rate, pool=POOL, **settings):
  return rfjax.transform(noise.open_set(rate, pool, **settings), clean, key=KEY)


@functools.cache
def many():
  """Noisy data at three rates."""
  runs = lambda clean: [run(clean, rate) for rate in (0.3, 1.0, 0.2)]
  return host.run(runs, dataset(100_000))


def test_struck_rows_have_an_example_of_the_pool_and_the_rest_is_untouched():
  clean = dataset(100_000)
  noisy, _, _ = many()
  x, struck = np.asarray(noisy.x), np.asarray(noisy.x)[:, 0] < 0
  assert abs(struck.mean() - 0.3) < 5 * np.sqrt(0.3 * 0.7 / 100_000)
  np.testing.assert_array_equal(x[~struck], np.asarray(clean.x)[~struck])
  np.testing.assert_array_equal(x[:, 0], x[:, 1])
  np.testing.assert_array_equal(noisy.y, clean.y)
  np.testing.assert_array_equal(noisy.truth.y, np.where(struck, 3, clean.y))
  share = np.bincount(-x[struck, 0].astype(int), minlength=8)[1:] / struck.sum()
  assert (np.abs(share - 1 / 7) < 5 * np.sqrt(6 / 49 / struck.sum())).all()


RATES = [0.0, 0.1, 0.29, 0.57, 1.0]


@functools.cache
def exact():
  """Noisy data of each rate, and the record of their noise."""
  clean = host.on_device(dataset(1000))
  noisy = lambda: {rate: run(clean, rate, exact_count=True) for rate in RATES}
  told = lambda: {rate: (new, rfjax.noise.record(new)) for rate, new in noisy().items()}
  return host.run(told)


@pytest.mark.parametrize("rate", RATES)
def test_exact_counts_are_exact_and_the_record_says_so(rate):
  noisy, record = exact()[rate]
  assert (noisy.x[:, 0] < 0).sum() == round(1000 * rate)
  assert abs(record.label_rate - rate) < 1e-6


@pytest.mark.parametrize("exact_count", [False, True])
def test_a_higher_rate_strikes_the_same_rows_and_some_more(exact_count):
  clean, rates = host.on_device(dataset(2000)), np.linspace(0, 1, 6, dtype=np.float32)
  one = lambda rate, pool: run(clean, rate, pool, exact_count=exact_count).x
  sweep = jax.vmap(one, (0, None))
  loop = lambda: [one(float(rate), POOL) for rate in rates]
  x, singles = host.run(lambda *traced: (sweep(*traced), loop()), rates, POOL)
  np.testing.assert_array_equal(x, singles)
  for low, high in itertools.pairwise(x):
    struck = low[:, 0] < 0
    np.testing.assert_array_equal(high[struck], low[struck])
    assert (high[:, 0] < 0).sum() > struck.sum()


def test_where_a_row_goes_does_not_depend_on_whether_it_is_struck():
  everywhere, some = (noisy.x[:, 0] for noisy in many()[1:])
  struck = some < 0
  np.testing.assert_array_equal(some[struck], everywhere[struck])
  assert abs(np.corrcoef(struck, everywhere)[0, 1]) < 5 / np.sqrt(100_000)


def test_images_of_bytes_stay_bytes():
  images = np.full((50, 4, 3, 1), 7, np.uint8)
  clean = host.batch(images, np.arange(50) % 2)
  flip = noise.open_set(0.5, np.full((2, 4, 3, 1), 200, np.uint8), exact_count=True)
  (noisy,) = host.transform(flip, clean, key=KEY)
  assert noisy.x.dtype == jnp.uint8 and noisy.x.shape == images.shape
  whole = np.asarray(noisy.x).reshape(50, -1)
  assert (whole == whole[:, :1]).all() and (whole[:, 0] == 200).sum() == 25


def test_rows_take_their_noise_along():
  clean = dataset(300)
  order = np.random.default_rng(3).permutation(300)
  taken = host.take(clean, order, np.full(40, 300))
  flip = noise.open_set(0.5, POOL, exact_count=True)
  noisy, moved = host.transform(flip, clean, taken, key=KEY)
  np.testing.assert_array_equal(moved.x[:300], noisy.x[order])
  np.testing.assert_array_equal(moved.truth.y[:300], noisy.truth.y[order])
  np.testing.assert_array_equal(moved.x[300:], 0)
  np.testing.assert_array_equal(moved.truth.y[300:], 0)


def test_what_is_known_of_the_other_rows_stays():
  clean = dataset(300)

  def steps(clean):
    flipped = rfjax.transform(rfjax.noise.symmetric(1.0), clean, key=jax.random.key(1))
    truth = flipped.truth._replace(group=clean.y)
    noisy = run(flipped.replace(truth=truth), 0.4)
    return noisy, rfjax.transform(rfjax.noise.symmetric(1.0), noisy, key=jax.random.key(2))

  noisy, later = host.run(steps, clean)
  struck = np.asarray(noisy.x)[:, 0] < 0
  np.testing.assert_array_equal(noisy.truth.y, np.where(struck, 3, clean.y))
  np.testing.assert_array_equal(noisy.truth.group, clean.y)
  np.testing.assert_array_equal(later.truth.y, noisy.truth.y)


@pytest.mark.parametrize(
  ("pool", "message"),
  [
    (np.zeros((0, 2)), r"pool must have at least one row, got shape \(0, 2\)"),
    (1.0, r"pool must have at least one row, got shape \(\)"),
    ([[np.nan, 0.0]], "pool must be finite"),
    ([["a", "b"]], "pool must hold numbers, got dtype <U1"),
    ("noise.npy", "pool must hold numbers"),
    ([[1.0, 2.0], [1.0]], "pool must have rows of equal length"),
  ],
)
def test_a_bad_pool_is_refused(pool, message):
  with pytest.raises(ValueError, match=message):
    noise.open_set(0.1, pool)


def test_a_pool_of_another_kind_is_refused():
  with pytest.raises(ValueError, match=r"rows of shape \(3,\) but x of \(2,\)"):
    host.refuse(run, dataset(5), 0.1, np.zeros((4, 3)))
  with pytest.raises(ValueError, match="dtype uint8 but x float32: convert it"):
    host.refuse(run, dataset(5), 0.1, np.zeros((4, 2), np.uint8))


@pytest.mark.parametrize("rate", [-0.1, 1.5, float("nan"), "a"])
def test_a_rate_out_of_range_is_refused(rate):
  with pytest.raises(ValueError, match="rate must"):
    noise.open_set(rate, POOL)
