"""The FairRobust experiment: one run for all methods, and their recipes."""

import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import optax

import rfjax
from rfjax import architectures, convergence, data, losses, metrics, selection
from rfjax.core import Batch, Transform, chain, pointwise
from rfjax.experiments._fairness_methods import STATISTICS
from rfjax.experiments.fair_robust import Settings, cells, methods
from rfjax.fairness import inprocessing

NOISE_RATE, BATCH_SIZE, LEARNING_RATE = 0.1, 100, 5e-4  # the authors'
LABELS = {"group-targeted": "grouptarget", "general": "general"}
CRITERIA = {"eqodds": "equalized_odds", "dp": "demographic_parity"}
EPOCHS = {  # of the authors' notebooks
  ("group-targeted", "eqodds"): 450,
  ("group-targeted", "dp"): 500,
  ("general", "eqodds"): 400,
  ("general", "dp"): 400,
}


class Recipe(NamedTuple):
  """How the experiment makes a method.

  Attributes:
    make: the transform for a criterion and a strength, which may be traced.
    strengths: one run each; a method without a strength has one, which it does not read.
    peers: how many networks teach each other.
  """

  make: Callable[[str, Any], Transform] = lambda criterion, strength: chain()
  strengths: tuple[float, ...] = (0.0,)
  peers: int = 1


class Result(NamedTuple):
  """What a run of the experiment leaves.

  Attributes:
    settings: the settings.
    data: for each (method, noise, criterion) the runs, with dimensions (strength, seed).
    seconds: wall-clock seconds by stage.
  """

  settings: Settings
  data: dict[tuple[str, str, str], Any]
  seconds: dict[str, float]


def _fairbatch(criterion: str, strength: Any) -> Transform:
  return inprocessing.fairbatch(criterion, strength)


def _gap(criterion: str, strength: Any) -> Transform:
  # The authors' probability is (tanh u + 1) / 2, which is sigmoid(2 u).
  return inprocessing.gap(
    strength, STATISTICS[criterion], method="to_overall", temperature=0.5, decay=0.9
  )


def _merger(greedy: str) -> Callable[[str, Any], Transform]:
  return lambda criterion, strength: convergence.fair_robust(
    NOISE_RATE, criterion, strength, greedy=greedy
  )


_GAPS, _RATES = (0.1, 0.3, 1.0, 3.0), (0.001, 0.005)
RECIPES = {
  "plain": Recipe(),
  "gce": Recipe(lambda criterion, strength: losses.gce(strength), (0.3, 0.7)),
  "bi_tempered": Recipe(lambda criterion, strength: losses.bi_tempered(strength, 1.5), (0.3, 0.7)),
  "small_loss": Recipe(lambda criterion, strength: selection.small_loss(NOISE_RATE)),
  "co_teaching": Recipe(lambda criterion, strength: selection.co_teaching(NOISE_RATE), peers=2),
  "fairbatch": Recipe(_fairbatch, _RATES),
  "gap": Recipe(_gap, _GAPS),
  "fair_robust": Recipe(_merger("prefix"), (0.001,)),
  "fair_robust_skip": Recipe(_merger("skip"), (0.001,)),
  "small_loss_fairbatch": Recipe(
    lambda criterion, strength: chain(
      selection.small_loss(NOISE_RATE), _fairbatch(criterion, strength)
    ),
    _RATES,
  ),
  "co_teaching_fairbatch": Recipe(
    lambda criterion, strength: chain(
      selection.co_teaching(NOISE_RATE), _fairbatch(criterion, strength)
    ),
    _RATES,
    peers=2,
  ),
  "gce_gap": Recipe(
    lambda criterion, strength: chain(losses.gce(0.7), _gap(criterion, strength)), _GAPS
  ),
  "small_loss_gap": Recipe(
    lambda criterion, strength: chain(selection.small_loss(NOISE_RATE), _gap(criterion, strength)),
    _GAPS,
  ),
}


def trainer(recipe: Recipe, criterion: str, epochs: int, train: Batch, test: Batch) -> Any:
  """The run of a method, `train(seed, strength)`."""
  doubled = pointwise(
    lambda batch, **_: batch.replace(log_probs=jax.nn.log_softmax(2 * batch.logits)),
    writes=("log_probs",),
  )
  network, tx, wanted = architectures.logistic(), optax.adam(LEARNING_RATE), CRITERIA[criterion]
  measure = getattr(metrics, f"{wanted}_difference")

  def one(seed: Any, strength: Any) -> dict[str, Any]:
    method = chain(doubled, recipe.make(wanted, strength))
    state, _ = rfjax.fit(
      *(network, method, tx, train),
      key=jax.random.key(seed),
      epochs=epochs,
      batch_size=min(BATCH_SIZE, train.num_rows),
      peers=recipe.peers,
    )
    said = rfjax.predict(network, state, test)
    return {"accuracy": metrics.accuracy(said), "disparity": measure(said, method="to_overall")}

  return one


def run(settings: Settings, *, progress: bool) -> Result:
  """Trains all methods."""
  began = time.perf_counter()
  parts = {
    noise: data.split(
      data.table("fair_robust", labels=LABELS[noise], data_dir=settings.data_dir), key=None
    )
    for noise in {noise: None for noise, _ in cells(settings)}
  }
  found, seconds = {}, {"reading": time.perf_counter() - began}
  for name in methods(settings):
    began, recipe = time.perf_counter(), RECIPES[name]
    for noise, criterion in cells(settings):
      if progress:
        print(f"fair-robust: {name}, {noise}, {criterion}", file=sys.stderr, flush=True)
      epochs = settings.epochs or EPOCHS[noise, criterion]
      train = trainer(recipe, criterion, epochs, parts[noise].train, parts[noise].test)
      found[name, noise, criterion] = rfjax.sweep(
        train,
        {"strength": list(recipe.strengths), "seed": range(settings.seeds)},
        lanes=settings.lanes,
        block=settings.block,
        progress=progress,
      )
    seconds[name] = time.perf_counter() - began
  return Result(settings, found, seconds)
