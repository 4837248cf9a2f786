"""FR-Train's synthetic data against the released arrays, by their digests and by the files."""

import hashlib
import os
import pathlib
import random

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rfjax
from rfjax import data, noise
from rfjax.data._fr_train import draw
from rfjax.data._zafar import planar

# sha256 of the released arrays: points as little-endian float32, label > 0 and group as uint8.
POINTS = "7b36404233d1ce49076df46e155e26a8a041274db52530cc6a392fb14f8385fc"
LABELS = "e9687048e0c4a2152ea2cfe9cb40f906e9f91106155fb5d46fef6ead253c60de"
GROUPS = "3e1a337283157279841428d9e85a38d602a029b44757572b641f0e164266f938"
POISONED_2000 = "6b3cd8749ca2cd7182ba1116ed97c4c1d23645e36837a562d10377c99b5e3439"
POISONED_1800 = "786e04160e38a86d948908d73f5d3b486c0c83bd5f4fff14c69d8913b4730d8b"


def digest(values, dtype):
  return hashlib.sha256(np.ascontiguousarray(values).astype(dtype).tobytes()).hexdigest()


@pytest.fixture(scope="module")
def rows():
  return draw()


@pytest.fixture(scope="module")
def poisoned(rows):
  points, y, z = (jnp.asarray(values[:2000]) for values in rows)
  flip = noise.margin_flip(0.1, group=1)
  return rfjax.transform(flip, planar(points, y, z), key=jax.random.key(0))


@pytest.fixture(scope="module")
def parts():
  return data.fr_train()


@pytest.fixture(scope="module")
def released():
  if not os.environ.get("RFJAX_DATA_DIR"):
    pytest.skip("RFJAX_DATA_DIR is not set")
  folder = pathlib.Path(os.environ["RFJAX_DATA_DIR"]) / "fr_train"
  if not folder.is_dir():
    pytest.skip("RFJAX_DATA_DIR has no folder fr_train")
  names = ("X_synthetic", "y_synthetic", "s1_synthetic", "y_poi")
  return {name: np.load(folder / f"{name}.npy") for name in names}


def test_arrays_have_the_released_digests(rows):
  points, y, z = rows
  assert points.shape == (7400, 2)
  assert digest(points, "<f4") == POINTS
  assert digest(y, "u1") == LABELS
  assert digest(z, "u1") == GROUPS


def test_poisoned_labels_have_the_released_digests(poisoned, parts):
  assert digest(poisoned.y, "u1") == POISONED_2000
  assert digest(parts.train.y, "u1") == POISONED_1800


def test_arrays_equal_the_released_files(rows, released):
  points, y, z = rows
  np.testing.assert_array_equal(points, released["X_synthetic"].astype(np.float32))
  np.testing.assert_array_equal(y, released["y_synthetic"] > 0)
  np.testing.assert_array_equal(z, released["s1_synthetic"])


def test_flips_equal_the_released_ones(poisoned, released):
  flips = released["y_poi"] != released["y_synthetic"][:2000]
  assert flips.sum() == 200
  np.testing.assert_array_equal(np.asarray(poisoned.y != poisoned.truth.y), flips)


def test_flips_by_cell(poisoned):
  flips = np.asarray(poisoned.y != poisoned.truth.y)
  y, z = np.asarray(poisoned.truth.y), np.asarray(poisoned.group)
  cells = [int((flips & (y == a) & (z == b)).sum()) for a in (0, 1) for b in (0, 1)]
  assert cells == [0, 10, 0, 190]
  assert flips[:1800].sum() == 179


def test_rows_of_the_parts(parts, rows):
  points, y, z = rows
  for part, where in zip(parts, (slice(1800), slice(2000, 2200), slice(2700, 3700)), strict=True):
    x = np.column_stack([points[where], z[where]])
    np.testing.assert_array_equal(part.x, x)
    np.testing.assert_array_equal(part.truth.y, y[where])
    np.testing.assert_array_equal(part.truth.group, z[where])
    np.testing.assert_array_equal(part.group, z[where])
    np.testing.assert_array_equal(part.index, np.arange(len(x)))
    assert part.x.dtype == jnp.float32 and part.valid.all()
    assert (part.num_classes, part.num_groups) == (2, 2)


def test_cells_of_train_and_test(parts, poisoned):
  counts = lambda batch: np.bincount(2 * batch.truth.y + batch.group).tolist()
  assert counts(poisoned) == [726, 256, 392, 626]
  assert counts(parts.test) == [374, 107, 199, 320]


def test_validation_and_test_are_clean_and_validation_is_trusted(parts):
  train, validation, test = parts
  np.testing.assert_array_equal(validation.y, validation.truth.y)
  np.testing.assert_array_equal(test.y, test.truth.y)
  np.testing.assert_array_equal(train.trusted.x, validation.x)
  np.testing.assert_array_equal(train.trusted.y, validation.y)
  assert validation.trusted is None and test.trusted is None


def test_clean_differs_in_nothing_but_the_labels(parts):
  clean = data.fr_train(poisoned=False)
  np.testing.assert_array_equal(clean.train.y, parts.train.truth.y)
  rest = lambda split: split._replace(train=split.train.replace(y=split.train.truth.y))
  assert jax.tree.structure(clean) == jax.tree.structure(parts)
  jax.tree.map(np.testing.assert_array_equal, clean, rest(parts))


def test_leaves_the_global_generators_alone():
  before = np.random.get_state()[1].copy(), random.getstate()
  draw()
  np.testing.assert_array_equal(np.random.get_state()[1], before[0])
  assert random.getstate() == before[1]
