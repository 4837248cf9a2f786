"""What both data sets of the FR-Train experiment share: schedules, one run, and how to write."""

import pathlib
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

import rfjax
from rfjax import architectures, catalog, convergence, metrics, report
from rfjax.core import _check
from rfjax.experiments.fr_train import Settings


class Schedule(NamedTuple):
  """The hyper-parameters of one of the authors' notebooks.

  Attributes:
    lambda_f: the published weights of fairness.
    lambda_r: the weight of robustness.
    epochs: epochs of the official loop, each a step of both discriminators.
    critic_steps: their steps for one of the model.
    model_rate: learning rate of the model's Adam.
    fairness_rate: learning rate of the fairness discriminator's SGD.
    robustness_rate: learning rate of the robustness discriminator's SGD.
    warmup_weight: weight of the loss in the warm-up.
    detach_r: whether the robustness term sends no gradient.
  """

  lambda_f: tuple[float, ...]
  lambda_r: float
  epochs: int
  critic_steps: int
  model_rate: float
  fairness_rate: float
  robustness_rate: float
  warmup_weight: float
  detach_r: bool


PUBLISHED = {found.name: found for found in catalog.entry("fr_train").published}
SCHEDULES = {
  name: Schedule(**{k: v for k, v in found.settings.items() if k in Schedule._fields})
  for name, found in PUBLISHED.items()
}
WARMUP = 500
NETWORK = architectures.logistic()


class Result(NamedTuple):
  """What a run of the experiment leaves.

  Attributes:
    settings: the settings.
    data: `xarray.Dataset`s by name.
    facts: what else the tables and the page say, by name.
    seconds: wall-clock seconds by stage.
  """

  settings: Settings
  data: dict[str, Any]
  facts: dict[str, Any]
  seconds: dict[str, float]


def train(
  schedule: Schedule,
  data: rfjax.Batch,
  key: jax.Array,
  lambda_f: Any,
  lambda_r: Any,
  *,
  reweight: str | None = "official",
  params: Any = None,
  players: Any = None,
) -> rfjax.TrainState:
  """One run of FR-Train by one of the authors' schedules, with their quirks."""
  method = convergence.fr_train(
    lambda_f,
    lambda_r,
    fairness_tx=optax.sgd(schedule.fairness_rate),
    robustness_tx=optax.sgd(schedule.robustness_rate),
    warmup=WARMUP,
    critic_steps=schedule.critic_steps,
    reweight=reweight,
    detach_r=schedule.detach_r,
    warmup_scale=2.0,
    warmup_weight=schedule.warmup_weight,
    players=players,
  )
  steps = convergence.fr_train_steps(
    schedule.epochs, warmup=WARMUP, critic_steps=schedule.critic_steps
  )
  tx = optax.adam(schedule.model_rate)
  return rfjax.fit(NETWORK, method, tx, data, key=key, epochs=steps, params=params)[0]


def measure(state: rfjax.TrainState, data: rfjax.Batch) -> dict[str, jax.Array]:
  """Accuracy and disparate impact on a data set."""
  said = rfjax.predict(NETWORK, state, data)
  return {
    "accuracy": metrics.accuracy(said),
    "disparate_impact": metrics.disparate_impact(said),
  }


def weights(settings: Settings, default: tuple[float, ...]) -> tuple[Schedule, Any, float]:
  """The schedule for poisoned labels, its weights of fairness with 0, and that of robustness."""
  schedule = SCHEDULES["poisoned"]
  lambda_r = schedule.lambda_r if settings.lambda_r is None else settings.lambda_r
  lambda_f = tuple(sorted({0.0, *(settings.lambda_f or default)}))
  _check.number("lambda_f + lambda_r", lambda_f[-1] + lambda_r, 0.0, 1.0, open_high=True)
  return schedule, lambda_f, lambda_r


def sweep_all(
  settings: Settings,
  sweeps: dict[str, tuple[Callable[..., Any], dict[str, Any]]],
  seconds: dict[str, float],
  progress: bool,
) -> dict[str, Any]:
  """The results of some sweeps, each a function and its axes; adds what each took to `seconds`."""
  results = {}
  for name, (function, axes) in sweeps.items():
    began = time.perf_counter()
    results[name] = rfjax.sweep(
      function, axes, lanes=settings.lanes, block=settings.block, progress=progress
    )
    seconds[name] = time.perf_counter() - began
  return results


def scores(values: Mapping[str, Any]) -> dict[str, Any]:
  """What a row says of a run with validation and test set."""
  return {
    "seed": int(values["seed"]),
    "accuracy": float(values["test.accuracy"]),
    "disparate_impact": float(values["test.disparate_impact"]),
    "validation_accuracy": float(values["validation.accuracy"]),
    "validation_disparate_impact": float(values["validation.disparate_impact"]),
  }


def path(
  label: str, accuracy: np.ndarray, impact: np.ndarray, names: list[str] | None = None
) -> report.Series:
  """The path of means over seeds, with their intervals, of measures [settings, seeds]."""
  x, y = report.mean_interval(impact), report.mean_interval(accuracy)
  means, halves = np.array([x.mean, y.mean]), np.array([x.half_width, y.half_width])
  return report.Series(label, *means, *halves, names=names)


def write(
  result: Result,
  directory: pathlib.Path,
  title: str,
  lead: str,
  sections: list[report.Section],
  tables: dict[str, report.Table],
) -> pathlib.Path:
  """Writes the report, with how it was made, and its first figure; returns the page's path."""
  first = next(iter(result.data.values()))
  manifest = report.manifest(
    experiment="fr-train",
    data=result.settings.data,
    variant=result.settings.variant,
    lambda_r=result.facts["lambda_r"],
    seeds=int(max(table.sizes.get("seed", 0) for table in result.data.values())),
    lanes=int(first.attrs["lanes"]),
    block=int(first.attrs["block"]),
    initial_weights=str(result.facts.get("init") or "random"),
  )
  page = report.page(title, lead, sections, manifest)
  name = f"fr-train-{result.settings.data}-{result.settings.variant}"
  files = report.write_report(directory, name, page=page, tables=tables, times=result.seconds)
  figures = [part for s in sections for part in s.body if isinstance(part, report.Figure)]
  for figure in figures[:1]:
    figure.png(directory / f"{name}.png")
  return files[0]
