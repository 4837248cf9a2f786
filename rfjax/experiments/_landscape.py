"""The landscape experiment: what goes wrong with the data, and one run for all methods."""

import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

import rfjax
from rfjax import architectures, convergence, data, metrics, noise, selection
from rfjax.core import Batch, Transform, chain
from rfjax.experiments._fairness import favoured
from rfjax.experiments._fairness_methods import STATISTICS
from rfjax.experiments.landscape import Settings, methods
from rfjax.fairness import inprocessing

_FRACTIONS = (0.6, 0.1, 0.3)
_BATCH, _WARM_START, _SHARE_RATE = 100, 20, 0.01  # of FairRobust


class Wrong(NamedTuple):
  """What is wrong with the data, as methods that need the rates are told.

  Attributes:
    label_noise: the share of all labels that are flipped.
    attribute_noise: the rate of wrong groups.
  """

  label_noise: Any
  attribute_noise: Any


class Result(NamedTuple):
  """What a run of the experiment leaves.

  Attributes:
    settings: the settings.
    data: for each method the runs, with dimensions (label_noise, attribute_noise, bias, seed).
    chance: the accuracy of the larger class.
    seconds: wall-clock seconds by stage.
  """

  settings: Settings
  data: dict[str, Any]
  chance: float
  seconds: dict[str, float]


def _gap(settings: Settings, wrong: Wrong | None) -> Transform:
  """The penalty by the given groups, or with their noise taken back."""
  penalty = inprocessing.gap(settings.strength, STATISTICS[settings.criterion])
  if wrong is None:
    return penalty
  matrix = noise.symmetric_matrix(wrong.attribute_noise, 2)
  return convergence.corrected_groups(penalty, matrix)


def _fair_robust(settings: Settings, wrong: Wrong) -> Transform:
  return convergence.fair_robust(
    wrong.label_noise, settings.criterion, _SHARE_RATE, warm_start=_WARM_START
  )


RECIPES: dict[str, Callable[[Settings, Wrong], Transform]] = {
  "plain": lambda settings, wrong: chain(),
  "small_loss": lambda settings, wrong: selection.small_loss(wrong.label_noise),
  "gap": lambda settings, wrong: _gap(settings, None),
  "fair_robust": _fair_robust,
  "corrected_gap": _gap,
  "small_loss_corrected_gap": lambda settings, wrong: chain(
    selection.small_loss(wrong.label_noise), _gap(settings, wrong)
  ),
}


def spoiled(train: Batch, favours: int, wrong: Wrong, bias: Any, key: jax.Array) -> Batch:
  """Training rows with bias, then noise of labels, and noise of groups; draws nest over rates."""
  keys = jax.random.split(key, 3)
  stays, moves = jnp.eye(2), jnp.array([[0.0, 0.0], [bias, -bias]])
  by_group = jnp.stack([stays + moves * (g != favours) for g in range(2)])
  rows = rfjax.transform(noise.group_dependent(by_group), train, key=keys[0])
  flip = noise.margin_flip(wrong.label_noise, group=favours)
  rows = rfjax.transform(flip, rows, key=keys[1])
  return rfjax.transform(noise.group_symmetric(wrong.attribute_noise), rows, key=keys[2])


def trainer(settings: Settings, name: str, table: data.Table | None, favours: int) -> Any:
  """The run of a method, `train(label_noise, attribute_noise, bias, seed)`."""
  network, batched = architectures.logistic(), name == "fair_robust"
  tx = optax.adam(settings.learning_rate / 10 if batched else settings.learning_rate)
  measure = getattr(metrics, f"{settings.criterion}_difference")

  def train(label_noise: Any, attribute_noise: Any, bias: Any, seed: Any) -> dict[str, Any]:
    draw_key, split_key, spoil_key, key = jax.random.split(jax.random.key(seed), 4)
    numeric = () if table is None else table.numeric
    parts = data.split(
      _rows(settings, table, draw_key), key=split_key, fractions=_FRACTIONS, numeric=numeric
    )
    wrong = Wrong(label_noise, attribute_noise)
    given = spoiled(parts.train, favours, wrong, bias, spoil_key)
    how = {"epochs": settings.epochs, "batch_size": _BATCH if batched else None}
    method = RECIPES[name](settings, wrong)
    state, _ = rfjax.fit(network, method, tx, given, key=key, **how)
    said = rfjax.predict(network, state, parts.test)
    return {"accuracy": metrics.accuracy(said), "disparity": measure(said)}

  return train


def _rows(settings: Settings, table: data.Table | None, key: jax.Array) -> Batch:
  """All rows of a run: of the generator, or some or all of the table's."""
  if table is None:
    return data.zafar(key, settings.rows)
  if not settings.rows:
    return table.batch
  return table.batch.subset(jax.random.permutation(key, table.batch.num_rows)[: settings.rows])


def _read(settings: Settings) -> tuple[data.Table | None, int, float]:
  """The table, the favoured group, and the accuracy of the larger class."""
  if settings.data == "synthetic":
    return None, 1, 0.5
  table = data.table(settings.data, data_dir=settings.data_dir)
  share = float(jnp.mean(table.batch.y == 1))
  return table, favoured(table), max(share, 1 - share)


def run(settings: Settings, *, progress: bool) -> Result:
  """Trains all methods in all cells."""
  began = time.perf_counter()
  table, favours, chance = _read(settings)
  found, seconds = {}, {"reading": time.perf_counter() - began}
  axes = {
    "label_noise": list(settings.label_noise),
    "attribute_noise": list(settings.attribute_noise),
    "bias": list(settings.bias),
    "seed": range(settings.seeds),
  }
  for name in methods(settings):
    began = time.perf_counter()
    if progress:
      print(f"landscape: {name}", file=sys.stderr, flush=True)
    found[name] = rfjax.sweep(
      trainer(settings, name, table, favours),
      axes,
      lanes=settings.lanes,
      block=settings.block,
      progress=progress,
    )
    seconds[name] = time.perf_counter() - began
  return Result(settings, found, chance, seconds)
