"""What all noise shares: counts that are meant, ties that go by index, classes of weight 0."""

import fractions

import host
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
  rates = np.float32([float(rate) for rate in DECIMALS])
  found = host.run(jax.vmap(rfjax.core.count, (0, None)), rates, np.ones(rows, bool))
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
  batch = host.batch(np.zeros((6, 1)), [0, 1] * 3)
  order = np.array([4, 1, 5, 0, 3, 2])
  batches = host.on_device([batch, host.take(batch, order)])
  select = lambda u: [_draws.select(u, 0.5, each, exact_count=True) for each in batches]
  chosen, permuted = host.run(select, np.full(6, 0.5, np.float32))
  assert chosen.tolist() == [True] * 3 + [False] * 3
  np.testing.assert_array_equal(permuted, chosen[order])


def test_a_class_of_weight_0_is_never_drawn_even_after_rounding():
  weights = np.random.default_rng(0).random((2000, 1000)).astype(np.float32)
  weights[:, 500:] = 0
  draw = jax.jit(_draws.categorical)
  for v in (0.0, 1 - 2**-23, 1 - 2**-24):
    drawn = np.asarray(draw(np.full(2000, v, np.float32), weights))
    assert (drawn < 500).all() and drawn.dtype == jnp.int32
  first = draw(np.zeros(3, np.float32), np.float32([[0, 0, 1], [0, 2, 0], [0, 0, 0]]))
  assert first.tolist() == [2, 1, 2]


def test_noise_of_labels_and_of_groups_is_independent():
  rows = 100_000
  y, group = np.arange(rows) % 2, np.arange(rows) // 2 % 2
  clean = host.batch(np.zeros((rows, 1), np.float32), y, group)
  flips = noise.symmetric(0.3), noise.group_symmetric(0.3), noise.pair_flip(0.3)
  run = lambda clean: [rfjax.transform(t, clean, key=KEY) for t in flips]
  one, two, three = host.run(run, clean)
  labels, groups = one.y != clean.y, two.group != clean.group
  assert abs(np.corrcoef(labels, groups)[0, 1]) < 5 / np.sqrt(rows)
  np.testing.assert_array_equal(three.y != clean.y, labels)
