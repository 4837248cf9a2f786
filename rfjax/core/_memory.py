"""Per-example memory: arrays with one row for each training example, addressed by `Batch.index`."""

from typing import Any

import jax


def read(memory: Any, index: jax.Array) -> Any:
  """Reads the rows of a memory; a padding row reads zeros.

  Args:
    memory: a pytree of arrays [N, ...].
    index: int32 [B], `Batch.index`; N for padding.

  Returns:
    The same pytree with rows [B, ...].
  """
  return jax.tree.map(lambda m: m.at[index].get(mode="fill", fill_value=0), memory)


def write(memory: Any, index: jax.Array, values: Any) -> Any:
  """Writes rows into a memory; padding rows leave no trace.

  Args:
    memory: a pytree of arrays [N, ...].
    index: int32 [B], `Batch.index`; N for padding. An index that occurs twice keeps either value.
    values: the same pytree with rows [B, ...].

  Returns:
    The new memory.
  """
  put = lambda m, v: m.at[index].set(v.astype(m.dtype), mode="drop")
  return jax.tree.map(put, memory, values)
