"""The fairness experiment: one run for all methods."""

import sys
import time
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

import rfjax
from rfjax import architectures, data, metrics
from rfjax.experiments._fairness_methods import RECIPES, Recipe
from rfjax.experiments.fairness import Settings, methods

DISPARITIES = {
  "demographic_parity": metrics.demographic_parity_difference,
  "equal_opportunity": metrics.equal_opportunity_difference,
  "equalized_odds": metrics.equalized_odds_difference,
}
_VALIDATION = (0.5, 0.2, 0.3)  # a tenth would be too few rows to fit an adjustment on


class Result(NamedTuple):
  """What a run of the experiment leaves.

  Attributes:
    settings: the settings.
    data: for each method the runs, with dimensions (strength, seed).
    seconds: wall-clock seconds by stage.
  """

  settings: Settings
  data: dict[str, Any]
  seconds: dict[str, float]


def measure(said: rfjax.Batch, *, soft: bool) -> dict[str, jax.Array]:
  """Accuracy and all disparities; of decisions by lot what is expected of them."""
  found = {name: of(said, soft=soft) for name, of in DISPARITIES.items()}
  return {"accuracy": metrics.accuracy(said, soft=soft)} | found


def favoured(table: data.Table) -> int:
  """The group with the largest share of class 1, outside of the publisher's test set."""
  known = table.batch.num_rows - table.test_rows
  positive, rows = (
    np.asarray(table.batch.y)[:known] == 1,
    np.asarray(table.batch.membership)[:known],
  )
  return int(np.argmax(positive @ rows / rows.sum(axis=0)))


def trainer(settings: Settings, recipe: Recipe, table: data.Table) -> Any:
  """The run of a method, `train(seed, strength)`."""
  network = architectures.logistic(table.batch.num_classes)
  tx = optax.adam(settings.learning_rate)
  told = (favoured(table),) if recipe.favours else ()
  fractions = _VALIDATION if not table.test_rows else (0.75, 0.25)

  def fitted(method: Any, given: rfjax.Batch, key: jax.Array) -> rfjax.TrainState:
    steps = 1 if recipe.batch_size is None else -(-given.num_rows // recipe.batch_size)
    how = {"epochs": -(-settings.epochs // steps), "batch_size": recipe.batch_size}
    return rfjax.fit(network, method, tx, given, key=key, **how)[0]

  def train(seed: Any, strength: Any) -> dict[str, Any]:
    split_key, key = jax.random.split(jax.random.key(seed))
    parts = data.split(table, key=split_key, fractions=fractions)
    made = recipe.make(settings.criterion, strength, *told)
    given, held_out = parts.train, {"validation": parts.validation, "test": parts.test}
    if recipe.acts == "data":
      if recipe.features:
        repaired = lambda rows: rfjax.transform(made, rows, key=key, fitted_on=parts.train).x
        held_out = {name: rows.replace(x=repaired(rows)) for name, rows in held_out.items()}
      if recipe.ranks:
        ranked = rfjax.predict(network, fitted(rfjax.chain(), given, key), given)
        repaired = rfjax.transform(made, ranked, key=key)
        given = given.replace(y=repaired.y, weight=repaired.weight)
      else:
        given = rfjax.transform(made, given, key=key)
    if recipe.learn is not None:
      predict = recipe.learn(settings.criterion, strength, given)
    else:
      method = rfjax.chain(made) if recipe.acts == "training" else rfjax.chain()
      state = fitted(method, given, key)
      predict = lambda rows: rfjax.predict(network, state, rows)
    said = {name: predict(rows) for name, rows in held_out.items()}
    if recipe.acts == "output":
      adjust = lambda rows: rfjax.transform(made, rows, key=key, fitted_on=said["validation"])
      said = {name: adjust(rows) for name, rows in said.items()}
    return {name: measure(rows, soft=recipe.lots) for name, rows in said.items()}

  return train


def run(settings: Settings, *, progress: bool) -> Result:
  """Trains all methods."""
  began = time.perf_counter()
  table = data.table(settings.data, data_dir=settings.data_dir)
  found, seconds = {}, {"reading": time.perf_counter() - began}
  for name in methods(settings):
    recipe, began = RECIPES[name], time.perf_counter()
    if progress:
      print(f"fairness: {name}", file=sys.stderr, flush=True)
    found[name] = rfjax.sweep(
      trainer(settings, recipe, table),
      {"strength": list(recipe.strengths), "seed": range(settings.seeds)},
      lanes=settings.lanes,
      block=settings.block,
      progress=progress,
    )
    seconds[name] = time.perf_counter() - began
  return Result(settings, found, seconds)
