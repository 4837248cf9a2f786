"""FR-Train on Adult: what its clean validation set must be, in size and in who labelled it."""

import pathlib
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import rfjax
from rfjax import data, report
from rfjax.experiments import _fr_train_common as common
from rfjax.experiments import _fr_train_compas as compas
from rfjax.experiments.fr_train import Settings

SEEDS = 16
LAMBDA_F = (0.0, 0.1, 0.3, 0.5)
SHARES = (0.1, 0.05, 0.01)  # of the training rows
LABELS = ("true", "crowd")
PLAIN, FAIREST = "plain", "fairness only"


def _trusted(split: data.Split, share: Any, crowd: Any) -> rfjax.Batch:
  """The first validation rows, as many as a share of the training rows, with either's labels."""
  rows: Any = split.validation
  few = jnp.arange(rows.num_rows) < jnp.round(share * split.train.num_rows)
  y = jnp.where(crowd, rows.y, rows.truth.y)
  return rows.replace(y=y, valid=rows.valid & few)


def _split(table: data.Table, seed: Any) -> tuple[data.Split, jax.Array]:
  """The parts; training and test rows have their true labels, validation rows the crowd's too."""
  split, key = compas._split(table, seed)
  true = lambda rows: rows.replace(y=rows.truth.y)
  return split._replace(train=true(split.train), test=true(split.test)), key


def run(settings: Settings, *, progress: bool = True) -> common.Result:
  """Trains every lambda_f by every validation set, and without one, over splits and seeds."""
  schedule, lambda_f, lambda_r = common.weights(settings, LAMBDA_F)
  seeds = settings.seeds or SEEDS
  table = data.table("crowd_adult", data_dir=settings.data_dir)
  true = table.batch.replace(y=table.batch.truth.y)
  began = time.perf_counter()
  group, costs = compas._attacked(table._replace(batch=true), seeds)
  seconds = {"attack": time.perf_counter() - began}

  def train(seed: Any, lambda_f: Any, share: Any, crowd: Any, robust: bool) -> dict[str, Any]:
    split, key = _split(table, seed)
    trusted = _trusted(split, share, crowd)
    poisoned = compas._poisoned(split, group).replace(trusted=trusted)
    how = (lambda_r, "official") if robust else (0.0, None)
    state = common.train(schedule, poisoned, key, lambda_f, how[0], reweight=how[1])
    return {
      "validation": common.measure(state, trusted),
      "test": common.measure(state, split.test),
    }

  grid = {"seed": range(seeds), "lambda_f": lambda_f}
  sets = {"share": SHARES, "crowd": (0, 1)}
  sweeps = {
    "without D_R": (lambda seed, lambda_f: train(seed, lambda_f, SHARES[0], 0, False), grid),
    "with D_R": (
      lambda seed, lambda_f, share, crowd: train(seed, lambda_f, share, crowd, True),
      grid | sets,
    ),
  }
  results = common.sweep_all(settings, sweeps, seconds, progress)
  people = {"people": table.batch.num_rows, "trained": _split(table, 0)[0].train.num_rows}
  facts = people | {"lambda_r": lambda_r, "attacked": group, "costs": costs}
  return common.Result(settings, results, facts, seconds)


def rows(result: common.Result) -> list[dict[str, Any]]:
  """A row for each run; accuracy and disparate impact are those on the test set."""
  found = []
  for name, table in result.data.items():
    robust = name == "with D_R"
    for values in table.to_dataframe().reset_index().to_dict("records"):
      found.append(
        {
          "data": "adult",
          "variant": "poisoned",
          "lambda_f": float(values["lambda_f"]),
          "lambda_r": result.facts["lambda_r"] if robust else 0.0,
          "validation_share": float(values.get("share", SHARES[0])),
          "validation_labels": LABELS[int(values.get("crowd", 0))],
        }
        | common.scores(values)
      )
  return found


def _picked(table: Any, pick: np.ndarray | None = None) -> dict[str, np.ndarray]:
  """Test measures and lambda_f of a setting picked on the validation set, each [seeds]."""
  of = lambda part, m: table[f"{part}.{m}"].transpose("seed", "lambda_f").values
  names = ("accuracy", "disparate_impact")
  if pick is None:
    pick = 1 + compas.select(*(of("validation", m)[:, 1:] for m in names))
  at = np.arange(len(pick)), pick
  accuracy, impact = (of("test", m)[at] for m in names)
  return {
    "accuracy": accuracy,
    "disparate impact": impact,
    "λ_f": np.array(table.lambda_f.values[pick], float),
  }


def _chosen(result: common.Result) -> dict[tuple[str, float | None, str], dict[str, np.ndarray]]:
  """Measures on the test set by method, share and labels of the validation set."""
  alone, robust = result.data["without D_R"], result.data["with D_R"]
  found = {
    (PLAIN, None, ""): _picked(alone, np.zeros(alone.sizes["seed"], int)),
    (FAIREST, SHARES[0], LABELS[0]): _picked(alone),
  }
  for crowd, labels in enumerate(LABELS):
    for share in SHARES:
      found["FR-Train", share, labels] = _picked(robust.sel(share=share, crowd=crowd))
  return found


def tables(result: common.Result) -> dict[str, report.Table]:
  """FR-Train by its validation set against plain training and fairness alone."""
  if result.data["with D_R"].sizes["seed"] < 2 or result.data["with D_R"].sizes["lambda_f"] < 2:
    return {}
  found = _chosen(result)
  plain = found[PLAIN, None, ""]
  lines = []
  for (method, share, labels), values in found.items():
    trusted = "" if share is None or method == FAIREST else f", {share:.0%} {labels}"
    cells = [method + trusted, float(values["λ_f"].mean())]
    for measure in compas.MEASURES:
      same = method == PLAIN
      gap = None if same else report.paired_difference(values[measure], plain[measure])
      cells += [report.mean_interval(values[measure]), gap]
    lines.append(cells)
  facts = result.facts
  return {
    "validation": report.Table(
      ("method", "mean λ_f", "accuracy", "Δ to plain", "DI", "Δ DI to plain"),
      lines,
      caption=f"Adult, {compas.RATE:.0%} of the training labels flipped, by the validation set",
      notes=(
        *sentences(result),
        f"Means with 95 % t-intervals over {len(plain['accuracy'])} splits and seeds, differences"
        " paired by seed. DI: disparate impact, the ratio of selection rates.",
        f"The {facts['people']:,} people whom a crowd has judged; {facts['trained']:,} are trained"
        " on, and validation sets are a share of as many. λ_f is picked on the validation set: the"
        f" most accurate with a DI of at least {compas.FAIR:g} there, else the largest DI; λ_r ="
        f" {facts['lambda_r']:g} in FR-Train.",
      ),
    )
  }


def sentences(result: common.Result) -> tuple[str, ...]:
  """What FR-Train gains by each validation set, and how much of it hangs on the set."""
  found = _chosen(result)

  def against(key: Any, other: Any, measure: str = "accuracy") -> str:
    gap = report.paired_difference(found[key][measure], found[other][measure])
    return f"{float(gap.mean):+.3f} ± {float(gap.half_width):.3f}"

  def gains(labels: str) -> str:
    sets = [(f"{share:.0%}", ("FR-Train", share, labels)) for share in SHARES]
    return ", ".join(f"{against(key, (PLAIN, None, ''))} with {share}" for share, key in sets)

  first, last = (("FR-Train", SHARES[0], labels) for labels in LABELS)
  return (
    f"Accuracy of FR-Train against plain training, by a validation set with true labels:"
    f" {gains('true')}; with the crowd's labels: {gains('crowd')}.",
    f"The crowd's labels in the place of true ones, {SHARES[0]:.0%}: accuracy"
    f" {against(last, first)}, disparate impact {against(last, first, 'disparate impact')}.",
  )


def write(result: common.Result, directory: pathlib.Path) -> pathlib.Path:
  """Writes the page, the tables and the times."""
  made = tables(result)
  sections, lead = [], "One run says nothing about differences."
  if made:
    found = _chosen(result)
    drawn = []
    for labels in LABELS:
      sets = [found["FR-Train", share, labels] for share in SHARES]
      accuracy, impact = (np.stack([s[m] for s in sets]) for m in compas.MEASURES)
      names = [f"{share:.0%}" for share in SHARES]
      drawn.append(common.path(f"FR-Train, {labels} labels", accuracy, impact, names))
    for method, key in ((PLAIN, (PLAIN, None, "")), (FAIREST, (FAIREST, SHARES[0], LABELS[0]))):
      values = found[key]
      accuracy, impact = (values[m][None] for m in compas.MEASURES)
      drawn.append(common.path(method, accuracy, impact))
    figure = report.frontier(
      drawn,
      xlabel="disparate impact (ratio of selection rates)",
      ylabel="accuracy",
      references=[report.Reference(compas.FAIR, "four-fifths rule")],
      caption="Accuracy and disparate impact on the clean test rows by size and labels of the"
      " validation set; bars are 95 % intervals of the mean over splits and seeds.",
    )
    sections = [
      report.Section("Accuracy against disparate impact", (figure,)),
      report.Section("Validation sets", (made["validation"],)),
    ]
    lead = sentences(result)[0]
  return common.write(result, directory, "FR-Train on Adult", lead, sections, made)
