"""Prestopping: training stops early, and goes on with what was learned by then."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rfjax.core import (
  Batch,
  History,
  Transform,
  _check,
  count,
  history,
  kth_largest,
  push,
  read,
  smallest,
  votes,
  write,
)


class PrestoppingState(NamedTuple):
  """The state of `prestopping`.

  Attributes:
    history: the labels that the network has lately given to each example.
    latest: bool [N], whether the last of them was the given label.
    safe: bool [N], the safe set; empty before the stop.
    stopped: int32 [], the first epoch that trains on the safe set only; -1 before it.
  """

  history: History
  latest: jax.Array
  safe: jax.Array
  stopped: jax.Array


def memorized(past: History, rows: Batch) -> jax.Array:
  """Whether the label that a history has most often is the given one.

  Args:
    past: the history.
    rows: a batch, or the training set.

  Returns:
    The marks, bool [B]. Equal votes give the lowest label; an example that was never seen is not
    memorized.
  """
  found = votes(past, rows.index, rows.num_classes)
  seen = jnp.sum(found, axis=-1) > 0
  return rows.valid & seen & (jnp.argmax(found, axis=-1) == rows.y)


def prestopping(
  *,
  rate: float | jax.Array | None = None,
  stop: int | jax.Array | None = None,
  length: int = 10,
  cap: bool = False,
) -> Transform:
  r"""Prestopping: ordinary training until it begins to fit noise, and then on the safe set only.

  An example is memorized when the label that the network gave it most often, of the last q times,
  is the given one. The safe set is that of the memorized ones at the stop; afterwards every step
  adds and removes what has become and is no longer memorized,

  $$S \leftarrow S \cup \{i \in B : \arg\max_y p_i(y) = \tilde y_i\}
  \setminus \{i \in B : \arg\max_y p_i(y) \ne \tilde y_i\}, \qquad
  \mathrm{keep}_i \leftarrow \mathrm{keep}_i\,[i \in S].$$

  It stops at the end of the first epoch whose training error, of predictions made while training,
  is at most tau; or at an epoch that is given, such as the one of the lowest validation error in a
  first run, as `prestopping_rounds` finds it.

  Args:
    rate: tau in [0, 1), the share of wrong labels; may be traced.
    stop: the number of epochs before the stop, instead of a rate; may be traced.
    length: q, at least 1.
    cap: keep at most floor((1 - tau) B) of the rows of a batch that are still kept, those of the
      largest share of votes, and only strictly above the share of the next one or 0.999, whichever
      is less, as the authors' code does; needs a rate.

  Returns:
    The transform; it writes keep.

  Raises:
    ValueError: for values out of range; without, or with both of, rate and stop, unless capped.

  References:
    Song, Kim, Park, Lee, How Does Early Stopping Help Generalization against Label Noise?, ICML
    Workshop on Uncertainty and Robustness in Deep Learning 2020.

  Examples:
    >>> import jax, optax, rfjax
    >>> from rfjax import architectures, selection
    >>> data = rfjax.Batch.from_arrays([[-2.0], [-1.0], [1.0], [2.0]], [0, 0, 0, 1])
    >>> state, log = rfjax.fit(architectures.logistic(), selection.prestopping(stop=10),
    ...                        optax.sgd(1.0), data, key=jax.random.key(0), epochs=20)
    >>> state.method.safe.tolist()
    [True, True, False, True]
  """
  if rate is not None:
    _check.number("rate", rate, 0.0, 1.0, open_high=True)
  if stop is not None:
    _check.number("stop", stop, 0.0, open_high=True)
  if (stop is None) == (rate is None) and not (cap and rate is not None):
    raise ValueError("prestopping must have a rate, or a stop: pass one of them")
  if cap and rate is None:
    raise ValueError("cap must have a rate: pass rate=")
  length = _check.count("length", length)

  def init(data: Batch, **unused: Any) -> PrestoppingState:
    del unused
    none = jnp.zeros(data.num_rows, bool)
    return PrestoppingState(history(data, length), none, none, jnp.array(-1, jnp.int32))

  def refresh(
    data: Batch, state: PrestoppingState, params: Any = None, *, epoch: Any, **unused: Any
  ) -> tuple[Batch, PrestoppingState]:
    del params, unused
    epoch = jnp.asarray(epoch, jnp.int32)
    if stop is None:
      errors = jnp.sum(data.valid & ~read(state.latest, data.index))
      now = (epoch > 0) & (errors <= count(rate, data.valid))
    else:
      now = epoch >= stop
    return data, stop_here(state, data, now & (state.stopped < 0), epoch)

  def update(
    batch: Batch, state: PrestoppingState, params: Any = None, **unused: Any
  ) -> tuple[Batch, PrestoppingState]:
    del params, unused
    batch.require("logits", "keep", by="prestopping")
    past = push(state.history, batch)
    fits, started = memorized(past, batch), state.stopped >= 0
    chosen = _capped(past, batch, fits, rate) if cap else fits
    hit = jnp.argmax(batch.logits, axis=-1) == batch.y
    state = PrestoppingState(
      past,
      write(state.latest, batch.index, hit),
      write(state.safe, batch.index, fits & started),
      state.stopped,
    )
    return batch.replace(keep=batch.keep * jnp.where(started, chosen, True)), state

  return Transform(init, update, refresh, writes=("keep",))


def stop_here(state: Any, data: Batch, now: jax.Array, epoch: jax.Array) -> Any:
  """Where `now` is true, takes what is memorized for the safe set and marks the epoch."""
  found = write(state.safe, data.index, memorized(state.history, data))
  safe = jnp.where(now, found, state.safe)
  return state._replace(safe=safe, stopped=jnp.where(now, epoch, state.stopped))


def _capped(past: History, batch: Batch, fits: jax.Array, rate: Any) -> jax.Array:
  """Of the memorized rows at most floor((1 - rate) B), those of the largest share of votes."""
  rows = batch.valid & (batch.keep > 0)
  fits, found = fits & rows, votes(past, batch.index, batch.num_classes)
  share = jnp.max(found, axis=-1) / jnp.maximum(jnp.sum(found, axis=-1), 1)
  most = jnp.sum(rows) - count(rate, rows, up=True)
  next_one = kth_largest(jnp.where(fits, share, -1), most + 1)
  lowest = jnp.where(jnp.sum(fits) > most, jnp.minimum(next_one, 0.999), 0)
  return smallest(-share, most, fits & (share > lowest), batch.index)
