"""What the FairRobust experiment shows: its rows, tables, where mergers lie, and its page."""

import pathlib
from typing import Any, NamedTuple

import numpy as np

from rfjax import catalog, report
from rfjax.experiments._fair_robust import CRITERIA, LABELS, RECIPES, Result
from rfjax.experiments.fair_robust import METHODS, cells
from rfjax.report._hull import lower_hull

_LINES = 6  # that one figure tells apart


class Distance(NamedTuple):
  """Where a setting lies against the hull of robust-only and fair-only methods.

  Attributes:
    mixture: its accuracy less that of the coin between two corners that is as fair, [seeds].
    fairer: whether it is fairer than every corner; then `mixture` compares with the fairest one.
  """

  mixture: np.ndarray
  fairer: bool


def _values(result: Result, name: str, cell: tuple[str, str], measure: str) -> np.ndarray:
  """A measure of all runs of a method, [strengths, seeds]."""
  return result.data[name, *cell][measure].transpose("strength", "seed").values


def _names(result: Result) -> list[str]:
  return list(dict.fromkeys(name for name, _, _ in result.data))


def rows(result: Result) -> list[dict[str, Any]]:
  """The runs, one dictionary each."""
  out = []
  for name, noise, criterion in result.data:
    found = {m: _values(result, name, (noise, criterion), m) for m in ("accuracy", "disparity")}
    for i, strength in enumerate(RECIPES[name].strengths):
      for seed in range(result.settings.seeds):
        head = {"method": name, "strength": float(strength), "noise": noise}
        values = {m: float(v[i, seed]) for m, v in found.items()}
        out.append(head | {"criterion": criterion, "seed": seed} | values)
  return out


def corners(result: Result, cell: tuple[str, str]) -> list[tuple[str, int]]:
  """The corners of the hull of all that is no merger, by test means, fairest first.

  The hull is drawn from the test set itself, in favour of what the mergers are held against.
  """
  names, points = [], []
  for name in _names(result):
    if METHODS[name] != "merger":
      x, y = (_values(result, name, cell, m).mean(1) for m in ("disparity", "accuracy"))
      names += [(name, i) for i in range(len(x))]
      points += [*zip(x, -y, strict=True)]
  if not points:
    return []
  found = lower_hull(np.array(points))
  found = found[: np.argmin(np.array(points)[found, 1]) + 1]
  return [names[corner] for corner in found]


def distance(result: Result, cell: tuple[str, str], name: str, place: int) -> Distance:
  """Where a setting of a method lies against the hull, seed by seed."""
  kept = corners(result, cell)
  read = lambda n, i: [_values(result, n, cell, m)[i] for m in ("disparity", "accuracy")]
  hull = np.array([read(*corner) for corner in kept])  # [corners, 2, seeds]
  x, y = read(name, place)
  at = hull[:, 0].mean(1)
  weights = [np.interp(x.mean(), at, row) for row in np.eye(len(at))]
  return Distance(y - np.tensordot(weights, hull[:, 1], 1), bool(x.mean() < at[0]))


def _strength(name: str, i: int) -> str:
  return f"{RECIPES[name].strengths[i]:g}" if len(RECIPES[name].strengths) > 1 else ""


def _published() -> dict[tuple[str, str], dict[str, float]]:
  """The notebooks' averages, by noise and criterion."""
  told = {p.name: p.result for p in catalog.entry("fair_robust").published}
  return {
    (noise, criterion): told[f"{label}, {CRITERIA[criterion].replace('_', ' ')}"]
    for noise, label in LABELS.items()
    for criterion in CRITERIA
  }


def tables(result: Result) -> dict[str, report.Table]:
  """All settings in all cells; and the mergers against the hull where that was run."""
  interval, told = report.mean_interval, _published()
  every, against = [], []
  for cell in cells(result.settings):
    for name in _names(result):
      for i in range(len(RECIPES[name].strengths)):
        pair = [_values(result, name, cell, m)[i] for m in ("accuracy", "disparity")]
        printed = [told[cell][m] if name == "fair_robust" else None for m in told[cell]]
        head = (name, METHODS[name], _strength(name, i), *cell)
        every.append((*head, *map(interval, pair), *printed))
        if METHODS[name] == "merger" and corners(result, cell):
          place = distance(result, cell, name, i)
          side = "below all corners" if place.fairer else "between corners"
          against.append((name, _strength(name, i), *cell, interval(place.mixture), side))
  notes = (
    f"Means with 95 % t-intervals over {result.settings.seeds} seeds, on the 1,000 clean test rows;"
    " the disparity is the largest distance of a group's rate from the overall one.",
    "The noise rate of .1 is given to all that select rows.",
  )
  heads = ("method", "family", "strength", "noise", "criterion", "accuracy", "disparity")
  made = {
    "averages": report.Table(
      (*heads, "notebook accuracy", "notebook disparity"),
      every,
      caption="FairRobust's synthetic data, 10 % of the labels flipped",
      notes=(*notes, "The notebooks' averages are over five seeds."),
      digits=4,
    )
  }
  if against:
    made["mergers"] = report.Table(
      ("method", "strength", "noise", "criterion", "accuracy above the hull", "disparity is"),
      against,
      caption="mergers against the hull of robust-only and fair-only methods",
      notes=(
        "Paired differences to the coin between two corners of the hull that is as fair; of what is"
        " fairer than all corners, to the fairest corner. The hull is that of the test means, which"
        " favours what the mergers are held against.",
      ),
      digits=4,
    )
  return made


def _point(result: Result, cell: tuple[str, str], at: list[tuple[str, int]], label: str) -> Any:
  read = lambda m: report.mean_interval(np.array([_values(result, n, cell, m)[i] for n, i in at]))
  x, y = read("disparity"), read("accuracy")
  means, halves = np.array([x.mean, y.mean]), np.array([x.half_width, y.half_width])
  names = [f"{n} {_strength(n, i)}".strip() for n, i in at]
  return report.Series(label, *means, *halves, names=names)


def _figures(result: Result, cell: tuple[str, str]) -> list[report.Figure]:
  """The mergers, each along its strengths, beside the hull of the others."""
  every = lambda name: [(name, i) for i in range(len(RECIPES[name].strengths))]
  drawn = [_point(result, cell, every(n), n) for n in _names(result) if METHODS[n] == "merger"]
  drawn = [report.Series(s.label, s.x, s.y, s.x_interval, s.y_interval) for s in drawn]
  kept = corners(result, cell)
  if kept:
    drawn.insert(0, _point(result, cell, kept, "hull of robust or fair"))
  return [
    report.frontier(
      drawn[start : start + _LINES],
      xlabel=f"{CRITERIA[cell[1]].replace('_', ' ')} (distance to overall)",
      ylabel="accuracy",
      caption=f"Labels with {cell[0]} noise: accuracy and disparity on the clean test set; left and"
      " above is better. Bars and bands are 95 % intervals of the mean over seeds.",
    )
    for start in range(0, len(drawn), _LINES)
  ]


def _sentence(result: Result) -> str:
  parts = []
  for (noise, criterion), told in _published().items():
    if ("fair_robust", noise, criterion) in result.data:
      mine = [
        report.mean_interval(_values(result, "fair_robust", (noise, criterion), m)[0]) for m in told
      ]
      parts.append(
        f"{noise}, {criterion}: {mine[0].mean:.4f} / {mine[1].mean:.4f} beside"
        f" {told['accuracy']:.4f} / {told['disparity']:.4f}"
      )
  if not parts:
    return "Robust, fair and merged methods on FairRobust's synthetic data."
  return f"Accuracy and disparity of FairRobust beside its notebooks' averages; {'; '.join(parts)}."


def write(result: Result, directory: pathlib.Path) -> pathlib.Path:
  """Writes the page, the tables and the times."""
  made, settings = tables(result), result.settings
  first = next(iter(result.data.values()))
  manifest = report.manifest(
    experiment="fair-robust",
    noise=settings.noise,
    criterion=settings.criterion,
    methods=", ".join(_names(result)),
    epochs="the notebooks'" if settings.epochs is None else settings.epochs,
    seeds=settings.seeds,
    lanes=int(first.attrs["lanes"]),
    block=int(first.attrs["block"]),
  )
  sections = []
  if "mergers" in made:
    sections.append(report.Section("Mergers against the hull", [made["mergers"]]))
  for noise, criterion in cells(settings):
    sections.append(report.Section(f"{noise}, {criterion}", _figures(result, (noise, criterion))))
  sections.append(report.Section("All settings", [made["averages"]]))
  sections = [section for section in sections if section.body]
  page = report.page("Robust and fair training", _sentence(result), sections, manifest)
  files = report.write_report(
    directory, "fair-robust", page=page, tables=made, times=result.seconds
  )
  return files[0]
