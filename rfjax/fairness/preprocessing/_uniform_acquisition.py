"""Uniform acquisition: as many new rows of each slice."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from rfjax.core import ratio
from rfjax.fairness.preprocessing import _acquisition


def uniform_acquisition(
  size: ArrayLike, budget: float | jax.Array, *, cost: ArrayLike = 1.0
) -> jax.Array:
  r"""Uniform acquisition: a budget buys as many rows of each slice, whatever it has or needs.

  $$d_s = \Bigl\lfloor \frac{\mathrm{budget}}{\sum_t C_t} \Bigr\rfloor$$

  Args:
    size: [S], how many rows each slice has, above 0; only S is read.
    budget: at least 0; may be traced.
    cost: C, of a row of each slice, [S] or one for all, above 0; may be traced.

  Returns:
    d, int32 [S].

  Raises:
    ValueError: for values out of range, or shapes that do not match.

  References:
    Tae, Whang, Slice Tuner: a selective data acquisition framework for accurate and fair machine
    learning models, SIGMOD 2021 (a baseline there).

  Examples:
    >>> from rfjax.fairness import preprocessing
    >>> preprocessing.uniform_acquisition([100, 20, 30], 100).tolist()
    [33, 33, 33]
  """
  sizes, costs, money = _acquisition.read(size, budget, cost)
  each = _acquisition.whole(ratio(money, jnp.sum(costs)))
  return jnp.full(sizes.shape, each).astype(jnp.int32)
