"""Roh et al.'s synthetic data: the readers on made-up arrays, and known counts of the published."""

import dataclasses
import functools
import os
import pathlib

import numpy as np
import pytest

from rfjax import catalog
from rfjax.data import _columns
from rfjax.data._fr_train import draw

POINTS = np.arange(8, dtype=np.float32).reshape(4, 2)
SIGNS = np.array([-1, 1, 1, -1], np.float32)
LABELS = [0, 1, 1, 0]
GROUPS = np.array([0, 0, 1, 1], np.float32)


@functools.cache
def published(name):
  where = pathlib.Path(os.environ.get("RFJAX_DATA_DIR") or "")
  data_set = catalog.data_set(name)
  if not os.environ.get("RFJAX_DATA_DIR") or not (where / data_set.folder).is_dir():
    pytest.skip(f"RFJAX_DATA_DIR names no folder with {data_set.folder}")
  return _columns.read(data_set, where / data_set.folder)


def made_up(name, rows, folder, arrays):
  """Reads arrays from files, as if they were the publisher's."""
  for stem, values in arrays.items():
    np.save(folder / f"{stem}.npy", values)
  return _columns.read(dataclasses.replace(catalog.data_set(name), rows=rows, files=()), folder)


def split_of(name, rows=4):
  cube = np.column_stack([POINTS, GROUPS])
  return {f"xz_{name}": cube[:rows], f"y_{name}": SIGNS[:rows], f"z_{name}": GROUPS[:rows]}


def test_fr_train_of_made_up_arrays(tmp_path):
  arrays = {"X_synthetic": POINTS, "s1_synthetic": GROUPS, "y_synthetic": SIGNS}
  found = made_up("fr_train", {"train": 4}, tmp_path, arrays | {"y_poi": -SIGNS[:2]})["train"]
  np.testing.assert_array_equal(found["x"], POINTS)
  assert [found[n].tolist() for n in ("z", "y", "y_poi")] == [
    GROUPS.tolist(),
    LABELS,
    [1, 0, -1, -1],
  ]


def test_fairbatch_of_made_up_arrays(tmp_path):
  arrays = split_of("train") | split_of("test", 3)
  found = made_up("fairbatch", {"train": 4, "test": 3}, tmp_path, arrays)
  for part, rows in ((found["train"], 4), (found["test"], 3)):
    np.testing.assert_array_equal(part["x"], POINTS[:rows])
    assert part["y"].tolist() == LABELS[:rows] and part["z"].tolist() == GROUPS[:rows].tolist()


def test_fair_robust_of_made_up_arrays(tmp_path):
  noise = {"y_noise_general": -SIGNS, "y_noise_grouptarget": SIGNS}
  arrays = split_of("train") | split_of("val", 2) | split_of("test", 3) | noise
  rows = {"train": 4, "validation": 2, "test": 3}
  found = made_up("fair_robust", rows, tmp_path, arrays)
  assert found["train"]["y_noise_general"].tolist() == [1, 0, 0, 1]
  assert found["train"]["y_noise_grouptarget"].tolist() == LABELS
  for split in ("validation", "test"):
    for column in noise:
      assert (found[split][column] == -1).all()


def rates(part):
  """Shares of y = 1, of z = 1, and of y = 1 by z, to six digits."""
  y, z = part["y"], part["z"]
  return [round(float(v), 6) for v in (y.mean(), z.mean(), y[z == 0].mean(), y[z == 1].mean())]


def cells(flips, part):
  """Flips by z and y, over the rows of the cell: (0, -), (0, +), (1, -), (1, +)."""
  places = [(part["z"] == z) & (part["y"] == y) for z in (0, 1) for y in (0, 1)]
  return [(int(flips[cell].sum()), int(cell.sum())) for cell in places]


def test_fr_train_is_what_its_seed_draws():
  found = published("fr_train")["train"]
  for name, values in zip(("x", "y", "z"), draw(), strict=True):
    np.testing.assert_array_equal(found[name], values)
    assert found[name].dtype == values.dtype


def test_fr_train_counts():
  found = published("fr_train")["train"]
  assert rates(found) == [0.5, 0.440946, 0.337684, 0.705792]
  first = {name: values[:2000] for name, values in found.items()}
  assert cells(first["y_poi"] != first["y"], first) == [(0, 726), (0, 392), (10, 256), (190, 626)]
  assert (found["y_poi"][2000:] == -1).all()
  assert rates(first) == [0.509, 0.441, 0.350626, 0.709751]


def test_fairbatch_is_a_part_of_fr_train():
  found, whole = published("fairbatch"), published("fr_train")["train"]
  for split, rows in (("train", slice(2000)), ("test", slice(2700, 3700))):
    for name in ("x", "y", "z"):
      np.testing.assert_array_equal(found[split][name], whole[name][rows])
  assert rates(found["test"]) == [0.519, 0.427, 0.347295, 0.749415]


def test_fair_robust_counts():
  found = published("fair_robust")
  train = found["train"]
  assert rates(train)[1:] == [0.813, 0.339572, 0.54797]
  assert [rates(found[split])[:2] for split in ("validation", "test")] == [
    [0.435, 0.785],
    [0.519, 0.802],
  ]
  general, target = (train[f"y_noise_{n}"] != train["y"] for n in ("general", "grouptarget"))
  share = lambda flips: [round(flipped / size, 4) for flipped, size in cells(flips, train)]
  assert general.sum() == target.sum() == 200
  assert share(general) == [0.1943, 0.126, 0.0408, 0.119]
  assert share(target) == [0, 0, 0.0707, 0.1661]


def test_fair_robust_points_are_those_of_fairbatch_moved():
  found, other = published("fair_robust"), published("fairbatch")
  for split in ("train", "test"):
    np.testing.assert_array_equal(found[split]["y"], other[split]["y"])
    sign = 1 - 2 * other[split]["y"][:, None]
    np.testing.assert_allclose(found[split]["x"], other[split]["x"] + sign, atol=2e-6)


@pytest.mark.parametrize(
  ("name", "split", "stem"),
  [("fairbatch", "train", "train"), ("fairbatch", "test", "test")]
  + [
    ("fair_robust", s, t) for s, t in (("train", "train"), ("validation", "val"), ("test", "test"))
  ],
)
def test_the_third_column_that_is_left_out_is_the_attribute(name, split, stem):
  found = published(name)[split]
  folder = pathlib.Path(os.environ["RFJAX_DATA_DIR"]) / catalog.data_set(name).folder
  np.testing.assert_array_equal(np.load(folder / f"xz_{stem}.npy")[:, 2], found["z"])
