"""What poisoning does to the fairness of models on Zafar's data, and how robust methods fare.

    python benchmarks/attacks.py [--seeds 16] [--rate 0.1] [--attacks ...] [--learners ...] [--json]

Each seed draws 1,000 training rows, a pool of 1,000 rows for attacks that choose, 200 clean rows,
which are the validation data of `solans` and the trusted ones of FR-Train, and 5,000 clean test
rows. An attack appends rows, of which "uniform" are rows of the pool as they are and "random" the
same rows with the other label; "group" gives as many training rows, true positives of group 1
far from the boundary, to group 0, and appends nothing; the learner sees the given groups.
A learner sees x with the true group as its last column, and its figures are of test rows: the
accuracy, the differences of equal opportunity and of equalized odds. Differences are paired by
seed. A line "against" says how much more the disparity rises than by random rows, of the logistic
regression, with the standard error of the mean.
"""

import argparse
import json
import math
import os
import time
from typing import Any

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")

ROWS, POOL, CLEAN, TEST = 1000, 1000, 200, 5000
ATTACKS = (
  "none",
  "uniform",
  "random",
  "chang 1",
  "chang 2",
  "mehrabi random",
  "mehrabi non_random",
  "solans",
  "van equalized_odds",
  "van label_flip",
  "van demographic_parity",
  "group",
)
LEARNERS = ("logistic", "lagrangian", "ratio", "error_tolerant", "fair_robust", "fr_train")
FIGURES = ("accuracy", "equal opportunity", "equalized odds")


def _attack(name: str, rate: float, pool: Any) -> Any:
  """The transform of one attack."""
  import jax
  import jax.numpy as jnp

  import rfjax
  from rfjax import noise
  from rfjax.noise import _append

  kind, _, detail = name.partition(" ")
  if kind == "chang":
    return noise.chang(rate, pool, algorithm=int(detail))
  if kind == "mehrabi":
    return noise.mehrabi(rate, kind=detail)
  if kind == "solans":
    return noise.solans(rate, steps=20, step_size=0.5, newton_steps=6)
  if kind == "van":
    flips = {"kind": detail, "alpha": 0.8} if detail == "label_flip" else {"statistic": detail}
    return noise.van(rate, pool, **flips)

  def append(batch: Any, *, key: Any, **unused: Any) -> Any:
    del unused
    live = _append.slots(rate, None, batch)
    if kind in ("none", "group"):
      live = jnp.zeros_like(live)  # rows of padding, so that all data sets have one shape
    taken = jax.random.permutation(key, pool.num_rows)[: live.size]
    rows = jax.tree.map(lambda v: v[taken], _append.rows_of(pool))
    if kind == "random":
      rows = rows._replace(y=1 - rows.y)
    return _append.append(batch, rows, live)

  made = rfjax.stateless(append, writes=_append.WRITES)
  if kind != "group":
    return made
  # So group 0 looks as if it were accepted as often as group 1.
  return rfjax.chain(noise.group_far_from_boundary(rate, 1, label=1, predicted=1), made)


def _data(attack: str, rate: float, seed: Any) -> tuple[Any, Any]:
  """Poisoned training rows, with trusted ones, and clean test rows."""
  import jax

  import rfjax
  from rfjax import data

  keys = jax.random.split(jax.random.key(seed), 5)
  sizes = (ROWS, POOL, CLEAN, TEST)
  train, pool, clean, test = (data.zafar(k, n) for k, n in zip(keys[:4], sizes, strict=True))
  made = _attack(attack, rate, pool)
  fitted_on = clean if attack == "solans" else None
  train = rfjax.transform(made, train, key=keys[4], fitted_on=fitted_on)
  return train.replace(trusted=clean, truth=None), test


def _said(learner: str, rate: float, train: Any, test: Any, key: Any) -> Any:
  """What a model that a learner has made of the training rows says of test rows."""
  import jax.numpy as jnp
  import optax

  import rfjax
  from rfjax import architectures, convergence
  from rfjax.core import logistic_regression
  from rfjax.fairness import inprocessing

  if learner == "logistic":
    kernel, intercept = logistic_regression(train.x, train.y, weight=train.valid)
    score = test.x @ kernel + intercept
    return test.fill(jnp.stack([jnp.zeros_like(score), score], axis=1))
  both = ("true_positive_rate", "true_negative_rate")
  tolerant = lambda eta: rfjax.chain(
    convergence.error_tolerant(0.95, eta, 0.15, both[0], sizes=(0.19, 0.31)),
    convergence.error_tolerant(0.95, eta, 0.11, both[1], sizes=(0.37, 0.13)),
  )
  made = {
    "lagrangian": lambda: inprocessing.lagrangian(0.05, both),
    "ratio": lambda: tolerant(0.0),
    "error_tolerant": lambda: tolerant(rate),
    "fair_robust": lambda: convergence.fair_robust(rate / (1 + rate), warm_start=100),
    "fr_train": lambda: convergence.fr_train(0.3, 0.4, condition="y"),
  }[learner]()
  settings: dict[str, Any] = {"epochs": 1500}
  step = 0.02
  if learner == "fair_robust":
    settings, step = {"epochs": 450, "batch_size": 100}, 5e-4
  if learner == "fr_train":
    settings, step = {"epochs": convergence.fr_train_steps(10000)}, 1e-3
  network = architectures.logistic()
  state, _ = rfjax.fit(network, made, optax.adam(step), train, key=key, **settings)
  return rfjax.predict(network, state, test)


def _figures(said: Any) -> list[Any]:
  from rfjax import metrics

  return [
    metrics.accuracy(said),
    metrics.equal_opportunity_difference(said),
    metrics.equalized_odds_difference(said),
  ]


def measure(
  attacks: tuple[str, ...], learners: tuple[str, ...], rate: float, seeds: int
) -> tuple[dict[tuple[str, str], Any], dict[str, float]]:
  """Figures [seeds, 3] of each learner under each attack, and the seconds of each program."""
  import jax
  import jax.numpy as jnp
  import numpy as np

  every, seconds, found = jnp.arange(seeds, dtype=jnp.uint32), {}, {}

  def timed(name: str, call: Any, *arguments: Any) -> Any:
    began = time.perf_counter()
    result = jax.block_until_ready(call(*arguments))
    seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - began
    return result

  poison = {a: jax.jit(lambda s, a=a: jax.lax.map(lambda i: _data(a, rate, i), s)) for a in attacks}
  sets = {a: timed(a, made, every) for a, made in poison.items()}
  for learner in learners:

    def one(each: Any, learner: str = learner) -> Any:
      seed, (train, test) = each
      said = _said(learner, rate, train, test, jax.random.key(seed))
      return jnp.stack(_figures(said))

    run = jax.jit(lambda s, d, one=one: jax.lax.map(one, (s, d)))
    for attack, pair in sets.items():
      found[learner, attack] = np.asarray(timed(learner, run, every, pair), np.float64)
  return found, seconds


def _mean(values: Any) -> list[float]:
  """The mean and its standard error."""
  spread = values.std(ddof=1) / math.sqrt(len(values)) if len(values) > 1 else math.nan
  return [round(float(values.mean()), 4), round(float(spread), 4)]


def main() -> None:
  """Prints a line for each learner and attack, and the harm of attacks beyond random rows'."""
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--seeds", type=int, default=16)
  parser.add_argument("--rate", type=float, default=0.1)
  parser.add_argument("--attacks", nargs="+", choices=ATTACKS, default=ATTACKS)
  parser.add_argument("--learners", nargs="+", choices=LEARNERS, default=LEARNERS)
  parser.add_argument("--json", action="store_true", help="one JSON object a line")
  options = parser.parse_args()
  import jax

  show = lambda case: print(
    json.dumps(case) if options.json else " | ".join(f"{k} {v}" for k, v in case.items()),
    flush=True,
  )
  show({"device": jax.devices()[0].device_kind, "jax": jax.__version__, "seeds": options.seeds})
  found, seconds = measure(
    tuple(options.attacks), tuple(options.learners), options.rate, options.seeds
  )
  for (learner, attack), values in found.items():
    means = {name: _mean(values[:, i]) for i, name in enumerate(FIGURES)}
    show({"learner": learner, "attack": attack} | means)
  for attack in options.attacks:
    for control in ("random", "uniform"):
      pair = found.get(("logistic", attack)), found.get(("logistic", control))
      if attack in ("none", "uniform", "random", "group") or pair[0] is None or pair[1] is None:
        continue
      more = pair[0] - pair[1]
      means = {name: _mean(more[:, i]) for i, name in enumerate(FIGURES)}
      show({"attack": attack, "against": control} | means)
  show({"seconds": {name: round(spent, 1) for name, spent in seconds.items()}})


if __name__ == "__main__":
  main()
