"""Measures as programs that tests share, compiled once for measures and their settings."""

import functools

import jax


def together(*calls):
  """One program of several measures of the same data: calls are of (measure, its settings).

  Data, and options of all of them such as weight=, are traced. It returns a list of results.
  """
  return _together(tuple((measure, tuple(settings.items())) for measure, settings in calls))


@functools.cache
def _together(calls):
  @jax.jit
  def run(*data, **traced):
    return [measure(*data, **traced, **dict(settings)) for measure, settings in calls]

  return lambda *data, **traced: jax.device_get(run(*data, **traced))


def program(measure, **settings):
  """A measure of traced data and options; what is static are its settings."""
  run = together((measure, settings))
  return lambda *data, **traced: run(*data, **traced)[0]
