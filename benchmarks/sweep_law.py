"""The law of a sweep: its time is compiling + N t1 / D, for N runs on D devices.

    python benchmarks/sweep_law.py [--runs 1 8 64 512] [--pairs 3] [--repeats 3] [--json]
    python benchmarks/sweep_law.py --check

A run is a logistic regression on 2,000 rows of Zafar's data, as FairBatch's synthetic ones are: 50
epochs of batches of 100, one run after another on each device. One device has a core to itself, two
forced host devices have two; they alternate, each in a process of its own, and no ratio is printed
unless both find the same parameters. What is timed is the loop over the blocks of `rfjax.sweep`
with its program compiled before. A line for each N has the seconds a run, which should be flat in
N, and how many times faster two devices are, which should be 2: by the clock, so that it means
something on a quiet machine only; the CPU seconds of two devices should be those of one.

The last line compiles the program in a process with an empty compilation cache and in a second one
with that cache. Tracing and lowering are not cached. `--check` shows that the gate can fail.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

import pairs

ROWS, EPOCHS, BATCH = 2_000, 50, 100
CLOSE = 1e-5  # on one device, a loop of another length may have other last bits


def _force(devices: int) -> None:
  """Asks for so many host devices; JAX reads it when it starts."""
  os.environ["XLA_FLAGS"] = (
    f"--xla_cpu_multi_thread_eigen=false --xla_force_host_platform_device_count={devices}"
  )


def train(seed: Any, data: Any) -> dict[str, Any]:
  """One run."""
  import jax
  import optax

  import rfjax
  from rfjax import architectures

  state, log = rfjax.fit(
    architectures.logistic(),
    rfjax.chain(),
    optax.adam(5e-4),
    data,
    key=jax.random.key(seed),
    epochs=EPOCHS,
    batch_size=BATCH,
  )
  return {"risk": log.risk[-1]} | {name: v for name, v in state.params.items()}


def run(counts: Sequence[int], devices: int, repeats: int) -> dict[str, Any]:
  """In a process of its own: the seconds of sweeps of so many runs, and what they found."""
  import jax
  import numpy as np

  from rfjax import data
  from rfjax.core import _sweep

  rows = data.zafar(jax.random.key(0), ROWS)
  mesh, found = _sweep.run_mesh(jax.local_devices()[:devices]), {}
  for number in counts:
    points = {"seed": np.arange(number, dtype=np.uint32)}
    plan = _sweep._plan(number, None, None, mesh)
    began = time.process_time()
    made = _sweep.engine(lambda seed: train(seed, rows), ("seed",), points, plan, mesh)
    block = _sweep.lay_out(plan, 0)
    turns, given = np.full(devices, block.turns, np.int32), {"seed": points["seed"][block.rows]}
    lowered = made.call.func.lower(*made.call.args, turns, given, np.int32(0), ())
    tracing, began = time.process_time() - began, time.process_time()
    lowered.compile()
    compiling = time.process_time() - began
    sweep = lambda: _sweep._run(made, points, plan, False, None)[0]
    first = sweep()
    spent = pairs.seconds(sweep, repeats)
    found[str(number)] = {
      "spent": spent,
      "tracing": tracing,
      "compiling": compiling,
      "result": [np.asarray(v, float).reshape(number, -1).tolist() for v in jax.tree.leaves(first)],
    }
  return {"peak": pairs.peak(), "runs": found}


def _child(devices: int, counts: Sequence[int], repeats: int, cache: str | None = None) -> Any:
  words = ["--child", str(devices), "--repeats", str(repeats), "--runs", *map(str, counts)]
  kept = {
    "JAX_COMPILATION_CACHE_DIR": cache or "",
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
  }
  return pairs.child([sys.executable, __file__, *words], kept if cache else None)


def agree(one: dict[str, Any], two: dict[str, Any]) -> bool:
  """Whether each run found the same on one device and on two, and the same in every sweep."""
  import numpy as np

  for side in (one, two):
    longest = max(side.values(), key=lambda case: len(case["result"][0]))["result"]
    for case in side.values():
      if any(mine != all_[: len(mine)] for mine, all_ in zip(case["result"], longest, strict=True)):
        return False
  close = lambda a, b: all(map(lambda x, y: np.allclose(x, y, rtol=CLOSE, atol=CLOSE), a, b))
  return all(close(one[n]["result"], two[n]["result"]) for n in one)


def measure(counts: Sequence[int], turns: int, repeats: int, as_json: bool) -> None:
  """Prints a line for each number of runs."""
  sides = pairs.alternate([lambda d=d: _child(d, counts, repeats) for d in (1, 2)], turns)
  one, two = ([process["runs"] for process in side] for side in sides)
  for a, b in zip(one, two, strict=True):
    pairs.gate("sweeps on one device and on two", agree(a, b))
  peak = statistics.median(process["peak"] for process in sides[0])
  pairs.show({"gemm_gflops_a_core": round(peak, 1), "rows": ROWS, "epochs": EPOCHS}, as_json)
  flat = None
  for number in counts:
    spent = [[pairs.Seconds(*p[str(number)]["spent"]) for p in side] for side in (one, two)]
    middle = lambda runs, clock: statistics.median(getattr(s, clock) for s in runs)
    ratios = [a.wall / b.wall for a, b in zip(*spent, strict=True)]
    each = middle(spent[0], "cpu") / number
    flat = flat or each
    pairs.show(
      {
        "runs": number,
        "pairs": turns,
        "cpu_seconds_a_run": round(each, 5),
        "wall_seconds_a_run": round(middle(spent[0], "wall") / number, 5),
        "to_the_first": round(each / flat, 3),
        "wall_seconds_a_run_on_two": round(middle(spent[1], "wall") / number, 5),
        "ratio": round(statistics.median(ratios), 2),
        "ratio_low": round(min(ratios), 2),
        "ratio_high": round(max(ratios), 2),
        "cpu_of_two_to_one": round(middle(spent[1], "cpu") / middle(spent[0], "cpu"), 3),
        "same_bits": one[0][str(number)]["result"] == two[0][str(number)]["result"],
        "contended": pairs.contended(spent[0])
        or (number > 1 and pairs.contended(spent[1], busy=2)),
      },
      as_json,
    )


def second_start(turns: int) -> dict[str, Any]:
  """CPU seconds of compiling with an empty cache, and with that of the process before."""
  starts = []
  for _ in range(turns):
    with tempfile.TemporaryDirectory() as cache:
      starts.append([_child(1, [1], 1, cache)["runs"]["1"] for _ in range(2)])
  middle = lambda i, what: statistics.median(start[i][what] for start in starts)
  for first, second in starts:
    pairs.gate("a first and a second start", first["result"] == second["result"])
  return {
    "pairs": turns,
    "tracing_seconds": round(middle(0, "tracing"), 3),
    "compile_seconds": round(middle(0, "compiling"), 3),
    "compile_seconds_again": round(middle(1, "compiling"), 3),
    "share": round(middle(1, "compiling") / middle(0, "compiling"), 3),
  }


def check() -> None:
  """Shows that the gate passes what is the same, and stops one parameter that is not."""
  one = {n: {"result": [[[1.0], [2.0]][: int(n)]]} for n in ("1", "2")}
  pairs.gate("the same", agree(one, one))
  wrong = {n: {"result": [[[1.0], [2.001]][: int(n)]]} for n in ("1", "2")}
  try:
    pairs.gate("one parameter", agree(one, wrong))
  except pairs.Disagreement:
    print("the gate stops what is wrong")
    return
  raise SystemExit("the gate lets pass what is wrong")


def main() -> None:
  """Prints a line for each number of runs, and one for the second start."""
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--runs", type=int, nargs="+", default=[1, 8, 64, 512])
  parser.add_argument("--pairs", type=int, default=3)
  parser.add_argument("--repeats", type=int, default=3, help="sweeps that are timed a process")
  parser.add_argument("--check", action="store_true", help="only show that the gate can fail")
  parser.add_argument("--json", action="store_true", help="one JSON object a line")
  parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
  options = parser.parse_args()
  if options.child:
    pairs.cores(options.child)
    _force(options.child)
    print(json.dumps(run(options.runs, options.child, options.repeats)))
    return
  if options.check:
    check()
    return
  measure(options.runs, options.pairs, options.repeats, options.json)
  pairs.show(second_start(options.pairs), options.json)


if __name__ == "__main__":
  main()
