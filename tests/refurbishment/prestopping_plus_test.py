"""Prestopping+: Prestopping, and SELFIE on its safe set, one by one."""

import jax
import numpy as np
import optax
import pytest

import rfjax
from rfjax import architectures, refurbishment, selection

EPOCHS, KEY = 8, jax.random.key(5)
NETWORK, TX = architectures.logistic(3), optax.sgd(0.5)


def points(rows=36):
  rng = np.random.default_rng(0)
  y = np.arange(rows) % 3
  x = np.eye(3)[y] + rng.normal(0, 0.5, (rows, 3))
  given = np.where(rng.random(rows) < 0.3, (y + 1) % 3, y)
  return rfjax.Batch.from_arrays(x.astype(np.float32), given, num_classes=3)


DATA = points()
SHARED = {"epochs": EPOCHS, "batch_size": 12}


@jax.jit
def whole():
  return refurbishment.prestopping_plus(
    NETWORK, TX, DATA, stop=3, key=KEY, restarts=1, length=3, warmup=4, **SHARED
  )


@jax.jit
def in_parts():
  first_key, rounds_key = jax.random.split(KEY)
  first, _ = rfjax.fit(NETWORK, selection.prestopping(stop=3), TX, DATA, key=first_key, **SHARED)
  safe = first.method.safe
  return safe, refurbishment.selfie_rounds(
    NETWORK,
    TX,
    DATA,
    rate=0.4,
    clean=safe,
    key=rounds_key,
    restarts=1,
    length=3,
    warmup=4,
    **SHARED,
  )


def test_it_is_selfie_with_the_safe_set_whatever_its_rate():
  state, log = whole()
  safe, (expected, expected_log) = in_parts()
  assert 0 < safe.sum() < DATA.num_rows
  np.testing.assert_allclose(log.risk, expected_log.risk, rtol=1e-5)
  np.testing.assert_array_equal(state.method[1].refurbished, expected.method[1].refurbished)
  assert (state.method[1].refurbished >= 0).any()


def test_without_a_stop_or_with_two_it_is_refused():
  for bad in ({}, {"rate": 0.1, "stop": 2}):
    with pytest.raises(ValueError, match="must have a rate, or a stop"):
      refurbishment.prestopping_plus(NETWORK, TX, DATA, key=KEY, **bad, **SHARED)
