"""What the landscape experiment shows: its rows, who is needed where, and its page."""

import itertools
import pathlib
from typing import Any

import numpy as np

from rfjax import report
from rfjax.experiments._landscape import Result
from rfjax.experiments._landscape_figure import landscape
from rfjax.experiments.landscape import FAMILIES, METHODS

_AXES = ("label_noise", "attribute_noise", "bias")


def _values(result: Result, name: str, measure: str) -> np.ndarray:
  """A measure of all runs of a method, [label noise, attribute noise, bias, seeds]."""
  return result.data[name][measure].transpose(*_AXES, "seed").values


def _grid(result: Result) -> list[tuple[float, ...]]:
  return list(itertools.product(*(getattr(result.settings, name) for name in _AXES)))


def rows(result: Result) -> list[dict[str, Any]]:
  """The runs, one dictionary each."""
  out = []
  for name in result.data:
    found = {m: _values(result, name, m) for m in ("accuracy", "disparity")}
    flat = {m: v.reshape(-1, v.shape[-1]) for m, v in found.items()}
    for place, cell in enumerate(_grid(result)):
      for seed in range(result.settings.seeds):
        head = {"method": name, "family": METHODS[name]} | dict(zip(_AXES, cell, strict=True))
        out.append(head | {"seed": seed} | {m: float(v[place, seed]) for m, v in flat.items()})
  return out


def speakers(result: Result) -> dict[str, str]:
  """The method that speaks for each family: the first of it that was run."""
  found: dict[str, str] = {}
  for name, family in METHODS.items():
    if name in result.data:
      found.setdefault(family, name)
  return {family: found[family] for family in FAMILIES if family in found}


def _scores(result: Result) -> np.ndarray:
  """Accuracy less disparity of who speaks, [families, label, attribute, bias, seeds]."""
  names = speakers(result).values()
  return np.stack([_values(result, n, "accuracy") - _values(result, n, "disparity") for n in names])


def _best(score: np.ndarray) -> np.ndarray:
  """The scores of the family whose mean is largest, [label, attribute, bias, seeds]."""
  return np.take_along_axis(score, score.mean(-1).argmax(0)[None, ..., None], 0)[0]


def needed(result: Result) -> np.ndarray:
  """The place in `speakers` of the simplest family that is enough, [label, attribute, bias].

  Of accuracy less disparity, seed by seed: the simplest family whose mean is not below the best
  one's by more than the paired 95 % interval. Of equally simple ones, robust and fair, the better.
  """
  score = _scores(result)
  apart = report.paired_difference(score, np.broadcast_to(_best(score), score.shape))
  enough = np.asarray(apart.mean) >= -np.asarray(apart.half_width)
  effort = np.array([{"plain": 0, "both": 2}.get(f, 1) for f in speakers(result)])
  order = np.where(enough, effort[:, None, None, None] - 1e-3 * score.mean(-1), np.inf)
  return order.argmin(0)


def in_vain(result: Result) -> np.ndarray:
  """Where no family is better than the same answer for all, bool [label, attribute, bias].

  Its accuracy is the share of the larger class, and its disparity 0.
  """
  found = report.mean_interval(_best(_scores(result)))
  return np.asarray(found.mean) - np.asarray(found.half_width) <= result.chance


def _note(result: Result) -> str:
  return (
    f"Means with 95 % t-intervals over {result.settings.seeds} seeds, on clean test rows;"
    f" disparity: {result.settings.criterion.replace('_', ' ')}, between true groups. All cells of"
    " a seed share rows, split and draws of noise. Methods that select are given the rate of label"
    " noise, and corrected ones that of attribute noise."
  )


def tables(result: Result) -> dict[str, report.Table]:
  """Which family is needed in each cell; every cell of every method."""
  settings, who = result.settings, needed(result)
  families, stars = list(speakers(result)), np.where(in_vain(result), "*", "")
  map_rows = []
  for b, bias in enumerate(settings.bias):
    for a, attribute in enumerate(settings.attribute_noise):
      cells = [(n, a, b) for n in range(len(settings.label_noise))]
      named = [families[who[cell]] + str(stars[cell]) for cell in cells]
      map_rows.append((f"{bias:g}", f"{attribute:g}", *named))
  every = []
  for name in result.data:
    found = [_values(result, name, m) for m in ("accuracy", "disparity")]
    flat = [v.reshape(-1, v.shape[-1]) for v in found]
    for place, cell in enumerate(_grid(result)):
      texts = (f"{v:g}" for v in cell)
      every.append((name, METHODS[name], *texts, *(report.mean_interval(v[place]) for v in flat)))
  heads = tuple(f"label noise {rate:g}" for rate in settings.label_noise)
  spoken = ", ".join(f"{family}: {name}" for family, name in speakers(result).items())
  return {
    "landscape": report.Table(
      ("bias", "attribute noise", *heads),
      map_rows,
      caption=f"{settings.data}: the simplest family that is enough",
      notes=(
        f"Who speaks for a family: {spoken}.",
        "Enough: accuracy less disparity is not below the best family's by more than its paired"
        " 95 % interval; of robust and fair, which are equally simple, the better. *: by this"
        " measure no family is better than the same answer for all, whose accuracy is"
        f" {result.chance:.3g}.",
      ),
    ),
    "cells": report.Table(
      ("method", "family", "label noise", "attribute noise", "bias", "accuracy", "disparity"),
      every,
      caption=f"{settings.data}: every cell",
      notes=(_note(result),),
    ),
  }


def _panel(result: Result, measure: str, a: int, b: int) -> report.Figure:
  """A measure along label noise, a line a method."""
  settings = result.settings
  drawn = []
  for name in result.data:
    y = report.mean_interval(_values(result, name, measure)[:, a, b])
    drawn.append(
      report.Series(
        name, settings.label_noise, np.asarray(y.mean), y_interval=np.asarray(y.half_width)
      )
    )
  references = []
  if measure == "accuracy":
    references.append(report.Reference(result.chance, "larger class", axis="y"))
  if "plain" in result.data:
    clean = _values(result, "plain", measure)[0, 0, 0].mean()
    references.append(report.Reference(float(clean), "plain, first cell", axis="y"))
  return report.frontier(
    drawn,
    xlabel="label noise",
    ylabel=measure,
    references=references,
    caption=f"{measure.capitalize()} with bias {settings.bias[b]:g} and attribute noise"
    f" {settings.attribute_noise[a]:g}; bars and bands are 95 % intervals of the mean over seeds.",
  )


def _sentence(result: Result) -> str:
  families, who = list(speakers(result)), needed(result)
  shares = [f"{families[i]} in {int((who == i).sum())}" for i in range(len(families))]
  return (
    f"Of {who.size} cells of label noise, attribute noise and bias on {result.settings.data}, this"
    f" is the simplest family that is enough: {', '.join(shares)}. In {int(in_vain(result).sum())}"
    " no family has more accuracy less disparity than the same answer for all."
  )


def write(result: Result, directory: pathlib.Path) -> pathlib.Path:
  """Writes the page, the tables and the times."""
  made, settings = tables(result), result.settings
  scores = {
    n: _values(result, n, "accuracy") - _values(result, n, "disparity") for n in result.data
  }
  drawn = landscape(settings, speakers(result), needed(result), in_vain(result), scores)
  first = next(iter(result.data.values()))
  manifest = report.manifest(
    experiment="landscape",
    data=settings.data,
    criterion=settings.criterion,
    methods=", ".join(result.data),
    strength=settings.strength,
    epochs=settings.epochs,
    learning_rate=settings.learning_rate,
    rows=settings.rows,
    seeds=settings.seeds,
    lanes=int(first.attrs["lanes"]),
    block=int(first.attrs["block"]),
  )
  sections = [report.Section("Which corner needs which family", [drawn, made["landscape"]])]
  for b, bias in enumerate(settings.bias):
    panels = [
      _panel(result, measure, a, b)
      for a in range(len(settings.attribute_noise))
      for measure in ("accuracy", "disparity")
      if len(settings.label_noise) > 1
    ]
    if panels:
      sections.append(report.Section(f"Bias {bias:g}", panels))
  sections.append(report.Section("Every cell", [made["cells"]]))
  page = report.page("The landscape", _sentence(result), sections, manifest)
  name = f"landscape-{settings.data}"
  files = report.write_report(directory, name, page=page, tables=made, times=result.seconds)
  drawn.png(directory / f"{name}.png")
  return files[0]
