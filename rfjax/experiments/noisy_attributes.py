"""Fair training by noisy groups: what becomes of the true groups as more of the given are wrong.

This module is light, so that `rfjax run noisy-attributes --help` is quick; `run` imports what
trains.
"""

import dataclasses
import pathlib
from typing import Any, Literal

from rfjax.experiments._delegate import delegate, named_methods

METHODS = {  # and what each does without being told of the noise
  "plain": None,
  "gap": None,
  "corrected_gap": "gap",
  "lagrangian": None,
  "corrected_lagrangian": "lagrangian",
  "tv_robust_constraints": "lagrangian",
  "soft_assignment_constraints": "lagrangian",
  "ratio_constraints": None,
  "denoised_constraints": "ratio_constraints",
  "reductions": None,
  "noise_tolerant_reductions": "reductions",
}


@dataclasses.dataclass(frozen=True)
class Settings:
  """Settings of the experiment; the same for all methods."""

  data: Literal["compas", "adult", "german"] = "compas"
  """The data set; groups are its sexes."""
  rates: tuple[float, ...] = (0.0, 0.1, 0.2, 0.3)
  """Rates of given groups that are wrong; methods with a correction are given them."""
  method: str = "all"
  """The methods, separated by commas, or all."""
  bound: float = 0.05
  """What selection rates may differ, for multipliers and reductions."""
  ratio: float = 0.9
  """What one selection rate must be of another one, for constraints on ratios."""
  strength: float = 0.1
  """Of the penalty."""
  epochs: int = 400
  """Steps on all training rows."""
  learning_rate: float = 0.02
  """Of Adam."""
  seeds: int = 32
  """How many seeds, 0, 1, ..., each with a split and noise of its own; at least 2."""
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
    Their names, each after the one that it is compared with.

  Raises:
    ValueError: for a name that is not known.

  Examples:
    >>> from rfjax.experiments import noisy_attributes
    >>> noisy_attributes.methods(noisy_attributes.Settings(method="corrected_gap"))
    ('gap', 'corrected_gap')
  """
  named = named_methods(settings.method, METHODS)
  pairs = (n for name in named for n in (METHODS[name], name) if n is not None)
  return tuple(dict.fromkeys(pairs))


def check(settings: Settings) -> None:
  """Refuses settings that no run could use, before anything is read or compiled.

  Args:
    settings: the settings.

  Raises:
    ValueError: naming the setting, its value and the remedy.
  """
  from rfjax.core import _check

  methods(settings)
  _check.numbers("rates", settings.rates, 0.0, 0.5, open_high=True)
  if not settings.rates or len(set(settings.rates)) < len(settings.rates):
    raise ValueError(f"rates must differ, and be at least one, got {settings.rates}")
  _check.number("bound", settings.bound, 0.0, open_high=True)
  _check.number("ratio", settings.ratio, 0.0, 1.0)
  _check.number("strength", settings.strength, 0.0, open_high=True)
  _check.count("epochs", settings.epochs)
  _check.number("learning_rate", settings.learning_rate, 0.0, open_low=True, open_high=True)
  _check.seed_count(settings.seeds)


def rows(result: Any) -> list[dict[str, Any]]:
  """The runs, one dictionary each.

  Args:
    result: what `run` returned.

  Returns:
    The rows, with method, rate, seed, accuracy, and violation: the demographic parity difference of
    the true groups of the test set.
  """
  from rfjax.experiments import _noisy_attributes_tables

  return _noisy_attributes_tables.rows(result)


run, tables, report = delegate(check, "_noisy_attributes", "_noisy_attributes_tables")
