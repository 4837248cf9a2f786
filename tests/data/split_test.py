"""Random splits: a partition, statistics of the training part, and pure functions of the key."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rfjax
from rfjax import data

KEY = jax.random.key(3)


def dataset(rows=53):
  rng = np.random.default_rng(0)
  x = rng.normal(3, 5, size=(rows, 3)).astype(np.float32)
  x[:, 1] = np.arange(rows)
  x[:, 2] = 0.1
  y = rng.integers(0, 2, rows)
  truth = rfjax.Truth(jnp.asarray(1 - y))
  return rfjax.Batch.from_arrays(x, y, np.arange(rows) % 2, truth=truth)


def rows_of(part):
  return np.asarray(part.x[:, 1]).astype(int)


@pytest.mark.parametrize(
  ("fractions", "sizes"),
  [((0.7, 0.1, 0.2), [37, 5, 11]), ((0.5, 0.5, 0.0), [26, 27, 0]), ((1.0, 0.0, 0.0), [53, 0, 0])],
)
def test_parts_are_a_partition(fractions, sizes):
  whole = dataset()
  parts = data.split(whole, key=KEY, fractions=fractions)
  assert [part.num_rows for part in parts] == sizes
  rows = np.concatenate([rows_of(part) for part in parts])
  np.testing.assert_array_equal(np.sort(rows), np.arange(53))
  assert (rows != np.arange(53)).any()


def test_rows_stay_together_and_are_renumbered():
  whole = dataset()
  for part in data.split(whole, key=KEY):
    rows = rows_of(part)
    for name in ("x", "y", "group"):
      np.testing.assert_array_equal(getattr(part, name), np.asarray(getattr(whole, name))[rows])
    np.testing.assert_array_equal(part.truth.y, 1 - np.asarray(part.y))
    np.testing.assert_array_equal(part.index, np.arange(part.num_rows))
    assert part.valid.all() and (part.num_classes, part.num_groups) == (2, 2)


def test_numeric_columns_are_standardised_by_the_training_part():
  whole = dataset()
  plain = data.split(whole, key=KEY)
  parts = data.split(whole, key=KEY, numeric=(0, 2))
  train = np.asarray(plain.train.x, float)
  for before, after in zip(plain, parts, strict=True):
    x = np.asarray(before.x, float)
    expected = (x[:, 0] - train[:, 0].mean()) / train[:, 0].std()
    np.testing.assert_allclose(after.x[:, 0], expected, atol=1e-5)
    np.testing.assert_array_equal(after.x[:, 1], before.x[:, 1])
    np.testing.assert_allclose(after.x[:, 2], 0, atol=1e-7)
  assert abs(float(parts.test.x[:, 0].mean())) > 1e-3


def test_padding_has_no_part_in_the_statistics():
  whole = dataset().take(jnp.append(jnp.arange(53), jnp.full(47, 53)))
  train = data.split(whole, key=KEY, numeric=(0, 2)).train
  real = np.asarray(train.x)[np.asarray(train.valid)]
  np.testing.assert_allclose(real[:, 0].mean(), 0, atol=1e-5)
  np.testing.assert_allclose(real[:, 0].std(), 1, atol=1e-5)
  np.testing.assert_allclose(real[:, 2], 0, atol=1e-7)


def test_trusted_examples_are_standardised_alike():
  whole = dataset()
  parts = data.split(whole.replace(trusted=whole), key=KEY, numeric=(0,))
  order = rows_of(parts.train)
  np.testing.assert_allclose(parts.train.trusted.x[order], parts.train.x, atol=1e-6)


def test_table_brings_its_numeric_columns():
  whole = dataset()
  table = data.Table(whole, ("a", "b", "c"), (0,))
  ours, named = data.split(table, key=KEY), data.split(whole, key=KEY, numeric=(0,))
  jax.tree.map(np.testing.assert_array_equal, ours, named)


def test_integer_columns_become_floats():
  whole = rfjax.Batch.from_arrays(np.arange(20).reshape(10, 2), np.arange(10) % 2)
  train = data.split(whole, key=KEY, numeric=(1,)).train
  assert train.x.dtype == jnp.float32
  np.testing.assert_allclose(train.x[:, 1].std(), 1, atol=1e-5)


def test_traced_keys_equal_the_loop():
  whole = dataset()
  cut = lambda key: data.split(whole, key=key, numeric=(0,))
  keys = jax.random.split(KEY, 3)
  many = jax.jit(jax.vmap(cut))(keys)
  for i, key in enumerate(keys):
    for one, part in zip(cut(key), many, strict=True):
      np.testing.assert_array_equal(part.y[i], one.y)
      np.testing.assert_allclose(part.x[i], one.x, atol=1e-5)
  assert (many.train.x[0, :, 1] != many.train.x[1, :, 1]).any()


@pytest.mark.parametrize(
  "bad",
  [
    {"fractions": (0.7, 0.2, 0.2)},
    {"fractions": (1.2, -0.1, -0.1)},
    {"fractions": (0.5, 0.5)},
    {"fractions": (0.001, 0.499, 0.5)},
    {"numeric": (3,)},
    {"numeric": (-1,)},
    {"numeric": (0.5,)},
    {"numeric": 3},
    {"numeric": "012"},
    {"numeric": np.array(0)},
    {"fractions": 0.9},
    {"fractions": "90"},
    {"fractions": ("a", "b", "c")},
  ],
)
def test_refuses_values_out_of_range(bad):
  with pytest.raises(ValueError, match=next(iter(bad))):
    data.split(dataset(), key=KEY, **bad)


@pytest.mark.parametrize("empty", [(), [], np.array([], int)])
def test_numeric_columns_may_be_an_array(empty):
  whole = dataset()
  expected = data.split(whole, key=KEY, numeric=(0, 2))
  for numeric in (np.array([0, 2]), [0, 2], range(0, 3, 2)):
    ours = data.split(whole, key=KEY, numeric=numeric)
    jax.tree.map(np.testing.assert_array_equal, ours, expected)
  parts = data.split(data.Table(whole, ("a", "b", "c"), (0, 2)), key=KEY, numeric=empty)
  jax.tree.map(np.testing.assert_array_equal, parts, expected)


def test_of_few_rows_the_validation_part_is_empty():
  parts = data.split(dataset(4), key=KEY)
  assert [part.num_rows for part in parts] == [3, 0, 1]


def test_refuses_numeric_columns_of_images():
  images = rfjax.Batch.from_arrays(np.zeros((4, 2, 2)), [0, 1, 0, 1])
  with pytest.raises(ValueError, match="numeric"):
    data.split(images, key=KEY, numeric=(0,))
