"""The best mixture of stored classifiers under constraints: a linear program, solved by pivots."""

from typing import Any

import jax
import jax.numpy as jnp


def best_mixture(
  errors: jax.Array,
  gammas: jax.Array,
  stored: jax.Array,
  bound: Any,
  limit: Any,
  pivots: int | None = None,
) -> tuple[jax.Array, jax.Array]:
  r"""Solves for weights of classifiers, and for the multipliers of their constraints.

  $$\min_{Q, \xi}\; \sum_k Q_k\, \mathrm{err}_k + B \xi \quad\text{such that}\quad
  \sum_k Q_k \gamma_k - c \le \xi, \quad \sum_k Q_k = 1, \quad Q, \xi \ge 0$$

  by the simplex method with a fixed number of pivots: those that are not needed change nothing. It
  starts from the best single classifier, so that what it returns is never worse than that one.

  Args:
    errors: [S].
    gammas: [S, m].
    stored: bool [S], which classifiers there are; at least one.
    bound: c.
    limit: B, above 0.
    pivots: how many; 8 (m + 2) when None.

  Returns:
    Q [S], and the multipliers [m], at least 0 and with a sum of at most B.
  """
  size, m = gammas.shape
  errors, gammas = jnp.where(stored, errors, 0), jnp.where(stored[:, None], gammas, 0)
  slack = jnp.where(stored[:, None], gammas - bound, 0).T
  column = lambda values, n: jnp.full((n, 1), values, errors.dtype)
  constraints = jnp.concatenate([slack, column(-1, m), jnp.eye(m), column(0, m)], axis=1)
  total = jnp.concatenate([stored, jnp.zeros(m + 1), jnp.ones(1)])
  cost = jnp.concatenate([errors, jnp.full(1, limit), jnp.zeros(m + 1)])
  table = jnp.concatenate([constraints, total[None], cost[None]]).astype(errors.dtype)
  count = 8 * (m + 2) if pivots is None else pivots
  small = 32 * jnp.finfo(errors.dtype).eps

  def pivot(table: jax.Array, basis: jax.Array, row: Any, col: Any, act: Any) -> tuple[Any, Any]:
    line = table[row] / jnp.where(act, table[row, col], 1)
    new = (table - table[:, col][:, None] * line).at[row].set(line)
    return jnp.where(act, new, table), jnp.where(act, basis.at[row].set(col), basis)

  def turn(i: Any, at: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
    table, basis = at
    reduced = jnp.where(jnp.append(stored, jnp.ones(m + 1, bool)), table[-1, :-1], 0)
    # The steepest column first; at the end the first one, by Bland's rule, which cannot cycle.
    col = jnp.where(i < count // 2, jnp.argmin(reduced), jnp.argmax(reduced < -small))
    entries, right = table[:-1, col], jnp.maximum(table[:-1, -1], 0)
    fits = entries > small
    steps = jnp.where(fits, right / jnp.where(fits, entries, 1), jnp.inf)
    row = jnp.argmin(jnp.where(steps <= jnp.min(steps) + small, basis, size + m + 2))
    return pivot(table, basis, row, col, (reduced[col] < -small) & jnp.any(fits))

  # The best single classifier, and xi where it violates the most.
  worst = jnp.maximum(jnp.max(slack, axis=0), 0)
  single = jnp.argmin(jnp.where(stored, errors + limit * worst, jnp.inf))
  basis = size + 1 + jnp.arange(m + 1)
  table, basis = pivot(table, basis, m, single, True)
  violated = jnp.argmin(table[:m, -1])
  table, basis = pivot(table, basis, violated, size, table[violated, -1] < 0)
  table, basis = jax.lax.fori_loop(0, count, turn, (table, basis))
  weights = jnp.zeros(size + 1 + m, errors.dtype).at[basis].set(table[:-1, -1])[:size]
  weights = jnp.maximum(weights, 0)
  multipliers = jnp.maximum(table[-1, size + 1 : size + 1 + m], 0)
  return weights / jnp.sum(weights), multipliers
