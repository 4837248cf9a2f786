"""The synthetic data of Roh et al.: FR-Train, FairBatch and sample selection, in .npy files.

Labels are published as -1 and +1 and read as 0 and 1. Where a split lacks labels that others have,
-1 stands for them.
"""

import numpy as np

from rfjax.data._files import Folder
from rfjax.data._formats import array

_MISSING = -1


def fr_train(folder: Folder) -> dict[str, dict[str, np.ndarray]]:
  """Reads all rows, and the poisoned labels of the first 2,000."""
  y, poisoned = _labels(folder, "y_synthetic"), _labels(folder, "y_poi")
  y_poi = np.full_like(y, _MISSING)
  y_poi[: len(poisoned)] = poisoned
  z = _array(folder, "s1_synthetic").astype(np.int32)
  return {"train": {"x": _array(folder, "X_synthetic"), "z": z, "y": y, "y_poi": y_poi}}


def fairbatch(folder: Folder) -> dict[str, dict[str, np.ndarray]]:
  """Reads points, sensitive attribute and labels."""
  return {split: _split(folder, split) for split in ("train", "test")}


def fair_robust(folder: Folder) -> dict[str, dict[str, np.ndarray]]:
  """Reads points, sensitive attribute, labels, and the noisy labels of the training rows."""
  found = {}
  for split, name in {"train": "train", "validation": "val", "test": "test"}.items():
    columns = _split(folder, name)
    for noisy in ("y_noise_general", "y_noise_grouptarget"):
      missing = np.full_like(columns["y"], _MISSING)
      columns[noisy] = _labels(folder, noisy) if split == "train" else missing
    found[split] = columns
  return found


def _split(folder: Folder, name: str) -> dict[str, np.ndarray]:
  return {
    "x": _array(folder, f"xz_{name}")[:, :2],  # its third column is z
    "z": _array(folder, f"z_{name}").astype(np.int32),
    "y": _labels(folder, f"y_{name}"),
  }


def _labels(folder: Folder, name: str) -> np.ndarray:
  return (_array(folder, name) > 0).astype(np.int32)


def _array(folder: Folder, name: str) -> np.ndarray:
  path = folder.file(f"{name}.npy")
  return array(path.read_bytes(), path)
