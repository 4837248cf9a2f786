"""What a run of FR-Train costs: seconds a run after compiling, for growing numbers of seeds.

    python benchmarks/fr_train.py [--seeds 1 16 64] [--lanes 1 16] [--repeats 5] [--json]
    python benchmarks/fr_train.py --official FOLDER --python PYTHON [--seeds 1 4] [--pairs 5]
    python benchmarks/fr_train.py --devices 1 2 [--seeds 16] [--pairs 3]

On CPU it runs on one core, and prints CPU seconds, which other programs disturb less than the
clock, and the matrix-product peak of the same process. Seeds are trained one after the other, or as
many side by side as there are lanes. On an accelerator all seeds are lanes of one device, and the
wall clock counts. The setting is the poisoned notebook's: 10,000 epochs, 1,800 + 200 rows.

With a clone of https://github.com/yuji-roh/fr-train and a Python that has PyTorch, runs of the
notebook's own cells and of rfjax alternate, each on one thread of the same core. The notebook's
first run has seed 1, whose initial weights are in `experiments/fr_train`: what comes out of them
here is printed beside it.

With several numbers of devices, as many cores are taken as there are devices, each number by turns
in a process of its own, and what counts is the clock.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import notebooks
import pairs

LAMBDA_F = 0.3


def _run(lanes: int) -> tuple[Callable, Any]:
  """One compiled program for any number of seeds, and its training data."""
  import jax

  from rfjax import data
  from rfjax.experiments import _fr_train_common as common

  schedule, split = common.SCHEDULES["poisoned"], data.fr_train()

  def train(seed: jax.Array, split: Any) -> dict[str, jax.Array]:
    state = common.train(schedule, split.train, jax.random.key(seed), LAMBDA_F, schedule.lambda_r)
    return common.measure(state, split.test)

  wide = {"batch_size": lanes} if lanes > 1 else {}
  return jax.jit(lambda seeds, s: jax.lax.map(lambda seed: train(seed, s), seeds, **wide)), split


def measure(seeds: int, lanes: int, repeats: int) -> dict[str, Any]:
  """The cost of one program."""
  import jax
  import jax.numpy as jnp

  function, split = _run(lanes)
  numbers = jnp.arange(seeds, dtype=jnp.uint32)
  began = time.perf_counter()
  compiled = function.lower(numbers, split).compile()
  compiling = time.perf_counter() - began
  call = lambda: jax.block_until_ready(compiled(numbers, split))
  call()
  spent = pairs.seconds(call, repeats)
  memory = compiled.memory_analysis()
  return {
    "seeds": seeds,
    "lanes": lanes,
    "cpu_seconds_a_run": round(spent.cpu / seeds, 4),
    "wall_seconds_a_run": round(spent.wall / seeds, 4),
    "compile_seconds": round(compiling, 2),
    "temporary_megabytes": round(memory.temp_size_in_bytes / 1e6, 2),
    "contended": pairs.contended([spent]),
  }


def _from_the_notebook_s_weights() -> list[float]:
  """Accuracy and disparate impact after training from the notebook's initial weights of seed 1."""
  import jax

  from rfjax import data
  from rfjax.experiments import _fr_train_common as common
  from rfjax.experiments import _fr_train_init as init

  schedule, split, start = common.SCHEDULES["poisoned"], data.fr_train(), init.read(init.OFFICIAL)

  def train(params: Any, players: Any, split: Any) -> dict[str, jax.Array]:
    initial = {"params": params, "players": players}
    key, weights = jax.random.key(0), (LAMBDA_F, schedule.lambda_r)
    state = common.train(schedule, split.train, key, *weights, **initial)
    return common.measure(state, split.test)

  found = jax.jit(train)(start.params, start.players, split)
  return [round(float(found[name]), 4) for name in ("accuracy", "disparate_impact")]


def compare(seeds: int, lanes: int, folder: str, python: str, turns: int) -> dict[str, Any]:
  """Runs of the authors' code and of rfjax by turns."""
  import jax.numpy as jnp

  cell = "train_result = []"
  notebook = notebooks.Notebook(
    folder,
    python,
    "FRTrain_poisoned.ipynb",
    first=cell,
    training=cell,
    changes={
      r"lambda_f_set = \[[^]]*\]": f"lambda_f_set = [{LAMBDA_F}]",
      r"seed = 1": "seed = {seed}",
    },
    found="train_result[0][0][2:]",
  )
  function, split = _run(lanes)
  numbers = jnp.arange(seeds, dtype=jnp.uint32)
  ours = function.lower(numbers, split).compile()
  case = notebooks.compare(lambda: ours(numbers, split), seeds, notebook, turns, first_seed=1)
  return case | {"lanes": lanes, "found_from_the_weights_of_seed_1": _from_the_notebook_s_weights()}


def on(devices: int, runs: int, repeats: int) -> dict[str, Any]:
  """In a process of its own: the seconds of a sweep over so many devices."""
  pairs.cores(devices)
  import jax
  import numpy as np

  from rfjax import data
  from rfjax.core import _sweep
  from rfjax.experiments import _fr_train_common as common

  schedule, split = common.SCHEDULES["poisoned"], data.fr_train()

  def train(seed: jax.Array) -> dict[str, jax.Array]:
    key = jax.random.key(seed)
    return common.measure(
      common.train(schedule, split.train, key, LAMBDA_F, schedule.lambda_r), split.test
    )

  mesh, points = _sweep.run_mesh(), {"seed": np.arange(runs, dtype=np.uint32)}
  plan = _sweep._plan(runs, None, None, mesh)
  made = _sweep.engine(train, ("seed",), points, plan, mesh)
  sweep = lambda: _sweep._run(made, points, plan, False, None)
  sweep()
  return {"devices": plan.devices, "wall_seconds": pairs.seconds(sweep, repeats).wall}


def scale(numbers: list[int], runs: int, turns: int, repeats: int) -> dict[str, Any]:
  """Sweeps over several numbers of devices by turns, and how many times faster each is."""

  def child(devices: int) -> float:
    flags = f"--xla_force_host_platform_device_count={devices} --xla_cpu_multi_thread_eigen=false"
    words = ["--on", str(devices), "--seeds", str(runs), "--repeats", str(repeats)]
    return pairs.child([sys.executable, __file__, *words], {"XLA_FLAGS": flags})["wall_seconds"]

  sides = pairs.alternate([lambda d=d: child(d) for d in numbers], turns)
  middle = [statistics.median(side) for side in sides]
  faster = [statistics.median(a / b for a, b in zip(sides[0], side, strict=True)) for side in sides]
  return {
    "runs": runs,
    "devices": numbers,
    "wall_seconds": [round(seconds, 3) for seconds in middle],
    "times_faster": [round(ratio, 2) for ratio in faster],
  }


def main() -> None:
  """Prints a line for each case."""
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--seeds", type=int, nargs="+", help="numbers of seeds")
  parser.add_argument("--lanes", type=int, nargs="+", help="runs side by side, for each number")
  parser.add_argument("--repeats", type=int, default=5)
  parser.add_argument("--official", metavar="FOLDER", help="a clone of the authors' repository")
  parser.add_argument("--python", help="a Python that has PyTorch")
  parser.add_argument("--pairs", type=int, default=5)
  parser.add_argument("--devices", type=int, nargs="+", help="numbers of host devices, by turns")
  parser.add_argument("--on", type=int, help=argparse.SUPPRESS)
  parser.add_argument("--json", action="store_true", help="one JSON object a line")
  options = parser.parse_args()
  if options.on is not None:
    return pairs.show(on(options.on, options.seeds[0], options.repeats), True)
  if options.devices is not None:
    runs = options.seeds[0] if options.seeds else 16
    return pairs.show(scale(options.devices, runs, options.pairs, options.repeats), options.json)
  if (options.official is None) != (options.python is None):
    parser.error("--official and --python go together")
  import jax

  on_cpu = jax.default_backend() == "cpu"
  if on_cpu:
    pairs.one_core()
  seeds = options.seeds or ([1, 16, 64] if on_cpu else [1, 16, 64, 256, 1024, 4096])
  pairs.show(pairs.header(), options.json)
  for count in seeds:
    for lanes in options.lanes or [1 if on_cpu else count]:
      if lanes > count:
        continue
      if options.official is None:
        case = measure(count, lanes, options.repeats)
      else:
        case = compare(count, lanes, options.official, options.python, options.pairs)
      pairs.show(case, options.json)


if __name__ == "__main__":
  main()
