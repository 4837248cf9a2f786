"""Data sets by name."""

import inspect
import os
from collections.abc import Callable, Sequence
from typing import Any

import jax

from rfjax import catalog
from rfjax._places import data_folder
from rfjax.catalog._reader import unknown
from rfjax.core import _check
from rfjax.data import _columns
from rfjax.data._fr_train import fr_train
from rfjax.data._split import Split, Table, split
from rfjax.data._stored import stored

_PICTURES = {"cifar10n": ("cifar10", "cifar10_jpeg")}  # labels of pictures that lie elsewhere
_DRAWN = {"fr_train": fr_train}  # made from a seed, so that they need no file


def columns(
  name: str, *, data_dir: str | os.PathLike[str] | None = None
) -> dict[str, dict[str, Any]]:
  """Loads the columns of a data set as the publisher has them, before any recipe.

  They come from its records where it was prepared, else from the publisher's files. Nothing is
  written.

  Args:
    name: a data set of `rfjax data list`; `rfjax data info NAME` says what its columns are.
    data_dir: the folder of data; `$RFJAX_DATA_DIR` when None, and `./data` without it.

  Returns:
    For each split its columns by name, arrays of NumPy with a row each.

  Raises:
    FileNotFoundError: where neither records nor files are there.
    ValueError: for an unknown name, for encoded pictures, which are read by `stream`, and for files
      that are not the publisher's or records that are damaged.

  Examples:
    >>> from rfjax import data
    >>> data.columns("cifar10h", data_dir="no_such_folder")
    Traceback (most recent call last):
    FileNotFoundError: no_such_folder/cifar10h/cifar10h-counts.npy is not there: ...
  """
  data_set, folder = catalog.data_set(name), data_folder(data_dir)[1]
  if _columns.has_images(data_set):
    raise ValueError(f"{name} is too large to load whole: use data.stream")
  if _columns.records(data_set, folder).is_dir():
    return stored(data_set, folder)
  return _columns.read(data_set, folder / data_set.folder)


def table(name: str, *, data_dir: str | os.PathLike[str] | None = None, **recipe: Any) -> Table:
  """Loads all rows of a data set, in the order of the publisher's files.

  Args:
    name: a data set of `rfjax data list`, or one with a variant of its recipe, such as
      "compas:propublica".
    data_dir: the folder of data; `$RFJAX_DATA_DIR` when None, and `./data` without it. Records that
      `prepare` wrote there come first, then the publisher's files.
    **recipe: options of the data set's recipe, such as `attribute="race"` for COMPAS;
      `rfjax data info NAME` lists them.

  Returns:
    The table. Its rows sit on the device once, for all runs that use them.

  Raises:
    ValueError: for an unknown name, variant or option, and for files that are not the publisher's.
    FileNotFoundError: where a file is not there, with the places looked at.

  Examples:
    >>> from rfjax import data
    >>> data.table("compas", data_dir="no_such_folder")
    Traceback (most recent call last):
    FileNotFoundError: no_such_folder/compas/compas-scores-two-years.csv is not there: ...
  """
  from rfjax.data import _recipes

  stem, _, variant = name.partition(":")
  catalog.data_set(stem)
  make = _recipes.recipe(stem)
  _check_options(name, make, recipe)
  if stem in _PICTURES:
    source = recipe.pop("pictures", _PICTURES[stem][0])
    _check.choice("pictures", source, _PICTURES[stem])
    recipe["pictures"] = columns(source, data_dir=data_dir)
  return make(columns(stem, data_dir=data_dir), variant, **recipe)


def _check_options(name: str, make: Callable, recipe: dict[str, Any]) -> None:
  known = list(inspect.signature(make).parameters)[2:]
  for option in recipe:
    if option not in known:
      raise unknown(f"option of {name}", option, known)


def load(
  name: str,
  *,
  data_dir: str | os.PathLike[str] | None = None,
  key: jax.Array | None = None,
  fractions: Sequence[float] | None = None,
  **recipe: Any,
) -> Split:
  """Loads a data set, split as docs/protocol.md splits it.

  Args:
    name: as in `table`; "fr_train" is drawn from its seed and needs no file.
    data_dir: as in `table`.
    key: a key from `jax.random.key`, by which rows are drawn. Where the publisher has a test set,
      None takes the last tenth of the training rows for validation.
    fractions: as in `split`.
    **recipe: as in `table`.

  Returns:
    Train, validation and test. To split anew in each run, `split` a `table` inside of it.

  Raises:
    ValueError: as in `table`, and where rows must be drawn without a key.
    FileNotFoundError: where a file is not there.

  Examples:
    >>> from rfjax import data
    >>> train, validation, test = data.load("fr_train", poisoned=False)
    >>> int((train.y != train.truth.y).sum())
    0
  """
  if name in _DRAWN:
    return _DRAWN[name](**recipe)
  return split(table(name, data_dir=data_dir, **recipe), key=key, fractions=fractions)
