"""Rounds against a Python loop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rfjax
from rfjax.core import rounds

KEY = jax.random.key(5)


def turn(memory, key):
  draw = jax.random.uniform(key, (3,))
  new = {"sum": memory["sum"] + draw, "count": memory["count"] + 1}
  return new, (draw, jax.random.key_data(key), memory["count"])


def start():
  return {"sum": jnp.zeros(3), "count": jnp.array(4, jnp.int8)}


@pytest.mark.parametrize("count", [1, 2, 4])
def test_is_the_loop(count):
  found, (draws, keys, counts) = rounds(turn, start(), key=KEY, count=count)
  memory, outs = start(), []
  for i in range(count):
    memory, out = turn(memory, KEY if i == 0 else jax.random.fold_in(KEY, i))
    outs.append(out)
  np.testing.assert_allclose(found["sum"], memory["sum"], rtol=1e-6)
  assert found["count"] == 4 + count and found["count"].dtype == jnp.int8
  np.testing.assert_array_equal(draws, np.stack([out[0] for out in outs]))
  np.testing.assert_array_equal(keys, np.stack([out[1] for out in outs]))
  np.testing.assert_array_equal(counts, 4 + np.arange(count))


def test_the_first_has_the_key_and_every_other_one_of_its_own():
  _, (draws, keys, _) = rounds(turn, start(), key=KEY, count=5)
  np.testing.assert_array_equal(keys[0], jax.random.key_data(KEY))
  assert len(np.unique(keys, axis=0)) == 5 and len(np.unique(draws)) == 15


def test_the_turn_is_traced_once_and_the_first_training_does_not_know_of_the_others():
  traces = []

  def counted(memory, key):
    traces.append(1)
    return turn(memory, key)

  _, many = jax.jit(lambda key: rounds(counted, start(), key=key, count=6))(KEY)
  assert len(traces) == 1
  _, one = jax.jit(lambda key: rounds(turn, start(), key=key, count=1))(KEY)
  jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[0], b[0]), one, many)


def test_python_numbers_are_memory_and_nothing_may_be():
  total, seen = rounds(lambda m, key: (m + 0.5, m), 1.0, key=KEY, count=3)
  assert total == 2.5 and seen.tolist() == [1.0, 1.5, 2.0]
  memory, seen = rounds(lambda m, key: (m, jax.random.bits(key)), None, key=KEY, count=2)
  assert memory is None and seen.shape == (2,)


def test_many_runs_of_rounds_are_the_loop():
  run = lambda key, s: rounds(turn, start() | {"sum": s}, key=key, count=3)
  keys, starts = jax.random.split(KEY, 4), jnp.arange(12.0).reshape(4, 3)
  together = jax.jit(jax.vmap(run))(keys, starts)
  for i in range(4):
    alone = run(keys[i], starts[i])
    same = lambda a, b, i=i: np.testing.assert_allclose(a[i], b, rtol=1e-6)
    jax.tree.map(same, together, alone)


@pytest.mark.parametrize("count", [0, -1, 1.5, None])
def test_counts_below_one_are_refused(count):
  with pytest.raises(ValueError, match="count must be an integer of at least 1"):
    rounds(turn, start(), key=KEY, count=count)


def test_a_memory_may_be_a_memory_of_examples():
  data = rfjax.Batch.from_arrays(np.zeros((4, 1)), [0, 1, 0, 1])
  learn = lambda memory, key: (rfjax.core.write(memory, data.index, memory + 1), memory)
  last, seen = rounds(learn, jnp.zeros(4, jnp.int8), key=KEY, count=2)
  assert last.tolist() == [2] * 4 and seen.tolist() == [[0] * 4, [1] * 4]
