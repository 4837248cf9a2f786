"""Label flipping by margin against an oracle in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rfjax
from rfjax import noise
from rfjax.core import logistic_regression

KEY = jax.random.key(0)


def oracle(y, score, count, mask):
  """One row after the other: the largest correct margin, the first of equals."""
  y = np.array(y)
  margin = np.where(y == 1, score, -score).astype(float)
  candidates = [int(i) for i in np.flatnonzero(mask)]
  for row in sorted(candidates, key=lambda i: (-margin[i], i))[:count]:
    y[row] = 1 - y[row]
  return y


def dataset(rows=50, seed=0):
  rng = np.random.default_rng(seed)
  x = rng.normal(size=(rows, 2)).astype(np.float32)
  y = (x[:, 0] + rng.normal(size=rows) > 0).astype(np.int32)
  return rfjax.Batch.from_arrays(x, y, np.arange(rows) % 3)


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.29, 0.5, 1.0])
@pytest.mark.parametrize("masked", [False, True])
def test_flip_by_margin_equals_the_oracle(rate, masked):
  rng = np.random.default_rng(1)
  y = rng.integers(0, 2, 100)
  score = rng.integers(-4, 5, 100).astype(np.float32)
  mask = rng.random(100) < 0.6 if masked else np.ones(100, bool)
  flipped = noise.flip_by_margin(y, score, rate, mask if masked else None)
  np.testing.assert_array_equal(flipped, oracle(y, score, round(rate * 100), mask))


@pytest.mark.parametrize("rows", [10, 100, 2000])
def test_counts_are_the_whole_numbers_that_are_meant(rows):
  rates = jnp.arange(0, rows + 1, dtype=jnp.float32) / rows
  y, score = jnp.zeros(rows, jnp.int32), -jnp.arange(rows, dtype=jnp.float32)
  counts = jax.lax.map(lambda rate: noise.flip_by_margin(y, score, rate).sum(), rates)
  np.testing.assert_array_equal(counts, np.arange(rows + 1))


def test_part_of_a_row_is_not_flipped():
  assert noise.flip_by_margin(jnp.zeros(10, int), -jnp.arange(10.0), 0.19).sum() == 1


@pytest.mark.parametrize("group", [None, 1])
def test_transform_equals_the_oracle_on_its_regression(group):
  data = dataset()
  kernel, intercept = map(np.asarray, logistic_regression(data.x, data.y, l2=0.1))
  score = np.asarray(data.x) @ kernel + intercept
  mask = np.ones(50, bool) if group is None else np.asarray(data.group) == group
  noisy = rfjax.transform(noise.margin_flip(0.2, group=group, l2=0.1), data, key=KEY)
  expected = oracle(data.y, score, 10, mask)
  np.testing.assert_array_equal(noisy.y, expected)
  assert (expected != np.asarray(data.y)).sum() == 10
  np.testing.assert_array_equal(noisy.truth.y, data.y)
  assert noisy.y.dtype == data.y.dtype


def test_flips_no_more_than_the_group_has():
  data = dataset()
  noisy = rfjax.transform(noise.margin_flip(0.9, group=2), data, key=KEY)
  np.testing.assert_array_equal(noisy.y != data.y, data.group == 2)


def test_padding_neither_counts_nor_flips_nor_fits():
  data = dataset()
  padded = data.take(jnp.append(jnp.arange(50), jnp.full(30, 50)))
  plain = rfjax.transform(noise.margin_flip(0.2), data, key=KEY)
  noisy = rfjax.transform(noise.margin_flip(0.2), padded, key=KEY)
  np.testing.assert_array_equal(noisy.y[:50], plain.y)
  np.testing.assert_array_equal(noisy.y[50:], padded.y[50:])


def test_keeps_the_first_true_labels():
  flip = noise.margin_flip(0.2)
  data = dataset()
  twice = rfjax.transform(flip, rfjax.transform(flip, data, key=KEY), key=KEY)
  np.testing.assert_array_equal(twice.truth.y, data.y)


def test_keeps_a_true_group():
  data = dataset().replace(truth=rfjax.Truth(group=dataset().group))
  noisy = rfjax.transform(noise.margin_flip(0.2), data, key=KEY)
  np.testing.assert_array_equal(noisy.truth.group, data.group)
  np.testing.assert_array_equal(noisy.truth.y, data.y)


def test_soft_groups_count_by_their_larger_part():
  data = dataset()
  soft = data.replace(group=0.2 + 0.4 * jax.nn.one_hot(data.group, 3))
  hard = rfjax.transform(noise.margin_flip(0.2, group=1), data, key=KEY)
  np.testing.assert_array_equal(
    rfjax.transform(noise.margin_flip(0.2, group=1), soft, key=KEY).y, hard.y
  )


def test_fitted_on_ranks_by_another_model():
  data = dataset()
  mirrored = data.replace(y=1 - data.y)
  noisy = rfjax.transform(noise.margin_flip(0.2), data, key=KEY, fitted_on=mirrored)
  plain = rfjax.transform(noise.margin_flip(0.2), data, key=KEY)
  assert (noisy.y != plain.y).any() and (noisy.y != data.y).sum() == 10


def test_traced_rates_equal_the_loop():
  data = dataset()
  run = lambda rate: rfjax.transform(noise.margin_flip(rate, group=0), data, key=KEY).y
  rates = np.linspace(0, 0.4, 5, dtype=np.float32)
  loop = np.stack([run(float(rate)) for rate in rates])
  np.testing.assert_array_equal(jax.jit(jax.vmap(run))(rates), loop)
  assert (loop != np.asarray(data.y)).sum(1).tolist() == [0, 5, 10, 15, 17]


@pytest.mark.parametrize(
  "bad", [{"rate": -0.1}, {"rate": 1.1}, {"group": -1}, {"group": 0.5}, {"l2": 0.0}]
)
def test_factory_refuses_values_out_of_range(bad):
  with pytest.raises(ValueError, match=next(iter(bad))):
    noise.margin_flip(**{"rate": 0.1} | bad)


def test_flip_by_margin_refuses_a_rate_out_of_range():
  with pytest.raises(ValueError, match="rate"):
    noise.flip_by_margin(jnp.zeros(2, int), jnp.zeros(2), 1.5)


@pytest.mark.parametrize("kind", [np.uint8, np.int64, bool])
def test_labels_of_any_whole_kind_are_flipped(kind):
  y, score = np.array([0, 1, 1, 0]), np.array([3.0, -2.0, 1.0, -4.0])
  flipped = noise.flip_by_margin(y.astype(kind), score, 0.5)
  np.testing.assert_array_equal(flipped, oracle(y, score, 2, np.ones(4)))
  assert flipped.dtype == jnp.int32


def test_a_mask_may_be_a_list_and_scores_short():
  y, score = np.array([0, 1, 1, 0]), np.array([3, 200, 100, 4], np.uint8)
  mask = [1, 0, 1, 1]
  flipped = noise.flip_by_margin(y, score, 0.5, mask, valid=[True] * 4)
  np.testing.assert_array_equal(flipped, oracle(y, score.astype(float), 2, mask))


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"y": [-1, 1, 1]}, r"y must lie in \[0, 2\), got -1 .*: remap y"),
    ({"y": [0, 2, 1]}, r"y must lie in \[0, 2\), got 2"),
    ({"y": [[0], [1], [1]]}, r"y must have one axis, got shape \(3, 1\): pass y.ravel"),
    ({"y": [0.0, 1.0, 1.0]}, "y must hold integers"),
    ({"score": np.zeros((3, 1))}, r"score has shape \(3, 1\) but y has \(3,\): pass one a label"),
    ({"score": ["a"] * 3}, "score must hold numbers"),
    ({"group_mask": [True]}, r"group_mask has shape \(1,\) but y has"),
    ({"valid": [True]}, r"valid has shape \(1,\) but y has"),
    ({"rate": [0.1, 0.2]}, "rate must be a single number"),
  ],
)
def test_flip_by_margin_refuses_values_that_are_not_one_a_label(changes, message):
  with pytest.raises(ValueError, match=message):
    noise.flip_by_margin(**{"y": [0, 1, 1], "score": np.zeros(3), "rate": 0.5} | changes)


def test_flip_by_margin_takes_traced_labels():
  y, score = np.array([0, 1, 1, 0]), np.array([3.0, -2.0, 1.0, -4.0])
  traced = jax.jit(lambda y, score: noise.flip_by_margin(y, score, 0.5))
  np.testing.assert_array_equal(traced(y.astype(np.uint8), score), oracle(y, score, 2, np.ones(4)))
  with pytest.raises(ValueError, match=r"y must have one axis, got shape \(4, 1\)"):
    traced(y[:, None], score)


def test_equal_margins_go_by_index():
  x = np.repeat([[-1.0], [1.0]], 10, axis=0)
  data = rfjax.Batch.from_arrays(x, np.repeat([0, 1], 10))
  order = np.random.default_rng(3).permutation(20)
  noisy = rfjax.transform(noise.margin_flip(0.25), data, key=KEY, fitted_on=data)
  moved = data.take(jnp.asarray(order))
  permuted = rfjax.transform(noise.margin_flip(0.25), moved, key=KEY, fitted_on=data)
  assert (noisy.y != data.y).sum() == 5
  np.testing.assert_array_equal(permuted.y, noisy.y[order])


def test_refuses_data_of_another_kind_than_it_was_fitted_on():
  data = dataset()
  three = rfjax.Batch.from_arrays(data.x, np.arange(50) % 3)
  with pytest.raises(ValueError, match="margin_flip needs two classes, got num_classes 3"):
    rfjax.transform(noise.margin_flip(0.1), three, key=KEY, fitted_on=data)
  wide = data.replace(x=jnp.zeros((50, 3)))
  with pytest.raises(ValueError, match="margin_flip was fitted on 3 features, but x has 2: pass"):
    rfjax.transform(noise.margin_flip(0.1), data, key=KEY, fitted_on=wide)


def test_refuses_data_that_it_cannot_flip():
  data = dataset()
  with pytest.raises(ValueError, match=r"group must lie in \[0, 3\), got 3"):
    rfjax.transform(noise.margin_flip(0.1, group=3), data, key=KEY)
  with pytest.raises(ValueError, match="margin_flip needs group"):
    rfjax.transform(noise.margin_flip(0.1, group=0), data.replace(group=None), key=KEY)
  three = rfjax.Batch.from_arrays(data.x, np.arange(50) % 3)
  with pytest.raises(ValueError, match="two classes"):
    rfjax.transform(noise.margin_flip(0.1), three, key=KEY)
