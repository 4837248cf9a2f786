"""What penalties share: the scores that they compare, and how they join the objective."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp

from rfjax import metrics
from rfjax.core import Batch, Transform, _check, stateless
from rfjax.metrics import Rate
from rfjax.metrics._cells import STATISTICS
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


def check_statistics(statistics: str | Sequence[str]) -> tuple[str, ...]:
  """Refuses what is no statistic of `metrics.group_rates`; returns the names."""
  names = (statistics,) if isinstance(statistics, str) else tuple(statistics)
  for name in names:
    _check.choice("statistics", name, tuple(STATISTICS))
  return names


def rate_penalty(
  by: str,
  strength: Any,
  statistics: str | Sequence[str],
  temperature: Any,
  decay: Any,
  of: Callable[[Rate], jax.Array],
) -> Transform:
  """A penalty on rates of the groups, of the batch or of a moving average, summed over them."""
  check_strength(strength)
  names = check_statistics(statistics)
  _check.number("temperature", temperature, 0.0, open_low=True, open_high=True)
  _check.number("decay", decay, 0.0, 1.0, open_high=True)
  remembers = _check.traced(decay) or decay != 0

  def rates(batch: Batch) -> list[Rate]:
    batch.require("logits", "group", by=by)
    sharp = batch.replace(logits=batch.logits / temperature)
    return [metrics.group_rates(name, sharp, soft=True) for name in names]

  def init(data: Batch, **unused: Any) -> Any:
    del unused
    if not remembers:
      return ()
    data.require("group", by=by)
    shapes = jax.eval_shape(lambda: rates(data.fill(jnp.zeros((data.num_rows, data.num_classes)))))
    return jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), shapes)

  def update(batch: Batch, state: Any, params: Any = None, **unused: Any) -> tuple[Batch, Any]:
    del params, unused
    new = rates(batch)
    if remembers:
      new = jax.tree.map(lambda old, now: decay * old + (1 - decay) * now, state, new)
      state = jax.lax.stop_gradient(new)
    return batch.replace(penalty=batch.penalty + strength * sum(map(of, new))), state

  return Transform(init, update, writes=("penalty",))
