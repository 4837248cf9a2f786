"""What losses are made of: functions of log-probabilities that keep their digits at both ends."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from rfjax.core import Batch, Transform, pointwise

_SMALL = 1e-3  # below it the series of five terms is exact to double precision


def loss(cost: Callable[[jax.Array], jax.Array]) -> Transform:
  """The loss whose cost matrix is a function of log_probs [B, C]."""

  def apply(batch: Batch, **unused: Any) -> Batch:
    del unused
    return batch.replace(cost=cost(batch.require("log_probs", by="a loss").log_probs))

  return pointwise(apply, writes=("loss",))


def check_loss(name: str, t: Transform) -> None:
  """Refuses a transform that is no loss and nothing else."""
  if not isinstance(t, Transform) or t.writes != ("loss",):
    writes = getattr(t, "writes", None)
    raise ValueError(
      f"{name} must be a loss, got what writes {writes!r}: pass one such as gce(0.7)"
    )


def expm1_ratio(x: jax.Array) -> jax.Array:
  """(exp(x) - 1) / x, and 1 at 0."""
  small = jnp.abs(x) < _SMALL
  safe = jnp.where(small, 1.0, x)
  series = 1 + x / 2 * (1 + x / 3 * (1 + x / 4 * (1 + x / 5)))
  return jnp.where(small, series, jnp.expm1(safe) / safe)


def log1p_ratio(x: jax.Array) -> jax.Array:
  """log(1 + x) / x for x > -1, and 1 at 0."""
  small = jnp.abs(x) < _SMALL
  safe = jnp.where(small, 1.0, x)
  series = 1 - x * (1 / 2 - x * (1 / 3 - x * (1 / 4 - x / 5)))
  return jnp.where(small, series, jnp.log1p(safe) / safe)


def complement(log_probs: jax.Array) -> jax.Array:
  """1 - p."""
  return -jnp.expm1(log_probs)


def power(log_probs: jax.Array, q: Any) -> jax.Array:
  """(p ** q - 1) / q, and log p at q = 0."""
  return log_probs * expm1_ratio(q * log_probs)


def log_complement(log_probs: jax.Array) -> jax.Array:
  """log(1 - p) [B, C], also where p is 1 to all digits."""
  top = jnp.argmax(log_probs, axis=-1, keepdims=True) == jnp.arange(log_probs.shape[-1])
  others = jax.nn.logsumexp(jnp.where(top, -jnp.inf, log_probs), axis=-1, keepdims=True)
  # Any but the largest is at most 1/2.
  return jnp.where(top, others, jnp.log1p(-jnp.exp(jnp.where(top, -1.0, log_probs))))


def at_label(values: jax.Array, y: jax.Array) -> jax.Array:
  """values [B, C] at the labels y [B]."""
  return jnp.take_along_axis(values, y[:, None], axis=1)[:, 0]
