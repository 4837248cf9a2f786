"""Recipes: which rows, features, labels and groups of a data set make the table of a paper.

Each recipe takes the columns of a data set by split, the name of one of its variants or "" for the
usual table, and its options, and returns the `Table`.
"""

import importlib
from collections.abc import Callable

from rfjax import catalog
from rfjax.data._columns import has_images
from rfjax.data._split import Table

_RECIPES = {  # module and function by data set, imported when first asked for
  "acs_income": ("_acs_income", "acs_income"),
  "adult": ("_adult", "adult"),
  "animal10n": ("_images", "images"),
  "cifar10": ("_images", "images"),
  "cifar10_jpeg": ("_images", "images"),
  "cifar10n": ("_human_labels", "cifar10n"),
  "compas": ("_compas", "compas"),
  "crowd_adult": ("_crowd", "crowd_adult"),
  "crowd_compas": ("_crowd", "crowd_compas"),
  "fair_robust": ("_roh", "fair_robust"),
  "fairbatch": ("_roh", "fairbatch"),
  "fashion_mnist": ("_images", "images"),
  "fr_train": ("_roh", "fr_train"),
  "german": ("_german", "german"),
  "german_numeric": ("_german", "german_numeric"),
  "mnist": ("_images", "images"),
}


def _door(name: str) -> str:
  """Through which function a data set without a recipe is read."""
  if has_images(catalog.data_set(name)):
    return f"prepare it and use data.stream({name!r}, ...)"
  if name == "bluebirds":
    return f"data.answers({name!r}) has what its workers said"
  return f"data.columns({name!r}) has its arrays"


def recipe(name: str) -> Callable[..., Table]:
  """The recipe of a data set, or ValueError with what else reads it where it has none."""
  if name not in _RECIPES:
    raise ValueError(f"{name} has no recipe of a table: {_door(name)}")
  module, function = _RECIPES[name]
  return getattr(importlib.import_module(f"rfjax.data._recipes.{module}"), function)
