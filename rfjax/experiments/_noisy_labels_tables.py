"""What the noisy-labels experiment shows: its rows, tables, figures and page."""

import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np

from rfjax import report
from rfjax.experiments._noisy_labels import Result
from rfjax.experiments._noisy_labels_methods import RECIPES
from rfjax.experiments.noisy_labels import BASELINE

_CURVES = 6  # that one figure tells apart
_ORACLE = "true_labels"
_RIVAL = "small_loss"  # what selections are compared with, beside plain training


def _curve(result: Result, name: str, measure: str) -> np.ndarray:
  """A measure after each epoch, [seeds, epochs]."""
  return result.data[name][measure].transpose("seed", ...).values


def _accuracies(result: Result, name: str) -> dict[str, np.ndarray]:
  """Test accuracy after the last epoch, after the one that validation picks, and the best, [seeds].

  Where several epochs have the best validation accuracy the first one counts.
  """
  test, picked = _curve(result, name, "test"), _picked(result, name)
  selected = np.take_along_axis(test, picked[:, None], axis=1)[:, 0]
  return {"last": test[:, -1], "selected": selected, "best": test.max(axis=1)}


def _picked(result: Result, name: str) -> np.ndarray:
  return _curve(result, name, "validation").argmax(axis=1)


def _end(result: Result, name: str, measure: str) -> np.ndarray:
  """A measure after the last epoch, [seeds]."""
  return _curve(result, name, measure)[:, -1]


def _has(result: Result, name: str, measure: str) -> bool:
  return measure in result.data[name]


_KEPT = ("kept", "precision", "recall", "f1")
_CHANGED = ("relabelled", "relabelled_right")
_OF = {"precision": "kept", "relabelled_right": "relabelled"}  # shares of these, which may be 0
_STEPS = ("stopped", "empty_step", "diverged_step")


def rows(result: Result) -> list[dict[str, Any]]:
  """The runs, one dictionary each."""
  out = []
  for name, table in result.data.items():
    accuracies, picked = _accuracies(result, name), _picked(result, name)
    measures = [m for m in ("memorized", *_KEPT, *_CHANGED, "noise_rate") if _has(result, name, m)]
    steps = [m for m in _STEPS if _has(result, name, m)]
    for i, seed in enumerate(table.seed.values):
      out.append(
        {
          "method": name,
          "told": RECIPES[name].told or None,
          "seed": int(seed),
          **{kind: float(values[i]) for kind, values in accuracies.items()},
          "selected_epoch": int(picked[i]) + 1,
          **{m: float(_end(result, name, m)[i]) for m in measures},
          **{m: int(_end(result, name, m)[i]) for m in steps},
          "label_rate": float(table.label_rate.values[i]),
          "label_hash": f"{int(table.label_hash.values[i]):08x}",
        }
      )
  return out


def _longer(result: Result) -> tuple[str, ...]:
  """A note on the methods that train for longer than the others, if there are any."""
  times = {name: RECIPES[name].trained for name in result.data if RECIPES[name].trained}
  told = ", ".join(f"{name} {count} times" for name, count in times.items())
  return (f"Trained for longer than {result.settings.epochs} epochs: {told}.",) if times else ()


def _collapses(result: Result) -> tuple[str, ...]:
  """A note for each method of which some runs kept nothing in a step, or diverged."""
  notes = []
  for name in result.data:
    for measure, what in (("empty_step", "kept nothing"), ("diverged_step", "diverged")):
      steps = _end(result, name, measure)
      hit = [f"{seed} (step {step})" for seed, step in enumerate(steps) if step >= 0]
      if hit:
        notes.append(f"{name} {what} first in seed {', '.join(hit)}.")
  return tuple(notes)


def _where(result: Result) -> str:
  settings = result.settings
  return f"{settings.data} with {settings.rate:g} {settings.noise} noise, {settings.network}"


def _means(result: Result) -> str:
  settings = result.settings
  return (
    f"Means with 95 % t-intervals over {settings.seeds} seeds; {settings.images} pictures, a tenth"
    " of them for validation under the same noise."
  )


def _note(result: Result) -> str:
  return f"{_means(result)} - baseline: paired differences to cross_entropy."


def _rivals(result: Result) -> dict[str, str]:
  """What every method is compared with, by the name of its column."""
  rivals = {"- baseline": BASELINE}
  return rivals | ({f"- {_RIVAL}": _RIVAL} if _RIVAL in result.data else {})


def tables(result: Result) -> dict[str, report.Table]:
  """Accuracy after the last and after a picked epoch; what was chosen; when methods changed."""
  interval, rivals = report.mean_interval, _rivals(result)
  last, picked = [], []
  for name in result.data:
    found, told = _accuracies(result, name), RECIPES[name].told
    gains = {
      kind: [
        report.paired_difference(found[kind], _accuracies(result, r)[kind]) for r in rivals.values()
      ]
      for kind in ("last", "selected")
    }
    memorized = interval(_end(result, name, "memorized"))
    last.append((name, told, interval(found["last"]), *gains["last"], memorized))
    picked.append((name, interval(found["selected"]), *gains["selected"], interval(found["best"])))
  made = {
    "last": report.Table(
      ("method", "told", "accuracy", *rivals, "memorized"),
      last,
      caption=f"{_where(result)}: test accuracy after the last epoch",
      notes=(
        f"{_note(result)} Memorized: share of the wrong labels that the network gives back. Told:"
        " what the method was told of the noise.",
        *_longer(result),
        *_collapses(result),
      ),
    ),
    "selected": report.Table(
      ("method", "selected", *rivals, "best"),
      picked,
      caption=f"{_where(result)}: test accuracy after a picked epoch",
      notes=(
        f"{_note(result)} Selected: after the epoch of best validation accuracy. Best: after the"
        " best epoch on the test set, an oracle.",
      ),
    ),
  }
  return made | _gap(result) | _choices(result) | _transitions(result)


def _of_some(result: Result, name: str, measure: str) -> report.Interval | None:
  """A measure after the last epoch over the seeds that chose something, if there are two."""
  values, base = _end(result, name, measure), _OF.get(measure)
  chose = np.ones(len(values), bool) if base is None else _end(result, name, base) > 0
  return report.mean_interval(values[chose]) if chose.sum() > 1 else None


def _lines(result: Result, measures: tuple[str, ...], chose: Callable[[str], bool]) -> list[tuple]:
  """A line of measures after the last epoch for each method that chose something."""
  ends = lambda name: [_of_some(result, name, m) for m in measures]
  own = [name for name in result.data if not RECIPES[name].oracle]
  return [(name, *ends(name)) for name in own if chose(name)]


def _choices(result: Result) -> dict[str, report.Table]:
  """What was kept, and what was relabelled, of the methods that do so."""
  made = {}
  kept = _lines(result, _KEPT, lambda name: bool((_end(result, name, "kept") < 1).any()))
  if kept:
    made["kept"] = report.Table(
      ("method", "kept", "precision", "recall", "F1"),
      kept,
      caption=f"{_where(result)}: what was kept in the last epoch",
      notes=(f"{_means(result)} Precision, recall: of the right labels among the kept examples.",),
    )
  changed = _lines(
    result, _CHANGED, lambda name: bool((_end(result, name, "relabelled") > 0).any())
  )
  if changed:
    made["relabelled"] = report.Table(
      ("method", "relabelled", "of these right"),
      changed,
      caption=f"{_where(result)}: what was relabelled in the last epoch",
      notes=(
        f"{_means(result)} Relabelled: share of all examples whose likeliest target is not the"
        " given label. Of these right: how many of them have their true label now, over the seeds"
        " that relabelled some.",
      ),
    )
  return made


def crossings(result: Result) -> np.ndarray:
  """After how many epochs of plain training as many are memorized as are right, [seeds]; 0: never.

  Recall and precision of the right labels among the memorized ones meet there.
  """
  recall, precision = (_curve(result, BASELINE, f"fitted_{m}") for m in ("recall", "precision"))
  met = recall >= precision
  return np.where(met.any(axis=1), met.argmax(axis=1) + 1, 0)


def _gap(result: Result) -> dict[str, report.Table]:
  """How much of the way from plain training to training on true labels each method goes."""
  if _ORACLE not in result.data:
    return {}
  base, best = (_accuracies(result, name)["last"] for name in (BASELINE, _ORACLE))
  lines = []
  for name in result.data:
    if name not in (BASELINE, _ORACLE):
      closed = (_accuracies(result, name)["last"] - base) / (best - base)
      lines.append((name, report.mean_interval(closed)))
  if not lines:
    return {}
  table = report.Table(
    ("method", "gap closed"),
    lines,
    caption=f"{_where(result)}: how much of the gap to true labels is closed after the last epoch",
    notes=(
      f"{_means(result)} Gap closed: (accuracy - {BASELINE}) / ({_ORACLE} - {BASELINE}), by seed.",
    ),
  )
  return {"gap": table}


def _transitions(result: Result) -> dict[str, report.Table]:
  """When methods of two phases changed from one to the other, beside the true crossing."""
  interval, crossing, lines = report.mean_interval, crossings(result), []
  for name in result.data:
    if name == BASELINE or not _has(result, name, "stopped"):
      continue
    stopped, estimate = _end(result, name, "stopped"), None
    both = (stopped > 0) & (crossing > 0)
    near = np.sum(both & (np.abs(stopped - crossing) <= 2))
    if _has(result, name, "noise_rate") and RECIPES[name].told != "rate":
      estimate = interval(_end(result, name, "noise_rate"))
    lines.append(
      (
        name,
        "given" if estimate is None else estimate,
        f"{', '.join(map(str, stopped))}",
        f"{near} of {len(stopped)}",
      )
    )
  if not lines:
    return {}
  rate = interval(result.data[BASELINE].label_rate.values)
  table = report.Table(
    ("method", "noise rate", "transition", "within two epochs"),
    lines,
    caption=f"{_where(result)}: when training moved to the safe set",
    notes=(
      f"The true rate is {rate.mean:.3f} ± {rate.half_width:.3f}. Transition: after how many"
      " epochs, by seed; -1 for never. Within two epochs: of the crossing of memorization recall"
      f" and precision in plain training, by seed {', '.join(map(str, crossing))} (0 for never).",
    ),
  )
  return {"transition": table}


def _sentence(result: Result) -> str:
  base = report.mean_interval(_accuracies(result, BASELINE)["last"])
  better = [name for name in result.data if name != BASELINE and _gain(result, name) > 0]
  told = f"{', '.join(better)}" if better else "none of the methods"
  return (
    f"With {result.settings.rate:g} {result.settings.noise} noise cross-entropy ends at"
    f" {base.mean:.3f} ± {base.half_width:.3f}. Above it after the last epoch, by more than the"
    f" interval of the paired difference: {told}."
  )


def _gain(result: Result, name: str) -> float:
  """The lower end of the paired difference to cross-entropy after the last epoch."""
  last, base = (_accuracies(result, n)["last"] for n in (name, BASELINE))
  difference = report.paired_difference(last, base)
  return float(difference.mean - difference.half_width)


def _point(result: Result, name: str) -> report.Series:
  """What is memorized, and the test accuracy, after the last epoch."""
  measures = (_curve(result, name, "memorized")[:, -1], _accuracies(result, name)["last"])
  (x, x_half), (y, y_half) = (
    (np.array([found.mean]), np.array([found.half_width]))
    for found in map(report.mean_interval, measures)
  )
  return report.Series(name, x, y, x_interval=x_half, y_interval=y_half)


def _shown(result: Result) -> list[str]:
  """The baseline, and the methods of the highest validation accuracy at their own best epochs."""
  reached = {n: _curve(result, n, "validation").max(axis=1).mean() for n in result.data}
  others = sorted((n for n in reached if n != BASELINE), key=lambda n: -reached[n])
  return [BASELINE, *others[: _CURVES - 1]]


def _figures(result: Result) -> tuple[report.Figure, report.Figure]:
  epochs, curves = np.arange(1, result.settings.epochs + 1), []
  for name in _shown(result):
    mean, half = map(np.asarray, report.mean_interval(_curve(result, name, "test").T))
    curves.append(report.Series(name, epochs, mean, y_interval=half))
  which = ""
  if len(result.data) > _CURVES:
    which = f" Shown are {BASELINE} and the {_CURVES - 1} of the highest validation accuracy."
  return (
    report.frontier(
      curves,
      xlabel="epoch",
      ylabel="accuracy on the test set",
      caption=f"Test accuracy after each epoch. Bands are 95 % intervals of the mean.{which}",
    ),
    report.frontier(
      [_point(result, name) for name in _shown(result)],
      xlabel="share of the wrong labels that are memorized",
      ylabel="accuracy on the test set",
      caption=(
        "After the last epoch: accuracy against what was learned of the wrong labels, with 95 %"
        f" intervals.{which}"
      ),
    ),
  )


def write(result: Result, directory: pathlib.Path) -> pathlib.Path:
  """Writes the page, the tables and the times."""
  made, figures, settings = tables(result), _figures(result), result.settings
  first = result.data[BASELINE]
  manifest = report.manifest(
    experiment="noisy-labels",
    data=settings.data,
    images=settings.images,
    noise=settings.noise,
    rate=settings.rate,
    network=settings.network,
    epochs=settings.epochs,
    batch_size=settings.batch_size,
    optimizer=settings.optimizer,
    learning_rate=settings.learning_rate,
    method=settings.method,
    seeds=settings.seeds,
    lanes=int(first.attrs["lanes"]),
    block=int(first.attrs["block"]),
  )
  sections = [report.Section("Methods", [*figures, *made.values()])]
  page = report.page("Noisy labels", _sentence(result), sections, manifest)
  name = f"noisy-labels-{settings.data}-{settings.noise}-{settings.network}"
  files = report.write_report(directory, name, page=page, tables=made, times=result.seconds)
  figures[0].png(directory / f"{name}.png")
  return files[0]
