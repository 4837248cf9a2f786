"""The k-th largest value against a sort."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rfjax.core import kth_largest

RNG = np.random.default_rng(0)
TIES = [2.0, -1.0, 2.0, 2.0, -1.0, 0.5, -1.0, 0.5, 2.0]
VALUES = {
  "one": np.array([-3.5]),
  "normal": RNG.normal(size=37),
  "negative": -np.exp(RNG.normal(size=20)),
  "many magnitudes": RNG.normal(size=64) * 10.0 ** RNG.integers(-30, 30, 64),
  "infinities": np.array([np.inf, 1.0, -np.inf, -2.0, np.inf, 0.0, -np.inf]),
  "zeros of both signs": np.array([0.0, -0.0, 1.0, -0.0, 0.0, -1.0, -0.0]),
  "negative zeros": np.array([-0.0, -0.0, -0.0]),
  "duplicates": np.array(TIES),
  "integers": RNG.integers(-3, 4, 50).astype(float),
  "all equal": np.full(5, -7.25),
}


def all_of(values):
  """The answers for k = 0, 1, ..., n + 1, by one traced k under vmap."""
  ks = jnp.arange(len(values) + 2)
  return jax.jit(jax.vmap(kth_largest, (None, 0)))(jnp.asarray(values), ks)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
@pytest.mark.parametrize("name", VALUES)
def test_is_the_sort_for_every_k(name, dtype):
  with np.errstate(over="ignore"):
    values = VALUES[name].astype(dtype)
  values = np.where(np.abs(values) < np.finfo(dtype).tiny, 0, values)  # no subnormal numbers
  with jax.enable_x64(dtype == np.float64):
    found = all_of(values)
    assert found.dtype == dtype
    expected = np.concatenate([[np.inf], np.sort(values)[::-1], [-np.inf]])
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_neighbours_are_told_apart(dtype):
  for base in (1.0, -1.0, 1e20, -3e-20):
    base = dtype(base)
    up = np.nextafter(base, dtype(np.inf))
    values = np.array([base, up, np.nextafter(base, dtype(-np.inf)), up], dtype)
    with jax.enable_x64(dtype == np.float64):
      np.testing.assert_array_equal(all_of(values)[1:-1], np.sort(values)[::-1])


def test_extremes_of_the_type():
  top, small = np.finfo(np.float32).max, np.finfo(np.float32).tiny
  values = np.array([top, -small, small, -top, 0.0], np.float32)
  np.testing.assert_array_equal(all_of(values)[1:-1], [top, small, 0, -small, -top])


def test_a_python_k_and_values_under_vmap():
  values = RNG.normal(size=(5, 11)).astype(np.float32)
  expected = np.sort(values, 1)[:, ::-1]
  for k in (1, 4, 11):
    found = jax.vmap(lambda v, k=k: kth_largest(v, k))(jnp.asarray(values))
    np.testing.assert_array_equal(found, expected[:, k - 1])
  each = jax.vmap(kth_largest)(jnp.asarray(values), jnp.array([1, 3, 11, 0, 12]))
  np.testing.assert_array_equal(
    each, [expected[0, 0], expected[1, 2], expected[2, 10], np.inf, -np.inf]
  )


@pytest.mark.parametrize("k, expected", [(-5, np.inf), (0, np.inf), (4, -np.inf), (99, -np.inf)])
def test_beyond_the_ends(k, expected):
  assert kth_largest(jnp.array([1.0, 2.0, 3.0]), k) == expected


def test_many_values():
  values = RNG.normal(size=100_000).astype(np.float32).round(3)
  found = jax.jit(jax.vmap(kth_largest, (None, 0)))(values, jnp.array([1, 777, 50_000, 100_000]))
  np.testing.assert_array_equal(found, np.sort(values)[::-1][[0, 776, 49_999, 99_999]])


def test_at_least_k_values_reach_it_and_fewer_than_k_exceed_it():
  values = jnp.asarray(VALUES["integers"], jnp.float32)
  for k, v in enumerate(all_of(values)[1:-1], 1):
    assert (values >= v).sum() >= k > (values > v).sum()
