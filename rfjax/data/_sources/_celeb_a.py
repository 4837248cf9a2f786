"""CelebA of Liu et al.: faces with 40 attributes, cut out and aligned."""

import numpy as np

from rfjax.data._files import Folder
from rfjax.data._sources._encoded import (
  Archive,
  Directory,
  Pictures,
  Store,
  labelled,
  lines,
  pictures,
)

_PLACE = "img_align_celeba"  # the name of the folder, and of the archive before its ending
_SPLITS = ("train", "validation", "test")  # by their codes


def celeb_a(folder: Folder) -> dict[str, dict[str, np.ndarray | Pictures]]:
  """Reads pictures and attributes int32 [N, 40], each -1 or 1, from the archive or its folder."""
  names, attributes = _attributes(folder)
  rows = {name: row for row, name in enumerate(names)}
  path = folder.file("list_eval_partition.txt")
  listed, codes = labelled(path, len(_SPLITS))
  strange = [name for name in listed if name not in rows]
  if strange:
    raise ValueError(f"{path}: {len(strange)} pictures have no attributes, such as {strange[0]}")
  store, found = _store(folder), {}
  for code, split in enumerate(_SPLITS):
    inside = [name for name, its in zip(listed, codes, strict=True) if its == code]
    image = pictures(store, [f"{_PLACE}/{name}" for name in inside], path)
    found[split] = {"image": image, "attributes": attributes[[rows[name] for name in inside]]}
  return found


def _store(folder: Folder) -> Store:
  if (folder.path / _PLACE).is_dir():
    return Directory(folder.path)
  return Archive(folder.file(f"{_PLACE}.zip"))


def _attributes(folder: Folder) -> tuple[list[str], np.ndarray]:
  """Names of the pictures, and their attributes [N, 40]."""
  path, known = folder.file("list_attr_celeba.txt"), list(folder.data_set.classes)
  numbered = lines(path)
  count, header = (next(numbered, (0, ""))[1] for _ in range(2))
  if header.split() != known:
    raise ValueError(f"{path}, line 2 should name the attributes {known[0]} to {known[-1]}")
  names, rows = [], []
  for number, line in numbered:
    name, *values = line.split()
    if len(values) != len(known) or not set(values) <= {"-1", "1"}:
      raise ValueError(f"{path}, line {number} is no name with {len(known)} times -1 or 1")
    names.append(name)
    rows.append([value == "1" for value in values])
  if count != str(len(names)):
    raise ValueError(f"{path} should have {count} pictures, but has {len(names)}: fetch it again")
  return names, np.where(np.array(rows, bool).reshape(-1, len(known)), 1, -1).astype(np.int32)
