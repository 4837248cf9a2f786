"""Prestopping by validation error: its two runs, one by one."""

import jax
import numpy as np
import optax
import pytest

import rfjax
from rfjax import architectures, losses, metrics, selection

EPOCHS, KEY = 12, jax.random.key(3)
NETWORK, TX = architectures.mlp([8], 3), optax.adam(0.05)


def points(seed, rows, wrong=0.0):
  rng = np.random.default_rng(seed)
  y = np.arange(rows) % 3
  x = np.eye(3)[y] + rng.normal(0, 0.6, (rows, 3))
  given = np.where(rng.random(rows) < wrong, (y + 1) % 3, y)
  return rfjax.Batch.from_arrays(x.astype(np.float32), given, num_classes=3)


DATA, VALIDATION = points(0, 36, wrong=0.4), points(1, 60)


@jax.jit
def both(validation):
  def observe(state, view):
    return state.method[1].stopped, state.method[-1].kept

  return selection.prestopping_rounds(
    NETWORK,
    TX,
    DATA,
    validation,
    key=KEY,
    epochs=EPOCHS,
    batch_size=12,
    before=losses.gce(0.5),
    after=metrics.watch(),
    observe=observe,
    length=4,
  )


@jax.jit
def by_hand(stop):
  def error(state, view):
    return 1 - metrics.accuracy(rfjax.predict(NETWORK, state, VALIDATION))

  method = rfjax.chain(losses.gce(0.5), selection.prestopping(stop=stop, length=4))
  return rfjax.fit(NETWORK, method, TX, DATA, key=KEY, epochs=EPOCHS, batch_size=12, observe=error)


def test_it_stops_at_the_lowest_validation_error_of_plain_training():
  state, log = jax.device_get(both(VALIDATION))
  _, first = jax.device_get(by_hand(10**6))
  stop = int(np.argmin(first.observed)) + 1
  assert 1 < stop < EPOCHS  # else the test would show nothing
  again, second = jax.device_get(by_hand(stop))
  np.testing.assert_allclose(log.risk, second.risk, rtol=1e-5)
  for a, b in zip(jax.tree.leaves(state.params), jax.tree.leaves(again.params), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
  stopped, kept = log.observed
  np.testing.assert_array_equal(stopped >= 0, np.arange(EPOCHS) >= stop)
  assert (kept[:stop] == 1).all() and 0 < kept[-1].mean() < 1
  np.testing.assert_allclose(log.risk[:stop], first.risk[:stop], rtol=1e-5)
  assert not np.allclose(log.risk[stop:], first.risk[stop:])


def test_bad_settings_are_refused_before_anything_is_trained():
  with pytest.raises(ValueError, match="length must be"):
    selection.prestopping_rounds(None, TX, DATA, VALIDATION, key=KEY, epochs=1, length=0)
  with pytest.raises(ValueError, match="cap must have a rate"):
    selection.prestopping_rounds(None, TX, DATA, VALIDATION, key=KEY, epochs=1, cap=True)


def test_errors_of_the_validation_set_count_valid_rows_only():
  padded = jax.jit(lambda data: data.take(np.append(np.arange(60), np.full(9, 60))))(VALIDATION)
  one, two = (both(validation)[0].method[1].stopped for validation in (VALIDATION, padded))
  assert int(one) == int(two)
