"""Data sets by name."""

import functools
import inspect
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax

from rfjax import catalog
from rfjax._places import data_folder
from rfjax.catalog._reader import unknown
from rfjax.core import _check
from rfjax.data import _columns
from rfjax.data._columns import Columns
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
  """Loads the rows of a data set that its recipe takes, in the order of the publisher's files.

  Args:
    name: a data set of `rfjax data list`, or one with a variant of its recipe, such as
      "compas:propublica".
    data_dir: the folder of data; `$RFJAX_DATA_DIR` when None, and `./data` without it. Records that
      `prepare` wrote there come first, then the publisher's files.
    **recipe: options of the data set's recipe, such as `attribute="race"` for COMPAS;
      `rfjax data info NAME` lists them, and the variants.

  Returns:
    The table. Its rows sit on the device once, for all runs that use them.

  Raises:
    ValueError: for an unknown name, variant or option, for files that are not the publisher's, and
      for records that are damaged.
    FileNotFoundError: where a file is not there, with the places looked at.

  Examples:
    >>> from rfjax import data
    >>> data.table("compas", data_dir="no_such_folder")
    Traceback (most recent call last):
    FileNotFoundError: no_such_folder/compas/compas-scores-two-years.csv is not there: ...
  """
  from rfjax.data import _recipes

  stem, _, variant = name.partition(":")
  data_set, make = catalog.data_set(stem), _recipes.recipe(stem)
  if variant and not data_set.variants:
    raise ValueError(f"variant {variant!r} of {stem} is not known: there is one table only")
  _check_options(name, recipe, list(inspect.signature(make).parameters)[2:])
  if stem in _PICTURES:
    recipe["pictures"] = _pictures(recipe.get("pictures"), _PICTURES[stem], data_dir)
  advice = f"data.load({stem!r}) draws its rows and needs no file" if stem in _DRAWN else ""
  found = make(_read(stem, data_dir, advice), variant, **recipe)
  return found._replace(classes=data_set.classes or found.classes)


def _check_options(name: str, recipe: Mapping[str, Any], known: Iterable[str]) -> None:
  for option in recipe:
    if option not in known:
      raise unknown(f"option of {name}", option, known)


def _pictures(
  source: str | None, sources: tuple[str, ...], data_dir: str | os.PathLike[str] | None
) -> Callable[[], dict[str, Columns]]:
  """What reads the pictures that labels belong to; the first source is the usual one."""
  source = sources[0] if source is None else source
  _check.choice("pictures", source, sources)
  others = " or ".join(f"pictures={other!r}" for other in sources if other != source)
  return functools.partial(_read, source, data_dir, f"Other pictures are read by {others}")


def _read(name: str, data_dir: str | os.PathLike[str] | None, advice: str) -> dict[str, Columns]:
  """The columns of a data set, with advice where its files are not there."""
  try:
    return columns(name, data_dir=data_dir)
  except FileNotFoundError as error:
    raise FileNotFoundError(f"{error}. {advice}" if advice else str(error)) from None


def load(
  name: str,
  *,
  data_dir: str | os.PathLike[str] | None = None,
  key: jax.Array | None = None,
  fractions: Sequence[float] | None = None,
  **recipe: Any,
) -> Split:
  """Loads a data set, split as docs/protocol.md splits it.

  Where a crowd or other people labelled the rows, training and validation rows have their labels,
  and test rows the true ones, so that accuracy on the test set is against the truth.

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
    ValueError: as in `table`, where rows must be drawn without a key, and for a key or fractions
      of "fr_train", whose parts are its authors'.
    FileNotFoundError: where a file is not there.

  Examples:
    >>> from rfjax import data
    >>> train, validation, test = data.load("fr_train", poisoned=False)
    >>> int((train.y != train.truth.y).sum())
    0
  """
  if name in _DRAWN:
    return _drawn(name, key, fractions, recipe)
  parts = split(table(name, data_dir=data_dir, **recipe), key=key, fractions=fractions)
  truth = parts.test.truth
  if truth is None or catalog.data_set(name.partition(":")[0]).kind != "crowd":
    return parts
  return parts._replace(test=parts.test.replace(y=truth.y))


def _drawn(name: str, key: Any, fractions: Any, recipe: dict[str, Any]) -> Split:
  make = _DRAWN[name]
  _check_options(name, recipe, list(inspect.signature(make).parameters))
  for argument, value in (("key", key), ("fractions", fractions)):
    if value is not None:
      raise ValueError(
        f"{argument} is given, but the parts of {name} are its authors' and not drawn: leave it out"
      )
  return make(**recipe)
