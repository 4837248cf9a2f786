"""CIFAR-10: the publisher's binary archive, and a copy whose images are JPEG files."""

import numpy as np

from rfjax.data._files import Folder
from rfjax.data._formats import arrays, tar_files
from rfjax.data._sources._cifar_n import cifar10n
from rfjax.data._sources._encoded import decode

_ARCHIVE = "cifar-10-binary.tar.gz"
_FOLDER = "cifar-10-batches-bin"
_FILES = {"train": [f"data_batch_{i}.bin" for i in range(1, 6)], "test": ["test_batch.bin"]}
_PLANES = (3, 32, 32)  # after the byte of the label
_ROW = 1 + 3 * 32 * 32
_PARTS = ("jpeg", "offsets", "label", "index_in_class")


def cifar10(folder: Folder) -> dict[str, dict[str, np.ndarray]]:
  """Reads images uint8 [N, 32, 32, 3] and labels, in the order of the archive's files."""
  path = folder.file(_ARCHIVE)
  members = dict(tar_files(path))
  found = {}
  for split, names in _FILES.items():
    rows = np.concatenate([_rows(members, f"{_FOLDER}/{name}", str(path)) for name in names])
    image = rows[:, 1:].reshape(-1, *_PLANES).transpose(0, 2, 3, 1)
    found[split] = {"image": np.ascontiguousarray(image), "label": rows[:, 0].astype(np.int32)}
  return found


def _rows(members: dict[str, bytes], name: str, where: str) -> np.ndarray:
  """The rows of a file, bytes [N, 3073]."""
  if name not in members:
    raise ValueError(f"{where} has no {name}: fetch it again")
  content = members[name]
  if len(content) % _ROW:
    raise ValueError(f"{where}, {name}: {len(content)} bytes are no whole rows of {_ROW}")
  return np.frombuffer(content, np.uint8).reshape(-1, _ROW)


def cifar10_jpeg(folder: Folder) -> dict[str, dict[str, np.ndarray]]:
  """Decodes a copy that names its images by class and place in the class.

  The labels of CIFAR-10N say where the k-th training image of a class comes in CIFAR-10's own
  order. For the test images this is not known: they stay class by class.
  """
  label = cifar10n(folder.beside("cifar10n"))["train"]["clean_label"]
  return {"train": _copy(folder, "train", label), "test": _copy(folder, "test", None)}


def _copy(folder: Folder, split: str, label: np.ndarray | None) -> dict[str, np.ndarray]:
  path = folder.file(f"{split}.npz")
  parts = arrays(path.read_bytes(), path, _PARTS)
  by_class = np.lexsort((parts["index_in_class"], parts["label"]))
  own = parts["label"][by_class].astype(np.int32)
  label = own if label is None else label
  place = np.argsort(label, kind="stable")  # of the images by class
  if not np.array_equal(label[place], own):
    raise ValueError(f"{path} does not have the labels of {split}: it is another copy")
  image = np.empty((len(own), 32, 32, 3), np.uint8)
  content, offsets = parts["jpeg"].tobytes(), parts["offsets"]
  for row, at in zip(by_class, place, strict=True):
    image[at] = _decoded(content[offsets[row] : offsets[row + 1]], f"{path}, image {row}")
  return {"image": image, "label": label}


def _decoded(content: bytes, where: str) -> np.ndarray:
  image = decode(content, where)
  if image.shape != (32, 32, 3):
    raise ValueError(f"{where} has the shape {image.shape}, expected (32, 32, 3)")
  return image
