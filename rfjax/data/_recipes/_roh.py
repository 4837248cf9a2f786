"""Tables of the synthetic data of Roh et al., as they were released."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from rfjax.core import Batch, Truth, _check
from rfjax.data._recipes._images import no_variant
from rfjax.data._split import Table

_NAMES = ("x1", "x2", "z")


def fairbatch(columns: dict[str, dict[str, Any]], variant: str) -> Table:
  """FairBatch's 2,000 training and 1,000 test rows: x = (x1, x2, z), z as the group too."""
  no_variant("fairbatch", variant)
  return _table(columns, {split: part["y"] for split, part in columns.items()})


def fair_robust(columns: dict[str, dict[str, Any]], variant: str, labels: str = "general") -> Table:
  """2,000 training, 200 validation and 1,000 test rows of Roh et al.'s sample selection.

  Args:
    columns: as read.
    variant: none.
    labels: of the training rows: "general" or "grouptarget", as poisoned by the authors, or "true".
  """
  no_variant("fair_robust", variant)
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
