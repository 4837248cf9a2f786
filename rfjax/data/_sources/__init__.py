"""How the publishers' files are read: one module for each of their forms.

Each reader takes the `Folder` of a data set and returns its columns by split, {split: {column:
values}}, with the columns, types and counts that the catalogue's `data_sets.toml` says.
"""

import importlib
from typing import Any

from rfjax.catalog import DataSet
from rfjax.data._files import Folder

_READERS = {  # module and function by data set, imported when first asked for
  "acs_income": ("_acs_income", "acs_income"),
  "adult": ("_adult", "adult"),
  "animal10n": ("_animal10n", "animal10n"),
  "bluebirds": ("_crowd", "bluebirds"),
  "celeb_a": ("_celeb_a", "celeb_a"),
  "cifar10": ("_cifar", "cifar10"),
  "cifar100n": ("_cifar_n", "cifar100n"),
  "cifar10_jpeg": ("_cifar", "cifar10_jpeg"),
  "cifar10h": ("_cifar_n", "cifar10h"),
  "cifar10n": ("_cifar_n", "cifar10n"),
  "clothing1m": ("_clothing1m", "clothing1m"),
  "compas": ("_compas", "compas"),
  "crowd_adult": ("_crowd", "crowd_adult"),
  "crowd_compas": ("_crowd", "crowd_compas"),
  "fair_robust": ("_roh", "fair_robust"),
  "fairbatch": ("_roh", "fairbatch"),
  "fashion_mnist": ("_mnist", "mnist"),
  "food101n": ("_food101n", "food101n"),
  "fr_train": ("_roh", "fr_train"),
  "german": ("_german", "german"),
  "german_numeric": ("_german", "german_numeric"),
  "mnist": ("_mnist", "mnist"),
  "webvision": ("_webvision", "webvision"),
  "webvision_mini": ("_webvision", "webvision_mini"),
}


def read(data_set: DataSet, folder: Folder) -> dict[str, dict[str, Any]]:
  """The columns of a data set by split, as its reader finds them."""
  module, function = _READERS[data_set.name]
  return getattr(importlib.import_module(f"rfjax.data._sources.{module}"), function)(folder)
