"""What a run of FR-Train costs: seconds a run after compiling, for growing numbers of seeds.

    python benchmarks/fr_train.py [--seeds 1 4 16] [--repeats 5] [--json]

On CPU it runs on one core, and prints CPU seconds, which other programs disturb less than the
clock, and the matrix-product peak of the same process. On an accelerator all seeds are lanes of one
device, and the wall clock counts. The setting is the poisoned notebook's: 10,000 epochs, 1,800 +
200 rows.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import pairs


def _run(lanes: int) -> tuple[Callable, Any]:
  """One compiled program for any number of seeds, and its training data."""
  import jax

  from rfjax import data
  from rfjax.experiments import _fr_train_common as common

  schedule, split = common.SCHEDULES["poisoned"], data.fr_train()

  def train(seed: jax.Array, split: Any) -> dict[str, jax.Array]:
    state = common.train(schedule, split.train, jax.random.key(seed), 0.3, schedule.lambda_r)
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


def main() -> None:
  """Prints a line for each case."""
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--seeds", type=int, nargs="+", help="numbers of seeds")
  parser.add_argument("--repeats", type=int, default=5)
  parser.add_argument("--json", action="store_true", help="one JSON object a line")
  options = parser.parse_args()
  import jax

  on_cpu = jax.default_backend() == "cpu"
  if on_cpu:
    pairs.one_core()
  seeds = options.seeds or ([1, 4, 16] if on_cpu else [1, 16, 64, 256, 1024, 4096])
  pairs.show(pairs.header(), options.json)
  for count in seeds:
    pairs.show(measure(count, 1 if on_cpu else count, options.repeats), options.json)


if __name__ == "__main__":
  main()
