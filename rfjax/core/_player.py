"""Players: adversaries, duals and meta-networks that learn beside the model."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import optax


class Player(NamedTuple):
  """Parameters with an optimizer of their own.

  Attributes:
    params: any pytree.
    opt: the state of the player's optax transformation.
  """

  params: Any
  opt: optax.OptState


def player(params: Any, tx: optax.GradientTransformation) -> Player:
  """Starts a player.

  Args:
    params: its initial parameters.
    tx: its optimizer.

  Returns:
    The player.
  """
  return Player(params, tx.init(params))


def descend(
  loss: Callable[[Any, Any], jax.Array],
  player: Player,
  batch: Any,
  tx: optax.GradientTransformation,
) -> Player:
  """Takes one optimizer step down a loss; a player that is to ascend negates it.

  Only the gradient is asked for, so the loss value is never computed.

  Args:
    loss: `loss(params, batch) -> []`.
    player: the player.
    batch: what the loss reads; gradients stop at it.
    tx: the player's optimizer.

  Returns:
    The player after the step.

  Examples:
    >>> import jax.numpy as jnp, optax
    >>> from rfjax.core import descend, player
    >>> tx = optax.sgd(0.5)
    >>> p = descend(lambda w, b: 0.5 * (w - b) ** 2, player(jnp.zeros(()), tx), 1.0, tx)
    >>> float(p.params)
    0.5
  """
  gradient = jax.grad(loss)(player.params, jax.lax.stop_gradient(batch))
  updates, opt = tx.update(gradient, player.opt, player.params)
  return Player(optax.apply_updates(player.params, updates), opt)
