"""Rates as constraints: what has to be at most 0, and where multipliers may be."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np

from rfjax import metrics
from rfjax.core import Batch, _check
from rfjax.fairness.inprocessing._elements import check_statistics
from rfjax.metrics import Rate
from rfjax.metrics._gap import Method


class RateConstraints(NamedTuple):
  """How far apart groups may be: the settings that all methods with constraints on rates share.

  Attributes:
    bound: what a difference may be.
    statistics: names of `metrics.group_rates`.
    method: "between_groups" or "to_overall".
    temperature: of what is expected of a random decision.
    by: the method, for messages.
  """

  bound: Any
  statistics: tuple[str, ...]
  method: Method
  temperature: Any
  by: str

  def values(self, batch: Batch, *, soft: bool) -> jax.Array:
    """The constraints [m], each at most 0 where it holds, and 0 where a group has no rows."""
    batch = self.read(batch, soft)
    differences = [
      _differences(metrics.group_rates(name, batch, soft=soft), self.method)
      for name in self.statistics
    ]
    return jnp.concatenate([jnp.where(v, d - self.bound, 0).ravel() for d, v in differences])

  def read(self, batch: Batch, soft: bool) -> Batch:
    """The batch whose rates are meant: soft ones are of probabilities at the temperature."""
    batch.require("logits", "group", by=self.by)
    return batch.replace(logits=batch.logits / self.temperature) if soft else batch

  def count(self, data: Batch) -> int:
    """The number m of constraints on a data set."""
    return how_many(lambda batch: self.values(batch, soft=True), data, self.by)


def how_many(values: Callable[[Batch], jax.Array], data: Batch, by: str) -> int:
  """The number m of constraints [m] on a data set."""
  data.require("group", by=by)
  filled = jax.eval_shape(lambda: data.fill(jnp.zeros((data.num_rows, data.num_classes))))
  return jax.eval_shape(values, filled).shape[0]


def rate_constraints(
  bound: Any, statistics: str | Sequence[str], method: Method, temperature: Any, by: str
) -> RateConstraints:
  """Checks the settings."""
  _check.number("bound", bound, 0.0, open_high=True)
  names = check_statistics(statistics)
  _check.choice("method", method, get_args(Method))
  _check.number("temperature", temperature, 0.0, open_low=True, open_high=True)
  return RateConstraints(bound, names, method, temperature, by)


def _differences(rate: Rate, method: Method) -> tuple[jax.Array, jax.Array]:
  """Signed differences [pairs, K] of which none may be large, and where both rates exist."""
  value, valid = rate.value, rate.valid
  if method == "between_groups":
    first, second = np.nonzero(~np.eye(len(value), dtype=bool))
    return value[first] - value[second], valid[first] & valid[second]
  apart = value - overall(rate)
  return jnp.concatenate([apart, -apart]), jnp.concatenate([valid, valid])


def overall(rate: Rate) -> jax.Array:
  """The rate of all groups together, [1, K]."""
  return Rate(*(jnp.sum(v, axis=0, keepdims=True) for v in rate)).value


def within(multipliers: jax.Array, radius: Any) -> jax.Array:
  """The nearest point to [m] of all that are at least 0 and whose sum is at most the radius."""
  ordered = jnp.sort(multipliers, descending=True)
  over = (jnp.cumsum(ordered) - radius) / jnp.arange(1, len(ordered) + 1)
  taken = jnp.max(jnp.where(ordered >= over, over, 0), initial=0)
  return jnp.maximum(multipliers - taken, 0)


def at_least(probability: jax.Array, floor: Any) -> jax.Array:
  """The nearest distributions to columns [n, ...], by relative entropy, with no entry below."""
  ordered = jnp.sort(probability, axis=0, descending=True)
  rank = jnp.arange(1, len(ordered) + 1).reshape(-1, *[1] * (ordered.ndim - 1))
  scales = (1 - (len(ordered) - rank) * floor) / jnp.cumsum(ordered, axis=0)
  above = jnp.sum(scales * ordered >= floor, axis=0, keepdims=True)
  scale = jnp.take_along_axis(scales, above - 1, axis=0)
  return jnp.maximum(scale * probability, floor)


def stationary(matrix: jax.Array, doublings: int = 14) -> jax.Array:
  """The distribution [n] that a left-stochastic matrix [n, n] leaves as it is.

  By powers of the matrix, which forget where they start: columns whose entries are at least f / n
  differ by at most (1 - f)^(2^doublings) in the end.
  """

  def square(_: Any, power: jax.Array) -> jax.Array:
    power = jnp.matmul(power, power, precision="highest")
    return power / jnp.sum(power, axis=0, keepdims=True)

  return jnp.mean(jax.lax.fori_loop(0, doublings, square, matrix), axis=1)
