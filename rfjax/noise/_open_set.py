"""Open-set label noise: examples of no class at all, under the labels of others."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from rfjax.core import Batch, Transform, Truth, _check, stateless, uniform
from rfjax.noise._draws import select, with_truth


def _check_pool(pool: ArrayLike) -> Any:
  rows = _check.array("pool", pool)
  if rows.ndim < 1 or rows.shape[0] == 0:
    raise ValueError(f"pool must have at least one row, got shape {rows.shape}")
  if not _check.traced(rows) and not np.isfinite(np.asarray(rows)).all():
    raise ValueError("pool must be finite, got NaN or infinity: impute or drop these rows")
  return rows


def _like(pool: ArrayLike, x: jax.Array) -> jax.Array:
  """The pool as an array of the kind of x."""
  rows = jnp.asarray(pool)
  if rows.shape[1:] != x.shape[1:]:
    raise ValueError(
      f"pool has rows of shape {rows.shape[1:]} but x of {x.shape[1:]}: make them one"
    )
  floats = all(jnp.issubdtype(v.dtype, jnp.floating) for v in (rows, x))
  if not floats and rows.dtype != x.dtype:
    raise ValueError(f"pool has dtype {rows.dtype} but x {x.dtype}: convert it, and its scale too")
  return rows.astype(x.dtype)


def _without_class(batch: Batch, struck: jax.Array) -> Truth:
  truth: Any = with_truth(batch, "y")  # whose y is known by now
  return truth._replace(y=jnp.where(struck, batch.num_classes, truth.y))


def open_set(rate: float | jax.Array, pool: ArrayLike, *, exact_count: bool = False) -> Transform:
  r"""Puts examples that belong to none of the classes under the labels of others.

  $$x_i \leftarrow \mathrm{pool}_{r_i}, \quad r_i \sim \mathrm{Uniform}\{0, \dots, P - 1\}
  \qquad\text{with probability } \tau$$

  The labels stay. In `truth`, the label of such a row is C, the number of classes, which says that
  it has none of them, also where a true label was known before. With one key, a higher rate strikes
  the rows of a lower one and some more, and puts the same examples there.

  Args:
    rate: tau in [0, 1]; may be traced.
    pool: examples of none of the classes, [P, ...], of the shape, kind and scale of x; may be
      traced.
    exact_count: whether floor(tau N) rows are struck; else each is struck by itself.

  Returns:
    The transform, for `rfjax.transform`.

  Raises:
    ValueError: for a rate out of range, or a pool that is empty or not finite; when applied, for
      a pool of another shape or kind than x.

  References:
    Wang, Liu, Ma, Bailey, Zha, Song, Xia, Iterative Learning with Open-set Noisy Labels, CVPR 2018.

  Examples:
    >>> import jax, rfjax
    >>> from rfjax import noise
    >>> clean = rfjax.Batch.from_arrays([[1.0], [2.0]], [0, 1])
    >>> noisy = rfjax.transform(noise.open_set(1.0, [[-9.0]]), clean, key=jax.random.key(0))
    >>> noisy.x.tolist(), noisy.y.tolist(), noisy.truth.y.tolist()
    ([[-9.0], [-9.0]], [0, 1], [2, 2])
  """
  _check.number("rate", rate, 0.0, 1.0)
  given = _check_pool(pool)

  def apply(batch: Batch, *, key: jax.Array, **unused: Any) -> Batch:
    del unused
    rows = _like(given, batch.x)
    strike_key, row_key = jax.random.split(key)
    struck = select(uniform(strike_key, batch), rate, batch, exact_count)
    drawn = jnp.floor(uniform(row_key, batch) * rows.shape[0]).astype(jnp.int32)
    new = rows[jnp.minimum(drawn, rows.shape[0] - 1)]
    x = jnp.where(struck.reshape(-1, *[1] * (batch.x.ndim - 1)), new, batch.x)
    return batch.replace(x=x, truth=_without_class(batch, struck))

  return stateless(apply, writes=("x",))
