"""The experiment on thresholds by group: its runs, its tables and its page."""

import dataclasses
import pathlib
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import rfjax
from rfjax import data, metrics, report
from rfjax.core import Batch, Transform, logistic_regression, ratio
from rfjax.data._recipes._compas import selected
from rfjax.experiments import _hardt_figure
from rfjax.experiments.hardt import Settings
from rfjax.fairness import postprocessing

SCORES = ("COMPAS score", "model")
SINGLE, PROFIT, PARITY = "single threshold", "maximum profit", "demographic parity"
OPPORTUNITY, ODDS = "equal opportunity", "equalized odds"
DECISIONS = (PROFIT, SINGLE, PARITY, OPPORTUNITY, ODDS)
_CONSTRAINTS = {
  PARITY: "demographic_parity",
  OPPORTUNITY: "true_positive_rate_parity",
  ODDS: "equalized_odds",
}
_RATES = ("accuracy", "true_positive_rate", "false_positive_rate", "selection_rate")
MEASURES = (*_RATES, "loss")
_SHARES = (0.2, 0.3, 0.5)  # the model learns, thresholds are fitted, and all is measured


class Result(NamedTuple):
  """What a run of the experiment leaves.

  Attributes:
    settings: the settings.
    data: the measures on the held-out halves, by scores, decisions and group, and the curves of the
      rows that thresholds were fitted on, by scores; over seed.
    groups: the names of the groups.
    seconds: wall-clock seconds by stage.
  """

  settings: Settings
  data: Any
  groups: tuple[str, ...]
  seconds: dict[str, float]


def read(data_dir: pathlib.Path | None) -> data.Table:
  """COMPAS by race, whose last column is the decile score."""
  table = data.table("compas", data_dir=data_dir, attribute="race")
  columns = data.columns("compas", data_dir=data_dir)["train"]
  score = jnp.asarray(columns["decile_score"][selected(columns, "")], table.batch.x.dtype)
  x = jnp.concatenate([table.batch.x, score[:, None]], axis=1)
  return table._replace(batch=table.batch.replace(x=x), names=(*table.names, "decile_score"))


def filled(train: Batch, part: Batch) -> Batch:
  """A part with the log-odds of both scores, logits [2, N, 2]: the higher, the less risk.

  The score of COMPAS is from 1 to 10 and no log-odds; only its order is read.
  """
  kernel, intercept = logistic_regression(train.x[:, :-1], train.y)
  both = jnp.stack([-part.x[:, -1], part.x[:, :-1] @ kernel + intercept])
  logits = jnp.stack([jnp.zeros_like(both), both], axis=2)
  return jax.vmap(part.fill)(logits)


def transform(decisions: str, settings: Settings, cost: Any) -> Transform:
  """The way to decide."""
  if decisions in _CONSTRAINTS:
    return postprocessing.threshold_optimizer(
      _CONSTRAINTS[decisions], false_positive_cost=cost, grid_size=settings.grid_size
    )
  # A minimum of 0 leaves the threshold of least loss.
  return postprocessing.level_up(0.0, "accuracy", false_positive_cost=cost)


def _one_group(batch: Batch) -> Batch:
  """The rows as one group."""
  return dataclasses.replace(batch, group=jnp.zeros_like(batch.group), num_groups=1)


def _probability(decisions: str, made: Batch) -> jax.Array:
  """How likely each row is decided 1, [N]; 0 or 1 where no lots are drawn."""
  if decisions in _CONSTRAINTS:
    return jax.nn.softmax(made.logits)[:, 1]
  return jnp.argmax(made.logits, axis=1).astype(made.logits.dtype)


def decide(
  decisions: str, settings: Settings, cost: Any, fitted_on: Batch, *parts: Batch
) -> list[jax.Array]:
  """How likely each row of the parts is decided 1, [N] each."""
  method, key = transform(decisions, settings, cost), jax.random.key(0)
  blind = _one_group if decisions == SINGLE else lambda batch: batch
  state = method.init(blind(fitted_on), key=key, spec=None)
  made = (method.update(blind(part), state, key=key)[0] for part in parts)
  return [_probability(decisions, batch) for batch in made]


def _measured(part: Batch, probability: jax.Array, cost: Any) -> dict[str, jax.Array]:
  """The measures of all rows, and then of each group, [1 + G]."""
  groups = {"group": part.group, "num_groups": part.num_groups}
  found = {}
  for name in _RATES:
    rate = metrics.group_rates(name, part.y, probability, **groups)
    found[name] = [jnp.append(jnp.sum(v), v[:, 0]) for v in rate]
  false, (hits, positives) = found["false_positive_rate"][0], found["true_positive_rate"]
  rows = found["selection_rate"][1]
  rates = {name: ratio(hits, size) for name, (hits, size) in found.items()}
  return rates | {"loss": ratio(cost * false + positives - hits, rows)}


def _trainer(table: data.Table, settings: Settings) -> Any:
  """One run: scores, thresholds and what comes of them, on random parts."""

  def of_score(cost: Any, fitting: Batch, held_out: Batch) -> Any:
    made = [decide(d, settings, cost, fitting, fitting, held_out) for d in DECISIONS]
    shown, tested = (jnp.stack(part) for part in zip(*made, strict=True))
    measure = jax.vmap(_measured, (None, 0, None))
    known = measure(fitting, shown, cost)
    rates = ("false_positive_rate", "true_positive_rate")
    points = jnp.stack([known[name][:, 1:] for name in rates], axis=2)
    return measure(held_out, tested, cost), _hardt_figure.curves(fitting)._replace(points=points)

  def train(seed: Any, false_positive_cost: Any) -> dict[str, Any]:
    parts = data.split(table, key=jax.random.key(seed), fractions=_SHARES)
    fitting, held_out = (filled(parts.train, part) for part in (parts.validation, parts.test))
    tested, curves = jax.vmap(of_score, (None, 0, 0))(false_positive_cost, fitting, held_out)
    found: dict[str, Any] = {}
    for i, name in enumerate(SCORES):
      found[name] = {f: v[i] for f, v in curves._asdict().items()} | {
        decisions: {
          group: {measure: values[i, d, g] for measure, values in tested.items()}
          for g, group in enumerate(("all", *table.groups))
        }
        for d, decisions in enumerate(DECISIONS)
      }
    return found

  return train


def run(settings: Settings, *, progress: bool) -> Result:
  """Fits and measures on the parts of every seed."""
  began = time.perf_counter()
  table = read(settings.data_dir)
  found = rfjax.sweep(
    _trainer(table, settings),
    {"false_positive_cost": [settings.false_positive_cost], "seed": range(settings.seeds)},
    lanes=settings.lanes,
    block=settings.block,
    progress=progress,
  ).isel(false_positive_cost=0)
  return Result(settings, found, table.groups, {"runs": time.perf_counter() - began})


def curves(result: Result, name: str) -> _hardt_figure.Curves:
  """What the figure of a score shows: the rows that the first run's thresholds are fitted on."""
  fields = _hardt_figure.Curves._fields
  return _hardt_figure.Curves(*(result.data[f"{name}.{field}"].values[0] for field in fields))


def _values(result: Result, name: str, decisions: str, group: str, measure: str) -> np.ndarray:
  """A measure on the held-out halves, [seeds]."""
  return result.data[f"{name}.{decisions}.{group}.{measure}"].values


def rows(result: Result) -> list[dict[str, Any]]:
  """The measures, one dictionary for each of scores, decisions, group and seed."""
  out = []
  for name in SCORES:
    for decisions in DECISIONS:
      for group in ("all", *result.groups):
        values = {m: _values(result, name, decisions, group, m) for m in MEASURES}
        for i, seed in enumerate(result.data.seed.values):
          fields = {"scores": name, "decisions": decisions, "group": group, "seed": int(seed)}
          out.append(fields | {m: float(v[i]) for m, v in values.items()})
  return out


def _by_group(result: Result, name: str) -> report.Table:
  found = []
  for decisions in DECISIONS:
    for group in ("all", *result.groups):
      cells = (report.mean_interval(_values(result, name, decisions, group, m)) for m in _RATES)
      found.append((decisions, group, *cells))
  return report.Table(
    ("decisions", "group", "accuracy", "TPR", "FPR", "selected"),
    found,
    caption=f"{name}: rates by race on held-out halves",
    notes=(
      f"Means with 95 % t-intervals over {result.settings.seeds} random halves of the same rows,"
      " expected where lots are drawn. Thresholds are fitted on other rows, 30 % of all; the model"
      " has learned from the rest. Label 1, and a decision for it, is no new offence within two"
      " years.",
    ),
  )


def _gaps(result: Result, name: str) -> report.Table:
  one, two = result.groups
  of = lambda decisions, group, measure: _values(result, name, decisions, group, measure)
  found = []
  for decisions in DECISIONS:
    gaps = (
      report.paired_difference(of(decisions, two, m), of(decisions, one, m)) for m in _RATES[1:]
    )
    loss = of(decisions, "all", "loss")
    against = report.paired_difference(loss, of(PROFIT, "all", "loss"))
    found.append((decisions, report.mean_interval(loss), against, *gaps))
  cost = result.settings.false_positive_cost
  return report.Table(
    ("decisions", "loss", "against maximum profit", "TPR gap", "FPR gap", "selection gap"),
    found,
    caption=f"{name}: what fairness costs, and what is left of the gaps, on held-out halves",
    notes=(
      f"Loss a row: {cost:g} for each false positive and 1 for each false negative. Gaps are"
      f" {two} less {one}.",
    ),
  )


def tables(result: Result) -> dict[str, report.Table]:
  """Rates by group, and gaps with their price, for both scores."""
  made = {}
  for name in SCORES:
    short = name.split()[0]
    made |= {f"rates-{short}": _by_group(result, name), f"gaps-{short}": _gaps(result, name)}
  return made


def _sentence(result: Result) -> str:
  one, two = result.groups
  of = lambda decisions, group, measure: _values(result, SCORES[0], decisions, group, measure)

  def gap(decisions: str) -> float:
    rates = (of(decisions, group, "true_positive_rate") for group in (two, one))
    return float(np.mean(np.subtract(*rates)))

  price = float(np.mean(of(OPPORTUNITY, "all", "loss") - of(PROFIT, "all", "loss")))
  return (
    f"With one threshold on the COMPAS score the rates of {two} and {one} defendants who do not"
    f" offend again and are trusted are {gap(SINGLE):.3f} apart; with thresholds by race for equal"
    f" opportunity they are {gap(OPPORTUNITY):+.3f} apart, at a loss that is {price:+.3f} a row"
    " against that of the best thresholds."
  )


def write(result: Result, directory: pathlib.Path) -> pathlib.Path:
  """Writes the page, its tables and the times."""
  made = tables(result)
  figures = {
    name: _hardt_figure.figure(name, curves(result, name), result.groups, DECISIONS)
    for name in SCORES
  }
  sections = [
    report.Section(
      name, [figures[name], made[f"rates-{name.split()[0]}"], made[f"gaps-{name.split()[0]}"]]
    )
    for name in SCORES
  ]
  manifest = report.manifest(
    experiment="hardt",
    false_positive_cost=result.settings.false_positive_cost,
    grid_size=result.settings.grid_size,
    seeds=result.settings.seeds,
    lanes=int(result.data.attrs["lanes"]),
    block=int(result.data.attrs["block"]),
  )
  page = report.page("Thresholds by group", _sentence(result), sections, manifest)
  files = report.write_report(directory, "hardt", page=page, tables=made, times=result.seconds)
  figures[SCORES[0]].png(directory / "hardt.png")
  return files[0]
