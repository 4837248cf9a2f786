"""What selections share: rates that may change over the epochs, and small losses."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from rfjax.core import (
  Batch,
  Network,
  TrainState,
  Transform,
  _check,
  count,
  smallest,
  train_step,
  write,
)

Rate = float | jax.Array | Callable[[Any], Any]
ROUNDINGS = ("floor", "ceil")


def check_rate(name: str, rate: Rate) -> None:
  """Refuses a rate outside [0, 1), unless it is traced or a function of the epoch."""
  if not callable(rate):
    _check.number(name, rate, 0.0, 1.0, open_high=True)


def rate_at(rate: Rate, epoch: Any) -> Any:
  """The rate in an epoch."""
  return rate(epoch) if callable(rate) else rate


def small_losses(
  batch: Batch, loss: jax.Array, rate: Any, rounding: str = "floor", among: jax.Array | None = None
) -> jax.Array:
  """Marks the rows of the smallest losses, all but `rate` of those that are still kept.

  Args:
    batch: the batch.
    loss: [B].
    rate: the share to leave out, in [0, 1].
    rounding: how the number of marked rows is rounded.
    among: bool [B], which of the kept rows take part; all when None.

  Returns:
    The marks, bool [B].
  """
  rows = (batch.keep > 0) & batch.valid
  rows = rows if among is None else rows & among
  # All but ceil(rate n) are floor((1 - rate) n).
  number = rows.sum() - count(rate, rows, up=rounding == "floor")
  return smallest(jax.lax.stop_gradient(loss), number, rows, batch.index)


def first_mask(data: Batch, kept: jax.Array | None) -> jax.Array:
  """The rows that are kept at first, bool [N]: the given ones, or all."""
  if kept is None:
    return jnp.ones(data.num_rows, bool)
  kept = jnp.asarray(kept, bool)
  if kept.shape != (data.num_rows,):
    raise ValueError(
      f"kept must have one entry for each of the {data.num_rows} rows, got shape {kept.shape}"
    )
  return kept


def smallest_of_all(data: Batch, values: jax.Array, rate: Any) -> jax.Array:
  """Marks the rows of the smallest values of a data set, by their address, bool [N].

  Args:
    data: the training set, filled.
    values: [N], in the order of the data.
    rate: the share of the rows kept so far that is left out.
  """
  rows = (data.keep > 0) & data.valid
  chosen = smallest(values, rows.sum() - count(rate, rows, up=True), rows, data.index)
  return write(jnp.zeros(data.num_rows, bool), data.index, chosen)


def refresh_after(
  network: Network,
  method: Transform,
  tx: optax.GradientTransformation,
  state: TrainState,
  data: Batch,
  *,
  key: jax.Array,
  epoch: int,
) -> Any:
  """The state of a method once the last epoch of a run is over, which nothing has refreshed."""
  refresh = train_step(network, method, tx).refresh
  return refresh(state, data, key=jax.random.fold_in(key, epoch), epoch=epoch)[1].method
