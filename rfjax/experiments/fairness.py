"""Fair training side by side: what each method pays in accuracy for how much fairness.

This module is light, so that `rfjax run fairness --help` is quick; `run` imports what trains.
"""

import dataclasses
import pathlib
from typing import Any, Literal

from rfjax.experiments._delegate import delegate, named_methods

CRITERIA = ("demographic_parity", "equal_opportunity", "equalized_odds")
_PARITY, _ERRORS = CRITERIA[:1], CRITERIA[1:]
METHODS = {  # what each can be asked for
  "plain": CRITERIA,
  "reweighing": CRITERIA,
  "fair_balance": CRITERIA,
  "massaging": _PARITY,
  "preferential_sampling": _PARITY,
  "uniform_sampling": CRITERIA,
  "label_bias_correction": CRITERIA,
  "correlation_remover": CRITERIA,
  "disparate_impact_remover": CRITERIA,
  "gap": CRITERIA,
  "mmd": CRITERIA,
  "hsic": CRITERIA,
  "correlation": CRITERIA,
  "wasserstein": CRITERIA,
  "covariance": _PARITY,
  "mistreatment_covariance": _ERRORS,
  "relative_gap": CRITERIA,
  "prejudice_remover": CRITERIA,
  "lagrangian": CRITERIA,
  "proxy_lagrangian": CRITERIA,
  "exponentiated_gradient": CRITERIA,
  "fairbatch": CRITERIA,
  "adversarial_debiasing": CRITERIA,
  "gradient_reversal": CRITERIA,
  "equalized_odds": CRITERIA,
  "equal_opportunity": ("equal_opportunity",),
  "reject_option": CRITERIA,
  "threshold_optimizer": CRITERIA,
  "wasserstein_barycenter": CRITERIA,
  "plug_in_equal_opportunity": ("equal_opportunity",),
  "linear_post": CRITERIA,
}
BASELINE = "plain"
SHORT = (BASELINE, "reweighing", "gap", "equalized_odds")


@dataclasses.dataclass(frozen=True)
class Settings:
  """Settings of the experiment; the same for all methods."""

  data: Literal["compas", "adult", "german", "fairbatch"] = "compas"
  """The data set; groups are its sexes, or those of the synthetic data of FairBatch."""
  criterion: Literal["demographic_parity", "equal_opportunity", "equalized_odds"] = (
    "demographic_parity"
  )
  """What the methods are asked for; all three are measured."""
  method: str = ",".join(SHORT)
  """The methods, separated by commas, or all that can be asked for the criterion; plain training is
  always run."""
  tolerance: float = 0.05
  """The largest disparity that the validation set may have where a strength is picked."""
  epochs: int = 300
  """Passes over the data; of methods that need batches as many steps."""
  learning_rate: float = 0.05
  """Of Adam."""
  seeds: int = 10
  """How many seeds, 0, 1, ..., each with a split of its own; at least 2."""
  data_dir: pathlib.Path | None = None
  """Folder with the data sets; RFJAX_DATA_DIR or ./data when left out."""
  lanes: int | None = None
  """Runs a device computes side by side; they decide the last bits."""
  block: int | None = None
  """Runs a call holds; they never change a bit."""


def methods(settings: Settings) -> tuple[str, ...]:
  """The methods that are run, the baseline first.

  Args:
    settings: the settings.

  Returns:
    Their names.

  Raises:
    ValueError: for a name that is not known, or a method for another criterion.

  Examples:
    >>> from rfjax.experiments import fairness
    >>> fairness.methods(fairness.Settings(method="gap"))
    ('plain', 'gap')
  """
  if settings.method.strip() == "all":
    return tuple(name for name, criteria in METHODS.items() if settings.criterion in criteria)
  named = named_methods(settings.method, METHODS, BASELINE)
  for name in named:
    if settings.criterion not in METHODS[name]:
      raise ValueError(
        f"method {name} must be asked for {' or '.join(METHODS[name])}, got criterion"
        f" {settings.criterion}: leave it out or change the criterion"
      )
  return named


def check(settings: Settings) -> None:
  """Refuses settings that no run could use, before anything is read or compiled.

  Args:
    settings: the settings.

  Raises:
    ValueError: naming the setting, its value and the remedy.
  """
  from rfjax.core import _check

  methods(settings)
  _check.number("tolerance", settings.tolerance, 0.0, 1.0)
  _check.count("epochs", settings.epochs)
  _check.number("learning_rate", settings.learning_rate, 0.0, open_low=True, open_high=True)
  _check.seed_count(settings.seeds)


def rows(result: Any) -> list[dict[str, Any]]:
  """The runs, one dictionary each.

  Args:
    result: what `run` returned.

  Returns:
    The rows, with method, strength, seed, and accuracy and the three disparities on the test set
    and, named validation_, on the validation set.
  """
  from rfjax.experiments import _fairness_tables

  return _fairness_tables.rows(result)


run, tables, report = delegate(check, "_fairness", "_fairness_tables")
