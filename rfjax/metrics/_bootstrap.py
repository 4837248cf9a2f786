"""What a measure is worth: bootstrap intervals by weights, without choosing rows anew."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from rfjax.core import Batch, _check
from rfjax.metrics._cells import Rate
from rfjax.metrics._rows import read_array, read_weight


class Bootstrap(NamedTuple):
  """A measure and its bootstrap interval, each of the form that the measure has.

  Attributes:
    estimate: of the data as they are.
    low: the lower end of the interval.
    high: the upper end of the interval.
    draws: of each draw, with an axis [B] in front.
  """

  estimate: Any
  low: Any
  high: Any
  draws: Any


def _values(result: Any) -> Any:
  """What a measure returns as arrays: a rate as its value, NaN where no row counts."""
  is_rate = lambda leaf: isinstance(leaf, Rate)
  value = lambda leaf: jnp.where(leaf.valid, leaf.value, jnp.nan) if is_rate(leaf) else leaf
  return jax.tree.map(lambda leaf: jnp.asarray(value(leaf)), result, is_leaf=is_rate)


def _counts(key: jax.Array, valid: jax.Array, order: jax.Array) -> jax.Array:
  """How often each row [N] is drawn, in as many draws with repetition as rows are valid."""
  size = jnp.sum(valid)
  drawn = jax.random.randint(key, valid.shape, 0, jnp.maximum(size, 1))
  counted = (jnp.arange(valid.size) < size).astype(jnp.float32)
  return jnp.zeros(valid.shape, jnp.float32).at[order[drawn]].add(counted)


def bootstrap(
  measure: Callable[..., Any],
  *data: ArrayLike | Batch,
  key: jax.Array,
  draws: int = 1_000,
  confidence: Any = 0.95,
  weight: ArrayLike | None = None,
  block: int = 32,
) -> Bootstrap:
  r"""A measure and its bootstrap percentile interval.

  $$\big[ q_{(1 - c) / 2},\; q_{(1 + c) / 2} \big] \text{ of } m(w \cdot k^{(b)}), \qquad
  k^{(b)} \sim \mathrm{Multinomial}(n, 1/n), \quad b = 1, \dots, B$$

  To draw n rows with repetition is to weight each by how often it was drawn. So the data stay where
  they are, and all B values are one program. It treats rows as independent, and says nothing about
  the spread of training.

  Of a measure that gives a `Rate`, such as `group_rates`, a draw without rows of some cell leaves
  that cell out of its quantiles. One that compares rates gives a number for such a draw too, by the
  groups that are left, and 0 difference where only one is: so intervals of differences between tiny
  groups reach down to 0 by themselves.

  Args:
    measure: `measure(*data, weight=...)`, whose result may be any tree of arrays and `Rate`. Other
      options go into a lambda, such as num_groups where it is to be seen in jit.
    *data: what it reads: arrays [N, ...], or a filled `Batch` alone.
    key: a key from `jax.random.key`.
    draws: B, at least 2; static.
    confidence: c in (0, 1); may be traced.
    weight: [N], at least 0, which multiplies; rows of weight 0 are not drawn. All 1 when None.
    block: how many draws are computed side by side; static, and without influence on the draws.

  Returns:
    A `Bootstrap`.

  Raises:
    ValueError: for a bad number of draws or confidence, and bad data as `measure` does.

  References:
    Efron, Tibshirani, An Introduction to the Bootstrap, Chapman and Hall 1993.

  Examples:
    >>> import jax
    >>> from rfjax import metrics
    >>> y, y_pred = [0, 1] * 50, [0, 1, 1, 1] * 25
    >>> found = metrics.bootstrap(metrics.accuracy, y, y_pred, key=jax.random.key(0))
    >>> f"{found.estimate:.2f} [{found.low:.1f}, {found.high:.1f}]"
    '0.75 [0.7, 0.8]'
  """
  draws, block = _check.count("draws", draws, 2), _check.count("block", block)
  _check.number("confidence", confidence, 0, 1, open_low=True, open_high=True)
  weight = _weights(data, weight)
  valid = weight > 0
  # By index, so that a permuted batch draws the same rows; those that count come first.
  index = data[0].index if isinstance(data[0], Batch) else jnp.arange(valid.size)
  order = jnp.lexsort((index, ~valid))

  def one(number: jax.Array) -> Any:
    counts = _counts(jax.random.fold_in(key, number), valid, order)
    return _values(measure(*data, weight=weight * counts))

  found = jax.lax.map(one, jnp.arange(draws), batch_size=min(block, draws))
  low, high = (
    jax.tree.map(lambda leaf: jnp.nanquantile(leaf, share, axis=0), found)
    for share in ((1 - confidence) / 2, (1 + confidence) / 2)
  )
  return Bootstrap(_values(measure(*data, weight=weight)), low, high, found)


def _weights(data: tuple[Any, ...], weight: Any) -> jax.Array:
  """The weights [N], 0 of padding."""
  if not data:
    raise ValueError("data must hold what the measure reads, got nothing: pass arrays or a Batch")
  if isinstance(data[0], Batch):
    return jnp.asarray(read_weight(data[0], weight), jnp.float32)
  rows = len(np.asarray(data[0])) if not hasattr(data[0], "shape") else data[0].shape[0]
  weight = np.ones(rows) if weight is None else weight
  return jnp.asarray(read_array("weight", weight, (1,), rows), jnp.float32)
