"""Rates that grow over the first epochs."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from rfjax.core import _check


def ramp_up(
  rate: float | jax.Array,
  epochs: int = 10,
  *,
  exponent: float | jax.Array = 1.0,
  from_zero: bool = True,
) -> Callable[[Any], jax.Array]:
  r"""A rate that grows linearly over the first epochs, for selections that forget little at first.

  $$R(e) = \tau^c\, \frac{e}{E - 1} \text{ for } e < E, \text{ and } \tau \text{ from there on}$$

  as in Co-teaching; with `from_zero=False` $R(e) = \tau^c \min(1, (e + 1) / E)$, as SELFIE's
  authors run it.

  Args:
    rate: tau in [0, 1), the rate at the end; may be traced.
    epochs: E, over which it grows, at least 1.
    exponent: c, above 0; may be traced.
    from_zero: whether the first epoch forgets nothing.

  Returns:
    A function of the epoch, from 0, which gives the rate [].

  Raises:
    ValueError: for values out of range.

  References:
    Han, Yao, Yu, Niu, Xu, Hu, Tsang, Sugiyama, Co-teaching: Robust Training of Deep Neural Networks
    with Extremely Noisy Labels, NeurIPS 2018.

  Examples:
    >>> from rfjax import selection
    >>> [round(float(selection.ramp_up(0.4, 3)(epoch)), 3) for epoch in range(4)]
    [0.0, 0.2, 0.4, 0.4]
  """
  _check.number("rate", rate, 0.0, 1.0, open_high=True)
  epochs = _check.count("epochs", epochs)
  _check.number("exponent", exponent, 0.0, open_low=True, open_high=True)

  def at(epoch: Any) -> jax.Array:
    epoch = jnp.asarray(epoch)
    if not from_zero:
      return rate**exponent * jnp.minimum((epoch + 1) / epochs, 1.0)
    return jnp.where(epoch < epochs, rate**exponent * epoch / max(epochs - 1, 1), rate)

  return at
