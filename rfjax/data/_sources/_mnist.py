"""MNIST and the data sets in its format: IDX files, compressed by gzip."""

import numpy as np

from rfjax.data._files import Folder
from rfjax.data._formats import gunzip, idx

_STEMS = {"train": "train", "test": "t10k"}


def mnist(folder: Folder) -> dict[str, dict[str, np.ndarray]]:
  """Reads images uint8 [N, 28, 28] and labels."""
  return {split: _split(folder, stem) for split, stem in _STEMS.items()}


def _split(folder: Folder, stem: str) -> dict[str, np.ndarray]:
  image = _array(folder, f"{stem}-images-idx3-ubyte.gz")
  return {"image": image, "label": _array(folder, f"{stem}-labels-idx1-ubyte.gz").astype(np.int32)}


def _array(folder: Folder, name: str) -> np.ndarray:
  path = folder.file(name)
  return idx(gunzip(path.read_bytes(), path), path)
