"""What penalties share: the scores that they compare, and how they join the objective."""

from collections.abc import Callable
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp

from rfjax.core import Batch, Transform, _check, stateless
from rfjax.metrics._score_hsic import centred
from rfjax.metrics._scores import Scores, check_label, scores

Score = Literal["probability", "margin", "features"]


def check_strength(strength: Any) -> None:
  """Refuses a strength below 0."""
  _check.number("strength", strength, 0.0, open_high=True)


def penalty(strength: Any, of: Callable[[Batch], jax.Array]) -> Transform:
  """Adds strength times a number of the batch."""

  def add(batch: Batch, **unused: Any) -> Batch:
    del unused
    return batch.replace(penalty=batch.penalty + strength * of(batch))

  return stateless(add, writes=("penalty",))


def score_penalty(
  by: str, strength: Any, score: Score, label: int | None, of: Callable[[Scores], jax.Array]
) -> Transform:
  """A penalty on the scores of the groups, of one label or of all."""
  check_strength(strength)
  _check.choice("score", score, get_args(Score))
  check_label(label)

  def apart(batch: Batch) -> jax.Array:
    batch.require("logits", "group", by=by)
    check_label(label, batch.num_classes)
    return of(scores(_values(batch, score, by), batch.membership, batch.y, label))

  return penalty(strength, apart)


def _values(batch: Batch, score: Score, by: str) -> jax.Array:
  if score == "features":
    return batch.require("features", by=by).features
  if score == "margin":
    return batch.margin
  probs = jax.nn.softmax(batch.logits)
  return probs[:, 1:] if batch.num_classes == 2 else probs


def decisions(batch: Batch) -> jax.Array:
  """Signed distances to the boundary, [B, K]: logits of class 1 of two, else less their mean."""
  if batch.num_classes == 2:
    return batch.margin
  return batch.logits - jnp.mean(batch.logits, axis=1, keepdims=True)


def covariances(values: jax.Array, member: jax.Array) -> jax.Array:
  """Covariances [J, K] of values [B, K] and membership: of group 1 of two, else of each group."""
  signed = centred(member)
  signed = signed[:, 1:] if signed.shape[1] == 2 else signed
  return jnp.matmul(signed.T, values, precision="highest")
