"""What noise adaptation layers share: a channel behind the network that learns beside it."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from rfjax.core import Batch, Player, Spec, Transform, descend, player, through

Channel = Callable[[Any, Batch], jax.Array]
Correct = Callable[[Any, Batch, jax.Array | None], jax.Array]


def noisy_loss(log_probs: jax.Array, batch: Batch) -> jax.Array:
  """The mean of -log p[given label] over the kept rows, by their weights, []."""
  return batch.replace(log_probs=log_probs).risk


def adaptation(
  start: Callable[..., Any],
  channel: Channel,
  tx: optax.GradientTransformation,
  *,
  by: str,
  needs: tuple[str, ...] = (),
  regularize: Callable[[Any], jax.Array] = lambda params: jnp.zeros(()),
  warmup: Any = 0,
) -> Transform:
  """A transform that sends log_probs through a trained channel, a player of its own.

  Args:
    start: as in `layer`, like all others but the channel.
    channel: `channel(params, batch) -> log Q`, [C, C] or [B, C, C].
    tx: its optimizer.
    by: the method.
    needs: fields that it reads.
    regularize: what it descends beside the loss.
    warmup: epochs that it rests.

  Returns:
    The transform; its state is a `Player`. Both players take their steps from the same values.
  """

  def correct(params: Any, batch: Batch, key: jax.Array | None) -> jax.Array:
    del key
    return through(batch.log_probs, channel(params, batch))

  return layer(start, correct, tx, by=by, needs=needs, regularize=regularize, warmup=warmup)


def layer(
  start: Callable[..., Any],
  correct: Correct,
  tx: optax.GradientTransformation,
  *,
  by: str,
  needs: tuple[str, ...] = (),
  regularize: Callable[[Any], jax.Array] = lambda params: jnp.zeros(()),
  warmup: Any = 0,
) -> Transform:
  """The same for any trained layer behind the softmax.

  Args:
    start: `start(data, *, key, spec) -> params`, of the layer.
    correct: `correct(params, batch, key) -> log_probs`, [B, C]; the key is None in evaluation.
    tx: the layer's optimizer.
    by: the method, for error messages.
    needs: fields that it reads beyond log_probs, target and keep.
    regularize: `regularize(params) -> []`, what the layer descends beside the loss.
    warmup: the layer stays as it is before so many epochs.

  Returns:
    The transform; its state is a `Player`.
  """

  def init(data: Batch, *, key: Any = None, spec: Spec | None = None, **unused: Any) -> Player:
    del unused
    return player(start(data, key=key, spec=spec), tx)

  def corrected(batch: Batch, params: Any, key: jax.Array | None) -> Batch:
    batch.require("log_probs", "target", "keep", "weight", *needs, by=by)
    log_probs = correct(params, batch, key)
    return batch.replace(log_probs=log_probs.astype(batch.log_probs.dtype))

  def refresh(
    data: Batch, state: Player, params: Any = None, **unused: Any
  ) -> tuple[Batch, Player]:
    del params, unused
    return corrected(data, state.params, None), state

  def update(
    batch: Batch, state: Player, params: Any = None, *, key: Any, epoch: Any, **unused: Any
  ) -> tuple[Batch, Player]:
    del params, unused

    def loss(params: Any, batch: Batch) -> jax.Array:
      return noisy_loss(corrected(batch, params, key).log_probs, batch) + regularize(params)

    flow = corrected(batch, jax.lax.stop_gradient(state.params), key)
    moved = descend(loss, state, batch, tx)
    if isinstance(warmup, int) and warmup == 0:
      return flow, moved
    started = jnp.asarray(epoch) >= warmup
    return flow, jax.tree.map(lambda new, old: jnp.where(started, new, old), moved, state)

  return Transform(init, update, refresh, writes=("log_probs",))


def features_of(spec: Spec | None, by: str) -> jax.ShapeDtypeStruct:
  """The shape of the network's features, or an error that says who needs them."""
  if spec is None or spec.features is None:
    raise ValueError(
      f"{by} needs features, which the network does not offer: use a network whose apply returns"
      " its penultimate layer"
    )
  return spec.features
