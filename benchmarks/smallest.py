"""Choosing the rows of the smallest losses: by bisection, as methods do, and by a sort.

    python benchmarks/smallest.py [--rows 128 512 4096 65536] [--repeats 7]

Both are compiled, in a scan of batches in one process, and mark the same rows. It prints
microseconds a batch, the least of the repeats.
"""

import argparse
import json
import time
from collections.abc import Callable
from typing import Any


def by_sort(values: Any, number: Any, mask: Any, index: Any) -> Any:
  """The same marks by one sort with three keys."""
  import jax.numpy as jnp

  order = jnp.lexsort((index, ~mask, jnp.where(mask, values, jnp.inf)))
  return mask & jnp.zeros_like(mask).at[order].set(jnp.arange(values.size) < number)


def measure(choose: Callable, rows: int, repeats: int) -> tuple[float, Any]:
  """Microseconds a batch, and how often each row was marked."""
  import jax
  import jax.numpy as jnp

  batches = max(200 * 128 // rows, 5)
  values = jax.random.uniform(jax.random.key(0), (batches, rows))
  mask, index = jnp.ones(rows, bool), jnp.arange(rows)

  @jax.jit
  def all_batches(values: Any) -> Any:
    one = lambda marks, v: (marks + choose(v, rows // 2, mask, index), None)
    return jax.lax.scan(one, jnp.zeros(rows, jnp.int32), values)[0]

  found = all_batches(values).block_until_ready()
  seconds = []
  for _ in range(repeats):
    began = time.perf_counter()
    all_batches(values).block_until_ready()
    seconds.append(time.perf_counter() - began)
  return 1e6 * min(seconds) / batches, found


def main() -> None:
  """Prints a line for each number of rows."""
  from rfjax.core import smallest

  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--rows", type=int, nargs="+", default=[128, 512, 4096, 65536])
  parser.add_argument("--repeats", type=int, default=7)
  options = parser.parse_args()
  for rows in options.rows:
    bisection, marks = measure(smallest, rows, options.repeats)
    sort, others = measure(by_sort, rows, options.repeats)
    assert (marks == others).all()
    print(json.dumps({"rows": rows, "bisection": round(bisection, 1), "sort": round(sort, 1)}))


if __name__ == "__main__":
  main()
