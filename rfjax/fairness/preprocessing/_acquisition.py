"""What plans of data acquisition share: sizes, costs and a budget, and whole rows of a plan."""

from typing import Any

import jax
import jax.numpy as jnp

from rfjax.core import _check


def read(size: Any, budget: Any, cost: Any) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Checks and reads sizes [S], the costs [S] of a row of each slice, and a budget []."""
  sizes = jnp.asarray(_check.numbers("size", size, 0.0, open_low=True, open_high=True), float)
  if sizes.ndim != 1 or sizes.size == 0:
    raise ValueError(f"size must have one number a slice, got shape {sizes.shape}")
  costs = jnp.asarray(_check.numbers("cost", cost, 0.0, open_low=True, open_high=True), float)
  if costs.shape not in ((), sizes.shape):
    raise ValueError(f"cost must be one number, or {sizes.size} as size, got shape {costs.shape}")
  _check.number("budget", budget, 0.0, open_high=True)
  return sizes, jnp.broadcast_to(costs, sizes.shape), jnp.asarray(budget, float)


def whole(plan: jax.Array) -> jax.Array:
  """Rounds down, but not where rounding errors have left a plan just below a whole number."""
  nearest = jnp.round(plan)
  close = jnp.abs(plan - nearest) <= 4 * jnp.finfo(plan.dtype).eps * nearest
  return jnp.where(close, nearest, jnp.floor(plan))
