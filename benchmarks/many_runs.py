"""What a sweep of very many small runs costs: seconds and memory as it goes on, and its store.

    python benchmarks/many_runs.py [--runs 100000] [--store DIR] [--json]

A run is ten epochs of a linear model on 64 rows of the synthetic data. Printed are the seconds of
the whole, the highest resident memory after the first and after the last block, the size of the
store, and the seconds in which the same sweep reads all of it. Nothing but the results may grow.
"""

import argparse
import json
import os
import pathlib
import resource
import sys
import tempfile
import time
from typing import Any

os.environ.setdefault("XLA_FLAGS", f"--xla_force_host_platform_device_count={os.cpu_count()}")


def _peak() -> float:
  """Megabytes of resident memory, at their highest so far."""
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  return peak / (2**20 if sys.platform == "darwin" else 2**10)


def _train(data: Any) -> Any:
  import jax
  import optax

  import rfjax
  from rfjax import architectures, metrics

  network = architectures.logistic()

  def train(seed: Any) -> dict[str, Any]:
    state, log = rfjax.fit(
      network, rfjax.chain(), optax.adam(0.1), data, key=jax.random.key(seed), epochs=10
    )
    return {
      "risk": log.risk[-1],
      "accuracy": metrics.accuracy(rfjax.predict(network, state, data)),
    }

  return train


def measure(runs: int, folder: str) -> dict[str, Any]:
  """Runs the sweep twice: the second time everything is there."""
  import jax

  import rfjax
  from rfjax.core import _store

  train, peaks = _train(rfjax.data.zafar(jax.random.key(0), 64)), []
  write = _store.Store.write

  def watched(*args: Any) -> None:
    write(*args)
    peaks.append(_peak())

  _store.Store.write = watched
  began = time.perf_counter()
  first = rfjax.sweep(train, {"seed": range(runs)}, store=folder)
  seconds, began = time.perf_counter() - began, time.perf_counter()
  again = rfjax.sweep(train, {"seed": range(runs)}, store=folder, progress=False)
  reading = time.perf_counter() - began
  size = sum(path.stat().st_size for path in pathlib.Path(folder).rglob("*.npz"))
  assert first.equals(again) and again.attrs["runs_found"] == runs
  return {
    "runs": runs,
    "devices": first.attrs["devices"],
    "blocks": len(peaks),
    "seconds": round(seconds, 1),
    "microseconds_a_run": round(1e6 * seconds / runs, 1),
    "peak_megabytes_first_block": round(peaks[0], 1),
    "peak_megabytes_last_block": round(peaks[-1], 1),
    "store_megabytes": round(size / 2**20, 2),
    "seconds_to_read_all": round(reading, 2),
  }


def main() -> None:
  """Prints one line."""
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--runs", type=int, default=100_000)
  parser.add_argument("--store", help="an empty folder; one that is removed again by default")
  parser.add_argument("--json", action="store_true", help="one JSON object")
  options = parser.parse_args()
  with tempfile.TemporaryDirectory() as folder:
    found = measure(options.runs, options.store or folder)
  print(json.dumps(found) if options.json else " ".join(f"{k} {v}" for k, v in found.items()))


if __name__ == "__main__":
  main()
