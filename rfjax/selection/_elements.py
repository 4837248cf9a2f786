"""What selections share: rates that may change over the epochs, and small losses."""

from collections.abc import Callable
from typing import Any

import jax

from rfjax.core import Batch, _check, count, smallest

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
