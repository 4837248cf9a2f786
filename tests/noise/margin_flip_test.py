"""Label flipping by margin against an oracle in NumPy."""

import functools

import host
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


def transform(t, data, **options):
  """`rfjax.transform` as one program, to which the data are known."""
  data, options = host.on_device((data, options))
  return host.run(lambda key: rfjax.transform(t, data, key=key, **options), KEY)


@functools.cache
def plain():
  return transform(noise.margin_flip(0.2), dataset())


@functools.cache
def dataset(rows=50, seed=0):
  rng = np.random.default_rng(seed)
  x = rng.normal(size=(rows, 2)).astype(np.float32)
  y = (x[:, 0] + rng.normal(size=rows) > 0).astype(np.int32)
  return host.batch(x, y, np.arange(rows) % 3)


RATES = [0.0, 0.1, 0.29, 0.5, 1.0]


@functools.cache
def flips():
  """Labels, scores, a mask and the labels flipped, by rate without and with the mask."""
  rng = np.random.default_rng(1)
  y = rng.integers(0, 2, 100)
  score = rng.integers(-4, 5, 100).astype(np.float32)
  mask = rng.random(100) < 0.6
  flip = lambda rate: [noise.flip_by_margin(y, score, rate, m) for m in (None, mask)]
  return y, score, mask, host.run(lambda: {rate: flip(rate) for rate in RATES})


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("masked", [False, True])
def test_flip_by_margin_equals_the_oracle(rate, masked):
  y, score, some, flipped = flips()
  mask = some if masked else np.ones(100, bool)
  np.testing.assert_array_equal(flipped[rate][masked], oracle(y, score, round(rate * 100), mask))


@pytest.mark.parametrize("rows", [10, 100, 2000])
def test_counts_are_the_whole_numbers_that_are_meant(rows):
  rates = np.arange(0, rows + 1, dtype=np.float32) / np.float32(rows)
  y, score = np.zeros(rows, np.int32), -np.arange(rows, dtype=np.float32)
  count = lambda rate: noise.flip_by_margin(y, score, rate).sum()
  counts = host.run(lambda rates: jax.lax.map(count, rates), rates)
  np.testing.assert_array_equal(counts, np.arange(rows + 1))


def test_part_of_a_row_is_not_flipped():
  y, score = np.zeros(10, int), -np.arange(10.0)
  assert host.run(lambda: noise.flip_by_margin(y, score, 0.19)).sum() == 1


@jax.jit
def regression(x, y):
  return logistic_regression(x, y, l2=0.1)


@pytest.mark.parametrize("group", [None, 1])
def test_transform_equals_the_oracle_on_its_regression(group):
  data = dataset()
  kernel, intercept = regression(data.x, data.y)
  score = np.asarray(data.x) @ kernel + intercept
  mask = np.ones(50, bool) if group is None else np.asarray(data.group) == group
  noisy = transform(noise.margin_flip(0.2, group=group, l2=0.1), data)
  expected = oracle(data.y, score, 10, mask)
  np.testing.assert_array_equal(noisy.y, expected)
  assert (expected != np.asarray(data.y)).sum() == 10
  np.testing.assert_array_equal(noisy.truth.y, data.y)
  assert noisy.y.dtype == data.y.dtype


def test_flips_no_more_than_the_group_has():
  data = dataset()
  noisy = transform(noise.margin_flip(0.9, group=2), data)
  np.testing.assert_array_equal(noisy.y != data.y, data.group == 2)


def test_padding_neither_counts_nor_flips_nor_fits():
  data = dataset()
  padded = host.take(data, np.arange(50), np.full(30, 50))
  noisy = transform(noise.margin_flip(0.2), padded)
  np.testing.assert_array_equal(noisy.y[:50], plain().y)
  np.testing.assert_array_equal(noisy.y[50:], padded.y[50:])


def test_keeps_the_first_true_labels():
  flip = noise.margin_flip(0.2)
  data = dataset()
  twice = transform(flip, plain())
  np.testing.assert_array_equal(twice.truth.y, data.y)


def test_keeps_a_true_group():
  data = dataset().replace(truth=rfjax.Truth(group=dataset().group))
  noisy = transform(noise.margin_flip(0.2), data)
  np.testing.assert_array_equal(noisy.truth.group, data.group)
  np.testing.assert_array_equal(noisy.truth.y, data.y)


def test_soft_groups_count_by_their_larger_part():
  data = dataset()
  soft = data.replace(group=np.float32(0.2 + 0.4 * np.eye(3)[data.group]))
  hard, of_soft = host.transform(noise.margin_flip(0.2, group=1), data, soft, key=KEY)
  np.testing.assert_array_equal(of_soft.y, hard.y)


def test_fitted_on_ranks_by_another_model():
  data = dataset()
  mirrored = data.replace(y=1 - data.y)
  noisy = transform(noise.margin_flip(0.2), data, fitted_on=mirrored)
  assert (noisy.y != plain().y).any() and (noisy.y != data.y).sum() == 10


def test_traced_rates_equal_the_loop():
  data = host.on_device(dataset())
  run = lambda rate: rfjax.transform(noise.margin_flip(rate, group=0), data, key=KEY).y
  rates = np.linspace(0, 0.4, 5, dtype=np.float32)
  both = lambda many: (jax.vmap(run)(many), jnp.stack([run(float(rate)) for rate in rates]))
  swept, loop = host.run(both, rates)
  np.testing.assert_array_equal(swept, loop)
  assert (loop != np.asarray(data.y)).sum(1).tolist() == [0, 5, 10, 15, 17]


@pytest.mark.parametrize(
  "bad", [{"rate": -0.1}, {"rate": 1.1}, {"group": -1}, {"group": 0.5}, {"l2": 0.0}]
)
def test_factory_refuses_values_out_of_range(bad):
  with pytest.raises(ValueError, match=next(iter(bad))):
    noise.margin_flip(**{"rate": 0.1} | bad)


def test_flip_by_margin_refuses_a_rate_out_of_range():
  with pytest.raises(ValueError, match="rate"):
    noise.flip_by_margin(np.zeros(2, int), np.zeros(2), 1.5)


@pytest.mark.parametrize("kind", [np.uint8, np.int64, bool])
def test_labels_of_any_whole_kind_are_flipped(kind):
  y, score = np.array([0, 1, 1, 0]), np.array([3.0, -2.0, 1.0, -4.0])
  flipped = host.run(lambda: noise.flip_by_margin(y.astype(kind), score, 0.5))
  np.testing.assert_array_equal(flipped, oracle(y, score, 2, np.ones(4)))
  assert flipped.dtype == jnp.int32


def test_a_mask_may_be_a_list_and_scores_short():
  y, score = np.array([0, 1, 1, 0]), np.array([3, 200, 100, 4], np.uint8)
  mask = [1, 0, 1, 1]
  flipped = host.run(lambda: noise.flip_by_margin(y, score, 0.5, mask, valid=[True] * 4))
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
  data = host.batch(x, np.repeat([0, 1], 10))
  order = np.random.default_rng(3).permutation(20)
  flip, moved = noise.margin_flip(0.25), host.take(data, order)
  noisy, permuted = (transform(flip, batch, fitted_on=data) for batch in (data, moved))
  assert (noisy.y != data.y).sum() == 5
  np.testing.assert_array_equal(permuted.y, noisy.y[order])


def test_refuses_data_of_another_kind_than_it_was_fitted_on():
  data = dataset()
  three = host.batch(data.x, np.arange(50) % 3)
  with pytest.raises(ValueError, match="margin_flip needs two classes, got num_classes 3"):
    host.refuse(rfjax.transform, noise.margin_flip(0.1), three, key=KEY, fitted_on=data)
  wide = data.replace(x=np.zeros((50, 3), np.float32))
  with pytest.raises(ValueError, match="margin_flip was fitted on 3 features, but x has 2: pass"):
    host.refuse(rfjax.transform, noise.margin_flip(0.1), data, key=KEY, fitted_on=wide)


def test_refuses_data_that_it_cannot_flip():
  data = dataset()
  with pytest.raises(ValueError, match=r"group must lie in \[0, 3\), got 3"):
    host.refuse(rfjax.transform, noise.margin_flip(0.1, group=3), data, key=KEY)
  with pytest.raises(ValueError, match="margin_flip needs group"):
    host.refuse(rfjax.transform, noise.margin_flip(0.1, group=0), data.replace(group=None), key=KEY)
  three = host.batch(data.x, np.arange(50) % 3)
  with pytest.raises(ValueError, match="two classes"):
    host.refuse(rfjax.transform, noise.margin_flip(0.1), three, key=KEY)
