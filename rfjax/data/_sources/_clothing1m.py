"""Clothing1M of Xiao et al.: clothes of online shops, labelled by the words around them.

The folder holds the publisher's lists beside the folder `images`, as its README draws it.
"""

import numpy as np

from rfjax.data._files import Folder
from rfjax.data._sources._encoded import Directory, Pictures, labelled, lines, pictures

_LISTS = {
  "train": ("noisy", "noisy_train"),
  "clean_train": ("clean", "clean_train"),
  "validation": ("clean", "clean_val"),
  "test": ("clean", "clean_test"),
}

_Columns = dict[str, np.ndarray | Pictures]


def clothing1m(folder: Folder) -> dict[str, _Columns]:
  """Reads pictures and labels, noisy in train and clean elsewhere.

  The column noisy_label has the noisy labels of the clean splits too; it is -1 where there is none.
  """
  labels = {kind: _labels(folder, kind) for kind in ("noisy", "clean")}
  return {split: _split(folder, kind, stem, labels) for split, (kind, stem) in _LISTS.items()}


def _labels(folder: Folder, kind: str) -> dict[str, int]:
  path = folder.file(f"{kind}_label_kv.txt")
  return dict(zip(*labelled(path, len(folder.data_set.classes)), strict=True))


def _split(folder: Folder, kind: str, stem: str, labels: dict[str, dict[str, int]]) -> _Columns:
  path = folder.file(f"{stem}_key_list.txt")
  names = [name for _, name in lines(path)]
  given, noisy = (_column(names, labels[which]) for which in (kind, "noisy"))
  unknown = np.flatnonzero(given < 0)
  if unknown.size:
    raise ValueError(
      f"{path}: {unknown.size} of {len(names)} pictures have no label in {kind}_label_kv.txt, the"
      f" first is {names[unknown[0]]}"
    )
  image = pictures(Directory(folder.path), names, path)
  return {"image": image, "label": given, "noisy_label": noisy}


def _column(names: list[str], labels: dict[str, int]) -> np.ndarray:
  return np.fromiter((labels.get(name, -1) for name in names), np.int32, len(names))
