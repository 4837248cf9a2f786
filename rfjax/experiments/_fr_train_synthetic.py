"""FR-Train on the authors' synthetic data: their points, and the spread over initialisations."""

import pathlib
import sys
import time
from typing import Any

import jax

import rfjax
from rfjax import data, report
from rfjax.core import _check
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
    _check.number("lambda_f + lambda_r", value + lambda_r, 0.0, 1.0, open_high=True)
  path, seeds = _starts(settings)
  start = None if path is None else init.read(path)
  split = data.fr_train(poisoned=settings.variant == "poisoned")
  sweep = {"lanes": settings.lanes, "block": settings.block, "progress": progress}

  def train(lambda_f: Any, key: jax.Array, **initial: Any) -> dict[str, jax.Array]:
    state = common.train(schedule, split.train, key, lambda_f, lambda_r, **initial)
    return common.measure(state, split.test)

  sweeps = {}
  if start is not None:
    given = {"params": start.params, "players": start.players}
    from_file = lambda lambda_f: train(lambda_f, jax.random.key(0), **given)
    sweeps["init"] = from_file, {"lambda_f": lambda_f}
  if seeds:
    from_seed = lambda lambda_f, seed: train(lambda_f, jax.random.key(seed))
    sweeps["seeds"] = from_seed, {"lambda_f": lambda_f, "seed": range(seeds)}
  results, seconds = {}, {}
  for name, (function, axes) in sweeps.items():
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


def _published(result: common.Result) -> dict[float, tuple[float, float]]:
  """The published accuracy and disparate impact by lambda_f, at the published lambda_r."""
  found = common.PUBLISHED[result.settings.variant]
  if result.facts["lambda_r"] != found.settings["lambda_r"]:
    return {}
  points = zip(found.result["accuracy"], found.result["disparate_impact"], strict=True)
  return dict(zip(found.settings["lambda_f"], points, strict=True))


def _from_file(result: common.Result) -> dict[float, tuple[float, float]]:
  if "init" not in result.data:
    return {}
  table = result.data["init"]
  points = zip(table.accuracy.values.tolist(), table.disparate_impact.values.tolist(), strict=True)
  return dict(zip(table.lambda_f.values.tolist(), points, strict=True))


def _agreement(result: common.Result) -> tuple[int, int]:
  """How many of the published points come out, rounded to their three digits, and of how many."""
  published, found = _published(result), _from_file(result)
  compared = [at for at in found if at in published]
  same = [tuple(round(v, 3) for v in found[at]) == tuple(published[at]) for at in compared]
  return sum(same), len(compared)


def _interval(result: common.Result, name: str, lambda_f: float) -> report.Interval | float | None:
  if "seeds" not in result.data:
    return None
  values = result.data["seeds"][name].sel(lambda_f=lambda_f).values
  return report.mean_interval(values) if len(values) > 1 else float(values[0])


def tables(result: common.Result) -> dict[str, report.Table]:
  """The points: published, from the file of initial weights, and over seeds."""
  published, found = _published(result), _from_file(result)
  lambda_f = next(iter(result.data.values())).lambda_f.values
  seeds = result.data["seeds"].sizes["seed"] if "seeds" in result.data else 0
  rows = []
  for at in map(float, lambda_f):
    spread = (_interval(result, name, at) for name in ("accuracy", "disparate_impact"))
    rows.append((at, *published.get(at, (None,) * 2), *found.get(at, (None,) * 2), *spread))
  columns = ["λ_f"] + [
    f"{measure} {source}"
    for source in ("published", "from file", f"{seeds} seeds")
    for measure in ("accuracy", "DI")
  ]
  use = [i for i in range(7) if i == 0 or any(row[i] is not None for row in rows)]
  table = report.Table(
    [columns[i] for i in use],
    [[row[i] for i in use] for row in rows],
    caption=f"FR-Train on the authors' synthetic data, {result.settings.variant} labels",
    notes=(_sentence(result), *_notes(result, seeds)),
    digits={"λ_f": 2},
  )
  return {"points": table}


def _notes(result: common.Result, seeds: int) -> list[str]:
  notes = [
    f"DI: disparate impact, the ratio of selection rates. λ_r = {result.facts['lambda_r']:g}."
  ]
  if seeds > 1:
    notes.append(f"Means with 95 % t-intervals over {seeds} free initialisations.")
  return notes


def _sentence(result: common.Result) -> str:
  """What came out: of the published points, and of the spread over initialisations."""
  same, compared = _agreement(result)
  parts = []
  if compared:
    count = f"{same} of {compared}" if same < compared else f"All {compared}"
    parts.append(f"{count} published points come out to their three digits from {_start(result)}.")
  if "seeds" in result.data and result.data["seeds"].sizes["seed"] > 1:
    table = result.data["seeds"].isel(lambda_f=-1)
    found = [report.mean_interval(table[n].values) for n in ("accuracy", "disparate_impact")]
    accuracy, impact = (f"{i.mean:.3f} ± {i.half_width:.3f}" for i in found)
    parts.append(
      f"Over {table.sizes['seed']} free initialisations, λ_f = {float(table.lambda_f):g} gives an"
      f" accuracy of {accuracy} and a disparate impact of {impact}."
    )
  return " ".join(parts) or "No point was compared with a published one."


def _start(result: common.Result) -> str:
  official = init.OFFICIAL.is_file() and init.read(init.OFFICIAL).sha256 == result.facts["init"]
  return "the authors' initial weights" if official else "the given initial weights"


def _series(result: common.Result) -> tuple[list[report.Series], list[report.Series]]:
  """What the figure shows: paths, and the published points as marks."""
  paths, marks = [], []
  if "seeds" in result.data and result.data["seeds"].sizes["seed"] > 1:
    table = result.data["seeds"]
    label = f"mean of {table.sizes['seed']} initialisations"
    paths.append(common.path(label, table.accuracy.values, table.disparate_impact.values))
  found, published = _from_file(result), _published(result)
  if found:
    y, x = zip(*found.values(), strict=True)
    names = [f"λ = {at:g}" if at in (min(found), 0.3, max(found)) else "" for at in found]
    paths.append(report.Series(_start(result).removeprefix("the "), x, y, names=names))
  shown = [published[at] for at in published if at in found or not found]
  if shown:
    y, x = zip(*shown, strict=True)
    marks.append(report.Series("published", x, y))
  return paths, marks


def write(result: common.Result, directory: pathlib.Path) -> pathlib.Path:
  """Writes the page, the tables and the times."""
  paths, marks = _series(result)
  made = tables(result)
  body: list[Any] = [made["points"]]
  if paths:
    caption = (
      "Accuracy and disparate impact on the test set, along λ_f. Bars and band are 95 % intervals"
      " of the mean over initialisations; diamonds are the authors' published points."
    )
    figure = report.frontier(
      paths,
      marks=marks,
      xlabel="disparate impact (ratio of selection rates)",
      ylabel="accuracy",
      references=[report.Reference(0.8, "four-fifths rule")],
      caption=caption,
    )
    body.insert(0, figure)
  title = f"FR-Train on {result.settings.variant} labels"
  sections = [report.Section("Accuracy against disparate impact", body)]
  return common.write(result, directory, title, _sentence(result), sections, made)
