"""How the publishers' files are read: one module for each of their forms.

Each reader takes the `Folder` of a data set and returns its columns by split, {split: {column:
values}}, with the columns, types and counts that the catalogue's `data_sets.toml` says.
"""

import importlib
from typing import Any

from rfjax.catalog import DataSet
from rfjax.data._files import Folder

_READERS = {  # module and function by data set, imported when first asked for
  "compas": ("_compas", "compas"),
  "fashion_mnist": ("_mnist", "mnist"),
  "mnist": ("_mnist", "mnist"),
}


def read(data_set: DataSet, folder: Folder) -> dict[str, dict[str, Any]]:
  """The columns of a data set by split, as its reader finds them."""
  module, function = _READERS[data_set.name]
  return getattr(importlib.import_module(f"rfjax.data._sources.{module}"), function)(folder)
