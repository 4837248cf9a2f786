"""Data sets by name."""

import os
from typing import Any

import jax

from rfjax.catalog._reader import unknown
from rfjax.data._compas import compas
from rfjax.data._fr_train import fr_train
from rfjax.data._split import Split, split

_NAMES = ("compas", "fr_train")


def load(
  name: str,
  *,
  data_dir: str | os.PathLike[str] | None = None,
  key: jax.Array | None = None,
  **recipe: Any,
) -> Split:
  """Loads a data set, split as its experiments split it.

  Args:
    name: "fr_train", which is drawn and has a split of its own, or "compas", which is read from a
      file and split 70/10/20 at random with its numeric columns standardised.
    data_dir: the folder of data files; `$RFJAX_DATA_DIR` when None, and `./data` without it.
    key: a key from `jax.random.key`, for the random split.
    **recipe: arguments of the function of that name in this module.

  Returns:
    Train, validation and test.

  Raises:
    ValueError: for an unknown name, or where a random split is given no key.
    FileNotFoundError: where a file is not there.

  Examples:
    >>> from rfjax import data
    >>> train, validation, test = data.load("fr_train", poisoned=False)
    >>> int((train.y != train.truth.y).sum())
    0
  """
  if name not in _NAMES:
    raise unknown("data set", name, _NAMES)
  if name == "fr_train":
    return fr_train(**recipe)
  if key is None:
    raise ValueError(f"key is None, but {name} is split at random: pass key=jax.random.key(seed)")
  return split(compas(data_dir, **recipe), key=key)
