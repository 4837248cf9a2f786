"""Noise by hardness: against a loop over the formula, and what is refused."""

import functools
import itertools

import host
import jax
import numpy as np
import pytest

import rfjax
from rfjax import noise

KEY = jax.random.key(0)
ROWS, CLASSES = 200, 5


def example(seed=0):
  rng = np.random.default_rng(seed)
  probs = rng.dirichlet(np.ones(CLASSES), ROWS).astype(np.float32)
  y = rng.integers(0, CLASSES, ROWS)
  return host.batch(np.zeros((ROWS, 1)), y, num_classes=CLASSES), probs


def oracle(y, probs, flips):
  y = np.array(y)
  best = [max((p, k) for k, p in enumerate(row) if k != y[i]) for i, row in enumerate(probs)]
  for i in sorted(range(len(y)), key=lambda i: -best[i][0])[:flips]:
    y[i] = best[i][1]
  return y


def run(clean, rate, probs):
  return host.transform(noise.by_hardness(rate, probs), clean, key=KEY)[0]


FLIPS = [(0, 0), (0.004, 0), (0.29, 58), (0.5, 100), (1, 200)]


@functools.cache
def flipped():
  """Noisy data of each rate."""
  clean, probs = host.on_device(example())
  attacks = {rate: noise.by_hardness(rate, probs) for rate, _ in FLIPS}
  run = lambda key: {rate: rfjax.transform(t, clean, key=key) for rate, t in attacks.items()}
  return host.run(run, KEY)


@pytest.mark.parametrize(("rate", "flips"), FLIPS)
def test_labels_are_the_formulas(rate, flips):
  clean, probs = example()
  noisy = flipped()[rate]
  np.testing.assert_array_equal(noisy.y, oracle(clean.y, probs, flips))
  np.testing.assert_array_equal(noisy.truth.y, clean.y)
  assert (noisy.y != clean.y).sum() == flips


def test_the_given_label_is_not_a_candidate_even_where_all_else_has_no_probability():
  clean = host.batch(np.zeros((2, 1)), [0, 1])
  assert run(clean, 1.0, np.eye(2)).y.tolist() == [1, 0]


def test_padding_comes_after_rows_that_the_network_is_sure_of():
  clean = host.batch(np.zeros((2, 1)), [0, 1])
  padded = host.take(clean, [2, 0, 2, 1])
  assert run(padded, 1.0, np.eye(2)).y.tolist() == [0, 1, 0, 0]
  assert run(padded, 0.5, np.eye(2)).y.tolist() == [0, 1, 0, 1]


def test_equal_rows_go_by_index():
  clean, equal = host.batch(np.zeros((4, 1)), [0, 1, 0, 1]), np.full((4, 2), 0.5)
  order = np.array([3, 1, 2, 0])
  batches = clean, host.take(clean, order)
  noisy, moved = host.transform(noise.by_hardness(0.5, equal), *batches, key=KEY)
  assert noisy.y.tolist() == [1, 0, 0, 1]
  np.testing.assert_array_equal(moved.y, noisy.y[order])


def test_rows_without_probabilities_keep_their_labels_in_compiled_code():
  clean, probs = example()
  inside = jax.jit(
    lambda batch: rfjax.transform(noise.by_hardness(1.0, probs[:150]), batch, key=KEY)
  )
  noisy = np.asarray(inside(clean).y)
  np.testing.assert_array_equal(noisy[150:], clean.y[150:])
  assert (noisy[:150] != clean.y[:150]).all()


@pytest.mark.parametrize(
  ("kind", "near", "far"), [("float16", 4e-3, 6e-3), ("bfloat16", 0.016, 0.03)]
)
def test_sums_may_be_off_by_the_rounding_of_their_type(kind, near, far):
  clean = host.batch(np.zeros((2, 1)), [0, 1])
  probs = np.float32([[0.5, 0.5 + near], [0.5, 0.5]])
  assert run(clean, 1.0, probs.astype(kind)).y.tolist() == [1, 0]
  for bad in (probs, np.array([[0.5, 0.5 + far]]).astype(kind)):
    with pytest.raises(ValueError, match="rows of probabilities with sum 1"):
      noise.by_hardness(0.5, bad)


def test_it_is_deterministic_and_nested_and_takes_traced_values():
  clean, probs = example()
  known, rates = host.on_device(clean), np.linspace(0, 1, 6, dtype=np.float32)
  one = lambda rate, p, key: rfjax.transform(noise.by_hardness(rate, p), known, key=key).y
  many = jax.vmap(one, (0, None, 0))
  loop = lambda: [one(float(rate), probs, KEY) for rate in rates]
  both = lambda rates, p: (many(rates, p, jax.random.split(KEY, 6)), loop())
  y, singles = host.run(both, rates, probs)
  np.testing.assert_array_equal(y, singles)
  for low, high in itertools.pairwise(y):
    struck = low != np.asarray(clean.y)
    np.testing.assert_array_equal(high[struck], low[struck])


def test_rows_find_their_probabilities_by_index():
  clean, probs = example()
  order = np.random.default_rng(3).permutation(ROWS)
  taken = host.take(clean, order, np.full(40, ROWS))
  noisy, moved = host.transform(noise.by_hardness(0.5, probs), clean, taken, key=KEY)
  np.testing.assert_array_equal(moved.y[:ROWS], noisy.y[order])
  np.testing.assert_array_equal(moved.y[ROWS:], 0)


def test_a_part_of_the_data_counts_its_own_rows():
  clean, probs = example()
  part = host.take(clean, np.arange(100, 150))
  expected = oracle(part.y, probs[100:150], 10)
  np.testing.assert_array_equal(run(part, 0.2, probs).y, expected)


def test_the_first_truth_stays():
  clean, probs = example()
  t = noise.by_hardness(1.0, probs)
  (twice,) = host.transform(rfjax.chain(t, t), clean, key=KEY)
  np.testing.assert_array_equal(twice.truth.y, clean.y)


@pytest.mark.parametrize(
  ("probs", "message"),
  [
    ([[0.5, 0.5], [2.0, -1.0]], r"row 1 is \[2.0, -1.0\] with sum 1: pass Batch.probs, not logits"),
    ([[0.5, 0.6]], r"row 0 is \[0.5, 0.6\] with sum 1.1"),
    ([[np.nan, 0.5]], "row 0 is"),
    ([0.5, 0.5], r"must have shape \[N, C\]"),
    ([[1.0]], r"must have shape \[N, C\]"),
    ([["0.5", "0.5"]], "probs must hold numbers, got dtype <U3"),
    ([[0.5, 0.5], [1.0]], "probs must have rows of equal length"),
  ],
)
def test_what_is_no_table_of_probabilities_is_refused(probs, message):
  with pytest.raises(ValueError, match=message):
    noise.by_hardness(0.1, probs)


def test_a_table_of_another_data_set_is_refused():
  clean, probs = example()
  apply = lambda data, *given: rfjax.transform(noise.by_hardness(*given), data, key=KEY)
  with pytest.raises(ValueError, match="probs has 199 rows, but the data set has the index 199"):
    host.refuse(apply, clean, 0.1, probs[:199])
  run(host.take(clean, [3, ROWS]), 0.1, probs[:4])
  with pytest.raises(ValueError, match=r"probs is of 2 classes, but .* num_classes 5"):
    host.refuse(apply, clean, 0.1, np.full((ROWS, 2), 0.5))


@pytest.mark.parametrize("rate", [-0.1, 1.5, float("nan"), "a"])
def test_a_rate_out_of_range_is_refused(rate):
  with pytest.raises(ValueError, match="rate must"):
    noise.by_hardness(rate, [[0.5, 0.5]])
