"""Rates that grow, against the tables that Co-teaching and SELFIE make of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rfjax import selection

EPOCHS = 14


def co_teachings(rate, epochs, exponent):
  """A table of the rate, filled, whose first entries are overwritten evenly from 0."""
  table = np.full(EPOCHS, rate)
  table[:epochs] = np.linspace(0, rate**exponent, epochs)
  return table


def selfies(rate, epochs, exponent):
  return np.array([rate**exponent * min(1, (e + 1) / epochs) for e in range(EPOCHS)])


@pytest.mark.parametrize("epochs", [1, 2, 10])
@pytest.mark.parametrize("from_zero, table", [(True, co_teachings), (False, selfies)])
def test_is_the_table(epochs, from_zero, table):
  settings = [(0.4, 1.0), (0.45, 2.0), (0.2, 0.5), (0.0, 1.0), (0.9, 3.0)]

  def rates(rate, exponent):
    at = selection.ramp_up(rate, epochs, exponent=exponent, from_zero=from_zero)
    return jax.vmap(at)(jnp.arange(EPOCHS))

  found = jax.jit(jax.vmap(rates))(*jnp.array(settings).T)
  wanted = [table(rate, epochs, exponent) for rate, exponent in settings]
  np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_defaults_and_plain_epochs():
  at = selection.ramp_up(0.45)
  np.testing.assert_allclose(
    [at(epoch) for epoch in range(EPOCHS)], co_teachings(0.45, 10, 1.0), rtol=1e-6
  )


@pytest.mark.parametrize(
  "arguments, settings, name",
  [
    ((1.0,), {}, "rate"),
    ((-0.1,), {}, "rate"),
    ((0.1, 0), {}, "epochs"),
    ((0.1, 2.5), {}, "epochs"),
    ((0.1,), {"exponent": 0.0}, "exponent"),
    ((0.1,), {"exponent": float("inf")}, "exponent"),
  ],
)
def test_settings_out_of_range_are_refused(arguments, settings, name):
  with pytest.raises(ValueError, match=f"{name} must"):
    selection.ramp_up(*arguments, **settings)
