"""The frontier of exponentiated gradient, all tolerances in one program; fairlearn's one by one.

    python benchmarks/exponentiated_gradient.py [--data compas adult] [--iterations 6] [--no-peer]

Both learn logistic regressions of the same features, with scikit-learn's default penalty, on the
training set. A line for each tolerance has the expected training error and the violation of both,
and the seconds that fairlearn took for it; a last one has seconds for all of them: of the first
call, which compiles, and of the next ones. These are made between the runs of fairlearn, so that
both share what else the machine does.
"""

import argparse
import dataclasses
import functools
import json
import statistics
import time
import warnings
from typing import Any

BOUNDS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15)


def program(constraint: str, iterations: int, steps: int, points: int, early: list[int]) -> Any:
  """One compiled program for all tolerances, one after another, as is fastest on CPU.

  They share the answers to a grid of multipliers, and those of learners that stop early.
  """
  import jax
  import jax.numpy as jnp

  from rfjax.fairness import inprocessing

  oracle = inprocessing.logistic_oracle(steps=steps)

  def run(data: Any, bounds: Any) -> Any:
    search = functools.partial(
      inprocessing.grid_search, data, constraint, grid_size=points, grid_limit=0.4
    )
    grids = [search(oracle=inprocessing.logistic_oracle(steps=n)) for n in (steps, *early)]
    join = lambda of: jnp.concatenate([of(grid) for grid in grids])
    grid = grids[0]._replace(
      classifier=dataclasses.replace(
        grids[0].classifier, hypotheses=join(lambda g: g.classifier.hypotheses)
      ),
      errors=join(lambda g: g.errors),
      gammas=join(lambda g: g.gammas),
    )
    one = lambda bound: inprocessing.exponentiated_gradient(
      data, constraint, difference_bound=bound, iterations=iterations, oracle=oracle, grid=grid
    )
    if jax.default_backend() == "cpu":
      return jax.lax.map(one, bounds)
    return jax.vmap(one)(bounds)

  return jax.jit(run)


def timed(call: Any) -> tuple[Any, float]:
  """What a call returns, and its seconds."""
  import jax

  began = time.perf_counter()
  result = jax.block_until_ready(call())
  return result, time.perf_counter() - began


def peer(data: Any, constraint: str, bound: float) -> Any:
  """Probabilities of class 1 by fairlearn, as it comes."""
  import numpy as np
  from fairlearn import reductions
  from sklearn.linear_model import LogisticRegression

  names = {"demographic_parity": "DemographicParity", "equalized_odds": "EqualizedOdds"}
  moment = getattr(reductions, names[constraint])(difference_bound=bound)
  found = reductions.ExponentiatedGradient(LogisticRegression(max_iter=1000), moment)
  x, y, group = np.asarray(data.x, np.float64), np.asarray(data.y), np.asarray(data.group)
  found.fit(x, y, sensitive_features=group)
  return found._pmf_predict(x)[:, 1]


def measure(name: str, constraint: str, settings: dict[str, Any], with_peer: bool) -> None:
  """Prints the lines of one data set."""
  import jax
  import jax.numpy as jnp

  from rfjax import data as data_sets
  from rfjax.fairness import inprocessing

  drawn = {"key": jax.random.key(0)} if name == "compas" else {}  # it has no test set of its own
  data = data_sets.load(name, **drawn).train
  run, bounds = program(constraint, **settings), jnp.asarray(BOUNDS)
  ours, first = timed(lambda: run(data, bounds))
  moments = inprocessing.parity_moments(data, constraint)
  warm, theirs = [timed(lambda: run(data, bounds))[1]], []
  for i, bound in enumerate(BOUNDS):
    line = {
      "data": name,
      "bound": bound,
      "error": round(float(ours.error[i]), 5),
      "violation": round(float(ours.gamma[i].max()), 5),
    }
    if with_peer:
      probability, seconds = timed(lambda bound=bound: peer(data, constraint, bound))
      theirs.append(seconds)
      line |= {
        "fairlearn_error": round(float(moments.error(probability)), 5),
        "fairlearn_violation": round(float(moments.gamma(probability).max()), 5),
        "fairlearn_seconds": round(seconds, 2),
      }
      warm.append(timed(lambda: run(data, bounds))[1])
    print(json.dumps(line), flush=True)
  total = {"data": name, "rows": data.num_rows, "first": round(first, 2)}
  total["warm"] = round(statistics.median(warm), 3)
  if theirs:
    total["fairlearn"] = round(sum(theirs), 2)
    total["times_faster"] = round(sum(theirs) / statistics.median(warm), 1)
    total["times_faster_with_compiling"] = round(sum(theirs) / first, 1)
  print(json.dumps(total), flush=True)


def main() -> None:
  """Prints a line for each tolerance, and one for each data set."""
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--data", nargs="+", default=["compas", "adult"])
  parser.add_argument("--constraint", default="demographic_parity")
  parser.add_argument("--iterations", type=int, default=6)
  parser.add_argument("--points", type=int, default=41, help="of the grid")
  parser.add_argument("--steps", type=int, default=6, help="Newton steps of an answer")
  parser.add_argument("--early", type=int, nargs="*", default=[], help="more grids, of fewer steps")
  parser.add_argument("--no-peer", action="store_true", help="without fairlearn")
  options = parser.parse_args()
  warnings.filterwarnings("ignore")  # pandas, of fairlearn's code
  for name in options.data:
    settings = {key: getattr(options, key) for key in ("iterations", "steps", "points", "early")}
    measure(name, options.constraint, settings, not options.no_peer)


if __name__ == "__main__":
  main()
