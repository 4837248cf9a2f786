"""Human labels of CIFAR images: the readers on made-up labels, and known rates of the published."""

import dataclasses
import functools
import hashlib
import os
import pathlib

import numpy as np
import pytest

from rfjax import catalog
from rfjax.data import _columns
from rfjax.data._sources import _cifar_n

LABELS = {"cifar10n": _cifar_n._CIFAR10N, "cifar100n": _cifar_n._CIFAR100N}
NAMES = [(name, column) for name, columns in LABELS.items() for column in columns]


@functools.cache
def published(name):
  where = pathlib.Path(os.environ.get("RFJAX_DATA_DIR") or "")
  data_set = catalog.data_set(name)
  if not os.environ.get("RFJAX_DATA_DIR") or not (where / data_set.folder).is_dir():
    pytest.skip(f"RFJAX_DATA_DIR names no folder with {data_set.folder}")
  (found,) = _columns.read(data_set, where / data_set.folder).values()
  return found


def read(name, folder, rows):
  small = dataclasses.replace(catalog.data_set(name), rows=rows, files=())
  (found,) = _columns.read(small, folder).values()
  return found


@pytest.fixture
def made_up(tmp_path, monkeypatch):
  """A few labels, as if they were the published ones."""
  rng = np.random.default_rng(0)
  made = {name: {c: rng.integers(0, 10, 6) for c in columns} for name, columns in LABELS.items()}
  for name, columns in made.items():
    digest = {c: hashlib.sha256(v.astype("<i4").tobytes()).hexdigest() for c, v in columns.items()}
    monkeypatch.setattr(_cifar_n, f"_{name.upper()}", digest)
  np.save(tmp_path / "image_order_c10.npy", np.array([2, 0, 1, 5, 4, 3]))
  return tmp_path, made


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, ">i4"])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_made_up_labels_in_any_packing(made_up, dtype, save):
  folder, made = made_up
  for name, columns in made.items():
    save(folder / f"{name}_labels.npz", **{c: v.astype(dtype) for c, v in columns.items()}, more=0)
    found = read(name, folder, {"train": 6})
    for column, values in columns.items():
      np.testing.assert_array_equal(found[column], values)
  assert read("cifar10n", folder, {"train": 6})["image_order"].tolist() == [2, 0, 1, 5, 4, 3]


@pytest.mark.parametrize(("name", "column"), NAMES)
def test_one_other_label_is_refused(made_up, name, column):
  folder, made = made_up
  values = made[name][column].copy()
  values[3] += 1
  np.savez(folder / f"{name}_labels.npz", **made[name] | {column: values})
  with pytest.raises(ValueError, match=f"{column}.*not the published labels"):
    read(name, folder, {"train": 6})


@pytest.mark.parametrize("values", [np.array(["cat"] * 6), np.ones(6)])
def test_labels_that_are_no_whole_numbers_are_refused(made_up, values):
  folder, made = made_up
  np.savez(folder / "cifar10n_labels.npz", **made["cifar10n"] | {"worse_label": values})
  with pytest.raises(ValueError, match=r"array 'worse_label' holds .* and no whole numbers: make"):
    read("cifar10n", folder, {"train": 6})


def test_made_up_counts(tmp_path):
  counts = np.arange(20).reshape(2, 10)
  np.save(tmp_path / "cifar10h-counts.npy", counts)
  np.testing.assert_array_equal(read("cifar10h", tmp_path, {"test": 2})["counts"], counts)


@pytest.mark.parametrize(
  ("column", "rate"),
  [
    ("aggre_label", 0.09010),
    ("random_label1", 0.17234),
    ("random_label2", 0.18122),
    ("random_label3", 0.1764),
    ("worse_label", 0.40208),
  ],
)
def test_rates_of_cifar10n(column, rate):
  found = published("cifar10n")
  assert (np.bincount(found["clean_label"]) == 5000).all()
  assert round(float((found[column] != found["clean_label"]).mean()), 5) == rate


def test_transitions_of_the_worse_label():
  found = published("cifar10n")
  counts = np.zeros((10, 10), int)
  np.add.at(counts, (found["clean_label"], found["worse_label"]), 1)
  share = (counts / 5000).round(3)
  assert np.diag(share).tolist() == [
    0.65,
    0.592,
    0.632,
    0.487,
    0.488,
    0.58,
    0.594,
    0.722,
    0.683,
    0.551,
  ]
  flips = [share[9, 1], share[1, 9], share[3, 5], share[5, 3], share[4, 7]]
  assert flips == [0.282, 0.247, 0.206, 0.183, 0.152]


def test_cifar100n_counts():
  found = published("cifar100n")
  assert (np.bincount(found["clean_label"]) == 500).all()
  assert (np.bincount(found["clean_coarse_label"]) == 2500).all()
  assert round(float((found["noisy_label"] != found["clean_label"]).mean()), 4) == 0.402


def test_each_label_of_cifar100n_has_one_superclass():
  found = published("cifar100n")
  pairs = np.unique(np.stack([found["clean_label"], found["clean_coarse_label"]]), axis=1)
  assert pairs.shape == (2, 100) and (np.bincount(pairs[1]) == 5).all()
  np.testing.assert_array_equal(found["noisy_coarse_label"], pairs[1][found["noisy_label"]])


def test_image_order_is_the_shuffling_of_tensorflow_datasets():
  """So that file order, where nothing is shuffled, is the order of the labels."""
  hashing = pytest.importorskip("tensorflow_datasets.core.hashing")
  order = published("cifar10n")["image_order"]
  shuffled = sorted(range(50_000), key=hashing.Hasher("train").hash_key)
  np.testing.assert_array_equal(order, shuffled)


def test_cifar10h_counts():
  people = published("cifar10h")["counts"].sum(1)
  assert (people.min(), people.max(), round(float(people.mean()), 1)) == (47, 63, 51.1)
