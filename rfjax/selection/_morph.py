"""MORPH: training moves from all examples to those that it has memorized, at a time it finds."""

import functools
from collections.abc import Callable
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
  push,
  read,
  write,
)
from rfjax.selection._noise_rate import rate_from_areas
from rfjax.selection._prestopping import memorized, stop_here


class MorphState(NamedTuple):
  """The state of `morph`.

  Attributes:
    history: the labels that the network has lately given to each example.
    area: [N], the sum of the losses of each example, over its epochs.
    safe: bool [N], the maximal safe set; empty before the transition.
    noise_rate: [], the last estimate of the share of wrong labels, or the given one.
    stopped: int32 [], the first epoch of the second phase; -1 before it.
  """

  history: History
  area: jax.Array
  safe: jax.Array
  noise_rate: jax.Array
  stopped: jax.Array


def morph(
  augment: Callable[..., jax.Array] | None = None,
  *,
  rate: float | jax.Array | None = None,
  consistency: float | jax.Array = 5.0,
  ramp_epochs: float | jax.Array = 80.0,
  length: int = 10,
  min_epochs: int | jax.Array | None = None,
  max_epochs: int | jax.Array | None = None,
  shift: float | jax.Array = 0.0,
) -> Transform:
  r"""MORPH, self-transitional learning: first on all examples, then on a growing safe set.

  The noise rate is the mean posterior of the upper one of two normal distributions, fitted after
  each epoch to the area under each example's loss curve,

  $$\hat\tau = \frac{1}{N} \sum_i P\bigl(\mathrm{upper} \mid \textstyle\sum_{s \le t}
  \mathrm{loss}_i^{(s)}\bigr).$$

  As soon as $|M| \ge (1 - \hat\tau) N$ of the examples are memorized, which is when the recall of
  right labels meets their precision, the safe set starts as M and changes as in `prestopping`. From
  then on, with p the softmax and p' that of an augmented picture,

  $$\mathrm{keep}_i \leftarrow \mathrm{keep}_i\,[i \in S], \qquad
  \mathrm{penalty} \leftarrow \mathrm{penalty} + w(t)\, \frac{1}{B} \sum_i \lVert p_i - p_i'
  \rVert^2, \qquad w(t) = w\, e^{-5 (1 - \min(t / T, 1))^2}$$

  t epochs after the transition. Predictions are pushed before they are used.

  Args:
    augment: `augment(x, key) -> x`, of a batch of features [B, ...]; None goes without consistency.
    rate: tau in [0, 1), the share of wrong labels, in the place of its estimate; may be traced.
    consistency: w, at least 0; may be traced.
    ramp_epochs: T, above 0; may be traced.
    length: q, at least 1.
    min_epochs: no transition before so many; `length` when None. Early on all losses are alike, and
      two distributions always find two parts. May be traced.
    max_epochs: a transition after so many, whatever is memorized; never when None; may be traced.
    shift: added to the estimated rate, in (-1, 1), for studies of its errors: more is an earlier
      transition; may be traced.

  Returns:
    The transform; it writes keep and, with an augmentation, penalty.

  Raises:
    ValueError: for values out of range.

  References:
    Song, Kim, Park, Shin, Lee, Robust Learning by Self-Transition for Handling Noisy Labels, KDD
    2021.

  Examples:
    >>> import jax, optax, rfjax
    >>> from rfjax import architectures, selection
    >>> data = rfjax.Batch.from_arrays([[-2.0], [-1.0], [1.0], [2.0]], [0, 0, 0, 1])
    >>> method = selection.morph(lambda x, key: -x, min_epochs=5)
    >>> state, log = rfjax.fit(architectures.logistic(), method, optax.sgd(1.0), data,
    ...                        key=jax.random.key(0), epochs=20)
    >>> int(state.method.stopped), state.method.safe.tolist()
    (5, [True, True, False, True])
  """
  if rate is not None:
    _check.number("rate", rate, 0.0, 1.0, open_high=True)
  _check.number("consistency", consistency, 0.0, open_high=True)
  _check.number("ramp_epochs", ramp_epochs, 0.0, open_low=True, open_high=True)
  _check.number("shift", shift, -1.0, 1.0, open_low=True, open_high=True)
  length = _check.count("length", length)
  for name, value in (("min_epochs", min_epochs), ("max_epochs", max_epochs)):
    if value is not None:
      _check.number(name, value, 0.0, open_high=True)
  earliest = length if min_epochs is None else min_epochs
  first_epoch = earliest if max_epochs is None else jnp.minimum(earliest, max_epochs)

  def init(data: Batch, **unused: Any) -> MorphState:
    del unused
    zeros = jnp.zeros(data.num_rows)
    start = jnp.asarray(0.0 if rate is None else rate, zeros.dtype)
    none = jnp.array(-1, jnp.int32)
    return MorphState(history(data, length), zeros, zeros > 0, start, none)

  def refresh(
    data: Batch, state: MorphState, params: Any = None, *, epoch: Any, **unused: Any
  ) -> tuple[Batch, MorphState]:
    del params, unused
    epoch, before = jnp.asarray(epoch, jnp.int32), state.stopped < 0
    if rate is None:
      found = rate_from_areas(read(state.area, data.index), data.valid) + shift
      found = jnp.clip(found, 0.0, 0.9).astype(state.noise_rate.dtype)
      state = state._replace(noise_rate=jnp.where(before & (epoch > 0), found, state.noise_rate))
    fitted = jnp.sum(memorized(state.history, data))
    enough = fitted >= jnp.sum(data.valid) - count(state.noise_rate, data.valid)
    now = (epoch > 0) & (epoch >= earliest) & enough
    now = now if max_epochs is None else now | (epoch >= max_epochs)
    return data, stop_here(state, data, before & now, epoch)

  def update(
    batch: Batch, state: MorphState, params: Any, *, key: Any, epoch: Any, forward: Any, **_: Any
  ) -> tuple[Batch, MorphState]:
    batch.require("logits", "keep", "penalty", by="morph")
    past, started = push(state.history, batch), state.stopped >= 0
    fits = memorized(past, batch)
    loss = jax.lax.stop_gradient(batch.loss)
    state = state._replace(
      history=past,
      area=write(state.area, batch.index, read(state.area, batch.index) + loss),
      safe=write(state.safe, batch.index, fits & started),
    )
    fields = {"keep": batch.keep * jnp.where(started, fits, True)}
    if augment is not None:
      ramp = (jnp.asarray(epoch) - state.stopped) / ramp_epochs
      weight = consistency * jnp.exp(-5 * jnp.square(1 - jnp.clip(ramp, 0, 1)))
      # The network is asked again only where a transition can have been: a branch on the epoch.
      apart = jax.lax.cond(
        jnp.asarray(epoch) >= first_epoch,
        functools.partial(_disagreement, batch, params, augment, key, forward),
        lambda: jnp.zeros_like(batch.penalty),
      )
      fields["penalty"] = batch.penalty + jnp.where(started, weight, 0) * apart
    return batch.replace(**fields), state

  writes = ("keep",) if augment is None else ("keep", "penalty")
  return Transform(init, update, refresh, writes)


def _disagreement(
  batch: Batch, params: Any, augment: Callable[..., jax.Array], key: jax.Array, forward: Any
) -> jax.Array:
  """The mean squared distance of the softmax to that of an augmented batch, []."""
  augment_key, dropout_key = jax.random.split(key)
  other = forward(params, batch.replace(x=augment(batch.x, augment_key)), key=dropout_key)
  apart = jax.nn.softmax(batch.logits) - jax.nn.softmax(other.logits)
  return batch.mean(jnp.sum(jnp.square(apart), axis=-1))
