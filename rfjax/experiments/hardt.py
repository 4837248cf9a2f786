"""Thresholds by race on COMPAS scores and a model's, after the case study of Hardt et al. (2016).

This module is light, so that `rfjax run hardt --help` is quick; `run` imports what computes.
"""

import dataclasses
import pathlib
from typing import Any

from rfjax.experiments._delegate import delegate


@dataclasses.dataclass(frozen=True)
class Settings:
  """Settings of the experiment."""

  false_positive_cost: float = 1.0
  """What it costs to trust a defendant who offends again; to mistrust one who does not costs 1."""
  grid_size: int = 1000
  """Steps of the grid of rates."""
  seeds: int = 32
  """How many random halves, seeds 0, 1, ...; at least 2."""
  data_dir: pathlib.Path | None = None
  """Folder with the data set; RFJAX_DATA_DIR or ./data when left out."""
  lanes: int | None = None
  """Runs a device computes side by side; they decide the last bits."""
  block: int | None = None
  """Runs a call holds; they never change a bit."""


def check(settings: Settings) -> None:
  """Refuses settings that no run could use, before anything is read or compiled.

  Args:
    settings: the settings.

  Raises:
    ValueError: naming the setting, its value and the remedy.
  """
  from rfjax.core import _check

  cost = settings.false_positive_cost
  _check.number("false_positive_cost", cost, 0.0, open_low=True, open_high=True)
  _check.count("grid_size", settings.grid_size)
  _check.seed_count(settings.seeds)


def rows(result: Any) -> list[dict[str, Any]]:
  """What is measured of each way to decide, on the held-out half of each seed.

  Args:
    result: what `run` returned.

  Returns:
    The rows, with scores, decisions, group, seed, accuracy, true_positive_rate,
    false_positive_rate, selection_rate and loss, which are expected where lots are drawn.
  """
  from rfjax.experiments import _hardt

  return _hardt.rows(result)


run, tables, report = delegate(check, "_hardt")
