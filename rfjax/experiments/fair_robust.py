"""FairRobust on its authors' synthetic data, beside robust, fair, and composed methods.

This module is light, so that `rfjax run fair-robust --help` is quick; `run` imports what trains.
"""

import dataclasses
import pathlib
from typing import Any, Literal

from rfjax.experiments._delegate import delegate, named_methods

NOISES = ("group-targeted", "general")
CRITERIA = ("eqodds", "dp")
METHODS = {  # and which family each is of
  "plain": "baseline",
  "gce": "robust",
  "bi_tempered": "robust",
  "small_loss": "robust",
  "co_teaching": "robust",
  "fairbatch": "fair",
  "gap": "fair",
  "fair_robust": "merger",
  "fair_robust_skip": "merger",
  "small_loss_fairbatch": "merger",
  "co_teaching_fairbatch": "merger",
  "gce_gap": "merger",
  "small_loss_gap": "merger",
}
BASELINE = "plain"


@dataclasses.dataclass(frozen=True)
class Settings:
  """Settings of the experiment; the same for all methods."""

  noise: Literal["group-targeted", "general", "both"] = "both"
  """Whose labels are flipped: 10 % of all, in one group or in all cells."""
  criterion: Literal["eqodds", "dp", "both"] = "both"
  """What the methods are asked for, and what is measured: equalized odds or demographic parity."""
  method: str = "fair_robust"
  """The methods, separated by commas, or all."""
  seeds: int = 10
  """How many seeds, 0, 1, ...; at least 2."""
  epochs: int | None = None
  """Passes over the data; those of the authors' notebooks, 400 to 500, when left out."""
  data_dir: pathlib.Path | None = None
  """Folder with the data set; RFJAX_DATA_DIR or ./data when left out."""
  lanes: int | None = None
  """Runs a device computes side by side; they decide the last bits."""
  block: int | None = None
  """Runs a call holds; they never change a bit."""


def methods(settings: Settings) -> tuple[str, ...]:
  """The methods that are run.

  Args:
    settings: the settings.

  Returns:
    Their names.

  Raises:
    ValueError: for a name that is not known.

  Examples:
    >>> from rfjax.experiments import fair_robust
    >>> fair_robust.methods(fair_robust.Settings())
    ('fair_robust',)
  """
  return named_methods(settings.method, METHODS)


def cells(settings: Settings) -> tuple[tuple[str, str], ...]:
  """The pairs of noise and criterion that are run.

  Args:
    settings: the settings.

  Returns:
    The pairs.

  Examples:
    >>> from rfjax.experiments import fair_robust
    >>> fair_robust.cells(fair_robust.Settings(noise="general"))
    (('general', 'eqodds'), ('general', 'dp'))
  """
  kept = lambda options, value: [o for o in options if value in ("both", o)]
  return tuple(
    (noise, criterion)
    for noise in kept(NOISES, settings.noise)
    for criterion in kept(CRITERIA, settings.criterion)
  )


def check(settings: Settings) -> None:
  """Refuses settings that no run could use, before anything is read or compiled.

  Args:
    settings: the settings.

  Raises:
    ValueError: naming the setting, its value and the remedy.
  """
  from rfjax.core import _check

  methods(settings)
  _check.seed_count(settings.seeds)
  if settings.epochs is not None:
    _check.count("epochs", settings.epochs)


def rows(result: Any) -> list[dict[str, Any]]:
  """The runs, one dictionary each.

  Args:
    result: what `run` returned.

  Returns:
    The rows, with method, strength, noise, criterion, seed, and accuracy and disparity on the clean
    test set; the disparity is the largest distance of a group's rate from the overall one.
  """
  from rfjax.experiments import _fair_robust_tables

  return _fair_robust_tables.rows(result)


run, tables, report = delegate(check, "_fair_robust", "_fair_robust_tables")
