"""What noise adaptation layers share: a channel behind the network that learns beside it."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from rfjax.core import Batch, Player, Transform, descend, player, through

Channel = Callable[[Any, Batch], jax.Array]


def noisy_loss(log_probs: jax.Array, batch: Batch) -> jax.Array:
  """The mean of -log p[given label] over the kept rows, []."""
  cost = -jnp.sum(batch.target * log_probs, axis=-1)
  return jnp.sum(batch.keep * cost) / jnp.maximum(jnp.sum(batch.keep), 1)


def adaptation(
  start: Callable[[Batch], Any],
  channel: Channel,
  tx: optax.GradientTransformation,
  *,
  by: str,
  regularize: Callable[[Any], jax.Array] = lambda params: jnp.zeros(()),
) -> Transform:
  """A transform that sends log_probs through a trained channel, a player of its own.

  Args:
    start: `start(data) -> params`, of the channel.
    channel: `channel(params, batch) -> log Q`, [C, C] or [B, C, C].
    tx: the channel's optimizer.
    by: the method, for error messages.
    regularize: `regularize(params) -> []`, what the channel descends beside the loss.

  Returns:
    The transform; its state is a `Player`. Both players take their steps from the same values.
  """

  def init(data: Batch, **unused: Any) -> Player:
    del unused
    return player(start(data), tx)

  def corrected(batch: Batch, params: Any) -> Batch:
    batch.require("log_probs", "target", "keep", by=by)
    log_probs = through(batch.log_probs, channel(params, batch))
    return batch.replace(log_probs=log_probs.astype(batch.log_probs.dtype))

  def refresh(
    data: Batch, state: Player, params: Any = None, **unused: Any
  ) -> tuple[Batch, Player]:
    del params, unused
    return corrected(data, state.params), state

  def update(
    batch: Batch, state: Player, params: Any = None, **unused: Any
  ) -> tuple[Batch, Player]:
    del params, unused

    def loss(params: Any, batch: Batch) -> jax.Array:
      return noisy_loss(corrected(batch, params).log_probs, batch) + regularize(params)

    flow = corrected(batch, jax.lax.stop_gradient(state.params))
    return flow, descend(loss, state, batch, tx)

  return Transform(init, update, refresh, writes=("log_probs",))
