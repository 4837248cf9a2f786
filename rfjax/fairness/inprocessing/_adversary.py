"""What adversaries share: whose group they guess, their layers, and the game with the model."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from rfjax.architectures._dense import dense, dense_init
from rfjax.core import Batch, Player, Transform, _check, cross_entropy, descend, player
from rfjax.fairness.inprocessing._elements import check_strength


class AdversaryState(NamedTuple):
  """The state of a method with an adversary.

  Attributes:
    adversary: the adversary, a `Player`.
  """

  adversary: Player


class Guess(NamedTuple):
  """What an adversary sees of a batch, features first.

  Attributes:
    inputs: [d, B].
    label: [C, B], one-hot.
    target: [G - 1, B], membership of the rows whose group is known.
    share: [B], how much a row counts in the adversary's loss.
  """

  inputs: jax.Array
  label: jax.Array
  target: jax.Array
  share: jax.Array


def guess(batch: Batch, inputs: jax.Array, criterion: str) -> Guess:
  """The view of an adversary on inputs [B, d]; its shares are equal and sum to 1.

  For equal opportunity only rows with label 1 count, and only those of a group ever do.
  """
  member = batch.membership
  known = jnp.sum(member, axis=1)
  counted = known * (batch.y == 1) if criterion == "equal_opportunity" else known
  return Guess(
    inputs=inputs.T,
    label=jax.nn.one_hot(batch.y, batch.num_classes).T,
    target=(member / jnp.where(known > 0, known, 1)[:, None])[:, 1:].T,
    share=counted / jnp.maximum(jnp.sum(counted), 1),
  )


def entropy(scores: jax.Array, seen: Guess) -> jax.Array:
  """The cross-entropy of groups by scores [G - 1, B], relative to those of group 0."""
  return jnp.sum(seen.share * cross_entropy(scores, seen.target))


def layers(key: jax.Array, widths: Sequence[int]) -> list[Any]:
  """The parameters of a perceptron of these widths, inputs and outputs included."""
  keys = jax.random.split(key, len(widths) - 1)
  sizes = zip(keys, widths[:-1], widths[1:], strict=True)
  return [dense_init(key, rows, columns) for key, rows, columns in sizes]


def scores(params: list[Any], inputs: jax.Array, slope: float = 0.0) -> jax.Array:
  """What a perceptron says of inputs [d, B], [K, B]; `slope` is that of its leaky ReLU."""
  x = inputs.T
  for layer in params[:-1]:
    x = jax.nn.leaky_relu(dense(layer, x), slope)
  return dense(params[-1], x).T


def width_of(inputs: str, data: Batch, spec: Any, by: str) -> int:
  """How many numbers an adversary sees of a row: "logits" or "features"."""
  if inputs == "logits":
    return data.num_classes - 1
  if spec is None or spec.features is None:
    raise ValueError(
      f"{by} needs features: use a network whose apply returns its penultimate layer"
    )
  return spec.features.shape[1]


def game(
  by: str,
  start: Callable[[Batch, jax.Array, Any], Any],
  look: Callable[[Batch], Any],
  loss: Callable[[Any, Any], jax.Array],
  strength: Any,
  tx: optax.GradientTransformation | None,
  steps: int,
) -> Transform:
  """A penalty of -strength times the loss of an adversary, which descends on that loss itself.

  Both move from where they stand: the model by the adversary before its steps.
  """
  check_strength(strength)
  steps = _check.count("steps", steps)
  tx = optax.adam(1e-3) if tx is None else tx

  def init(data: Batch, *, key: jax.Array, spec: Any = None, **unused: Any) -> AdversaryState:
    del unused
    return AdversaryState(player(start(data.require("group", by=by), key, spec), tx))

  def update(
    batch: Batch, state: AdversaryState, params: Any = None, **unused: Any
  ) -> tuple[Batch, AdversaryState]:
    del params, unused
    seen = look(batch.require("logits", "group", by=by))
    cost = loss(jax.lax.stop_gradient(state.adversary.params), seen)
    turn = lambda _, adversary: descend(loss, adversary, seen, tx)
    adversary = jax.lax.fori_loop(0, steps, turn, state.adversary)
    batch = batch.replace(penalty=batch.penalty - strength * cost)
    return batch, AdversaryState(adversary)

  return Transform(init, update, writes=("penalty",))
