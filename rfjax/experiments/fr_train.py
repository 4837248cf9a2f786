"""FR-Train (Roh et al., ICML 2020): the published points, and the method on COMPAS and Adult.

This module is light, so that `rfjax run fr-train --help` is quick; `run` imports what trains.
"""

import dataclasses
import importlib
import pathlib
from types import ModuleType
from typing import Any, Literal

from rfjax.experiments._delegate import delegate


@dataclasses.dataclass(frozen=True)
class Settings:
  """Settings of the experiment; what is left out takes its published value."""

  data: Literal["synthetic", "compas", "adult"] = "synthetic"
  """The authors' synthetic data, COMPAS by the recipe of docs/protocol.md, or the people of Adult
  whom a crowd has judged, whose labels validation sets of several sizes have."""
  variant: Literal["poisoned", "clean"] = "poisoned"
  """Labels flipped against one group, or clean; the schedules of the authors' two notebooks."""
  lambda_f: tuple[float, ...] = ()
  """Weights of fairness; the published ones, or 0 to 0.5 on tables, when left out."""
  lambda_r: float | None = None
  """Weight of robustness; the published one when left out."""
  init: pathlib.Path | None = None
  """A .npz of initial weights, whose run alone is made unless seeds are given too."""
  seeds: int | None = None
  """How many free initialisations, seeds 0, 1, ...; 8 beside the official one, 32 on COMPAS,
  16 on Adult."""
  attribute: Literal["sex", "race"] = "sex"
  """The sensitive attribute on COMPAS."""
  data_dir: pathlib.Path | None = None
  """Folder with the data sets; RFJAX_DATA_DIR or ./data when left out."""
  lanes: int | None = None
  """Runs a device computes side by side; they decide the last bits."""
  block: int | None = None
  """Runs a call holds; they never change a bit."""


def check(settings: Settings) -> None:
  """Refuses settings that no run could use, before anything is compiled.

  Args:
    settings: the settings.

  Raises:
    ValueError: naming the setting, its value and the remedy.
  """
  from rfjax.core import _check

  for value in settings.lambda_f:
    _check.number("lambda_f", value, 0.0)
  if settings.lambda_r is not None:
    _check.number("lambda_r", settings.lambda_r, 0.0)
  for value in settings.lambda_f:
    total = value + (settings.lambda_r or 0.0)
    _check.number("lambda_f + lambda_r", total, 0.0, 1.0, open_high=True)
  if settings.seeds is not None:
    _check.seed_count(settings.seeds, 1)
  if settings.data != "synthetic":
    _refuse_beside_tables(settings)
  if settings.data == "adult" and settings.attribute != "sex":
    raise ValueError(
      f"attribute {settings.attribute!r} is one of COMPAS: leave it out beside --data adult"
    )


def _refuse_beside_tables(settings: Settings) -> None:
  if settings.init is not None:
    raise ValueError(
      f"init holds weights for the synthetic data, got {settings.init}: leave it out"
    )
  if settings.variant != "poisoned":
    raise ValueError(
      f"variant 'clean' is one of the synthetic data: leave it out beside --data {settings.data}"
    )


def _module(settings: Settings) -> ModuleType:
  return importlib.import_module(f"rfjax.experiments._fr_train_{settings.data}")


def rows(result: Any) -> list[dict[str, Any]]:
  """The runs, one dictionary each, in the order of the settings.

  Args:
    result: what `run` returned.

  Returns:
    The rows, with variant, lambda_f, lambda_r, seed, accuracy and disparate_impact at least.
  """
  return _module(result.settings).rows(result)


run, tables, report = delegate(check, lambda settings: f"_fr_train_{settings.data}")
