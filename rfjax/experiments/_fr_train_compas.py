"""FR-Train on COMPAS: the method and its ablations, under labels flipped against one group."""

import pathlib
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import rfjax
from rfjax import data, noise, report
from rfjax.core import logistic_regression
from rfjax.experiments import _fr_train_common as common
from rfjax.experiments.fr_train import Settings

SEEDS = 32
LAMBDA_F = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
RATE = 0.1
FAIR = 0.8  # the four-fifths rule, which the validation set is asked for
GROUPS = {"sex": ("women", "men"), "race": ("African-Americans", "Caucasians")}
PLAIN, ROBUST, FAIREST, BOTH = "plain", "robustness only", "fairness only", "FR-Train"
CONSTANT, CLEAN = "constant answer", "plain, clean labels"
METHODS = (CONSTANT, CLEAN, PLAIN, ROBUST, FAIREST, BOTH)
MEASURES = ("accuracy", "disparate impact")


def _split(table: data.Table, seed: Any) -> tuple[data.Split, jax.Array]:
  split_key, fit_key = jax.random.split(jax.random.key(seed))
  return data.split(table, key=split_key), fit_key


def _poisoned(split: data.Split, group: int) -> rfjax.Batch:
  flip = noise.margin_flip(RATE, group=group)
  return rfjax.transform(flip, split.train, key=jax.random.key(0))


def _attacked(table: data.Table, seeds: int) -> tuple[int, list[float]]:
  """The group whose flips cost a logistic regression most accuracy on clean validation rows."""

  def accuracy(seed: Any, group: int) -> jax.Array:
    split, _ = _split(table, seed)
    poisoned = _poisoned(split, group)
    kernel, intercept = logistic_regression(poisoned.x, poisoned.y)
    said = split.validation.x @ kernel + intercept > 0
    return jnp.mean(said == split.validation.y)

  costs = [
    rfjax.sweep(lambda seed, g=g: accuracy(seed, g), {"seed": range(seeds)}, progress=False)
    for g in range(2)
  ]
  means = [float(found.value.mean()) for found in costs]
  return int(np.argmin(means)), means


def run(settings: Settings, *, progress: bool = True) -> common.Result:
  """Trains every lambda_f with and without the robustness discriminator, over splits and seeds."""
  schedule, lambda_f, lambda_r = common.weights(settings, LAMBDA_F)
  seeds = settings.seeds or SEEDS
  table = data.table("compas", data_dir=settings.data_dir, attribute=settings.attribute)
  began = time.perf_counter()
  group, costs = _attacked(table, SEEDS)
  seconds = {"attack": time.perf_counter() - began}

  def train(seed: Any, lambda_f: Any, lambda_r: float, reweight: str | None) -> dict[str, Any]:
    split, key = _split(table, seed)
    poisoned = _poisoned(split, group).replace(trusted=split.validation)
    state = common.train(schedule, poisoned, key, lambda_f, lambda_r, reweight=reweight)
    return {
      "validation": common.measure(state, split.validation),
      "test": common.measure(state, split.test),
    }

  def reference(seed: Any) -> dict[str, Any]:
    split, key = _split(table, seed)
    clean = split.train.replace(trusted=split.validation)
    state = common.train(schedule, clean, key, 0.0, 0.0, reweight=None)
    return {"test": common.measure(state, split.test), "constant": jnp.mean(split.test.y == 1)}

  seed, grid = {"seed": range(seeds)}, {"seed": range(seeds), "lambda_f": lambda_f}
  sweeps = {
    "reference": (reference, seed),
    "with D_R": (lambda seed, lambda_f: train(seed, lambda_f, lambda_r, "official"), grid),
    "without D_R": (lambda seed, lambda_f: train(seed, lambda_f, 0.0, None), grid),
  }
  results = common.sweep_all(settings, sweeps, seconds, progress)
  facts = {"lambda_r": lambda_r, "attacked": group, "costs": costs}
  return common.Result(settings, results, facts, seconds)


def _halves(result: common.Result) -> dict[str, float]:
  """The lambda_r of the two sweeps on flipped labels."""
  return {"without D_R": 0.0, "with D_R": result.facts["lambda_r"]}


def rows(result: common.Result) -> list[dict[str, Any]]:
  """A row for each run; accuracy and disparate impact are those on the test set."""
  found = []
  for name, lambda_r in _halves(result).items():
    table = result.data[name]
    for values in table.to_dataframe().reset_index().to_dict("records"):
      found.append(
        {
          "data": "compas",
          "variant": "poisoned",
          "attribute": result.settings.attribute,
          "lambda_f": float(values["lambda_f"]),
          "lambda_r": lambda_r,
        }
        | common.scores(values)
      )
  return found


def select(accuracy: np.ndarray, impact: np.ndarray) -> np.ndarray:
  """Picks a setting for each run by its validation set.

  The most accurate of the settings whose disparate impact meets the four-fifths rule there; the one
  of the largest disparate impact where none does.

  Args:
    accuracy: on the validation set, [runs, settings].
    impact: disparate impact on the validation set, [runs, settings].

  Returns:
    The picked settings, int [runs].
  """
  fair = impact >= FAIR
  best = np.where(fair, accuracy, -np.inf).argmax(1)
  return np.where(fair.any(1), best, impact.argmax(1))


def _chosen(result: common.Result) -> dict[str, dict[str, np.ndarray]]:
  """Accuracy, disparate impact and lambda_f on the test set, by method, [seeds]."""
  reference = result.data["reference"]
  constant = reference["constant"].values
  found = {
    CONSTANT: {"accuracy": constant, "disparate impact": np.ones_like(constant)},
    CLEAN: {
      "accuracy": reference["test.accuracy"].values,
      "disparate impact": reference["test.disparate_impact"].values,
    },
  }
  for name, alone, grid in (("without D_R", PLAIN, FAIREST), ("with D_R", ROBUST, BOTH)):
    table = result.data[name]
    values = {k: table[k].values for k in map(str, table.data_vars)}
    validation = (values[f"validation.{k}"][:, 1:] for k in ("accuracy", "disparate_impact"))
    picks = {alone: np.zeros(table.sizes["seed"], int)}
    if table.sizes["lambda_f"] > 1:
      picks[grid] = 1 + select(*validation)
    for method, pick in picks.items():
      at = np.arange(len(pick)), pick
      found[method] = {
        "accuracy": values["test.accuracy"][at],
        "disparate impact": values["test.disparate_impact"][at],
        "λ_f": np.array(table.lambda_f.values[pick], float),
      }
  return found


def _cells(found: dict[str, Any], method: str) -> list[Any]:
  """A row of the comparison: the mean picked lambda_f, and each measure with its difference."""
  values = found[method]
  cells: list[Any] = [method, float(values["λ_f"].mean()) if "λ_f" in values else None]
  for measure in MEASURES:
    same = method == PLAIN
    gap = None if same else report.paired_difference(values[measure], found[PLAIN][measure])
    mean = report.mean_interval(values[measure])
    cells += [mean if float(mean.half_width) else float(mean.mean), gap]
  return cells


def _compared(result: common.Result) -> report.Table:
  found = _chosen(result)
  groups, costs = GROUPS[result.settings.attribute], result.facts["costs"]
  left = " and ".join(f"{costs[i]:.3f} after flips among {groups[i]}" for i in range(2))
  return report.Table(
    ("method", "mean λ_f", "accuracy", "Δ to plain", "DI", "Δ DI to plain"),
    [_cells(found, method) for method in METHODS if method in found],
    caption=f"COMPAS, {RATE:.0%} of the training labels flipped, among"
    f" {groups[result.facts['attacked']]}",
    notes=(
      *sentences(result),
      f"Means with 95 % t-intervals over {len(found[PLAIN]['accuracy'])} splits and seeds,"
      " differences paired by seed. DI: disparate impact, the ratio of selection rates.",
      f"λ_r = {result.facts['lambda_r']:g} where there is robustness. λ_f is picked on the clean"
      f" validation rows: the most accurate with a DI of at least {FAIR:g}, else the largest DI.",
      "The flips go to the group in which they cost a logistic regression more validation accuracy:"
      f" it has {left}.",
    ),
  )


def _verdict(found: dict[str, Any], method: str, other: str, measure: str) -> str:
  """What the paired interval says of one method against another."""
  difference = report.paired_difference(found[method][measure], found[other][measure])
  mean, half_width = float(difference.mean), float(difference.half_width)
  word = "higher" if mean > 0 else "lower"
  if abs(mean) <= half_width:
    word = "not distinguishable"
  return f"{word} ({mean:+.3f} ± {half_width:.3f})"


def sentences(result: common.Result) -> tuple[str, ...]:
  """What the paired intervals say of FR-Train and its ablations, the main finding first."""
  found = _chosen(result)
  if len(found[PLAIN]["accuracy"]) < 2 or BOTH not in found:
    return ("One run says nothing about differences.",)
  against = lambda method, other, measure: _verdict(found, method, other, measure)
  lead = (
    f"FR-Train against plain training on flipped labels: disparate impact"
    f" {against(BOTH, PLAIN, 'disparate impact')}, accuracy {against(BOTH, PLAIN, 'accuracy')}."
  )
  chance = (
    f"Against the constant answer, whose disparate impact is 1, FR-Train's accuracy is"
    f" {against(BOTH, CONSTANT, 'accuracy')}; against plain training on clean labels it is"
    f" {against(BOTH, CLEAN, 'accuracy')}."
  )
  ablations = "; ".join(
    f"{method}: disparate impact {against(method, PLAIN, 'disparate impact')}, accuracy"
    f" {against(method, PLAIN, 'accuracy')}"
    for method in (FAIREST, ROBUST)
  )
  return lead, chance, f"Ablations against plain training: {ablations}."


def _path(table: Any, label: str) -> report.Series:
  at = table.lambda_f.values
  names = [f"λ = {value:g}" if value in (at[0], at[-1]) else "" for value in at]
  accuracy, impact = (table[f"test.{name}"].values.T for name in ("accuracy", "disparate_impact"))
  return common.path(label, accuracy, impact, names)


def _grid(result: common.Result) -> report.Table:
  rows = []
  for name, lambda_r in _halves(result).items():
    table = result.data[name]
    for i, at in enumerate(table.lambda_f.values):
      cells = [
        report.mean_interval(table[f"test.{m}"].values[:, i])
        for m in ("accuracy", "disparate_impact")
      ]
      rows.append((f"{at:g}", f"{lambda_r:g}", *cells))
  return report.Table(
    ("λ_f", "λ_r", "accuracy", "disparate impact"),
    rows,
    caption="Every setting, on the test set",
    notes=("Means with 95 % t-intervals over splits and seeds.",),
  )


def tables(result: common.Result) -> dict[str, report.Table]:
  """The methods against plain training, and every setting."""
  if result.data["with D_R"].sizes["seed"] < 2:
    return {}
  return {"methods": _compared(result), "settings": _grid(result)}


def write(result: common.Result, directory: pathlib.Path) -> pathlib.Path:
  """Writes the page, the tables and the times."""
  made = tables(result)
  sections = []
  if made:
    figure = report.frontier(
      [
        _path(result.data["with D_R"], "with the robustness discriminator"),
        _path(result.data["without D_R"], "without it"),
      ],
      xlabel="disparate impact (ratio of selection rates)",
      ylabel="accuracy",
      references=[report.Reference(FAIR, "four-fifths rule")],
      caption="Accuracy and disparate impact on the clean test rows, along λ_f; bars and bands are"
      " 95 % intervals of the mean over splits and seeds.",
    )
    sections = [
      report.Section("Accuracy against disparate impact", (figure,)),
      report.Section("Methods", (made["methods"],)),
      report.Section("Settings", (made["settings"],)),
    ]
  return common.write(
    result, directory, "FR-Train on COMPAS", " ".join(sentences(result)[:2]), sections, made
  )
