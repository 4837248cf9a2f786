"""Tables of the synthetic data of Roh et al., as they were released."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from rfjax.core import Batch, Truth, _check
from rfjax.data._split import Table

_NAMES = ("x1", "x2", "z")
_PARTS = {"train": slice(1800), "validation": slice(2000, 2200), "test": slice(2700, 3700)}


def fr_train(
  columns: dict[str, dict[str, Any]], variant: str = "", *, poisoned: bool = True
) -> Table:
  """The 1,800 training, 200 validation and 1,000 test rows of FR-Train's notebook.

  They are those of `rfjax.data.fr_train`, which draws them and needs no file; there the validation
  part is the `trusted` field of the training part too.

  Args:
    columns: as read.
    variant: "", there is no other.
    poisoned: whether the training labels are the poisoned ones.
  """
  _check.choice("variant", variant, ("",))
  _check.choice("poisoned", poisoned, (True, False))
  rows = columns["train"]
  parts = {split: {n: v[place] for n, v in rows.items()} for split, place in _PARTS.items()}
  given = {split: part["y"] for split, part in parts.items()}
  if poisoned:
    given["train"] = parts["train"]["y_poi"]
  return _table(parts, given)


def fairbatch(columns: dict[str, dict[str, Any]], variant: str = "") -> Table:
  """FairBatch's 2,000 training and 1,000 test rows: x = (x1, x2, z), z as the group too.

  Args:
    columns: as read.
    variant: "", there is no other.
  """
  _check.choice("variant", variant, ("",))
  return _table(columns, {split: part["y"] for split, part in columns.items()})


def fair_robust(
  columns: dict[str, dict[str, Any]], variant: str = "", *, labels: str = "general"
) -> Table:
  """2,000 training, 200 validation and 1,000 test rows of Roh et al.'s sample selection.

  Args:
    columns: as read.
    variant: "", there is no other.
    labels: of the training rows: "general" or "grouptarget", as poisoned by the authors, or "true".
  """
  _check.choice("variant", variant, ("",))
  _check.choice("labels", labels, ("general", "grouptarget", "true"))
  given = {split: part["y"] for split, part in columns.items()}
  if labels != "true":
    given["train"] = columns["train"][f"y_noise_{labels}"]
  return _table(columns, given)


def _table(columns: dict[str, dict[str, Any]], given: dict[str, np.ndarray]) -> Table:
  join = lambda values: np.concatenate(list(values))
  z = join(part["z"] for part in columns.values())
  x = np.column_stack([join(part["x"] for part in columns.values()), z]).astype(np.float32)
  truth = Truth(jnp.asarray(join(part["y"] for part in columns.values())), jnp.asarray(z))
  rows = {split: len(part["y"]) for split, part in columns.items()}
  return Table(
    Batch.from_arrays(x, join(given.values()), z, num_classes=2, num_groups=2, truth=truth),
    _NAMES,
    test_rows=rows["test"],
    validation_rows=rows.get("validation", 0),
  )
