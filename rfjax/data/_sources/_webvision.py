"""WebVision 1.0 of Li et al.: pictures that Google and Flickr found for the ImageNet classes."""

import pathlib

import numpy as np

from rfjax.data._files import Folder
from rfjax.data._sources._encoded import Directory, Pictures, labelled, pictures

_CLASSES, _MINI = 1000, 50
_VALIDATION = ("val_images_256", "val_images")  # as resized, and as found

_Columns = dict[str, np.ndarray | Pictures]


def webvision(folder: Folder) -> dict[str, _Columns]:
  """Reads Google's pictures, then Flickr's, and the validation set."""
  return _read(folder, ("google", "flickr"), _CLASSES)


def webvision_mini(folder: Folder) -> dict[str, _Columns]:
  """Reads the first 50 classes of Google's pictures and of the validation set."""
  return _read(folder, ("google",), _MINI)


def _read(folder: Folder, sources: tuple[str, ...], classes: int) -> dict[str, _Columns]:
  lists = [folder.file(f"info/train_filelist_{source}.txt") for source in sources]
  held_out = folder.file("info/val_filelist.txt")
  place = next((name for name in _VALIDATION if (folder.path / name).is_dir()), _VALIDATION[0])
  return {
    "train": _split(lists, folder.path, classes),
    "validation": _split([held_out], folder.path / place, classes),
  }


def _split(lists: list[pathlib.Path], place: pathlib.Path, classes: int) -> _Columns:
  store, names, labels = Directory(place), [], []
  for path in lists:
    rows = [row for row in zip(*labelled(path, _CLASSES), strict=True) if row[1] < classes]
    names += pictures(store, [name for name, _ in rows], path).names
    labels += [label for _, label in rows]
  return {"image": Pictures(store, names), "label": np.array(labels, np.int32)}
