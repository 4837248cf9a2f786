"""Human label noise by group, and what aggregation does to it (Roh et al., ICML 2020).

This module is light, so that `rfjax run crowd --help` is quick; `run` imports what computes.
"""

import dataclasses
import pathlib
from typing import Any

from rfjax.experiments._delegate import delegate


@dataclasses.dataclass(frozen=True)
class Settings:
  """Settings of the experiment."""

  least: float = 0.65
  """Workers below this accuracy are left out; it is measured on one half of the rows."""
  seeds: int = 32
  """How many random halves, seeds 0, 1, ...; at least 2."""
  steps: int = 100
  """Steps of Dawid and Skene's EM."""
  data_dir: pathlib.Path | None = None
  """Folder with the data sets; RFJAX_DATA_DIR or ./data when left out."""
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

  _check.number("least", settings.least, 0.0, 1.0)
  _check.count("steps", settings.steps)
  _check.seed_count(settings.seeds)


def rows(result: Any) -> list[dict[str, Any]]:
  """The error rates of each way on all rows, and on the held-out half of each seed.

  Args:
    result: what `run` returned.

  Returns:
    The rows, with data, labels, seed (None for all rows), group, rows, wrong, one_if_zero and
    zero_if_one; the last three are NaN, null in JSON, where no row has such a label.
  """
  from rfjax.experiments import _crowd

  return _crowd.rows(result)


run, tables, report = delegate(check, "_crowd")
