"""FR-Train on the authors' synthetic data: their points, and the spread over initialisations."""

import pathlib
import sys
import time
from typing import Any

import jax
import numpy as np

import rfjax
from rfjax import catalog, data, metrics
from rfjax.experiments import _fr_train_common as common
from rfjax.experiments import _fr_train_init as init
from rfjax.experiments.fr_train import Settings

SEEDS = 8


def _starts(settings: Settings) -> tuple[pathlib.Path | None, int]:
  """The file of initial weights, if any, and the number of seeds."""
  if settings.init is not None:
    return settings.init, settings.seeds or 0
  if settings.seeds is not None:
    return None, settings.seeds
  if init.OFFICIAL.is_file():
    return init.OFFICIAL, SEEDS
  print(f"no {init.OFFICIAL.name}: the official initial weights are left out", file=sys.stderr)
  return None, SEEDS


def run(settings: Settings, *, progress: bool = True) -> common.Result:
  """Trains from the initial weights of a file, and from those of seeds."""
  schedule = common.SCHEDULES[settings.variant]
  lambda_f = settings.lambda_f or schedule.lambda_f
  lambda_r = schedule.lambda_r if settings.lambda_r is None else settings.lambda_r
  for value in lambda_f:
    rfjax.core._check.number("lambda_f + lambda_r", value + lambda_r, 0.0, 1.0, open_high=True)
  path, seeds = _starts(settings)
  start = None if path is None else init.read(path)
  split = data.fr_train(poisoned=settings.variant == "poisoned")
  sweep = {"lanes": settings.lanes, "block": settings.block, "progress": progress}

  def from_file(lambda_f: jax.Array) -> dict[str, jax.Array]:
    state = common.train(
      schedule, split.train, jax.random.key(0), lambda_f, lambda_r, params=start.params,
      players=start.players,
    )
    return common.measure(state, split.test)

  def from_seed(lambda_f: jax.Array, seed: jax.Array) -> dict[str, jax.Array]:
    state = common.train(schedule, split.train, jax.random.key(seed), lambda_f, lambda_r)
    return common.measure(state, split.test)

  results, seconds = {}, {}
  for name, function, axes in (
    ("init", from_file if start else None, {"lambda_f": lambda_f}),
    ("seeds", from_seed if seeds else None, {"lambda_f": lambda_f, "seed": range(seeds)}),
  ):
    if function is None:
      continue
    began = time.perf_counter()
    results[name] = rfjax.sweep(function, axes, **sweep)
    seconds[name] = time.perf_counter() - began
  facts = {"lambda_r": lambda_r, "init": start.sha256 if start else None}
  return common.Result(settings, results, facts, seconds)


def rows(result: common.Result) -> list[dict[str, Any]]:
  """The runs from the file first, then those of the seeds."""
  shared = {"variant": result.settings.variant, "lambda_r": result.facts["lambda_r"]}
  found = []
  for name, table in result.data.items():
    for values in table.to_dataframe().reset_index().to_dict("records"):
      found.append(
        shared
        | {
          "lambda_f": float(values["lambda_f"]),
          "seed": int(values["seed"]) if name == "seeds" else None,
          "init": result.facts["init"] if name == "init" else None,
          "accuracy": float(values["accuracy"]),
          "disparate_impact": float(values["disparate_impact"]),
        }
      )
  return found
