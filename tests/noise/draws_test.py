"""What all noise shares: counts that are meant, ties that go by index, classes of weight 0."""

import fractions

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rfjax
from rfjax import noise
from rfjax.noise import _draws

KEY = jax.random.key(0)
DECIMALS = [f"{percent / 100:.2f}" for percent in range(1, 100)]


def meant(rate, rows):
  return int(fractions.Fraction(rate) * rows)


@pytest.mark.parametrize("rows", [1000, 10_000, 60_000, 100_000, 1_000_000, 1_281_167])
def test_counts_of_known_rates_are_exact(rows):
  valid = np.ones(rows, bool)
  found = [int(rfjax.core.count(float(rate), valid)) for rate in DECIMALS]
  assert found == [meant(rate, rows) for rate in DECIMALS]


@pytest.mark.parametrize("rows", [1000, 60_000, 100_000, 1_000_000])
def test_counts_of_traced_rates_are_exact_where_they_are_whole(rows):
  rates = jnp.array([float(rate) for rate in DECIMALS], jnp.float32)
  found = jax.jit(jax.vmap(rfjax.core.count, (0, None)))(rates, jnp.ones(rows, bool))
  assert found.dtype == jnp.int32
  assert found.tolist() == [meant(rate, rows) for rate in DECIMALS]


def test_counts_of_single_precision_are_those_of_traced_rates():
  valid = np.ones(1_000_000, bool)
  for rate in ("0.26", "0.52", "0.99"):
    assert int(rfjax.core.count(jnp.float32(rate), valid)) == meant(rate, 1_000_000)


@pytest.mark.parametrize("kind", [jnp.bfloat16, jnp.float16])
def test_counts_are_never_taken_in_half_precision(kind):
  valid = jnp.ones(2999, bool)
  for count in (rfjax.core.count, jax.jit(rfjax.core.count)):
    assert int(count(jnp.asarray(0.5, kind), valid)) == 1499


def test_counts_go_by_valid_rows():
  valid = np.arange(100) < 50
  assert [int(rfjax.core.count(rate, valid)) for rate in (0, 0.29, 0.3, 1)] == [0, 14, 15, 50]


def test_equal_values_go_by_index_or_else_by_row():
  values, index = jnp.array([2.0, 1.0, 2.0, 2.0]), jnp.array([7, 9, 3, 5])
  assert rfjax.core.rank(values).tolist() == [1, 0, 2, 3]
  assert rfjax.core.rank(values, index).tolist() == [3, 0, 1, 2]
  assert int(_draws.first(-values, index)) == 2


def test_rows_with_equal_draws_are_selected_by_index():
  batch = rfjax.Batch.from_arrays(np.zeros((6, 1)), [0, 1] * 3)
  order = np.array([4, 1, 5, 0, 3, 2])
  u = jnp.full(6, 0.5)
  chosen = _draws.select(u, 0.5, batch, exact_count=True)
  permuted = _draws.select(u, 0.5, batch.take(jnp.asarray(order)), exact_count=True)
  assert chosen.tolist() == [True] * 3 + [False] * 3
  np.testing.assert_array_equal(permuted, chosen[order])


def test_a_class_of_weight_0_is_never_drawn_even_after_rounding():
  weights = np.random.default_rng(0).random((2000, 1000)).astype(np.float32)
  weights[:, 500:] = 0
  for v in (0.0, 1 - 2**-23, 1 - 2**-24):
    drawn = _draws.categorical(jnp.full(2000, v, jnp.float32), jnp.asarray(weights))
    assert (drawn < 500).all() and drawn.dtype == jnp.int32
  first = _draws.categorical(jnp.zeros(3), jnp.array([[0.0, 0, 1], [0, 2, 0], [0, 0, 0]]))
  assert first.tolist() == [2, 1, 2]


def test_noise_of_labels_and_of_groups_is_independent():
  rows = 100_000
  y, group = np.arange(rows) % 2, np.arange(rows) // 2 % 2
  clean = rfjax.Batch.from_arrays(np.zeros((rows, 1), np.float32), y, group)
  apply = lambda t: rfjax.transform(t, clean, key=KEY)
  labels = apply(noise.symmetric(0.3)).y != clean.y
  groups = apply(noise.group_symmetric(0.3)).group != clean.group
  assert abs(np.corrcoef(labels, groups)[0, 1]) < 5 / np.sqrt(rows)
  others = apply(noise.pair_flip(0.3)).y != clean.y
  np.testing.assert_array_equal(others, labels)
