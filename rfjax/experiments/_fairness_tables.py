"""What the fairness experiment shows: its rows, tables, frontiers and page."""

import pathlib
from typing import Any

import numpy as np

from rfjax import report
from rfjax.experiments._fairness import DISPARITIES, Result
from rfjax.experiments._fairness_methods import RECIPES
from rfjax.experiments.fairness import BASELINE
from rfjax.report._hull import lower_hull

_LINES = 6  # that one figure tells apart
_ROOMS = {
  "data": "Training data set (pre-processing)",
  "training": "Training algorithm (in-processing)",
  "output": "Trained model (post-processing)",
}


def _values(result: Result, name: str, measure: str, part: str = "test") -> np.ndarray:
  """A measure of all runs of a method, [strengths, seeds]."""
  return result.data[name][f"{part}.{measure}"].transpose("strength", "seed").values


def rows(result: Result) -> list[dict[str, Any]]:
  """The runs, one dictionary each."""
  out, measures = [], ("accuracy", *DISPARITIES)
  for name in result.data:
    found = {m: _values(result, name, m) for m in measures}
    found |= {f"validation_{m}": _values(result, name, m, "validation") for m in measures}
    for i, strength in enumerate(RECIPES[name].strengths):
      for seed in range(result.settings.seeds):
        values = {m: float(v[i, seed]) for m, v in found.items()}
        out.append({"method": name, "strength": float(strength), "seed": seed} | values)
  return out


def picked(result: Result, name: str) -> np.ndarray:
  """The strength that each seed's validation set picks, its place [seeds].

  The most accurate of those within the tolerance there; the least disparity where none is.
  """
  accuracy = _values(result, name, "accuracy", "validation")
  disparity = _values(result, name, result.settings.criterion, "validation")
  fair = disparity <= result.settings.tolerance
  best = np.where(fair, accuracy, -np.inf).argmax(axis=0)
  return np.where(fair.any(axis=0), best, disparity.argmin(axis=0))


def chosen(result: Result, name: str, measure: str) -> np.ndarray:
  """A measure on the test set at the picked strength, [seeds]."""
  return np.take_along_axis(_values(result, name, measure), picked(result, name)[None], 0)[0]


def hull(result: Result) -> list[tuple[str, int]]:
  """The settings on the convex hull of disparity and accuracy, by validation means, fairest first.

  Between two of them lies what tossing a coin between both classifiers gives.
  """
  names, points = [], []
  for name in result.data:
    measures = (result.settings.criterion, "accuracy")
    x, y = (_values(result, name, m, "validation").mean(axis=1) for m in measures)
    names += [(name, i) for i in range(len(x))]
    points += [*zip(x, -y, strict=True)]
  points = np.array(points)
  corners = lower_hull(points)
  corners = corners[: np.argmin(points[corners, 1]) + 1]  # beyond it they are no more accurate
  return [names[corner] for corner in corners]


def _named(criterion: str) -> str:
  return criterion.replace("_", " ")


def _note(result: Result) -> str:
  return (
    f"Means with 95 % t-intervals over {result.settings.seeds} splits and seeds, on the test set;"
    " a disparity is the largest difference between groups, and of decisions by lot what is"
    " expected of it."
  )


def _strength(name: str, value: float) -> str:
  return f"{value:g}" if len(RECIPES[name].strengths) > 1 else ""


def tables(result: Result) -> dict[str, report.Table]:
  """The methods at the strengths that validation picks; every setting; the hull."""
  criterion, interval = result.settings.criterion, report.mean_interval
  base = {m: chosen(result, BASELINE, m) for m in ("accuracy", *DISPARITIES)}
  compared, every = [], []
  for name in result.data:
    at = {m: chosen(result, name, m) for m in base}
    same = name == BASELINE
    difference = lambda m, at=at: report.paired_difference(at[m], base[m])
    strengths = np.array(RECIPES[name].strengths)
    mean = float(strengths[picked(result, name)].mean()) if len(strengths) > 1 else None
    pair = [
      cell
      for m in ("accuracy", criterion)
      for cell in (interval(at[m]), None if same else difference(m))
    ]
    compared.append((name, mean, *pair))
    for i, strength in enumerate(strengths):
      cells = [interval(_values(result, name, m)[i]) for m in base]
      every.append((name, _strength(name, strength), *cells))
  lines = [
    (
      name,
      _strength(name, RECIPES[name].strengths[i]),
      *(interval(_values(result, name, m)[i]) for m in (criterion, "accuracy")),
    )
    for name, i in hull(result)
  ]
  where = f"{result.settings.data}, {_named(criterion)}"
  return {
    "methods": report.Table(
      ("method", "mean strength", "accuracy", "- plain", _named(criterion), "- plain "),
      compared,
      caption=f"{where}: at the strengths that validation picks",
      notes=(
        _note(result),
        f"Picked by each seed's validation set: the most accurate of disparity at most"
        f" {result.settings.tolerance:g}, else the least disparity. - plain: paired differences.",
      ),
    ),
    "hull": report.Table(
      ("method", "strength", _named(criterion), "accuracy"),
      lines,
      caption=f"{where}: the frontier of all methods together",
      notes=(
        _note(result),
        "The settings on the convex hull of the means on the validation sets; between two of them"
        " lies what tossing a coin between both gives.",
      ),
    ),
    "settings": report.Table(
      ("method", "strength", "accuracy", *map(_named, DISPARITIES)),
      every,
      caption=f"{where}: every setting",
      notes=(_note(result),),
    ),
  }  # fmt: skip


def _series(result: Result, name: str, label: str | None = None) -> report.Series:
  measures = (result.settings.criterion, "accuracy")
  x, y = (report.mean_interval(_values(result, name, m)) for m in measures)
  means, halves = np.array([x.mean, y.mean]), np.array([x.half_width, y.half_width])
  return report.Series(label or name, *means, *halves)


def _figure(result: Result, drawn: list[report.Series], what: str) -> report.Figure:
  """Accuracy against disparity, beside the point of plain training."""
  return report.frontier(
    drawn,
    xlabel=f"{_named(result.settings.criterion)} (difference between groups)",
    ylabel="accuracy",
    marks=[_series(result, BASELINE, "unmitigated")],
    caption=f"Accuracy and disparity on the test set of {result.settings.data}, {what}; left and"
    " above is better. Bars and bands are 95 % intervals of the mean over splits and seeds.",
  )


def _hull_figure(result: Result) -> report.Figure:
  """The path of `hull`, on the test set."""
  kept = hull(result)
  measures = (result.settings.criterion, "accuracy")
  at = [np.array([_values(result, n, m)[i] for n, i in kept]) for m in measures]
  x, y = (report.mean_interval(values) for values in at)
  means, halves = np.array([x.mean, y.mean]), np.array([x.half_width, y.half_width])
  names = [f"{n} {_strength(n, RECIPES[n].strengths[i])}".strip() for n, i in kept]
  series = report.Series("hull", *means, *halves, names=names)
  return _figure(result, [series], "along the hull of all methods together")


def _figures(result: Result) -> dict[str, list[report.Figure]]:
  """The frontiers by room."""
  found: dict[str, list[report.Figure]] = {}
  for acts, title in _ROOMS.items():
    names = [n for n in result.data if RECIPES[n].acts == acts and n != BASELINE]
    for start in range(0, len(names), _LINES):
      drawn = [_series(result, name) for name in names[start : start + _LINES]]
      figure = _figure(result, drawn, "along each method's strengths")
      found.setdefault(title, []).append(figure)
  return found


def _sentence(result: Result) -> str:
  criterion = result.settings.criterion
  names = [n for n in result.data if n != BASELINE]
  plain = report.mean_interval(chosen(result, BASELINE, criterion))
  lead = (
    f"Plain training on {result.settings.data} has a disparity of {plain.mean:.3f} ±"
    f" {plain.half_width:.3f} ({_named(criterion)})."
  )
  within = [n for n in names if chosen(result, n, criterion).mean() <= result.settings.tolerance]
  if not within:
    return f"{lead} No method is within {result.settings.tolerance:g} on the test set."
  cost = {
    n: report.paired_difference(chosen(result, n, "accuracy"), chosen(result, BASELINE, "accuracy"))
    for n in within
  }
  best = max(within, key=lambda n: float(cost[n].mean))
  return (
    f"{lead} {len(within)} of {len(names)} methods are within {result.settings.tolerance:g} on the"
    f" test set on average; the cheapest, {best}, changes accuracy by {cost[best].mean:+.3f} ±"
    f" {cost[best].half_width:.3f}."
  )


def write(result: Result, directory: pathlib.Path) -> pathlib.Path:
  """Writes the page, the tables and the times."""
  made, frontier, settings = tables(result), _hull_figure(result), result.settings
  first = result.data[BASELINE]
  manifest = report.manifest(
    experiment="fairness",
    data=settings.data,
    criterion=settings.criterion,
    tolerance=settings.tolerance,
    epochs=settings.epochs,
    learning_rate=settings.learning_rate,
    seeds=settings.seeds,
    lanes=int(first.attrs["lanes"]),
    block=int(first.attrs["block"]),
  )
  sections = [report.Section("All methods together", [frontier, made["hull"], made["methods"]])]
  sections += [report.Section(title, drawn) for title, drawn in _figures(result).items()]
  sections.append(report.Section("Settings", [made["settings"]]))
  page = report.page("Fair training", _sentence(result), sections, manifest)
  name = f"fairness-{settings.data}-{settings.criterion}"
  files = report.write_report(directory, name, page=page, tables=made, times=result.seconds)
  frontier.png(directory / f"{name}.png")
  return files[0]
