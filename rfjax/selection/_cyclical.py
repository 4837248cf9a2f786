"""Learning rates that fall and start again."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from rfjax.core import _check


def cyclical(
  high: float | jax.Array, low: float | jax.Array, period: int, *, steps: int = 1
) -> Callable[[Any], jax.Array]:
  r"""A learning rate that falls linearly, over and over, so that a network leaves what it has fit.

  $$r(e) = (1 - s)\, r_1 + s\, r_2, \qquad s = \frac{1 + (e \bmod c)}{c}$$

  in epoch e from 0. At each jump back to the high rate an overfitted network becomes an underfitted
  one, and the losses of wrong labels rise again.

  Args:
    high: r_1, at least 0; may be traced. The authors run 0.01.
    low: r_2 in [0, r_1], the last rate of each cycle; may be traced. The authors run 0.001.
    period: c, epochs of a cycle, at least 1. The authors run 10.
    steps: optimizer steps of an epoch; with 1 the schedule counts in epochs.

  Returns:
    A function of the step, from 0, which gives the rate []: a schedule of optax.

  Raises:
    ValueError: for values out of range.

  References:
    Huang, Qu, Jia, Zhao, O2U-Net: A Simple Noisy Label Detection Approach for Deep Neural Networks,
    ICCV 2019.

  Examples:
    >>> from rfjax import selection
    >>> schedule = selection.cyclical(1.0, 0.0, 4)
    >>> [float(schedule(epoch)) for epoch in range(6)]
    [0.75, 0.5, 0.25, 0.0, 0.75, 0.5]
  """
  _check.number("high", high, 0.0, open_high=True)
  _check.number("low", low, 0.0, float("inf") if _check.traced(high) else float(high))
  period, steps = _check.count("period", period), _check.count("steps", steps)

  def at(step: Any) -> jax.Array:
    place = (jnp.asarray(step) // steps % period + 1) / period
    return (1 - place) * high + place * low

  return at
