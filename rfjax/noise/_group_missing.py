"""Missing sensitive attributes: completely at random, at random, and not at random."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from rfjax.core import Batch, Transform, _check, stateless, uniform
from rfjax.noise._draws import select, with_truth
from rfjax.noise._group_flip import check_groups

Rate = ArrayLike | Callable[[Batch], ArrayLike]


def _by_function(function: Callable[[Batch], ArrayLike], batch: Batch) -> jax.Array:
  rates = _check.array("what rate returns", function(batch))
  if rates.shape != (batch.num_rows,):
    raise ValueError(
      f"rate must return one probability a row, shape {(batch.num_rows,)}, got {rates.shape}"
    )
  if not _check.traced(rates, batch.valid):
    values = np.asarray(rates, np.float64)
    bad = np.asarray(batch.valid) & ~((values >= 0) & (values <= 1))
    if bad.any():
      raise ValueError(
        f"rate must return probabilities in [0, 1], got {values[bad][0]:g}"
        f" for {int(bad.sum())} rows: clip them"
      )
  return jnp.asarray(rates)


def _check_rate(rate: ArrayLike) -> Any:
  """The rate as an array; refuses what is no probability, and no list of them."""
  values = _check.numbers("rate", rate, 0.0, 1.0)
  if values.ndim > 1:
    raise ValueError(f"rate must be a number, or one a group, got shape {values.shape}")
  return values


def _rates(rate: Rate, batch: Batch) -> jax.Array:
  """The probability to be missing, [] or [B]."""
  if callable(rate):
    return _by_function(rate, batch)
  values = jnp.asarray(rate, float)
  if values.ndim == 0:
    return values
  check_groups("rate", values.shape[0], batch)
  return jnp.matmul(batch.membership, values, precision="highest")


def group_missing(rate: Rate) -> Transform:
  r"""Makes the sensitive attribute missing in some rows.

  $$m_i \leftarrow (1 - R_i)\, m_i, \qquad R_i \sim \mathrm{Bernoulli}(\rho_i)$$

  where m_i is row i's membership: `group` becomes soft membership [B, G], one-hot with rows of
  zeros where it is missing. The rate says by which mechanism: a number is missing completely at
  random; a number each group is missing not at random, by the value itself, where soft membership
  has the mean rate; a function of the batch's x and y is missing at random, and one that reads
  `group` or `truth` is not. The given group is kept in `truth`, unless one is there already; x
  stays as it is, even where a column of it holds the attribute. With one key, a higher rate strikes
  the rows of a lower one and some more.

  Args:
    rate: rho in [0, 1]: [], or [G], or a function of the batch that returns [B]; may be traced.

  Returns:
    The transform, for `rfjax.transform`.

  Raises:
    ValueError: for rates out of range or of another shape; when applied, for a data set without
      groups, or with another number of them than there are rates.

  References:
    Rubin, Inference and Missing Data, Biometrika 1976.

  Examples:
    >>> import jax, rfjax
    >>> from rfjax import noise
    >>> clean = rfjax.Batch.from_arrays([[0.0]] * 3, [0, 1, 1], group=[0, 1, 0])
    >>> hide_ones = noise.group_missing([0.0, 1.0])
    >>> rfjax.transform(hide_ones, clean, key=jax.random.key(0)).group.tolist()
    [[1.0, 0.0], [0.0, 0.0], [1.0, 0.0]]
  """
  given: Rate = rate if callable(rate) else _check_rate(rate)

  def apply(batch: Batch, *, key: jax.Array, **unused: Any) -> Batch:
    del unused
    batch.require("group", by="group_missing")
    struck = select(uniform(key, batch), _rates(given, batch), batch, exact_count=False)
    group = jnp.where(struck[:, None], 0, batch.membership)
    return batch.replace(group=group, truth=with_truth(batch, "group"))

  return stateless(apply, writes=("group",))
