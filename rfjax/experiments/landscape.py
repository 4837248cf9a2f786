"""The landscape of robust and fair training: which corner of what can go wrong needs which family.

This module is light, so that `rfjax run landscape --help` is quick; `run` imports what trains.
"""

import dataclasses
import pathlib
from typing import Any, Literal

from rfjax.experiments._delegate import delegate, named_methods

METHODS = {  # and which family each is of; the first of a family speaks for it
  "plain": "plain",
  "small_loss": "robust",
  "gap": "fair",
  "fair_robust": "both",
  "corrected_gap": "fair",
  "small_loss_corrected_gap": "both",
}
FAMILIES = ("plain", "robust", "fair", "both")


@dataclasses.dataclass(frozen=True)
class Settings:
  """Settings of the experiment; the same for all methods."""

  data: Literal["synthetic", "compas", "adult"] = "synthetic"
  """The data set: Zafar's generator, or a table whose groups are its sexes."""
  label_noise: tuple[float, ...] = (0.0, 0.05, 0.1, 0.15)
  """Rates of labels that are flipped where a regression is most sure, in the favoured group."""
  attribute_noise: tuple[float, ...] = (0.0, 0.2, 0.4)
  """Rates of given groups that are wrong."""
  bias: tuple[float, ...] = (0.0, 0.2, 0.4)
  """Shares of the other group's positive labels that are recorded as negative."""
  method: str = "all"
  """The methods, separated by commas, or all."""
  criterion: Literal["demographic_parity", "equalized_odds"] = "equalized_odds"
  """What fair methods are asked for, and what is measured on the true groups."""
  strength: float = 0.3
  """Of the fairness penalty."""
  epochs: int = 200
  """Steps on all rows; of FairRobust passes in batches of 100."""
  learning_rate: float = 0.05
  """Of Adam; FairRobust takes a tenth of it."""
  rows: int = 2000
  """How many rows are drawn, training, validation and test set together; 0 for all of a table."""
  seeds: int = 16
  """How many seeds, 0, 1, ..., each with rows, noise and a split of its own; at least 2."""
  data_dir: pathlib.Path | None = None
  """Folder with the data sets; RFJAX_DATA_DIR or ./data when left out."""
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
    >>> from rfjax.experiments import landscape
    >>> landscape.methods(landscape.Settings(method="plain,gap"))
    ('plain', 'gap')
  """
  return named_methods(settings.method, METHODS)


def check(settings: Settings) -> None:
  """Refuses settings that no run could use, before anything is read or compiled.

  Args:
    settings: the settings.

  Raises:
    ValueError: naming the setting, its value and the remedy.
  """
  from rfjax.core import _check

  methods(settings)
  for name, high in (("label_noise", 1.0), ("attribute_noise", 0.5), ("bias", 1.0)):
    values = getattr(settings, name)
    _check.numbers(name, values, 0.0, high, open_high=True)
    if not values or len(set(values)) < len(values):
      raise ValueError(f"{name} must name rates that differ, at least one, got {values}")
  _check.number("strength", settings.strength, 0.0, open_high=True)
  _check.count("epochs", settings.epochs)
  _check.number("learning_rate", settings.learning_rate, 0.0, open_low=True, open_high=True)
  _check.seed_count(settings.seeds)
  rows = _check.count("rows", settings.rows, 0)
  if 0 < rows < 200 or (rows == 0 and settings.data == "synthetic"):
    raise ValueError(f"rows must be at least 200, got {rows}: noise by group needs some of each")


def rows(result: Any) -> list[dict[str, Any]]:
  """The runs, one dictionary each.

  Args:
    result: what `run` returned.

  Returns:
    The rows, with method, family, label_noise, attribute_noise, bias, seed, and accuracy by true
    labels and disparity by true groups on the test set.
  """
  from rfjax.experiments import _landscape_tables

  return _landscape_tables.rows(result)


run, tables, report = delegate(check, "_landscape", "_landscape_tables")
