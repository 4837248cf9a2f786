"""Constraints on the lowest and highest rates that groups may have, given what is known of them."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from rfjax import metrics
from rfjax.core import Batch, ratio
from rfjax.fairness.inprocessing._constraints import RateConstraints, how_many, overall

_ROUNDS = 8  # at most; Dinkelbach's iteration converges faster than linearly


class Extremes(NamedTuple):
  """The range of the groups' rates.

  Attributes:
    low: [G, K].
    high: [G, K].
    valid: where a group has rows that count, [G, K].
  """

  low: jax.Array
  high: jax.Array
  valid: jax.Array


class Bounds(Protocol):
  """What finds the range of a statistic by group."""

  def __call__(self, statistic: str, batch: Batch, *, soft: bool) -> Extremes:
    """The range, of probabilities or of decisions."""
    ...


class ExtremeRates(NamedTuple):
  """How far apart groups may be at worst.

  Attributes:
    rates: what is compared, and what differences may be.
    bounds: what finds the range of the groups' rates.
  """

  rates: RateConstraints
  bounds: Bounds

  def values(self, batch: Batch, *, soft: bool) -> jax.Array:
    """The constraints [m], each at most 0 where it holds, and 0 where a group has no rows."""
    batch = self.rates.read(batch, soft)
    found = [self._differences(name, batch, soft) for name in self.rates.statistics]
    return jnp.concatenate([v.ravel() for v in found])

  def count(self, data: Batch) -> int:
    """The number m of constraints on a data set."""
    return how_many(lambda batch: self.values(batch, soft=True), data, self.rates.by)

  def _differences(self, statistic: str, batch: Batch, soft: bool) -> jax.Array:
    low, high, valid = self.bounds(statistic, batch, soft=soft)
    if self.rates.method == "between_groups":
      first, second = np.nonzero(~np.eye(len(valid), dtype=bool))
      apart, valid = high[first] - low[second], valid[first] & valid[second]
    else:
      mean = overall(metrics.group_rates(statistic, batch, soft=soft))
      apart, valid = jnp.concatenate([high - mean, mean - low]), jnp.concatenate([valid, valid])
    return jnp.where(valid, apart - self.rates.bound, 0)


def largest(
  find: Callable[..., jax.Array],
  held: tuple[jax.Array, ...],
  start: jax.Array,
  hits: jax.Array,
  size: jax.Array,
) -> jax.Array:
  """The law [..., n] with the largest rate, by Dinkelbach's iteration from a lawful one.

  `find(value, *held)` gives the law under which values [n] have the largest sum. A law comes in the
  place of one before it only if its rate is larger, so that rounding at the end of the way does no
  harm.
  """
  fixed = jax.lax.stop_gradient((held, start, hits, size))

  def rate(law: jax.Array) -> jax.Array:
    return ratio(jnp.sum(law @ fixed[2]), jnp.sum(law @ fixed[3]))

  def better(best: tuple[Any, ...]) -> tuple[Any, ...]:
    turn, now, at, found, _ = best
    law = find(fixed[2] - now * fixed[3], *fixed[0])
    new = rate(law)
    ahead = (jnp.sum(law @ fixed[3]) > 0) & (new > now)
    now, at = jnp.where(ahead, new, now), jnp.where(ahead, now, at)
    return turn + 1, now, at, found | ahead, ahead

  first, no = rate(fixed[1]), jnp.array(False)
  begin = jnp.array(0), first, first, no, ~no
  _, _, at, found, _ = jax.lax.while_loop(
    lambda best: best[-1] & (best[0] < _ROUNDS), better, begin
  )
  return jnp.where(found, find(fixed[2] - at * fixed[3], *held), start)
