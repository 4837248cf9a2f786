"""ANIMAL-10N of Song et al., in its binary form and as JPEG files."""

import pathlib
import re

import numpy as np

from rfjax.data._files import Folder
from rfjax.data._sources._encoded import Directory, decode, pictures

_FOLDERS = {"train": "training", "test": "testing"}
_SHAPE = (64, 64, 3)
_HEAD = 8  # bytes of a number and a label before the planes of each image
_ROW = _HEAD + 64 * 64 * 3
_NAME = re.compile(r"([0-9])_.*?([0-9]+)\.jpg")  # label and number


def animal10n(folder: Folder) -> dict[str, dict[str, np.ndarray]]:
  """Reads images uint8 [N, 64, 64, 3] and labels.

  The binary files keep their order; JPEG files go by the number in their name, then by label.
  """
  read = _decoded if (folder.path / _FOLDERS["train"]).is_dir() else _binary
  return {split: read(folder, split) for split in _FOLDERS}


def _binary(folder: Folder, split: str) -> dict[str, np.ndarray]:
  paths = _batches(folder, split)
  parts = [_rows(path) for path in paths]
  image, label = np.empty((sum(map(len, parts)), *_SHAPE), np.uint8), []
  for path, rows in zip(paths, parts, strict=True):
    planes = rows[:, _HEAD:].reshape(-1, 3, 64, 64)
    image[len(label) : len(label) + len(rows)] = planes.transpose(0, 2, 3, 1)
    numbers = np.ascontiguousarray(rows[:, _HEAD // 2 : _HEAD]).view(">u4")[:, 0]
    label += _labels(numbers.tolist(), folder, path)
  return {"image": image, "label": np.array(label, np.int32)}


def _batches(folder: Folder, split: str) -> list[pathlib.Path]:
  if split == "test":
    return [folder.file("test_batch.bin")]
  paths = [folder.file("data_batch_1.bin")]
  while (path := folder.path / f"data_batch_{len(paths) + 1}.bin").is_file():
    paths.append(path)
  return paths


def _rows(path: pathlib.Path) -> np.ndarray:
  """The rows of a file, bytes [N, 12296], mapped and not read."""
  size = path.stat().st_size
  if not size or size % _ROW:
    raise ValueError(f"{path}: {size} bytes are no whole rows of {_ROW}: fetch it again")
  return np.memmap(path, np.uint8, "r", shape=(size // _ROW, _ROW))


def _labels(found: list[int], folder: Folder, path: pathlib.Path) -> list[int]:
  classes = len(folder.data_set.classes)
  bad = next((row for row, label in enumerate(found) if label >= classes), None)
  if bad is not None:
    raise ValueError(f"{path}, row {bad + 1}: label {found[bad]}, expected one below {classes}")
  return found


def _decoded(folder: Folder, split: str) -> dict[str, np.ndarray]:
  place = folder.folder(_FOLDERS[split])
  names = [path.name for path in place.glob("*.jpg")]
  parts = [_NAME.fullmatch(name) for name in names]
  if not all(parts):
    raise ValueError(f"{place}: {names[parts.index(None)]} is no name such as 3_img_17.jpg")
  keys = sorted((int(p[2]), int(p[1]), name) for p, name in zip(parts, names, strict=True) if p)
  label = _labels([label for _, label, _ in keys], folder, place)
  column = pictures(Directory(place), [name for *_, name in keys], place)
  image = np.empty((len(column), *_SHAPE), np.uint8)
  for row, name in enumerate(column.names):
    picture = decode(column[row], place / name)
    if picture.shape != _SHAPE:
      raise ValueError(f"{place / name} has the shape {picture.shape}, expected {_SHAPE}")
    image[row] = picture
  return {"image": image, "label": np.array(label, np.int32)}
