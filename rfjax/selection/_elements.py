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
  random_order,
  read,
  smallest,
  train_step,
  write,
)
from rfjax.core._draws import ordered_bits

Rate = float | jax.Array | Callable[[Any], Any]
ROUNDINGS = ("floor", "ceil")
_DIGIT = 8  # bits of a value that a pass over the rows settles


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


def keep_only(flow: Batch, kept: jax.Array) -> Batch:
  """Drops the rows that a mask by address, bool [N], does not have: of a batch, or for an epoch.

  What a selection knows at the start of an epoch it says there, so that samplers behind it draw of
  the kept rows, and again in each step, for loops without a refresh: a mask may act twice.
  """
  return flow.replace(keep=flow.keep * read(kept, flow.index))


def first_mask(data: Batch, kept: jax.Array | None) -> jax.Array:
  """The rows that are kept at first, bool [N]: the given ones, or all."""
  if kept is None:
    return jnp.ones(data.num_rows, bool)
  kept = jnp.asarray(kept)
  if kept.dtype != bool:
    raise ValueError(f"kept must be bool, got {kept.dtype}: pass a mask, not row numbers")
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
  batch_size: int | None = None,
) -> Any:
  """The state of a method once the last epoch of a run is over, which nothing has refreshed."""
  key, steps = jax.random.fold_in(key, epoch), 1
  if batch_size is not None:
    order = random_order(key, data.num_rows, batch_size)
    data, steps = data.replace(order=order), order.shape[0]
  refresh = train_step(network, method, tx).refresh
  return refresh(state, data, key=key, epoch=epoch, step=epoch * steps)[1].method


def check_rows(name: str, values: Any, rows: int) -> None:
  """Refuses what has not one entry a row, unless it is None."""
  if values is not None and _check.array(name, values).shape != (rows,):
    raise ValueError(f"{name} must have one entry for each of {rows} rows, got {values!r}")


def square(name: str, matrix: Any) -> Any:
  """Refuses what is not a square matrix of numbers of at least 0; returns it as an array."""
  given = _check.numbers(name, matrix, 0.0)
  if given.ndim != 2 or given.shape[0] != given.shape[1]:
    raise ValueError(f"{name} must be a square matrix, got shape {given.shape}")
  return given


def labels_and_probs(y: Any, probs: Any, mask: Any) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Labels [N], probabilities [N, C] in float32 at least, and which rows count; all checked."""
  y, given = _check.array("y", y), _check.numbers("probs", probs, 0.0, 1.0)
  if given.ndim != 2 or given.shape[:1] != y.shape:
    raise ValueError(
      f"probs must have a row for each label, got shape {given.shape} for labels of {y.shape}"
    )
  if not _check.traced(y):
    _check.labels("y", y, given.shape[1], 2)
  check_rows("mask", mask, given.shape[0])
  values = jnp.asarray(given)
  values = values.astype(jnp.promote_types(values.dtype, jnp.float32))
  counts = jnp.ones(given.shape[0], bool) if mask is None else jnp.asarray(mask, bool)
  return jnp.asarray(y, jnp.int32), values, counts


def of_label(values: jax.Array, y: jax.Array) -> jax.Array:
  """The entries values[i, y[i]], [N]."""
  return jnp.take_along_axis(values, y[:, None], axis=-1)[:, 0]


def class_counts(y: jax.Array, mask: jax.Array, num_classes: int) -> jax.Array:
  """How many rows that count have each label, int32 [C]."""
  return jnp.zeros(num_classes, jnp.int32).at[y].add(mask.astype(jnp.int32))


def smallest_in_class(
  values: jax.Array, number: jax.Array, y: jax.Array, mask: jax.Array
) -> jax.Array:
  """Marks the `number` smallest values of each class, exactly; equal ones go by row number.

  Args:
    values: floats [N], none of them NaN.
    number: how many of each class, int32 [C]; all where there are not so many; may be traced.
    y: the classes, int32 [N].
    mask: bool [N], the rows that take part.

  Returns:
    The marks, bool [N].
  """
  # Histograms of digits by class, from the highest on: a small part of the time of a sort on CPU.
  words = ordered_bits(values)
  last, left = _kth_in_class(words, number, y, mask)
  ties = mask & (words == last[y]) & (left > 0)[y]

  def first_rows(ties: jax.Array) -> jax.Array:
    rows = jnp.arange(y.size, dtype=jnp.uint32)
    return ties & (rows <= _kth_in_class(rows, left, y, ties)[0][y])

  too_many = jnp.any(class_counts(y, ties, number.size) > left)
  return mask & (words < last[y]) | jax.lax.cond(too_many, first_rows, lambda ties: ties, ties)


def _kth_in_class(
  words: jax.Array, k: jax.Array, y: jax.Array, mask: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """The k-th smallest word of each class [C], and how many of its equals are among the k, [C].

  The largest word where a class has fewer than k, and 0 for k < 1.
  """
  kind, base = words.dtype, 2**_DIGIT
  cell = y * base

  def settle(i: Any, state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
    found, left = state
    shift = (8 * kind.itemsize - _DIGIT * (1 + jnp.asarray(i))).astype(kind)
    digits = words >> shift
    fits = mask & (digits >> _DIGIT == (found >> shift >> _DIGIT)[y])
    digit = (digits & (base - 1)).astype(jnp.int32)
    sizes = jnp.zeros(k.size * base, jnp.int32).at[cell + digit].add(fits.astype(jnp.int32))
    upto = jnp.cumsum(sizes.reshape(-1, base), axis=1)
    place = jnp.minimum(jnp.sum(upto < left[:, None], axis=1), base - 1)
    before = jnp.where(place > 0, jnp.take_along_axis(upto, place[:, None] - 1, axis=1)[:, 0], 0)
    return found | place.astype(kind) << shift, left - before

  start = jnp.zeros(k.shape, kind), k.astype(jnp.int32)
  return jax.lax.fori_loop(0, 8 * kind.itemsize // _DIGIT, settle, start)
