"""The crowd experiment: labels of five ways, their errors by group, its tables and its page."""

import pathlib
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import rfjax
from rfjax import aggregation, data, report
from rfjax.core import ratio
from rfjax.experiments.crowd import Settings

_NAMES = {"crowd_adult": "Adult", "crowd_compas": "COMPAS"}
_ATTRIBUTES = ("gender", "race")
_FULL = ("first answer", "majority", "mean score", "Dawid-Skene")  # what needs no true label
_FILTERED = ("majority of filtered", "Dawid-Skene of filtered")
_MIDDLE = 2.5  # of the scale of 1 to 4


class Crowd(NamedTuple):
  """A data set of answers.

  Attributes:
    answers: no and yes.
    scored: the same answers on their scale of 1 to 4, as codes from 0.
    truth: true labels [N].
    groups: for each attribute the codes [N] and their names.
  """

  answers: aggregation.Answers
  scored: aggregation.Answers
  truth: jax.Array
  groups: dict[str, tuple[jax.Array, tuple[str, ...]]]


class Errors(NamedTuple):
  """How wrong labels are on some rows.

  Attributes:
    rows: how many rows there are, [].
    wrong: share of the labels that are wrong.
    one_if_zero: P(label 1 | truth 0).
    zero_if_one: P(label 0 | truth 1).
  """

  rows: jax.Array
  wrong: jax.Array
  one_if_zero: jax.Array
  zero_if_one: jax.Array


class Result(NamedTuple):
  """What a run of the experiment leaves.

  Attributes:
    settings: the settings.
    full: for each data set and way the errors on all rows, by group; "all" is every row.
    data: for each data set the errors on the held-out halves, by way, with dimension seed.
    groups: for each data set the names of the groups after "all".
    workers: for each data set how many workers there are.
    seconds: wall-clock seconds by stage.
  """

  settings: Settings
  full: dict[str, dict[str, dict[str, Errors]]]
  data: dict[str, Any]
  groups: dict[str, tuple[str, ...]]
  workers: dict[str, int]
  seconds: dict[str, float]


def _read(name: str, settings: Settings) -> Crowd:
  table = {a: data.table(name, data_dir=settings.data_dir, attribute=a) for a in _ATTRIBUTES}
  binary, scored = (
    data.answers(name, data_dir=settings.data_dir, scores=scores) for scores in (False, True)
  )
  groups = {a: (table[a].batch.group, table[a].groups) for a in _ATTRIBUTES}
  truth: Any = table[_ATTRIBUTES[0]].batch.truth.y
  return Crowd(binary, scored, truth, groups)


def _labels(crowd: Crowd, steps: int) -> dict[str, jax.Array]:
  """Labels of the ways that need no true one, [N] each."""
  width = crowd.answers.label.size // crowd.answers.num_items
  first = crowd.answers.label.reshape(-1, width)[:, 0]
  score = aggregation.mean_score(crowd.scored, scores=jnp.arange(1, 5))
  found = (
    first,
    aggregation.majority(crowd.answers),
    (score > _MIDDLE).astype(jnp.int32),
    aggregation.dawid_skene(crowd.answers, steps=steps).label,
  )
  return dict(zip(_FULL, found, strict=True))


def _errors(label: jax.Array, truth: jax.Array, rows: jax.Array) -> Errors:
  """Errors on the rows of a mask; NaN where there is nothing to count."""
  wrong, one = label != truth, truth == 1
  share = lambda mask: ratio(jnp.sum(wrong & mask), jnp.sum(mask), empty=jnp.nan)
  return Errors(jnp.sum(rows), share(rows), share(rows & ~one), share(rows & one))


def _masks(crowd: Crowd) -> dict[str, jax.Array]:
  """The rows of all and of each group."""
  masks = {"all": jnp.ones(crowd.truth.shape, bool)}
  for codes, names in crowd.groups.values():
    masks |= {name: codes == code for code, name in enumerate(names)}
  return masks


def _halves(crowd: Crowd, settings: Settings) -> Any:
  """One run: workers are measured on a random half of the rows, and labels on the other one."""
  labels, masks = _labels(crowd, settings.steps), _masks(crowd)

  def train(seed: Any, least: Any) -> dict[str, Any]:
    key = jax.random.key(seed)
    held_out = jax.random.permutation(key, crowd.truth.size) % 2 == 0
    known = jax.nn.one_hot(crowd.truth, 2) * ~held_out[:, None]
    accuracy, count = aggregation.worker_accuracy(crowd.answers, known)
    # Of a worker without an answer in that half nothing is known: the answers stay.
    accuracy = jnp.where(count > 0, accuracy, 1.0)
    kept = aggregation.filter_workers(crowd.answers, accuracy, least=least)
    unseen = aggregation.majority(crowd.answers)
    filtered = (
      aggregation.majority(kept),
      aggregation.dawid_skene(kept, steps=settings.steps).label,
    )
    filtered = [jnp.where(kept.answered, label, unseen) for label in filtered]
    ways = labels | dict(zip(_FILTERED, filtered, strict=True))
    found = {
      way: {group: _errors(label, crowd.truth, held_out & rows) for group, rows in masks.items()}
      for way, label in ways.items()
    }
    used = jnp.zeros(crowd.answers.num_workers, bool).at[kept.worker].max(kept.valid)
    return found | {"workers kept": jnp.sum(used)}

  return train


def run(settings: Settings, *, progress: bool) -> Result:
  """Aggregates the answers of both data sets."""
  full, halves, groups, workers, seconds = {}, {}, {}, {}, {}
  for name, title in _NAMES.items():
    began = time.perf_counter()
    crowd = _read(name, settings)
    masks = _masks(crowd)
    full[title] = {
      way: {group: _errors(label, crowd.truth, rows) for group, rows in masks.items()}
      for way, label in _labels(crowd, settings.steps).items()
    }
    groups[title], workers[title] = tuple(masks)[1:], crowd.answers.num_workers
    axes = {"least": [settings.least], "seed": range(settings.seeds)}
    halves[title] = rfjax.sweep(
      _halves(crowd, settings),
      axes,
      lanes=settings.lanes,
      block=settings.block,
      progress=progress,
    ).isel(least=0)
    seconds[title] = time.perf_counter() - began
  return Result(settings, full, halves, groups, workers, seconds)


def _held_out(result: Result, title: str, way: str, group: str, measure: str) -> np.ndarray:
  """A measure on the held-out halves, [seeds]."""
  return result.data[title][f"{way}.{group}.{measure}"].values


def rows(result: Result) -> list[dict[str, Any]]:
  """The errors, one dictionary for each data set, way, group and seed."""
  out = []
  for title, ways in result.full.items():
    for way in (*_FULL, *_FILTERED):
      for group in ("all", *result.groups[title]):
        fields = {"data": title, "labels": way, "group": group}
        if way in ways:
          found = {k: float(v) for k, v in ways[way][group]._asdict().items()}
          out.append({**fields, "seed": None, **found})
        halves = {m: _held_out(result, title, way, group, m) for m in Errors._fields}
        for i, seed in enumerate(result.data[title].seed.values):
          row = {m: float(values[i]) for m, values in halves.items()}
          out.append({**fields, "seed": int(seed), **row})
  return out


def _by_group(result: Result, title: str) -> report.Table:
  rows = []
  for group in ("all", *result.groups[title]):
    for way in _FULL:
      errors = result.full[title][way][group]
      rates = map(float, (errors.wrong, errors.one_if_zero, errors.zero_if_one))
      rows.append((group, way, int(errors.rows), *rates))
  return report.Table(
    ("group", "labels", "rows", "wrong", "P(1|0)", "P(0|1)"),
    rows,
    caption=f"{title}: wrong labels of the crowd by group, on all rows",
    notes=("P(1|0): share of the rows whose true label is 0 that are labelled 1.",),
  )


def _on_halves(result: Result, title: str) -> report.Table:
  seeds, rows = result.settings.seeds, []
  measure = lambda way, group, name: _held_out(result, title, way, group, name)
  base = measure("majority", "all", "wrong")
  for way in (*_FULL, *_FILTERED):
    wrong = measure(way, "all", "wrong")
    gaps = []
    for pair in _pairs(result.groups[title]):
      one, two = (measure(way, group, "wrong") for group in pair)
      gaps.append(report.mean_interval(one - two))
    rows.append((way, report.mean_interval(wrong), report.paired_difference(wrong, base), *gaps))
  pairs = [f"{one} - {two}" for one, two in _pairs(result.groups[title])]
  kept = report.mean_interval(result.data[title]["workers kept"].values.astype(float))
  return report.Table(
    ("labels", "wrong", "against majority", *pairs),
    rows,
    caption=f"{title}: what filtering workers does, on held-out halves",
    notes=(
      f"Means with 95 % t-intervals over {seeds} random halves of the same rows. Filtered: workers"
      f" who are right in less than {result.settings.least:g} of their answers on the other half"
      f" are left out; {kept.mean:.0f} of {result.workers[title]} stay. The last columns are"
      " differences of the share of wrong labels between groups.",
    ),
  )


def _pairs(groups: tuple[str, ...]) -> list[tuple[str, str]]:
  """The two groups of each attribute."""
  return [(groups[i], groups[i + 1]) for i in range(0, len(groups), 2)]


def tables(result: Result) -> dict[str, report.Table]:
  """Errors by group on all rows, and what filtering does on held-out halves."""
  made = {f"groups-{title}": _by_group(result, title) for title in result.full}
  return made | {f"filtering-{title}": _on_halves(result, title) for title in result.full}


def _sentence(result: Result) -> str:
  parts = []
  for title, ways in result.full.items():
    groups = ways["majority"]
    one, two = _pairs(result.groups[title])[0]
    rate = lambda name, groups=groups: f"{float(groups[name].one_if_zero):.3f}"
    parts.append(f"{title}: {one} {rate(one)}, {two} {rate(two)}")
  return (
    "Human label noise depends on the group. Share of negatives that a majority of eleven workers"
    f" calls positive: {'; '.join(parts)}."
  )


def _figure(result: Result, title: str) -> report.Figure:
  paths = []
  for group in result.groups[title]:
    points = [result.full[title][way][group] for way in _FULL]
    x, y = ([float(getattr(p, name)) for p in points] for name in Errors._fields[2:])
    names = _FULL if group == result.groups[title][0] else None
    paths.append(report.Series(group, x, y, names=names))
  return report.frontier(
    paths,
    xlabel="P(label 1 | truth 0)",
    ylabel="P(label 0 | truth 1)",
    caption=(
      f"{title}: errors of the crowd's labels by group. Each line goes from the first answer over"
      " the majority and the mean score to Dawid and Skene's labels."
    ),
  )


def write(result: Result, directory: pathlib.Path) -> pathlib.Path:
  """Writes the page, its tables and the times."""
  made = tables(result)
  figures = {title: _figure(result, title) for title in result.full}
  sections = [
    report.Section(title, [figures[title], made[f"groups-{title}"], made[f"filtering-{title}"]])
    for title in result.full
  ]
  first = next(iter(result.data.values()))
  manifest = report.manifest(
    experiment="crowd",
    least=result.settings.least,
    seeds=result.settings.seeds,
    steps=result.settings.steps,
    lanes=int(first.attrs["lanes"]),
    block=int(first.attrs["block"]),
  )
  page = report.page("What a crowd makes of labels", _sentence(result), sections, manifest)
  files = report.write_report(directory, "crowd", page=page, tables=made, times=result.seconds)
  next(iter(figures.values())).png(directory / "crowd.png")
  return files[0]
