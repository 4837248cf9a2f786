"""Statistics by group: sums and means over hard or soft membership, safe where a group is empty."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike


def group_sum(values: jax.Array, group: jax.Array, num_groups: int | None = None) -> jax.Array:
  r"""Sums values by group.

  $$S_g = \sum_i m_{ig}\, v_i$$

  Args:
    values: [B] or [B, ...].
    group: membership m, float [B, G], such as `Batch.membership`; or codes, int32 [B] in [0, G),
      of which those out of range are left out.
    num_groups: G; needed for codes only.

  Returns:
    The sums [G, ...].

  Examples:
    >>> import jax.numpy as jnp
    >>> from rfjax.core import group_sum
    >>> group_sum(jnp.array([1.0, 2.0, 4.0]), jnp.array([0, 1, 0]), 2).tolist()
    [5.0, 2.0]
  """
  if jnp.issubdtype(group.dtype, jnp.integer):
    return jax.ops.segment_sum(values, group, num_groups)
  return jnp.tensordot(group.T, values, 1, precision="highest")


def group_mean(
  values: jax.Array, group: jax.Array, num_groups: int | None = None
) -> tuple[jax.Array, jax.Array]:
  r"""Averages values by group; an empty group gives 0 with a gradient of 0.

  $$\bar v_g = \frac{\sum_i m_{ig} v_i}{\sum_i m_{ig}}$$

  Args:
    values: [B] or [B, ...].
    group: as in `group_sum`.
    num_groups: as in `group_sum`.

  Returns:
    The means [G, ...], and the sizes [G], which say by 0 where a mean is not one.

  Examples:
    >>> import jax.numpy as jnp
    >>> from rfjax.core import group_mean
    >>> mean, size = group_mean(jnp.array([1.0, 2.0, 4.0]), jnp.array([0, 2, 0]), 3)
    >>> mean.tolist(), size.tolist()
    ([2.5, 0.0, 2.0], [2.0, 0.0, 1.0])
  """
  values = jnp.asarray(values)
  values = values.astype(jnp.promote_types(values.dtype, jnp.float32))
  size = group_sum(jnp.ones(group.shape[0], values.dtype), group, num_groups)
  total = group_sum(values, group, num_groups)
  safe = jnp.where(size > 0, size, 1).reshape(size.shape + (1,) * (total.ndim - 1))
  return total / safe, size


def mix_groups(
  membership: jax.Array, by_group: jax.Array, otherwise: ArrayLike, *, rows: bool = False
) -> jax.Array:
  r"""Gives a row the mean over its groups of what they give, also where it belongs to them in part.

  $$v_i = \frac{\sum_g m_{ig}\, v_g}{\sum_g m_{ig}}$$

  Args:
    membership: m, float [B, G], such as `Batch.membership`.
    by_group: [G, ...], or [B, G, ...] where it differs by row.
    otherwise: of rows without a group; it broadcasts to [B, ...].
    rows: whether `by_group` differs by row.

  Returns:
    The means [B, ...].

  Examples:
    >>> import jax.numpy as jnp
    >>> from rfjax.core._groups import mix_groups
    >>> membership = jnp.array([[0.0, 1.0], [0.25, 0.25], [0.0, 0.0]])
    >>> mix_groups(membership, jnp.array([2.0, 4.0]), 1.0).tolist()
    [4.0, 3.0, 1.0]
  """
  size = jnp.sum(membership, axis=1)
  share = ratio(membership, size[:, None]).astype(by_group.dtype)
  mixed = jnp.einsum(
    "bg,bg...->b..." if rows else "bg,g...->b...", share, by_group, precision="highest"
  )
  known = (size > 0).reshape((-1,) + (1,) * (mixed.ndim - 1))
  return jnp.where(known, mixed, otherwise)


def ratio(numerator: jax.Array, denominator: jax.Array, empty: float = 0.0) -> jax.Array:
  """Divides where the denominator is not 0, and gives `empty`, with a gradient of 0, elsewhere."""
  safe = jnp.where(denominator != 0, denominator, 1)
  return jnp.where(denominator != 0, numerator / safe, empty)
