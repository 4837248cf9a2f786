"""What the estimators of transition matrices share."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from rfjax.core import _check


def probabilities(probs: ArrayLike) -> jax.Array:
  """Checks probabilities [N, C] by their shape, and makes them floats."""
  found = _check.array("probs", probs)
  if found.ndim != 2 or found.shape[0] < 1 or found.shape[1] < 2:
    raise ValueError(f"probs must have rows of at least 2 classes, got shape {found.shape}")
  return jnp.asarray(found, jnp.promote_types(jnp.result_type(found), jnp.float32))


def rows(name: str, values: Any, probs: jax.Array) -> jax.Array:
  """Checks that there is one value for each row of `probs`."""
  found = jnp.asarray(_check.array(name, values))
  if found.shape != probs.shape[:1]:
    raise ValueError(
      f"{name} must have one value for each of the {probs.shape[0]} rows of probs, got shape"
      f" {found.shape}"
    )
  return found


def labels(y: ArrayLike, probs: jax.Array, mask: ArrayLike | None) -> jax.Array:
  """Checks that there is one label for each row of `probs`, and of the rows that count by value."""
  found = rows("y", y, probs)
  if mask is not None:
    rows("mask", mask, probs)
  if not _check.traced(y, mask):
    known = np.asarray(_check.array("y", y))
    _check.labels("y", known if mask is None else np.where(mask, known, 0), probs.shape[1], 2)
  return found


def row_stochastic(matrix: jax.Array) -> jax.Array:
  """Divides rows of masses by their sums; a row without mass becomes that of the identity."""
  mass = jnp.sum(matrix, axis=-1, keepdims=True)
  known = mass > 0
  return jnp.where(known, matrix / jnp.where(known, mass, 1), jnp.eye(matrix.shape[-1]))
