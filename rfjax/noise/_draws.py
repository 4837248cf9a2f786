"""What all noise shares: the rows that a rate selects, where they go, the truth."""

from typing import Any

import jax
import jax.numpy as jnp

from rfjax.core import Batch, Truth, rank


def count(rate: Any, valid: jax.Array) -> jax.Array:
  """How many of the valid rows a rate is, int32 []: the whole part of rate times rows."""
  # In float32 a product such as 0.29 * 100 may fall just short of the whole number that it means.
  return jnp.floor(rate * jnp.sum(valid) + 1e-3).astype(jnp.int32)


def select(u: jax.Array, rate: Any, valid: jax.Array, exact_count: bool) -> jax.Array:
  """The rows that noise of some rate strikes, bool [B]; a higher rate strikes them too.

  Args:
    u: uniform draws [B], the same for all rates.
    rate: the rate, [] or, unless the count is exact, [B].
    valid: bool [B].
    exact_count: whether floor(rate * rows) rows are struck, those of the smallest draws; else each
      row is struck by itself.

  Returns:
    The mask.
  """
  if exact_count:
    return valid & (rank(jnp.where(valid, u, jnp.inf)) < count(rate, valid))
  return valid & (u < rate)


def categorical(v: jax.Array, weights: jax.Array) -> jax.Array:
  """Draws a class a row from weights [B, C] by inversion of uniform draws v [B], int32 [B]."""
  bounds = jnp.cumsum(weights, axis=-1)
  return jnp.sum(v[:, None] * bounds[:, -1:] >= bounds, axis=-1, dtype=jnp.int32)


def with_truth(batch: Batch, *names: str) -> Truth:
  """The truth, in which the named ones of y and group are kept before they are first changed."""
  truth = Truth() if batch.truth is None else batch.truth
  first = {name: getattr(batch, name) for name in names if getattr(truth, name) is None}
  return truth._replace(**first)


def relabel(batch: Batch, struck: jax.Array, y: jax.Array) -> Batch:
  """Gives the rows that were struck another label, and keeps the true ones."""
  new = jnp.where(struck, y, batch.y).astype(batch.y.dtype)
  return batch.replace(y=new, truth=with_truth(batch, "y"))
