"""Draws that belong to a row, and places in an order."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import rfjax
from rfjax.core import rank, uniform

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
