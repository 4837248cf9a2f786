"""What the benchmarks share: one core, two sides that take turns, a gate, the peak, a line a case.

Where compiling would take longer than what is timed, both sides run in one process, warmed; else
each run is a process of its own. They alternate, so that what disturbs one disturbs the other.
"""

import json
import os
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

# Read when JAX starts, so this module comes before it.
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")

CONTENDED = 1.15  # more wall seconds a CPU second are owed to other programs


class Seconds(NamedTuple):
  """What a call takes, by the clock and of the processor."""

  wall: float
  cpu: float


def one_core() -> None:
  """Keeps this process, and those that it starts, on one core."""
  if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def cores(number: int) -> None:
  """Keeps this process, and those that it starts, on so many cores, or on all that there are."""
  if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-number:])


def seconds(call: Callable[[], Any], repeats: int = 1) -> Seconds:
  """The medians of some calls, none of which warms up."""
  found = []
  for _ in range(repeats):
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    found.append((time.perf_counter() - wall, time.process_time() - cpu))
  return Seconds(*map(statistics.median, zip(*found, strict=True)))


def contended(runs: Sequence[Seconds], busy: int = 1) -> bool:
  """Whether other programs took part of the cores, of which so many were busy, in any of the runs.

  Runs under a millisecond are left out: their clocks are too coarse to tell.
  """
  return any(run.wall > 1e-3 and busy * run.wall > CONTENDED * run.cpu for run in runs)


def peak(size: int = 2048, repeats: int = 5) -> float:
  """GFLOP/s of a float32 matrix product, the best of some; a CPU second on CPU."""
  import jax
  import jax.numpy as jnp

  a, product = jnp.ones((size, size)), jax.jit(jnp.matmul)
  call = lambda: jax.block_until_ready(product(a, a))
  call()
  best = [seconds(call) for _ in range(repeats)]
  spent = min(s.cpu if jax.default_backend() == "cpu" else s.wall for s in best)
  return 2 * size**3 / spent / 1e9


class Disagreement(SystemExit):
  """The two sides have not done the same."""


def gate(what: str, agree: Any) -> None:
  """Ends the script before a ratio is printed, unless both sides have done the same."""
  if not agree:
    raise Disagreement(f"{what}: the two sides disagree, so there is no ratio")


def alternate(sides: Sequence[Callable[[], Any]], pairs: int) -> list[list[Any]]:
  """What each side returns, by turns: A B A B ..., `pairs` of each."""
  turns = [[side() for side in sides] for _ in range(pairs)]
  return [list(column) for column in zip(*turns, strict=True)]


def compare(
  peer: Callable[[], Any],
  ours: Callable[[], Any],
  pairs: int,
  repeats: int = 1,
  warm: bool = True,
) -> dict[str, Any]:
  """Runs two calls by turns in this process, and says how many times faster ours is.

  Args:
    peer: what is compared with.
    ours: the same by this library, compiled and waited for.
    pairs: how many turns of both.
    repeats: calls of ours a turn, of which the median counts.
    warm: call both once before.

  Returns:
    Medians of seconds, and the median of the ratios by pair with the least and the largest.
  """
  if warm:
    peer()
    ours()
  theirs, own = alternate((lambda: seconds(peer), lambda: seconds(ours, repeats)), pairs)
  ratios = [a.cpu / b.cpu for a, b in zip(theirs, own, strict=True)]
  middle = lambda runs, clock: round(statistics.median(getattr(s, clock) for s in runs), 6)
  return {
    "pairs": pairs,
    "peer_cpu_seconds": middle(theirs, "cpu"),
    "peer_wall_seconds": middle(theirs, "wall"),
    "cpu_seconds": middle(own, "cpu"),
    "wall_seconds": middle(own, "wall"),
    "ratio": round(statistics.median(ratios), 2),
    "ratio_low": round(min(ratios), 2),
    "ratio_high": round(max(ratios), 2),
    "contended": contended([*theirs, *own]),
  }


def child(command: Sequence[str], environment: dict[str, str] | None = None) -> Any:
  """What another process prints as JSON on its last line."""
  done = subprocess.run(
    command, capture_output=True, text=True, env=os.environ | (environment or {})
  )
  if done.returncode:
    raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr.strip()[-2000:]}")
  return json.loads(done.stdout.splitlines()[-1])


def show(case: dict[str, Any], as_json: bool) -> None:
  """Prints a line."""
  text = json.dumps(case) if as_json else " ".join(f"{k} {v}" for k, v in case.items())
  print(text, flush=True)


def header() -> dict[str, Any]:
  """The device, the version, and the peak of this process."""
  import jax

  return {
    "device": jax.devices()[0].device_kind,
    "jax": jax.__version__,
    "gemm_gflops": round(peak(), 1),
  }
