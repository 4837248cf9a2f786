"""The noisy-labels experiment: one run for all methods."""

import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from optax.tree_utils import tree_get

import rfjax
from rfjax import architectures, data, metrics, noise, selection
from rfjax.experiments._noisy_labels_methods import RECIPES, Recipe, Run, transition
from rfjax.experiments.noisy_labels import Settings, methods

_TENTH = 10


class Result(NamedTuple):
  """What a run of the experiment leaves.

  Attributes:
    settings: the settings.
    data: for each method the runs, with dimensions (rate, seed).
    seconds: wall-clock seconds by stage.
  """

  settings: Settings
  data: dict[str, Any]
  seconds: dict[str, float]


def _noisy(settings: Settings, rate: Any) -> Any:
  if settings.noise == "asymmetric":
    return noise.asymmetric(rate, settings.data)
  if settings.noise == "permuted":
    return noise.class_conditional(transition(settings.noise, rate, settings.data))
  return {"symmetric": noise.symmetric, "pair": noise.pair_flip}[settings.noise](rate)


def _network(settings: Settings) -> Any:
  networks = {
    "mlp": lambda: architectures.mlp([256, 128], 10),
    "dropout_mlp": lambda: architectures.mlp([500, 300], 10, dropout=0.5),
    "cnn": architectures.cnn,
  }
  return networks[settings.network]()


def _by_epoch(rate: Callable[[Any], Any]) -> optax.GradientTransformationExtraArgs:
  """Steps of a learning rate that hangs on the epoch instead of the step."""

  def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> tuple[Any, Any]:
    del params
    return jax.tree.map(lambda u: -rate(extra["epoch"]) * u, updates), state

  return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)


def _optimizer(
  settings: Settings, steps: int, *, by_epoch: bool = False
) -> optax.GradientTransformation:
  if settings.optimizer == "adam":
    return optax.adam(settings.learning_rate)
  lasts = settings.epochs if by_epoch else steps
  schedule = optax.cosine_decay_schedule(settings.learning_rate, lasts)
  if by_epoch:
    return optax.chain(optax.trace(0.9), _by_epoch(schedule))
  return optax.sgd(schedule, momentum=0.9)


def _predicted(network: Any, state: Any, rows: rfjax.Batch) -> jax.Array:
  """Which label the network gives, int32 [N]."""
  return jnp.argmax(rfjax.predict(network, state, rows).logits, axis=-1)


def _told(method: Any, given: rfjax.Batch) -> dict[str, jax.Array]:
  """What a method's state says of its choices, measured against the truth."""
  watched = tree_get(method, "WatchState")
  changed = (watched.label >= 0) & (watched.label != given.y)
  told = {
    "kept": given.mean(watched.kept > 0),
    "precision": metrics.label_precision(watched.kept, given),
    "recall": metrics.label_recall(watched.kept, given),
    "f1": metrics.label_f1(watched.kept, given),
    "relabelled": given.mean(changed),
    "relabelled_right": metrics.correction_accuracy(watched.label, given),
    "empty_step": watched.empty_step,
    "diverged_step": watched.diverged_step,
  }
  stopping = tree_get(method, "MorphState", tree_get(method, "PrestoppingState"))
  if stopping is not None:
    fitted = selection.memorized(stopping.history, given)
    told["stopped"] = stopping.stopped
    told["fitted_precision"] = metrics.label_precision(fitted, given)
    told["fitted_recall"] = metrics.label_recall(fitted, given)
  if isinstance(stopping, selection.MorphState):
    told["noise_rate"] = stopping.noise_rate
  return told


def _train(recipe: Recipe, run: Run, network: Any, tx: Any, given: rfjax.Batch, **how: Any) -> Any:
  """What is observed after each epoch, of the first peer and in the last round."""
  if recipe.oracle:
    given = given.replace(y=given.truth.y)
  if recipe.rounds is not None:
    _, log = recipe.rounds(run)(network, tx, given, after=metrics.watch(), **how)
    stacked = log.risk.ndim > 1  # else the epochs of all stages stand one after the other
    last = lambda leaf: leaf[-1] if stacked else leaf[-run.epochs :]
    return jax.tree.map(last, log.observed)
  assert recipe.make is not None
  method = rfjax.chain(recipe.make(run), metrics.watch())
  _, log = rfjax.fit(network, method, tx, given, peers=recipe.peers, **how)
  return log.observed if recipe.peers == 1 else jax.tree.map(lambda leaf: leaf[0], log.observed)


def _trainer(settings: Settings, recipe: Recipe, pictures: rfjax.Batch, test: rfjax.Batch) -> Any:
  network = _network(settings)
  held_out = settings.images // _TENTH
  steps = settings.epochs * -(-(settings.images - held_out) // settings.batch_size)
  optimizer = _optimizer(settings, steps, by_epoch=recipe.by_epoch)

  def train(seed: Any, rate: Any) -> dict[str, Any]:
    key = jax.random.key(seed)
    drawn = jax.random.permutation(jax.random.fold_in(key, 0), pictures.num_rows)
    noisy = rfjax.transform(
      _noisy(settings, rate), pictures.subset(drawn[: settings.images]), key=key
    )
    rows = jnp.arange(settings.images)
    validation, given = noisy.subset(rows[:held_out]), noisy.subset(rows[held_out:])
    # Half of the ten classes look like another one.
    wrong = rate / 2 if settings.noise == "asymmetric" else rate
    matrix = transition(settings.noise, rate, settings.data)
    run = Run(wrong, settings.noise, matrix, settings.epochs, steps, given.num_rows)
    tx = optimizer if recipe.tx is None else optax.chain(recipe.tx(run), optimizer)

    def observe(state: Any, view: Any) -> dict[str, jax.Array]:
      del view
      learned = metrics.memorization_rates(_predicted(network, state, given), given)
      return {
        "validation": metrics.accuracy(rfjax.predict(network, state, validation)),
        "test": metrics.accuracy(rfjax.predict(network, state, test)),
        "right": learned.right,
        "memorized": learned.memorized,
        "seen_through": learned.seen_through,
        **_told(state.method, given),
      }

    observed = _train(
      recipe,
      run,
      network,
      tx,
      given,
      key=key,
      epochs=settings.epochs,
      batch_size=settings.batch_size,
      observe=observe,
    )
    record = noise.record(given)
    return observed | {"label_rate": record.label_rate, "label_hash": record.label_hash}

  return train


def run(settings: Settings, *, progress: bool) -> Result:
  """Trains by all methods."""
  began = time.perf_counter()
  split = data.load(settings.data, data_dir=settings.data_dir, fractions=(1.0, 0.0))
  if settings.images > split.train.num_rows:
    raise ValueError(
      f"images must be at most the {split.train.num_rows} of {settings.data}, got {settings.images}"
    )
  found, seconds = {}, {"reading": time.perf_counter() - began}
  axes = {"rate": [settings.rate], "seed": range(settings.seeds)}
  for name in methods(settings):
    began = time.perf_counter()
    if progress:
      print(f"noisy-labels: {name}", file=sys.stderr, flush=True)
    train = _trainer(settings, RECIPES[name], split.train, split.test)
    found[name] = rfjax.sweep(
      train, axes, lanes=settings.lanes, block=settings.block, progress=progress
    ).isel(rate=0)
    seconds[name] = time.perf_counter() - began
  return Result(settings, found, seconds)
