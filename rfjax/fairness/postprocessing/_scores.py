"""What methods that act on scores share: rows by group, and probabilities made logits."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from rfjax.core import Batch, ratio


def privileged_side(privileged: int | Sequence[int], data: Batch) -> np.ndarray:
  """Which groups are privileged, bool [G]; ValueError where there are no such or no others."""
  groups = (privileged,) if isinstance(privileged, int) else tuple(privileged)
  if not groups or min(groups) < 0 or max(groups) >= data.num_groups:
    raise ValueError(
      f"privileged must be groups of the data, from 0 to {data.num_groups - 1}, got {groups}"
    )
  if len(set(groups)) == data.num_groups:
    raise ValueError(f"privileged must leave a group that is not, got all: {groups}")
  return np.isin(np.arange(data.num_groups), groups)


def weighted_membership(data: Batch) -> jax.Array:
  """How much each row counts in each group, [N, G]: membership times weight."""
  return data.membership * data.with_columns("weight").weight[:, None]


def of_groups(
  batch: Batch, by_group: jax.Array, otherwise: jax.Array, *, rows: bool = False
) -> jax.Array:
  """Mixes by membership what groups give a row, and gives `otherwise` where the group is missing.

  Args:
    batch: the rows.
    by_group: [G, ...], or [B, G, ...] where it differs by row.
    otherwise: what broadcasts to [B, ...].
    rows: whether `by_group` differs by row.

  Returns:
    The mixtures [B, ...].
  """
  known = jnp.sum(batch.membership, axis=1)
  share = ratio(batch.membership, known[:, None]).astype(by_group.dtype)
  mixed = jnp.einsum(
    "bg,bg...->b..." if rows else "bg,g...->b...", share, by_group, precision="highest"
  )
  known = (known > 0).reshape((-1,) + (1,) * (mixed.ndim - 1))
  return jnp.where(known, mixed, otherwise)


def with_probs(batch: Batch, probs: jax.Array) -> Batch:
  """Makes logits of probabilities [B, C], their logarithms; softmax gives them back."""
  smallest = jnp.finfo(probs.dtype).tiny
  logits = jnp.log(jnp.maximum(probs, smallest))
  return batch.replace(logits=logits.astype(batch.logits.dtype))
