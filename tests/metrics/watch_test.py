"""Watching a run: what each example's last batch left, and the first steps that went wrong."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rfjax
from rfjax import architectures, losses, metrics, selection

N, C = 11, 3


def data():
  rng = np.random.default_rng(0)
  return rfjax.Batch.from_arrays(rng.normal(size=(N, 2)), np.arange(N) % C)


def filled(rows, seed=1):
  logits = np.random.default_rng(seed).normal(size=(len(rows), C)).astype(np.float32)
  return data().take(jnp.asarray(rows)).fill(jnp.asarray(logits))


def follow(steps):
  """States of a watcher after each of the batches."""
  watcher, state = metrics.watch(), metrics.watch().init(data())
  for step, batch in enumerate(steps):
    out, state = watcher.update(batch, state, step=step)
    assert out is batch
    yield state


def test_the_last_batch_of_each_example_is_remembered():
  rng = np.random.default_rng(2)
  steps, kept, label, weight = [], np.zeros(N), np.full(N, -1), np.zeros(N)
  for _ in range(6):
    rows = np.append(rng.permutation(N)[:4], N)
    keep, target = rng.integers(0, 2, 5), rng.dirichlet(np.ones(C), 5)
    keep[-1] = 0
    factor = rng.random(5).astype(np.float32)
    batch = filled(rows).replace(
      keep=jnp.asarray(keep, jnp.float32), target=jnp.asarray(target), weight=jnp.asarray(factor)
    )
    steps.append(batch)
    for row, k, t, w in zip(rows[:4], keep, target, factor, strict=False):
      kept[row], label[row], weight[row] = k, t.argmax(), w
  *_, last = follow(steps)
  np.testing.assert_array_equal(last.kept, kept)
  np.testing.assert_array_equal(last.label, label)
  np.testing.assert_array_equal(last.weight, weight.astype(np.float32))
  assert last.label.dtype == jnp.int8


def test_the_first_empty_and_the_first_diverged_step_are_told():
  whole = filled([0, 1, 2])
  empty = whole.replace(keep=jnp.zeros(3))
  bad = whole.replace(penalty=jnp.array(jnp.nan))
  padding = filled([N, N])
  seen = list(follow([whole, padding, empty, bad, empty, bad]))
  assert [int(s.empty_step) for s in seen] == [-1, -1, 2, 2, 2, 2]
  assert [int(s.diverged_step) for s in seen] == [-1, -1, -1, 3, 3, 3]


def test_watching_changes_no_bit_of_a_run_and_one_diverged_run_leaves_others_alone():
  def train(rate, watched):
    method = rfjax.chain(losses.cross_entropy(), selection.small_loss(0.3))
    if watched:
      method = rfjax.chain(method, metrics.watch())
    return rfjax.fit(
      architectures.logistic(C),
      method,
      optax.sgd(rate),
      data(),
      key=jax.random.key(0),
      epochs=4,
      batch_size=4,
    )[0]

  alone = jax.jit(train, static_argnums=1)(0.1, False)
  watched = jax.jit(train, static_argnums=1)(0.1, True)
  jax.tree.map(np.testing.assert_array_equal, watched.params, alone.params)
  rates = jnp.array([0.1, jnp.nan, 0.1])
  runs = jax.jit(jax.vmap(lambda rate: train(rate, True)))(rates)
  for i in (0, 2):
    together = jax.tree.map(lambda leaf, i=i: leaf[i], runs.params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), together, alone.params)
  watcher = runs.method[-1]
  assert watcher.diverged_step.tolist() == [-1, 1, -1]
  assert watcher.empty_step.tolist() == [-1, 1, -1]  # of losses that are no numbers none is small
  np.testing.assert_array_equal(watcher.kept[0], watcher.kept[2])
  assert float(watcher.kept[0].sum()) == 6  # of batches of 4, 4 and 3 rows, 2 each


def test_it_needs_a_filled_batch():
  with pytest.raises(ValueError, match="watch needs target"):
    metrics.watch().update(data(), metrics.watch().init(data()), step=0)
