"""ProPublica's COMPAS scores with two years of recidivism. Names of people are not read."""

import numpy as np

from rfjax.data._files import Folder
from rfjax.data._formats import table, whole_numbers

_FILE = "compas-scores-two-years.csv"


def compas(folder: Folder) -> dict[str, dict[str, np.ndarray]]:
  """Reads the columns of the catalogue, all rows in the order of the file."""
  path = folder.file(_FILE)
  columns = table(path.read_bytes(), path, list(folder.data_set.columns))
  for name, kind in folder.data_set.columns.items():
    if kind == "int32":
      columns[name] = whole_numbers(columns[name], path, name)
  return {"train": columns}
