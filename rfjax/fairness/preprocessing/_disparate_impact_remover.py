"""Disparate impact remover: each feature has the same distribution in all groups."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rfjax.core import Batch, Transform, _check
from rfjax.fairness.preprocessing import _elements

_NAME = "disparate_impact_remover"


class DisparateImpactRemoverState(NamedTuple):
  """The state of `disparate_impact_remover`.

  Attributes:
    values: [d, N], each feature in ascending order, one group after the other.
    start: int32 [G], where the values of each group start.
    size: int32 [G], how many there are.
  """

  values: jax.Array
  start: jax.Array
  size: jax.Array


def disparate_impact_remover(
  strength: float | jax.Array = 1.0, *, columns: Sequence[int] | None = None
) -> Transform:
  r"""Moves each feature towards the value that has its rank in the median of the groups.

  $$x \leftarrow (1 - \lambda)\, x + \lambda\, F_A^{-1}(F_g(x)), \qquad
  F_A^{-1}(u) = \mathrm{median}_h\, F_h^{-1}(u)$$

  the geometric repair of the paper, feature by feature, so that ranks in a group stay, and where no
  values of a feature are equal the group cannot be told from it at lambda = 1. Quantiles are linear
  between the sorted values of a group, as in `jnp.quantile`; equal values have their middle rank,
  and those beyond the values of the fit the rank of the last one. The median of two groups is their
  mean. Rows are counted, whatever their weight above 0; of soft membership more than half decides,
  and rows without it, or of a group without rows in the fit, stay.

  Args:
    strength: lambda in [0, 1]; may be traced.
    columns: the columns of x to repair, such as those that are numbers and no codes; all when None.

  Returns:
    The transform of a data set, which `fitted_on=` may fit on another; it writes x, and needs group
    at prediction too.

  Raises:
    ValueError: for values out of range; when applied, where the group or a column is missing.

  References:
    Feldman, Friedler, Moeller, Scheidegger, Venkatasubramanian, Certifying and removing disparate
    impact, KDD 2015.

  Examples:
    >>> import jax, rfjax
    >>> from rfjax.fairness import preprocessing
    >>> data = rfjax.Batch.from_arrays([[0.0], [2.0], [8.0], [4.0]], [0, 1, 0, 1], [0, 0, 1, 1])
    >>> method = preprocessing.disparate_impact_remover()
    >>> rfjax.transform(method, data, key=jax.random.key(0)).x[:, 0].tolist()
    [2.0, 5.0, 5.0, 2.0]
  """
  _check.number("strength", strength, 0.0, 1.0)
  found = _elements.check_columns(columns)

  def chosen(x: jax.Array) -> jax.Array:
    if found is not None:
      _elements.check_reach(found, x.shape[1])
    return jnp.arange(x.shape[1]) if found is None else jnp.array(found)

  def init(data: Batch, **unused: Any) -> DisparateImpactRemoverState:
    del unused
    group, x = _elements.hard_group(data, _NAME), _elements.features(data)
    sort = lambda column: column[jnp.lexsort((column, group))]
    values = jax.vmap(sort)(x[:, chosen(x)].T)
    size = jax.ops.segment_sum(jnp.ones_like(group), group, data.num_groups)
    return DisparateImpactRemoverState(values, jnp.cumsum(size) - size, size)

  def update(
    batch: Batch, state: DisparateImpactRemoverState, params: Any = None, **unused: Any
  ) -> tuple[Batch, DisparateImpactRemoverState]:
    del params, unused
    group, x = _elements.hard_group(batch, _NAME), _elements.features(batch)
    which = chosen(x)
    given = x[:, which]
    repair = jax.vmap(lambda column, values: _repair(column, group, values, state))
    repaired = repair(given.T, state.values).T
    there = (group < batch.num_groups) & (state.size[group] > 0)
    moved = jnp.where(there[:, None], given + strength * (repaired - given), given)
    return batch.replace(x=x.at[:, which].set(moved).reshape(batch.x.shape)), state

  return Transform(init, update, writes=("x",))


def _repair(
  x: jax.Array, group: jax.Array, values: jax.Array, state: DisparateImpactRemoverState
) -> jax.Array:
  """What has the rank of x [B] in the median of the groups."""
  start, size = state.start[group], state.size[group]
  below, up_to = (_search(values, start, size, x, side) for side in ("left", "right"))
  lower, upper = values[start + below - 1], values[start + below]
  gap = jnp.where(upper > lower, upper - lower, 1)
  between = below - 1 + (x - lower) / gap
  middle = (below + up_to - 1) / 2
  place = jnp.clip(jnp.where(up_to > below, middle, between), 0, size - 1)
  place = jnp.where((below == size) & (up_to == below), size - 1, place)
  rank = jnp.where(size > 1, place / jnp.maximum(size - 1, 1), 0.5)
  return _median(_quantile(values, state.start, state.size, rank), state.size > 0)


def _search(
  values: jax.Array, start: jax.Array, size: jax.Array, x: jax.Array, side: str
) -> jax.Array:
  """How many of a group's values are below x [B], or not above it, by bisection."""

  def halve(_: Any, ends: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
    low, high = ends
    middle = (low + high) // 2
    right = values[middle] < x if side == "left" else values[middle] <= x
    open_, right = low < high, right & (low < high)
    return jnp.where(right, middle + 1, low), jnp.where(open_ & ~right, middle, high)

  steps = values.size.bit_length() + 1
  return jax.lax.fori_loop(0, steps, halve, (start, start + size))[0] - start


def _quantile(values: jax.Array, start: jax.Array, size: jax.Array, rank: jax.Array) -> jax.Array:
  """The quantiles of all groups at the ranks [B] in [0, 1], [B, G]."""
  place = rank[:, None] * jnp.maximum(size - 1, 0)
  below = jnp.floor(place).astype(jnp.int32)
  above = jnp.minimum(below + 1, jnp.maximum(size - 1, 0))
  lower, upper = values[start + below], values[start + above]
  return lower + (place - below) * (upper - lower)


def _median(values: jax.Array, present: jax.Array) -> jax.Array:
  """The median [B] of the values [B, G] of the groups that are there."""
  ordered, number = jnp.sort(jnp.where(present, values, jnp.inf), axis=1), jnp.sum(present)
  low, high = (number - 1) // 2, number // 2
  return (ordered[:, low] + ordered[:, high]) / 2
