"""The game of reductions: costs against a learner, and how far both are from a solution."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rfjax.fairness.inprocessing._grid_search import GridSearch
from rfjax.fairness.inprocessing._mixture import best_mixture
from rfjax.fairness.inprocessing._oracle import Oracle
from rfjax.fairness.inprocessing._parity_moments import ParityMoments

PRECISION = 1e-8  # what counts as better, as in fairlearn


class Store(NamedTuple):
  """The answers of the oracle so far, with room for all that it may give.

  Attributes:
    hypotheses: a pytree with a leading axis of S.
    errors: [S].
    gammas: [S, 2, E, G].
    count: how many there are.
    last: the last answer, from which the oracle starts.
  """

  hypotheses: Any
  errors: jax.Array
  gammas: jax.Array
  count: jax.Array
  last: Any

  @property
  def known(self) -> jax.Array:
    """Where there is an answer, bool [S]."""
    return jnp.arange(len(self.errors)) < self.count


class Game(NamedTuple):
  """What is fixed in a run: the data, the oracle, and the two slacks."""

  x: jax.Array
  moments: ParityMoments
  oracle: Oracle
  bound: Any
  limit: Any
  multiples: tuple[float, ...]

  def store(self, size: int, grid: GridSearch | None = None) -> Store:
    """A store with room for more answers than those of a grid, if there is one."""
    start, dtype, shape = self.oracle.init(self.x), self.x.dtype, self.moments.valid.shape
    empty = jax.tree.map(lambda leaf: jnp.zeros((size, *leaf.shape), leaf.dtype), start)
    errors, gammas = jnp.zeros(size, dtype), jnp.zeros((size, *shape), dtype)
    if grid is None:
      return Store(empty, errors, gammas, jnp.zeros((), jnp.int32), start)
    given = (grid.classifier.hypotheses, grid.errors, grid.gammas)
    join = lambda a, b: jnp.concatenate([a.astype(b.dtype), b])
    empty, errors, gammas = jax.tree.map(join, given, (empty, errors, gammas))
    return Store(empty, errors, gammas, jnp.asarray(len(grid.errors), jnp.int32), start)

  def respond(self, store: Store, multipliers: jax.Array, ask: Any = True) -> Any:
    """The best response, which is a stored one unless the oracle finds a better; its place."""
    costs = self.moments.costs(multipliers)
    weight = self.moments.weight * jnp.abs(costs)
    weight = weight * self.moments.rows / jnp.sum(weight)
    found = self.oracle.fit(self.x, (costs > 0).astype(self.x.dtype), weight, store.last)
    decision = self.oracle.decide(found, self.x)
    error, gamma = self.moments.error(decision), self.moments.gamma(decision)
    parts = store.errors, store.gammas * multipliers
    values = jnp.where(store.known, parts[0] + jnp.sum(parts[1], (1, 2, 3)), jnp.inf)
    best = jnp.argmin(values)
    # Two sums of the same decisions may differ by rounding, more in float32 than 1e-8.
    rounding = 8 * jnp.finfo(error.dtype).eps * (error + jnp.sum(jnp.abs(gamma * multipliers)))
    better = error + jnp.sum(gamma * multipliers) < values[best] - jnp.maximum(PRECISION, rounding)
    better = ask & better
    place = jnp.where(better, store.count, len(store.errors))
    put = lambda kept, new: kept.at[place].set(new, mode="drop")
    store = Store(
      jax.tree.map(put, store.hypotheses, found),
      put(store.errors, error),
      put(store.gammas, gamma),
      store.count + better,
      found,
    )
    return store, jnp.where(better, store.count - 1, best)

  def excess(self, store: Store, mixture: jax.Array) -> jax.Array:
    """By how much a mixture [S] violates each constraint, [2, E, G]; below 0 where it does not."""
    gamma = jnp.tensordot(mixture, store.gammas, 1, precision="highest")
    return jnp.where(self.moments.valid, gamma - self.bound, 0)

  def gap(self, store: Store, mixture: jax.Array, multipliers: jax.Array, nu: Any, ask: Any) -> Any:
    """What a player could gain by leaving the mixture and the multipliers, and the store then."""
    projected = self.moments.project(multipliers)
    value = lambda mix: mix @ store.errors + jnp.sum(projected * self.excess(store, mix))
    now = value(mixture)
    high = mixture @ store.errors + self.limit * jnp.max(self.excess(store, mixture), initial=0)

    def turn(at: Any, multiple: jax.Array) -> Any:
      store, low, active = at
      store, place = self.respond(store, multiple * multipliers, active)
      lower = store.errors[place] + jnp.sum(
        projected * jnp.where(self.moments.valid, store.gammas[place] - self.bound, 0)
      )
      low = jnp.where(active, jnp.minimum(low, lower), low)
      gap = jnp.maximum(now - low, high - now)
      return (store, low, active & (gap <= nu + PRECISION)), None

    at = (store, now, jnp.asarray(ask))
    (store, low, _), _ = jax.lax.scan(turn, at, jnp.asarray(self.multiples, now.dtype))
    return store, jnp.maximum(now - low, high - now)

  def solve(self, store: Store) -> tuple[jax.Array, jax.Array]:
    """The best mixture of what is stored, [S], and its multipliers."""
    flat = store.gammas.reshape(len(store.errors), -1)
    mixture, dual = best_mixture(store.errors, flat, store.known, self.bound, self.limit)
    return mixture, dual.reshape(self.moments.valid.shape)
