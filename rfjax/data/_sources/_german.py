"""The German credit data of UCI, with symbols and in the numeric form of Strathclyde University."""

import pathlib

import numpy as np

from rfjax.data._files import Folder
from rfjax.data._formats import table, whole_numbers

_FEATURES = 24


def german(folder: Folder) -> dict[str, dict[str, np.ndarray]]:
  """Reads the 20 attributes and the class, 1 good and 2 bad."""
  path = folder.file("german.data")
  columns = _table(path, list(folder.data_set.columns))
  for name, kind in folder.data_set.columns.items():
    if kind == "int32":
      columns[name] = whole_numbers(columns[name], path, name)
  return {"train": columns}


def german_numeric(folder: Folder) -> dict[str, dict[str, np.ndarray]]:
  """Reads features int32 [N, 24] and the class, 1 good and 2 bad."""
  path = folder.file("german.data-numeric")
  names = [*(f"attribute {i}" for i in range(1, _FEATURES + 1)), "class"]
  columns = _table(path, names)
  numbers = [whole_numbers(columns[name], path, name) for name in names]
  return {"train": {"features": np.stack(numbers[:-1], axis=1), "class": numbers[-1]}}


def _table(path: pathlib.Path, names: list[str]) -> dict[str, np.ndarray]:
  """The columns of a file whose fields are separated by blanks."""
  lines = path.read_bytes().splitlines()
  return table(b"\n".join(b",".join(line.split()) for line in lines), path, names, header=names)
