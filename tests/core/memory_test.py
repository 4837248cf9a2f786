"""Per-example memory: what padding reads and writes."""

import jax
import jax.numpy as jnp
import numpy as np

from rfjax.core import read, write

INDEX = jnp.array([2, 4, 0, 4])  # of 4 rows: 4 is padding


def test_padding_reads_zeros():
  np.testing.assert_array_equal(read(jnp.arange(1.0, 5), INDEX), [3, 0, 1, 0])
  memory = {"seen": jnp.ones(4, bool), "probs": jnp.arange(8).reshape(4, 2) + 1}
  rows = read(memory, INDEX)
  np.testing.assert_array_equal(rows["seen"], [True, False, True, False])
  np.testing.assert_array_equal(rows["probs"], [[5, 6], [0, 0], [1, 2], [0, 0]])
  assert rows["probs"].dtype == memory["probs"].dtype


def test_padding_leaves_no_trace():
  new = write(jnp.zeros(4), INDEX, jnp.array([1.0, 7.0, 2.0, 8.0]))
  np.testing.assert_array_equal(new, [2, 0, 1, 0])


def test_write_keeps_the_types_of_the_memory():
  memory = (jnp.zeros((4, 2), jnp.int8), jnp.zeros(4, bool))
  new = write(memory, INDEX, (jnp.full((4, 2), 3.0), jnp.array([1.0, 0, 0, 1])))
  np.testing.assert_array_equal(new[0][:, 0], [3, 0, 3, 0])
  np.testing.assert_array_equal(new[1], [False, False, True, False])
  assert (new[0].dtype, new[1].dtype) == (jnp.int8, bool)


def test_memory_passes_gradients_to_the_rows_read():
  gradient = jax.grad(lambda m: read(m, INDEX).sum())(jnp.ones(4))
  np.testing.assert_array_equal(gradient, [1, 0, 1, 0])
