"""What all noise shares: the rows that a rate selects, where they go, the truth."""

from typing import Any

import jax
import jax.numpy as jnp

from rfjax.core import NO_ADDRESS, Batch, Truth, count, rank


def first(values: jax.Array, index: jax.Array) -> jax.Array:
  """The row of the smallest value [B], of equal ones that of the lowest index, int32 []."""
  return jnp.argmin(jnp.where(values == jnp.min(values), index, NO_ADDRESS))


def select(u: jax.Array, rate: Any, batch: Batch, exact_count: bool) -> jax.Array:
  """The rows that noise of some rate strikes, bool [B]; a higher rate strikes them too.

  Args:
    u: uniform draws [B], the same for all rates.
    rate: the rate, [] or, unless the count is exact, [B].
    batch: the rows, of which only valid ones are struck.
    exact_count: whether floor(rate * rows) rows are struck, those of the smallest draws, where
      equal ones go by index; else each row is struck by itself.

  Returns:
    The mask.
  """
  if not exact_count:
    return batch.valid & (u < rate)
  place = rank(jnp.where(batch.valid, u, jnp.inf), batch.index)
  return batch.valid & (place < count(rate, batch.valid))


def categorical(v: jax.Array, weights: jax.Array) -> jax.Array:
  """Draws a class a row from weights [B, C] by inversion of uniform draws v [B], int32 [B].

  A class of weight 0 is never drawn, also where the sums are rounded.
  """
  bounds, possible = jnp.cumsum(weights, axis=-1), weights > 0
  inside = possible & (v[:, None] * bounds[:, -1:] < bounds)
  last = weights.shape[-1] - 1 - jnp.argmax(possible[:, ::-1], axis=-1)
  drawn = jnp.where(inside.any(axis=-1), jnp.argmax(inside, axis=-1), last)
  return drawn.astype(jnp.int32)


def check_width(by: str, what: str, fitted: int, given: int) -> None:
  """Refuses data of another width than a transform was fitted on."""
  if fitted != given:
    raise ValueError(
      f"{by} was fitted on {fitted} {what}, but x has {given}: pass fitted_on= of the same {what}"
    )


def with_truth(batch: Batch, *names: str) -> Truth:
  """The truth, in which the named ones of y and group are kept before they are first changed."""
  truth = Truth() if batch.truth is None else batch.truth
  first = {name: getattr(batch, name) for name in names if getattr(truth, name) is None}
  return truth._replace(**first)


def relabel(batch: Batch, struck: jax.Array, y: jax.Array) -> Batch:
  """Gives the rows that were struck another label, and keeps the true ones."""
  new = jnp.where(struck, y, batch.y).astype(batch.y.dtype)
  return batch.replace(y=new, truth=with_truth(batch, "y"))
