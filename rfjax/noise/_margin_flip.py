"""Label flipping at the rows that a linear model is most sure of: FR-Train's poisoning attack."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from rfjax.core import Batch, Transform, _check, count, logistic_regression, rank
from rfjax.noise._draws import check_width, with_truth


class MarginFlipState(NamedTuple):
  """The linear model u(x) = x kernel + intercept whose margins rank the rows.

  Attributes:
    kernel: [d].
    intercept: [].
  """

  kernel: jax.Array
  intercept: jax.Array


def flip_by_margin(
  y: ArrayLike,
  score: ArrayLike,
  rate: float | jax.Array,
  group_mask: ArrayLike | None = None,
  *,
  valid: ArrayLike | None = None,
) -> jax.Array:
  r"""Flips the binary labels with the largest correct margins.

  $$y_i \leftarrow 1 - y_i \quad\text{for the } \lfloor \rho\, n \rfloor \text{ rows of the mask
  with the largest}\quad (2 y_i - 1)\, u_i$$

  where n counts all rows, not those of the mask only. Equal margins go by row number.

  Args:
    y: labels [N], 0 or 1.
    score: u, [N]; positive says label 1.
    rate: rho in [0, 1]; may be traced.
    group_mask: bool [N], the rows that may be flipped; all when None.
    valid: bool [N], the rows that exist; all when None.

  Returns:
    The labels [N], flipped at as many rows of the mask as it has, where it has too few.

  Raises:
    ValueError: for a rate out of range, labels other than 0 and 1, and values that are not one a
      label.

  Examples:
    >>> import jax.numpy as jnp
    >>> from rfjax.noise import flip_by_margin
    >>> y, score = jnp.array([0, 0, 1, 1]), jnp.array([-3.0, -1.0, 2.0, -4.0])
    >>> flip_by_margin(y, score, 0.5).tolist()
    [1, 0, 0, 1]
  """
  _check.number("rate", rate, 0.0, 1.0)
  y = _binary(y)
  u = _column("score", score, y)
  u = u.astype(jnp.promote_types(u.dtype, jnp.float32))
  rows = jnp.ones(y.shape, bool) if valid is None else _column("valid", valid, y).astype(bool)
  mask = rows if group_mask is None else rows & _column("group_mask", group_mask, y).astype(bool)
  return _flip(y, u, rate, mask, rows)


def _binary(y: ArrayLike) -> jax.Array:
  """Labels 0 and 1 as int32 [N]."""
  if not _check.traced(y):
    return jnp.asarray(_check.labels("y", y, 2, 2)[0])
  if np.ndim(y) != 1:
    raise ValueError(f"y must have one axis, got shape {np.shape(y)}: pass y.ravel()")
  return jnp.asarray(y, jnp.int32)


def _column(name: str, values: ArrayLike, y: jax.Array) -> jax.Array:
  """The values as an array [N]."""
  found = jnp.asarray(_check.array(name, values))
  if found.shape != y.shape:
    raise ValueError(f"{name} has shape {found.shape} but y has {y.shape}: pass one a label")
  return found


def _flip(
  y: jax.Array,
  score: jax.Array,
  rate: Any,
  mask: jax.Array,
  valid: jax.Array,
  index: jax.Array | None = None,
) -> jax.Array:
  """Flips the labels of the mask with the largest correct margins, of equal ones by index."""
  place = rank(jnp.where(mask, (1 - 2 * y) * score, jnp.inf), index)
  return jnp.where(mask & (place < count(rate, valid)), 1 - y, y)


def margin_flip(
  rate: float | jax.Array, *, group: int | None = None, l2: float | jax.Array = 1.0
) -> Transform:
  r"""Flips the labels that a logistic regression is most sure of, in one group or everywhere.

  A logistic regression u with penalty l2 is fitted on the data, and

  $$y_i \leftarrow 1 - y_i \quad\text{for the } \lfloor \rho\, n \rfloor \text{ rows of the group
  with the largest}\quad (2 y_i - 1)\, u(x_i)$$

  where n counts all valid rows, so that a rate of 0.1 flips a tenth of the data set and not of the
  group. Equal margins go by `index`. It is deterministic. The true labels are kept in `truth`,
  unless they are there already. Apply it by `rfjax.transform`; `fitted_on=` fits u elsewhere.

  Args:
    rate: rho in [0, 1]; may be traced.
    group: the group whose labels are flipped, in [0, num_groups); with soft membership the rows
      with more than half of theirs in it. All rows when None.
    l2: penalty of the logistic regression, above 0; may be traced.

  Returns:
    The transform, of data sets with two classes.

  Raises:
    ValueError: for values out of range; when applied, for other than two classes, a group that the
      data set does not have, or u fitted on another number of features.

  References:
    Roh, Lee, Whang, Suh, FR-Train: A Mutual Information-Based Approach to Fair and Robust Training,
    ICML 2020.

  Examples:
    >>> import jax, rfjax
    >>> from rfjax import noise
    >>> clean = rfjax.Batch.from_arrays([[-2.0], [-1.0], [1.0], [2.0]], [0, 0, 1, 1], [0, 0, 1, 1])
    >>> noisy = rfjax.transform(noise.margin_flip(0.25, group=1), clean, key=jax.random.key(0))
    >>> noisy.y.tolist(), noisy.truth.y.tolist()
    ([0, 0, 1, 0], [0, 0, 1, 1])
  """
  _check.number("rate", rate, 0.0, 1.0)
  _check.number("l2", l2, 0.0, open_low=True)
  if group is not None:
    _check.count("group", group, 0)

  def init(data: Batch, **unused: Any) -> MarginFlipState:
    del unused
    _check_classes(data)
    return MarginFlipState(*logistic_regression(data.x, data.y, weight=data.valid, l2=l2))

  def update(
    batch: Batch, state: MarginFlipState, params: Any = None, **unused: Any
  ) -> tuple[Batch, MarginFlipState]:
    del params, unused
    _check_classes(batch)
    x = batch.x.reshape(batch.num_rows, -1)
    check_width("margin_flip", "features", state.kernel.size, x.shape[1])
    score = jnp.matmul(x, state.kernel, precision="highest") + state.intercept
    y = _flip(batch.y, score, rate, _members(batch, group), batch.valid, batch.index)
    return batch.replace(y=y, truth=with_truth(batch, "y")), state

  return Transform(init, update, writes=("y",))


def _check_classes(batch: Batch) -> None:
  if batch.num_classes != 2:
    raise ValueError(f"margin_flip needs two classes, got num_classes {batch.num_classes}")


def _members(batch: Batch, group: int | None) -> jax.Array:
  """The rows whose labels may be flipped, bool [B]."""
  if group is None:
    return batch.valid
  membership = batch.require("group", by="margin_flip").membership
  if group >= batch.num_groups:
    raise ValueError(f"group must lie in [0, {batch.num_groups}), got {group}: name one of them")
  return membership[:, group] > 0.5
