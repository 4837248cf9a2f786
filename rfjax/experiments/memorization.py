"""Memorization (Zhang et al., ICLR 2017): networks fit any labels, and any pictures.

This module is light, so that `rfjax run memorization --help` is quick; `run` imports what trains.
"""

import dataclasses
import pathlib
from typing import Any, Literal

from rfjax.experiments._delegate import delegate

MAX_CURVES = 6  # that one figure tells apart


@dataclasses.dataclass(frozen=True)
class Settings:
  """Settings of the experiment; the same for all variants, as in the paper."""

  data: Literal["fashion_mnist", "mnist"] = "fashion_mnist"
  """The pictures."""
  images: int = 5000
  """How many of the training pictures are trained on; drawn anew for each seed."""
  rates: tuple[float, ...] = (0.0, 0.2, 0.4, 0.5, 0.6, 0.8, 1.0)
  """Shares of the labels that are drawn anew from all classes; 0, 0.5 and 1 are always run."""
  hidden: int = 512
  """Width of the hidden layer."""
  epochs: int = 30
  """Passes over the pictures."""
  batch_size: int = 100
  """Pictures a step."""
  learning_rate: float = 0.05
  """Of SGD with momentum 0.9, at its start; it falls to 0 by a cosine."""
  seeds: int = 5
  """How many seeds, 0, 1, ...; at least 2."""
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

  for rate in settings.rates:
    _check.number("rates", rate, 0.0, 1.0)
  for name in ("images", "hidden", "epochs", "batch_size"):
    _check.count(name, getattr(settings, name))
  if settings.batch_size > settings.images:
    raise ValueError(
      f"batch_size must be at most the {settings.images} images, got {settings.batch_size}"
    )
  _check.number("learning_rate", settings.learning_rate, 0.0, open_low=True, open_high=True)
  _check.seed_count(settings.seeds)


def rows(result: Any) -> list[dict[str, Any]]:
  """The runs, one dictionary each.

  Args:
    result: what `run` returned.

  Returns:
    The rows, with pictures, rate, seed, train_accuracy, test_accuracy, epochs_to_fit, label_rate
    and label_hash.
  """
  from rfjax.experiments import _memorization

  return _memorization.rows(result)


run, tables, report = delegate(check, "_memorization")
