"""Histories of predicted labels against dictionaries of lists."""

import collections

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rfjax
from rfjax.core import NO_ADDRESS, History, history, label_type, push, votes

RNG = np.random.default_rng(0)
N, STEPS, B = 9, 40, 7


def dataset(classes):
  return rfjax.Batch.from_arrays(np.zeros((N, 1)), np.zeros(N, int), num_classes=classes)


def batches(classes):
  """Batches without repeats, with padding among the rows, and logits with ties."""
  rows = np.full((STEPS, B), N)
  for step in rows:
    real = RNG.integers(0, B + 1)
    step[RNG.choice(B, real, replace=False)] = RNG.choice(N, real, replace=False)
  logits = RNG.integers(0, 3, (STEPS, B, classes)).astype(np.float32)
  logits[np.arange(STEPS) % 2 == 0] += RNG.normal(size=(STEPS, B, classes))[::2]
  return rows, logits


def counts(labels, classes):
  found = collections.Counter(labels)
  return [found[k] for k in range(classes)]


@pytest.mark.parametrize("classes, length", [(3, 1), (3, 4), (10, 3), (200, 5), (2, 64)])
def test_is_a_list_of_the_last_labels_of_each_example(classes, length):
  data, (rows, logits) = dataset(classes), batches(classes)

  def step(past, at):
    batch = data.take(at[0]).fill(at[1])
    past = push(past, batch)
    both = [votes(past, data.index, classes, empty=empty) for empty in (False, True)]
    return past, (past, *both)

  start = history(data, length)
  _, (pasts, plain, phantom) = jax.jit(lambda: jax.lax.scan(step, start, (rows, logits)))()
  given = {i: [] for i in range(N)}
  for t in range(STEPS):
    for i, z in zip(rows[t], logits[t], strict=True):
      if i < N:
        given[i].append(next(k for k in range(classes) if z[k] == z.max()))
    last = {i: labels[-length:] for i, labels in given.items()}
    np.testing.assert_array_equal(pasts.pushes[t], [len(labels) for labels in given.values()])
    for i in range(N):
      ring = np.zeros(length, int)
      for n, label in enumerate(given[i]):
        ring[n % length] = label
      np.testing.assert_array_equal(pasts.labels[t, i], ring)
    np.testing.assert_array_equal(plain[t], [counts(last[i], classes) for i in range(N)])
    filled = [last[i] + [0] * (length - len(last[i])) for i in range(N)]
    np.testing.assert_array_equal(phantom[t], [counts(labels, classes) for labels in filled])
  assert (pasts.labels.dtype, pasts.pushes.dtype) == (label_type(classes), jnp.int32)
  assert plain.dtype == phantom.dtype == jnp.float32
  seen = [len(labels) for labels in given.values()]
  assert length == 64 or min(seen) > 2 * length, "no ring has gone round twice"


def test_an_empty_history():
  past = history(dataset(5), 4)
  assert past.labels.shape == (N, 4) and past.pushes.shape == (N,)
  index = jnp.arange(N)
  np.testing.assert_array_equal(votes(past, index, 5), np.zeros((N, 5)))
  np.testing.assert_array_equal(votes(past, index, 5, empty=True), [[4, 0, 0, 0, 0]] * N)


def test_padding_leaves_no_trace_and_has_no_votes():
  data, logits = dataset(3), jnp.asarray(RNG.normal(size=(4, 3)), jnp.float32)
  past = push(history(data, 2), data.fill(jnp.zeros((N, 3)).at[:, 2].set(1)))
  nothing = data.take(jnp.full(4, N)).fill(logits)
  after = push(past, nothing)
  jax.tree.map(np.testing.assert_array_equal, after, past)
  index = jnp.array([NO_ADDRESS, 1, NO_ADDRESS])
  np.testing.assert_array_equal(votes(past, index, 3), [[0, 0, 0], [0, 0, 1], [0, 0, 0]])


def test_votes_go_with_the_index():
  labels = jnp.asarray(RNG.integers(0, 4, (N, 6)), jnp.int8)
  past = History(labels, jnp.asarray(RNG.integers(0, 12, N), jnp.int32))
  order = RNG.permutation(N)
  for empty in (False, True):
    whole = votes(past, jnp.arange(N), 4, empty=empty)
    np.testing.assert_array_equal(votes(past, jnp.asarray(order), 4, empty=empty), whole[order])
    full = 6 if empty else np.minimum(past.pushes, 6)
    np.testing.assert_array_equal(whole.sum(1), np.broadcast_to(full, N))


@pytest.mark.parametrize(
  "classes, kind",
  [
    (2, jnp.int8),
    (128, jnp.int8),
    (129, jnp.int16),
    (2**15, jnp.int16),
    (2**15 + 1, jnp.int32),
    (2**20, jnp.int32),
  ],
)
def test_the_type_holds_all_classes_and_minus_one(classes, kind):
  found = label_type(classes)
  assert found == kind
  for label in (-1, classes - 1):
    assert np.array(label).astype(found) == label


@pytest.mark.parametrize("classes", [128, 129, 300])
def test_the_last_class_of_a_type_is_remembered(classes):
  data = dataset(classes)
  logits = jnp.zeros((N, classes)).at[:, classes - 1].set(1.0)
  past = push(history(data, 2), data.fill(logits))
  np.testing.assert_array_equal(past.labels, [[classes - 1, 0]] * N)
  found = votes(past, data.index, classes)
  np.testing.assert_array_equal(found, np.eye(classes)[[classes - 1] * N])


def test_a_batch_without_logits_is_refused():
  with pytest.raises(ValueError, match="a label history needs logits"):
    push(history(dataset(2), 3), dataset(2))


def test_no_gradient_comes_through_a_history():
  data = dataset(3)
  z = jnp.asarray(RNG.normal(size=(N, 3)), jnp.float32)
  found = lambda z: votes(push(history(data, 2), data.fill(z)), data.index, 3).sum()
  np.testing.assert_array_equal(jax.grad(found)(z), 0)
