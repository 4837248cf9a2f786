"""Rounds: a run after a run, each with a new network and what the last one has learned."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from rfjax.core import _check
from rfjax.core._parts import scan_trainings


def rounds(
  turn: Callable[[Any, jax.Array], tuple[Any, Any]],
  memory: Any,
  *,
  key: jax.Array,
  count: int,
) -> tuple[Any, Any]:
  """Runs a training several times, compiled once; a method cannot start its own network anew.

  Args:
    turn: `turn(memory, key) -> (memory, out)`, one training; `memory` keeps its structure, shapes
      and types, and `out` is any pytree of arrays.
    memory: what the first training gets.
    key: a key from `jax.random.key`; the first training gets it as it is, so that it is the run
      without rounds, and each other one its own.
    count: how many trainings there are, at least 1; static.

  Returns:
    The last memory, and what all trainings returned, with a leading axis of `count`.

  Raises:
    ValueError: for a count below 1.

  Examples:
    >>> import jax
    >>> from rfjax.core import rounds
    >>> total, seen = rounds(lambda memory, key: (memory + 1, memory), 0, key=jax.random.key(0),
    ...                      count=3)
    >>> int(total), seen.tolist()
    (3, [0, 1, 2])
  """
  keys = [key, *(jax.random.fold_in(key, i) for i in range(1, _check.count("count", count)))]
  return scan_trainings(turn, jax.tree.map(jnp.asarray, memory), jnp.stack(keys))
