"""What noise of labels by group does, and how it is taken back."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from rfjax.core import Batch, _check
from rfjax.noise._group_dependent import by_group, check_by_group

_REMEDY = "a label that hangs on no true one tells nothing of the true ones; check the rates"


def check_label_transition(transition: ArrayLike) -> Any:
  """Refuses what is no invertible transition for each group, [G, C, C], or rate [G]."""
  given = check_by_group("transition", transition)
  if given.ndim == 3:
    _check.invertible("transition", given, _REMEDY)
  return given


def check_label_transition_of(given: Any, data: Batch, by: str) -> None:
  """Refuses a transition that is not of the data set, or has no inverse in one of its rows."""
  data.require("group", by=by)
  matrices = by_group("transition", given, data)
  _check.invertible("transition", matrices, _REMEDY)
  if data.group.ndim == 2:
    mixed = "transition, mixed by membership,"
    _check.invertible(mixed, _of_rows(matrices, data), "groups that swap labels cannot be mixed")


def check_delta(delta: ArrayLike) -> Any:
  """Refuses what is not a Delta in (0, 1] for each group [G]."""
  given = _check.numbers("delta", delta, 0.0, 1.0, open_low=True)
  if given.ndim != 1:
    raise ValueError(f"delta must have one number for each group, got shape {given.shape}")
  return given


def check_delta_of(given: Any, data: Batch) -> None:
  """Refuses a Delta that is not of the data set's groups."""
  if given.shape[0] != data.num_groups:
    raise ValueError(
      f"delta is of {given.shape[0]} groups, but the data set has num_groups {data.num_groups}"
    )


def _of_rows(matrices: jax.Array, batch: Batch) -> jax.Array:
  """The transition of each row [B, C, C]; the rest of a membership keeps the label."""
  member = batch.membership.astype(matrices.dtype)
  rest = 1 - jnp.sum(member, axis=1)
  mixed = jnp.einsum("bg,gij->bij", member, matrices, precision="highest")
  return mixed + rest[:, None, None] * jnp.eye(batch.num_classes, dtype=matrices.dtype)


def label_inverses(given: ArrayLike, batch: Batch) -> jax.Array:
  """The inverse of each group's transition [G, C, C]."""
  return jnp.linalg.inv(by_group("transition", given, batch))


def label_inverse(given: ArrayLike, batch: Batch) -> jax.Array:
  """The inverse of each row's transition [B, C, C]: of its group's, or of the mean by membership.

  It is the identity of a row without a group.
  """
  if batch.group.ndim == 2:
    return jnp.linalg.inv(_of_rows(by_group("transition", given, batch), batch))
  known = label_inverses(given, batch)
  eye = jnp.eye(batch.num_classes, dtype=known.dtype)
  table = jnp.concatenate([known, eye[None]])  # padding has group G
  return table[batch.group]
