"""Training on noisy labels: methods side by side on the same splits, noise and initialisation.

This module is light, so that `rfjax run noisy-labels --help` is quick; `run` imports what trains.
"""

import dataclasses
import pathlib
from typing import Any, Literal

from rfjax.experiments._delegate import delegate, named_methods

METHODS = (
  "cross_entropy",
  "mae",
  "unhinged",
  "gce",
  "truncated_gce",
  "sce",
  "focal",
  "nce",
  "nce_mae",
  "nce_rce",
  "nfl_rce",
  "taylor",
  "jensen_shannon",
  "gjs",
  "bi_tempered",
  "phuber",
  "npcl",
  "peer_loss",
  "dmi",
  "negative_learning",
  "label_smoothing",
  "mixup",
  "elr",
  "cdr",
  "true_labels",
  "forward",
  "s_model",
  "small_loss",
  "co_teaching",
  "prestopping",
  "selfie",
  "morph_alone",
  "morph",
  "morph_told",
  "backward",
  "importance",
  "vol_min_net",
  "noise_layer",
  "dropout_noise_model",
  "active_bias",
  "mentor_net",
  "bootstrap_soft",
  "bootstrap_hard",
  "dynamic_bootstrap",
  "sat",
  "plc",
  "ada_corr",
  "joint_optimization",
  "d2l",
  "decoupling",
  "co_teaching_plus",
  "jocor",
  "sigua",
  "itlm",
  "o2u",
  "divide_mix",
  "fine",
  "crust",
  "crust_central",
  "confident_learning",
)
BASELINE = METHODS[0]
SHORT = (BASELINE, "gce", "elr", "small_loss", "co_teaching", "selfie", "morph")


@dataclasses.dataclass(frozen=True)
class Settings:
  """Settings of the experiment; the same for all methods."""

  data: Literal["fashion_mnist", "mnist"] = "fashion_mnist"
  """The pictures."""
  images: int = 10_000
  """How many of the training pictures are used, a tenth of them for validation; drawn by seed."""
  noise: Literal["symmetric", "pair", "asymmetric", "permuted"] = "symmetric"
  """How labels go wrong: to any other class, to the next one, to one that looks alike, or by Reed's
  permutation of the digits."""
  rate: float = 0.4
  """Share of wrong labels, in validation too; of asymmetric noise, in the classes it strikes."""
  method: str = ",".join(SHORT)
  """The methods, separated by commas, or all; cross_entropy is always run."""
  network: Literal["mlp", "cnn", "dropout_mlp"] = "mlp"
  """784-256-128-10, two convolutions, or 784-500-300-10 with half of the hidden units dropped."""
  epochs: int = 30
  """Passes over the pictures."""
  batch_size: int = 128
  """Pictures a step."""
  optimizer: Literal["sgd", "adam"] = "sgd"
  """SGD with momentum 0.9, whose rate falls to 0 by a cosine, or Adam at a constant rate."""
  learning_rate: float = 0.05
  """Of the optimizer, at its start."""
  seeds: int = 5
  """How many seeds, 0, 1, ...; at least 2."""
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
    ValueError: for a name that is not known.

  Examples:
    >>> from rfjax.experiments import noisy_labels
    >>> noisy_labels.methods(noisy_labels.Settings(method="gce,mae"))
    ('cross_entropy', 'gce', 'mae')
  """
  return named_methods(settings.method, METHODS, BASELINE)


def check(settings: Settings) -> None:
  """Refuses settings that no run could use, before anything is read or compiled.

  Args:
    settings: the settings.

  Raises:
    ValueError: naming the setting, its value and the remedy.
  """
  from rfjax.core import _check

  methods(settings)
  _check.number("rate", settings.rate, 0.0, 1.0, open_high=True)
  _check.count("images", settings.images, 10)
  for name in ("epochs", "batch_size"):
    _check.count(name, getattr(settings, name))
  trained = settings.images - settings.images // 10
  if settings.batch_size > trained:
    raise ValueError(
      f"batch_size must be at most the {trained} training images, got {settings.batch_size}"
    )
  _check.number("learning_rate", settings.learning_rate, 0.0, open_low=True, open_high=True)
  _check.seed_count(settings.seeds)


def rows(result: Any) -> list[dict[str, Any]]:
  """The runs, one dictionary each.

  Args:
    result: what `run` returned.

  Returns:
    The rows, with method, told, seed, last, selected, selected_epoch, best, memorized, the
    share kept with its label precision, recall and F1, the share relabelled with its accuracy, the
    estimated noise rate and the epoch of a transition where there is one, the first empty and the
    first diverged step, label_rate and label_hash.
  """
  from rfjax.experiments import _noisy_labels_tables

  return _noisy_labels_tables.rows(result)


run, tables, report = delegate(check, "_noisy_labels", "_noisy_labels_tables")
