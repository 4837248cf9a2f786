"""Water filling: new rows go to the smallest slices until they are level."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from rfjax.fairness.preprocessing import _acquisition


def water_filling(
  size: ArrayLike, budget: float | jax.Array, *, cost: ArrayLike = 1.0
) -> jax.Array:
  r"""Water filling: row after row goes to the slice that is the smallest by then.

  $$d_s = \max(0, L - n_s) + r_s, \qquad r_s \in \{0, 1\}$$

  with the highest level L that the budget pays for; what is left buys one row more of the slices at
  this level, from the first on, until the next one costs more than there is. The authors' code buys
  that one too. Sizes are whole numbers; others are rounded down.

  Args:
    size: n [S], how many rows each slice has, at least 1; may be traced.
    budget: at least 0; may be traced. With the sizes below 2**24, where float32 counts rows.
    cost: C, of a row of each slice, [S] or one for all, above 0; may be traced. Fractions such as
      0.1 are those that are meant: a plan may cost more than the budget by its rounding errors.

  Returns:
    d, int32 [S].

  Raises:
    ValueError: for values out of range, or shapes that do not match.

  References:
    Tae, Whang, Slice Tuner: a selective data acquisition framework for accurate and fair machine
    learning models, SIGMOD 2021 (a baseline there).

  Examples:
    >>> from rfjax.fairness import preprocessing
    >>> preprocessing.water_filling([100, 20, 30], 100).tolist()
    [0, 55, 45]
  """
  sizes, costs, money = _acquisition.read(size, budget, cost)
  have = jnp.floor(sizes).astype(jnp.int32)
  price = lambda level: jnp.sum(costs * jnp.maximum(level - have, 0))
  # Sums of whole costs are exact, and of others each term has its rounding error.
  errors = jnp.where(jnp.all(costs == jnp.round(costs)), 0, sizes.size + 4)
  money += errors * jnp.finfo(money.dtype).eps / 2 * money

  def body(i: Any, level: jax.Array) -> jax.Array:
    higher = level | (jnp.int32(1) << (30 - i))
    return jnp.where(price(higher) <= money, higher, level)

  level = jax.lax.fori_loop(0, 31, body, jnp.zeros((), jnp.int32))
  filled = jnp.maximum(level - have, 0)
  at_level = have <= level
  spent = jnp.cumsum(jnp.where(at_level, costs, 0))
  more = at_level & (spent <= money - price(level))
  return filled + more
