"""Draws that belong to a row, and places in an order."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import rfjax
from rfjax.core import _draws, by_address, permutation, rank, stable_order, uniform

KEY = jax.random.key(0)


def rows(count):
  return rfjax.Batch.from_arrays(np.zeros((count, 1), np.float32), np.arange(count) % 2)


@pytest.mark.parametrize("shape", [(), (3,), (2, 2)])
def test_a_row_takes_its_draws_along(shape):
  data, order = rows(40), np.random.default_rng(0).permutation(40)
  whole = np.asarray(uniform(KEY, data, shape))
  assert whole.shape == (40, *shape) and len(np.unique(whole)) == whole.size
  some = data.take(jnp.append(jnp.asarray(order[:25]), jnp.full(5, 40)))
  np.testing.assert_array_equal(uniform(KEY, some, shape)[:25], whole[order[:25]])
  np.testing.assert_array_equal(
    jax.jit(lambda k: uniform(k, some, shape))(KEY)[:25], whole[order[:25]]
  )


def test_the_draws_are_uniform_and_those_of_two_rows_or_keys_independent():
  draws = np.asarray(uniform(KEY, rows(4000), (2,)))
  other = np.asarray(uniform(jax.random.key(1), rows(4000), (2,)))
  assert draws.min() >= 0 and draws.max() < 1
  for values in (draws[:, 0], draws[:, 1], other[:, 0]):
    assert stats.kstest(values, "uniform").pvalue > 1e-3
  pairs = [(draws[:, 0], draws[:, 1]), (draws[:-1, 0], draws[1:, 0]), (draws[:, 0], other[:, 0])]
  for one, two in pairs:
    assert abs(np.corrcoef(one, two)[0, 1]) < 5 / np.sqrt(len(one))


@pytest.mark.parametrize(
  "values",
  [
    [0.5],
    [3.0, -1.0, 2.0, 0.0],
    [1.0, 1.0, 0.0, 1.0, 0.0],
    [np.inf, -np.inf, 2.0, np.inf, -3.0, np.inf],
  ],
)
def test_rank_is_the_place_in_a_stable_order(values):
  values = np.asarray(values, np.float32)
  found = rank(jnp.asarray(values))
  place = [
    sum(v < values[i] or (v == values[i] and j < i) for j, v in enumerate(values))
    for i in range(len(values))
  ]
  np.testing.assert_array_equal(found, place)
  assert found.dtype == jnp.int32


def test_rank_under_vmap_is_rank_of_each():
  values = np.random.default_rng(0).integers(0, 5, (6, 9)).astype(np.float32)
  expected = values.argsort(1, kind="stable").argsort(1)
  np.testing.assert_array_equal(jax.jit(jax.vmap(rank))(jnp.asarray(values)), expected)


@pytest.mark.parametrize("traced", [False, True])
def test_a_count_rounds_up_what_is_not_whole(traced):
  percent, number = np.arange(101), [1, 7, 25, 50, 128, 1000]
  run = lambda rate, n: rfjax.core.count(rate, n, up=True)
  if traced:
    rates = jnp.asarray(percent / 100, jnp.float32)
    found = jax.jit(jax.vmap(jax.vmap(run, (None, 0)), (0, None)))(rates, jnp.array(number))
  else:
    found = [[run(float(p / 100), n) for n in number] for p in percent]
  np.testing.assert_array_equal(found, [[-(-p * n // 100) for n in number] for p in percent])


@pytest.mark.parametrize("rows", [1, 2, 3, 100, 2000, 2**16 + 1])
def test_a_permutation_is_that_of_jax_to_the_bit(rows):
  keys = jax.random.split(jax.random.key(rows), 3)
  found = jax.jit(jax.vmap(lambda key: permutation(key, rows)))(keys)
  want = jnp.stack([jax.random.permutation(key, rows) for key in keys])
  np.testing.assert_array_equal(found, want)
  assert found.dtype == jnp.int32


@pytest.mark.parametrize("high", [2, 2**4, 2**29, 2**32])
def test_words_that_share_their_high_bits_are_in_order_too(high):
  rng = np.random.default_rng(high)
  order = jax.jit(_draws._by_random_words)
  for size in (1, 2, 30, 31):
    for _ in range(4):
      words = rng.integers(high, size=size, dtype=np.uint32 if high < 2**32 else np.uint64)
      words = words.astype(np.uint32)
      np.testing.assert_array_equal(order(words), np.argsort(words, kind="stable"))


@pytest.mark.parametrize(
  "index", [[5], [0, 1, 2, 3], [3, 0, 2, 1], [0, 2, 2, 2**31 - 1, 2**31 - 1], [2, 2, 0, 0]]
)
def test_rows_by_address_are_those_of_a_stable_sort(index):
  index = jnp.array(index)
  np.testing.assert_array_equal(jax.jit(by_address)(index), np.argsort(index, kind="stable"))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32])
def test_the_stable_order_is_that_of_argsort(dtype):
  edges = [
    0.0,
    -0.0,
    np.inf,
    -np.inf,
    1e-45,
    -1e-45,
    1.0,
    -1.0,
    3e38,
    np.nan,
    np.copysign(np.nan, -1),
  ]
  with jax.enable_x64(dtype == np.float64):
    order, by_index = jax.jit(stable_order), jax.jit(lambda v, i: stable_order(v, i))
    for size in (1, 7, 500):
      rng = np.random.default_rng(size)
      values = rng.normal(size=size).round(1) * 10
      if dtype != np.int32:
        values = np.where(rng.random(size) < 0.5, rng.choice(edges, size), values)
      values, index = values.astype(dtype), rng.permutation(size).astype(np.int32)
      np.testing.assert_array_equal(order(values), jnp.argsort(values))
      np.testing.assert_array_equal(by_index(values, index), jnp.lexsort((index, values)))
