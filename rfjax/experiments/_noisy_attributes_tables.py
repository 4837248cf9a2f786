"""What the noisy-attributes experiment shows: its rows, tables, lines and page."""

import pathlib
from typing import Any

import numpy as np

from rfjax import report
from rfjax.experiments._noisy_attributes import Result
from rfjax.experiments.noisy_attributes import METHODS

_LINES = 6  # that one figure tells apart


def _values(result: Result, name: str, measure: str) -> np.ndarray:
  """A measure of all runs of a method, [rates, seeds]."""
  return result.data[name][measure].transpose("rate", "seed").values


def rows(result: Result) -> list[dict[str, Any]]:
  """The runs, one dictionary each."""
  out = []
  for name in result.data:
    found = {m: _values(result, name, m) for m in ("accuracy", "violation")}
    for i, rate in enumerate(result.settings.rates):
      for seed in range(result.settings.seeds):
        values = {m: float(v[i, seed]) for m, v in found.items()}
        out.append({"method": name, "rate": float(rate), "seed": seed} | values)
  return out


def _pairs(result: Result) -> list[tuple[str, str]]:
  """The methods with a correction, and what each does without it."""
  pairs = [(name, METHODS[name]) for name in result.data]
  return [(name, naive) for name, naive in pairs if naive is not None]


def tables(result: Result) -> dict[str, report.Table]:
  """What corrections change, and every method at every rate."""
  interval, settings = report.mean_interval, result.settings
  changed, every = [], []
  for name, naive in _pairs(result):
    for i, rate in enumerate(settings.rates):
      differences = [
        report.paired_difference(_values(result, name, m)[i], _values(result, naive, m)[i])
        for m in ("violation", "accuracy")
      ]
      changed.append((name, f"{rate:g}", *differences))
  for name in result.data:
    for i, rate in enumerate(settings.rates):
      pair = (interval(_values(result, name, m)[i]) for m in ("violation", "accuracy"))
      every.append((name, f"{rate:g}", *pair))
  note = (
    f"Over {settings.seeds} splits and seeds, on test rows with their true groups, by sex;"
    " violation: demographic parity difference, of decisions by lot what is expected of it. Noise"
    " strikes training rows only; corrections are given its rate."
  )
  made = {
    "methods": report.Table(
      ("method", "rate", "violation", "accuracy"),
      every,
      caption=f"{settings.data}: every method at every rate of wrong groups",
      notes=(f"Means with 95 % t-intervals. {note}",),
    )
  }
  if changed:
    made["corrections"] = report.Table(
      ("method", "rate", "violation - naive", "accuracy - naive"),
      changed,
      caption=f"{settings.data}: what a correction changes",
      notes=(f"Paired differences to the same method without it. {note}",),
    )
  return made


def _figures(result: Result, measure: str) -> list[report.Figure]:
  """A measure along the rates: a correction and what it corrects stand in one figure."""
  settings = result.settings
  drawn = []
  for name in result.data:
    y = report.mean_interval(_values(result, name, measure))
    mean, half = np.asarray(y.mean), np.asarray(y.half_width)
    drawn.append(report.Series(name, settings.rates, mean, y_interval=half))
  return [
    report.frontier(
      drawn[start : start + _LINES],
      xlabel="rate of wrong groups",
      ylabel=f"{measure} (true groups)" if measure == "violation" else measure,
      caption=f"{measure.capitalize()} on the test set of {settings.data}; bars and bands are 95 %"
      " intervals of the mean over splits and seeds.",
    )
    for start in range(0, len(drawn), _LINES)
    if len(settings.rates) > 1
  ]


def _sentence(result: Result) -> str:
  settings = result.settings
  place = int(np.argmin(np.abs(np.array(settings.rates) - 0.2)))
  better = []
  for name, naive in _pairs(result):
    apart = report.paired_difference(
      _values(result, name, "violation")[place], _values(result, naive, "violation")[place]
    )
    if apart.mean < -apart.half_width:
      better.append(name)
  return (
    f"With {settings.rates[place]:.0%} of the groups wrong on {settings.data},"
    f" {len(better)} of {len(_pairs(result))} corrections leave less of a violation on the true"
    f" groups than the same method without one{': ' if better else ''}{', '.join(better)}."
  )


def write(result: Result, directory: pathlib.Path) -> pathlib.Path:
  """Writes the page, the tables and the times."""
  made, settings = tables(result), result.settings
  first = next(iter(result.data.values()))
  manifest = report.manifest(
    experiment="noisy-attributes",
    data=settings.data,
    methods=", ".join(result.data),
    bound=settings.bound,
    ratio=settings.ratio,
    strength=settings.strength,
    epochs=settings.epochs,
    learning_rate=settings.learning_rate,
    seeds=settings.seeds,
    lanes=int(first.attrs["lanes"]),
    block=int(first.attrs["block"]),
  )
  body = [*_figures(result, "violation"), *([made["corrections"]] if "corrections" in made else [])]
  sections = [report.Section("Violation on the true groups", body)] if body else []
  lines = _figures(result, "accuracy")
  sections += [report.Section("Accuracy", lines)] if lines else []
  sections.append(report.Section("Every method", [made["methods"]]))
  page = report.page("Noisy attributes", _sentence(result), sections, manifest)
  name = f"noisy-attributes-{settings.data}"
  return report.write_report(directory, name, page=page, tables=made, times=result.seconds)[0]
