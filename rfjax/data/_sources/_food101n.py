"""Food-101N of Lee et al., whose test set is that of Food-101 by Bossard et al.

The folder holds both as their archives unpack: `Food-101N_release` and `food-101`.
"""

import pathlib

import numpy as np

from rfjax.data._files import Folder
from rfjax.data._sources._encoded import Directory, Pictures, labelled, lines, pictures

_NOISY, _CLEAN = "Food-101N_release", "food-101"
_HEADER = "class_name"

_Columns = dict[str, np.ndarray | Pictures]


def food101n(folder: Folder) -> dict[str, _Columns]:
  """Reads pictures, labels and what people say of the labels.

  The column verified is 1 for a right label, 0 for a wrong one and -1 where nobody looked. The
  rows of validation are rows of train too, as the publisher has them: held_out is 1 there.
  """
  meta = f"{_NOISY}/meta"
  listed = folder.file(f"{meta}/imagelist.tsv")
  names = [name for _, name in lines(listed, _HEADER)]
  checked, held_out = (
    _verified(folder.file(f"{meta}/verified_{part}.tsv")) for part in ("train", "val")
  )
  path = folder.file(f"{_CLEAN}/meta/test.txt")
  reviewed = dict.fromkeys((f"{name}.jpg" for _, name in lines(path)), 1)
  return {
    "train": _split(folder, listed, names, checked, held_out),
    "validation": _split(folder, listed, list(held_out), held_out, held_out),
    "test": _split(folder, path, list(reviewed), reviewed, {}),
  }


def _verified(path: pathlib.Path) -> dict[str, int]:
  return dict(zip(*labelled(path, 2, _HEADER), strict=True))


def _split(
  folder: Folder,
  path: pathlib.Path,
  names: list[str],
  verified: dict[str, int],
  held_out: dict[str, int],
) -> _Columns:
  """The columns of the pictures that a list names, which lie in `images` beside its folder."""
  codes = {name: code for code, name in enumerate(folder.data_set.classes)}
  strange = [name for name in names if name.partition("/")[0] not in codes]
  if strange:
    raise ValueError(f"{path}: {strange[0]} is in none of the {len(codes)} classes")
  column = lambda values: np.fromiter(values, np.int32, len(names))
  return {
    "image": pictures(Directory(path.parent.parent / "images"), names, path),
    "label": column(codes[name.partition("/")[0]] for name in names),
    "verified": column(verified.get(name, -1) for name in names),
    "held_out": column(name in held_out for name in names),
  }
