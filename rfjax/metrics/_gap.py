"""Gaps between groups: comparisons of their rates, and the worst of many."""

import functools
from collections.abc import Callable
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp

from rfjax.core import _check, ratio
from rfjax.metrics._cells import Rate

Method = Literal["between_groups", "to_overall"]
Aggregate = Literal["worst_case", "mean"]


def _largest(values: jax.Array, valid: jax.Array) -> jax.Array:
  """The largest of each column [G, K], the first of equal ones; 0 where none is valid.

  It is picked by its place. The derivative of a maximum asks which values equal it, and of none,
  where a compiled program computes them twice with other last bits, it is not finite.
  """
  place = jnp.argmax(jnp.where(valid, jax.lax.stop_gradient(values), -jnp.inf), axis=0)
  taken = (jnp.arange(len(values))[:, None] == place) & valid
  return jnp.sum(jnp.where(taken, values, 0), axis=0)


def _smallest(values: jax.Array, valid: jax.Array) -> jax.Array:
  return -_largest(-values, valid)


def _worst(gaps: jax.Array) -> jax.Array:
  """The largest of all."""
  return _largest(gaps.reshape(-1, 1), jnp.ones((gaps.size, 1), bool))[0]


def _overall(by_group: Rate) -> jax.Array:
  """The rate of all groups together, [1, K]."""
  return Rate(*(jnp.sum(v, axis=0, keepdims=True) for v in by_group)).value


def _difference(by_group: Rate, method: Method) -> jax.Array:
  value, valid = by_group.value, by_group.valid
  if method == "between_groups":
    return _largest(value, valid) - _smallest(value, valid)
  return _largest(jnp.abs(value - _overall(by_group)), valid)


def _ratio(by_group: Rate, method: Method) -> jax.Array:
  value, valid = by_group.value, by_group.valid
  if method == "between_groups":
    return ratio(_smallest(value, valid), _largest(value, valid), empty=1.0)
  overall = _overall(by_group)
  folded = ratio(jnp.minimum(value, overall), jnp.maximum(value, overall), empty=1.0)
  return _smallest(folded, valid)


class Gap(NamedTuple):
  """How far groups are apart: the comparison, its value for equal groups, and the worst of many."""

  compare: Callable[[Rate, Method], jax.Array]
  equal: float
  worst: Callable[[jax.Array], jax.Array]

  def of(self, *rates: Rate, method: Method, agg: Aggregate = "worst_case") -> jax.Array:
    """Compares the valid groups by each rate and class, and aggregates, []."""
    _check.choice("method", method, get_args(Method))
    _check.choice("agg", agg, get_args(Aggregate))
    return _compared(self, rates, method, agg)

  def of_classes(self, by_group: Rate, method: Method) -> jax.Array:
    """Compares the valid groups by each class, [K]."""
    enough = jnp.sum(by_group.valid, axis=0) >= 2
    return jnp.where(enough, self.compare(by_group, method), self.equal)


@functools.partial(jax.jit, static_argnums=(0, 2, 3), inline=True)
def _compared(gap: Gap, rates: tuple[Rate, ...], method: Method, agg: Aggregate) -> jax.Array:
  gaps = jnp.stack([gap.of_classes(rate, method) for rate in rates])
  return gap.worst(jnp.mean(gaps, axis=0) if agg == "mean" else gaps)


DIFFERENCE = Gap(_difference, 0.0, _worst)
RATIO = Gap(_ratio, 1.0, lambda ratios: -_worst(-ratios))
