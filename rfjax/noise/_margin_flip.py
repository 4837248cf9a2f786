"""Label flipping at the rows that a linear model is most sure of: FR-Train's poisoning attack."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from rfjax.core import Batch, Transform, _check, logistic_regression, rank
from rfjax.noise._draws import count, with_truth


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
    ValueError: for a rate out of range.

  Examples:
    >>> import jax.numpy as jnp
    >>> from rfjax.noise import flip_by_margin
    >>> y, score = jnp.array([0, 0, 1, 1]), jnp.array([-3.0, -1.0, 2.0, -4.0])
    >>> flip_by_margin(y, score, 0.5).tolist()
    [1, 0, 0, 1]
  """
  _check.number("rate", rate, 0.0, 1.0)
  y, score = jnp.asarray(y), jnp.asarray(score)
  valid = jnp.ones(y.shape, bool) if valid is None else jnp.asarray(valid)
  mask = valid if group_mask is None else valid & group_mask
  scored = rank(jnp.where(mask, (1 - 2 * y) * score, jnp.inf))
  return jnp.where(mask & (scored < count(rate, valid)), 1 - y, y)


def margin_flip(
  rate: float | jax.Array, *, group: int | None = None, l2: float | jax.Array = 1.0
) -> Transform:
  r"""Flips the labels that a logistic regression is most sure of, in one group or everywhere.

  A logistic regression u with penalty l2 is fitted on the data, and

  $$y_i \leftarrow 1 - y_i \quad\text{for the } \lfloor \rho\, n \rfloor \text{ rows of the group
  with the largest}\quad (2 y_i - 1)\, u(x_i)$$

  where n counts all valid rows, so that a rate of 0.1 flips a tenth of the data set and not of the
  group. It is deterministic. The true labels are kept in `truth`, unless they are there already.
  Apply it by `rfjax.transform`; `fitted_on=` fits u elsewhere.

  Args:
    rate: rho in [0, 1]; may be traced.
    group: the group whose labels are flipped, in [0, num_groups); with soft membership the rows
      with more than half of theirs in it. All rows when None.
    l2: penalty of the logistic regression, above 0; may be traced.

  Returns:
    The transform, of data sets with two classes.

  Raises:
    ValueError: for values out of range; when applied, for other than two classes, or a group that
      the data set does not have.

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
    if data.num_classes != 2:
      raise ValueError(f"margin_flip needs two classes, got num_classes {data.num_classes}")
    return MarginFlipState(*logistic_regression(data.x, data.y, weight=data.valid, l2=l2))

  def update(
    batch: Batch, state: MarginFlipState, params: Any = None, **unused: Any
  ) -> tuple[Batch, MarginFlipState]:
    del params, unused
    x = batch.x.reshape(batch.num_rows, -1)
    score = jnp.matmul(x, state.kernel, precision="highest") + state.intercept
    y = flip_by_margin(batch.y, score, rate, _members(batch, group), valid=batch.valid)
    return batch.replace(y=y, truth=with_truth(batch, "y")), state

  return Transform(init, update, writes=("y",))


def _members(batch: Batch, group: int | None) -> jax.Array | None:
  if group is None:
    return None
  membership = batch.require("group", by="margin_flip").membership
  if group >= batch.num_groups:
    raise ValueError(f"group must lie in [0, {batch.num_groups}), got {group}: name one of them")
  return membership[:, group] > 0.5
