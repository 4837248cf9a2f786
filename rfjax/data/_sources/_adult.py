"""The Adult census data of UCI: two files in the format of C4.5, split by the publisher."""

import numpy as np

from rfjax.data._files import Folder
from rfjax.data._formats import table, whole_numbers

_FILES = {"train": "adult.data", "test": "adult.test"}


def adult(folder: Folder) -> dict[str, dict[str, np.ndarray]]:
  """Reads all columns of both files; "?" stands for what is missing."""
  return {split: _split(folder, name) for split, name in _FILES.items()}


def _split(folder: Folder, name: str) -> dict[str, np.ndarray]:
  names, path = list(folder.data_set.columns), folder.file(name)
  lines = [line for line in path.read_bytes().splitlines() if not line.startswith(b"|")]  # remarks
  columns = table(b"\n".join(lines), path, names, header=names)
  columns["income"] = np.char.rstrip(columns["income"], ".")  # as the labels of the test file end
  for name, kind in folder.data_set.columns.items():
    if kind == "int32":
      columns[name] = whole_numbers(columns[name], path, name)
  return columns
