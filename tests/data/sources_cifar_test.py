"""CIFAR-10: the readers on a made-up archive and a made-up JPEG copy, and the published ones."""

import dataclasses
import io
import os
import pathlib
import sys
import tarfile

import numpy as np
import pytest

from rfjax import catalog
from rfjax.data import _columns
from rfjax.data._sources import _cifar

BATCHES = [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"]
CLEAN = np.array([1, 0, 1, 2, 0, 1], np.int32)


def folder_of(name):
  where = pathlib.Path(os.environ.get("RFJAX_DATA_DIR") or "")
  folder = where / catalog.data_set(name).folder
  if not os.environ.get("RFJAX_DATA_DIR") or not folder.is_dir():
    pytest.skip(f"RFJAX_DATA_DIR names no folder with {folder.name}")
  return folder


def archive(path, files):
  with tarfile.open(path, "w:gz") as tar:
    for name, content in files.items():
      member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
      member.size = len(content)
      tar.addfile(member, io.BytesIO(content))


def read(name, folder, rows):
  return _columns.read(dataclasses.replace(catalog.data_set(name), rows=rows, files=()), folder)


@pytest.fixture
def batches(tmp_path):
  rng = np.random.default_rng(0)
  made = {name: rng.integers(0, 256, (2, 3073), dtype=np.uint8) for name in BATCHES}
  for rows in made.values():
    rows[:, 0] %= 10
  return tmp_path, made


def write(folder, batches):
  path = folder / "cifar-10-binary.tar.gz"
  # The archive has other files too, and its files in another order.
  files = {name: batches[name].tobytes() for name in reversed(batches)} | {"readme.html": b"<html>"}
  archive(path, files)
  return files


def test_archive_in_the_order_of_its_batches(batches):
  folder, made = batches
  write(folder, made)
  found = read("cifar10", folder, {"train": 10, "test": 2})
  train = np.concatenate([made[name] for name in BATCHES[:5]])
  for part, rows in ((found["train"], train), (found["test"], made["test_batch.bin"])):
    assert part["label"].tolist() == rows[:, 0].tolist()
    for row, line, column, colour in [(0, 0, 0, 0), (1, 3, 17, 0), (0, 31, 31, 1), (1, 5, 0, 2)]:
      expected = rows[row, 1 + 1024 * colour + 32 * line + column]
      assert part["image"][row, line, column, colour] == expected
    flat = rows[:, 1:].reshape(-1, 3, 1024)
    np.testing.assert_array_equal(part["image"].reshape(-1, 1024, 3), flat.transpose(0, 2, 1))
  assert [path.name for path in folder.iterdir()] == ["cifar-10-binary.tar.gz"]  # nothing unpacked


def test_archive_without_a_batch_is_refused(batches):
  folder, made = batches
  del made["data_batch_3.bin"]
  write(folder, made)
  with pytest.raises(ValueError, match=r"has no cifar-10-batches-bin/data_batch_3\.bin"):
    read("cifar10", folder, {"train": 8, "test": 2})


def test_batch_that_is_cut_short_is_refused(batches):
  folder, made = batches
  made["test_batch.bin"] = made["test_batch.bin"].ravel()[:-1]
  write(folder, made)
  with pytest.raises(ValueError, match=r"test_batch\.bin: 6145 bytes are no whole rows of 3073"):
    read("cifar10", folder, {"train": 10, "test": 2})


def test_published_archive_has_the_labels_of_cifar10n():
  found = _columns.read(catalog.data_set("cifar10"), folder_of("cifar10"))
  clean = _columns.read(catalog.data_set("cifar10n"), folder_of("cifar10n"))["train"]["clean_label"]
  np.testing.assert_array_equal(found["train"]["label"], clean)
  assert (np.bincount(found["test"]["label"]) == 1000).all()


def jpeg(seed):
  image = pytest.importorskip("PIL.Image", reason="the extra images is not installed")
  colour = tuple(int(v) for v in np.random.default_rng(seed).integers(0, 256, 3))
  out = io.BytesIO()
  image.new("RGB", (32, 32), colour).save(out, "JPEG", quality=100)
  return out.getvalue(), np.asarray(image.open(io.BytesIO(out.getvalue())))


def copy(path, labels, places, pictures):
  offsets = np.cumsum([0, *map(len, pictures)])
  content = np.frombuffer(b"".join(pictures), np.uint8)
  np.savez(path, jpeg=content, offsets=offsets, label=labels, index_in_class=places)


@pytest.fixture
def jpegs(tmp_path, monkeypatch):
  """A copy whose files are neither by class nor by place in it."""
  labels, places = np.array([1, 2, 0, 1, 0, 1], np.uint8), np.array([2, 0, 1, 0, 0, 1], np.int32)
  content, decoded = zip(*map(jpeg, range(6)), strict=True)
  folder = tmp_path / "cifar10_jpeg"
  folder.mkdir()
  for split in ("train", "test"):
    copy(folder / f"{split}.npz", labels, places, content)
  asked = []

  def cifar10n(beside):
    asked.append(beside.path)
    return {"train": {"clean_label": CLEAN}}

  monkeypatch.setattr(_cifar, "cifar10n", cifar10n)
  yield folder, decoded, content
  assert asked == [tmp_path / "cifar_n"] * len(asked)


def test_copy_in_the_order_of_cifar10(jpegs):
  folder, decoded, _ = jpegs
  found = read("cifar10_jpeg", folder, {"train": 6, "test": 6})
  assert found["train"]["label"].tolist() == CLEAN.tolist()
  # The first 1 is picture 3, the first 0 picture 4, the second 1 picture 5, and so on.
  for split, rows in (("train", [3, 4, 5, 1, 2, 0]), ("test", [4, 2, 3, 5, 0, 1])):
    np.testing.assert_array_equal(found[split]["image"], np.stack([decoded[r] for r in rows]))
  assert found["test"]["label"].tolist() == [0, 0, 1, 1, 1, 2]


@pytest.mark.parametrize("labels", [[1, 2, 0, 1, 0, 0], [1, 2, 0, 1, 0]])
def test_copy_with_other_labels_is_refused(jpegs, labels):
  folder, _, content = jpegs
  count = len(labels)
  copy(folder / "train.npz", np.array(labels, np.uint8), np.arange(count), content[:count])
  with pytest.raises(ValueError, match="does not have the labels of train"):
    read("cifar10_jpeg", folder, {"train": count, "test": 6})


def test_picture_that_is_none_is_refused(jpegs):
  folder, _, content = jpegs
  copy(folder / "test.npz", np.zeros(3, np.uint8), np.arange(3), [*content[:2], content[2][:60]])
  with pytest.raises(ValueError, match=r"test\.npz, image 2 cannot be decoded"):
    read("cifar10_jpeg", folder, {"train": 6, "test": 3})


def test_picture_of_another_size_is_refused(jpegs):
  folder, _, content = jpegs
  out = io.BytesIO()
  pytest.importorskip("PIL.Image").new("RGB", (32, 31)).save(out, "JPEG")
  copy(folder / "test.npz", np.zeros(2, np.uint8), np.arange(2), [content[0], out.getvalue()])
  with pytest.raises(ValueError, match=r"image 1 has the shape \(31, 32, 3\)"):
    read("cifar10_jpeg", folder, {"train": 6, "test": 2})


def test_without_pillow_the_extra_is_named(jpegs, monkeypatch):
  monkeypatch.setitem(sys.modules, "PIL", None)
  with pytest.raises(ValueError, match=r"rfjax\[images\]"):
    read("cifar10_jpeg", jpegs[0], {"train": 6, "test": 6})


def test_published_copy_in_the_order_of_cifar10n(monkeypatch):
  """Each training row is the file that its label and its place in the class name; not decoded."""
  folder = folder_of("cifar10_jpeg")
  clean = _columns.read(catalog.data_set("cifar10n"), folder_of("cifar10n"))["train"]["clean_label"]

  def number(content, where):
    row = int(where.rsplit(" ", 1)[1])
    return np.broadcast_to(np.array([row // 256, row % 256, len(content) % 256]), (32, 32, 3))

  monkeypatch.setattr(_cifar, "_decoded", number)
  found = _columns.read(catalog.data_set("cifar10_jpeg"), folder)["train"]
  np.testing.assert_array_equal(found["label"], clean)
  corner = found["image"][:, 0, 0].astype(int)
  with np.load(folder / "train.npz") as file:
    place = {
      (int(c), int(k)): i
      for i, (c, k) in enumerate(zip(file["label"], file["index_in_class"], strict=True))
    }
    sizes = np.diff(file["offsets"])
  seen = [0] * 10
  expected = []
  for label in clean:
    expected.append(place[int(label), seen[label]])
    seen[label] += 1
  np.testing.assert_array_equal(256 * corner[:, 0] + corner[:, 1], expected)
  np.testing.assert_array_equal(corner[:, 2], sizes[expected] % 256)
