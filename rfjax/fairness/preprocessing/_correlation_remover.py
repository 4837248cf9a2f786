"""Correlation remover: features without what sensitive ones say of them linearly."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rfjax.core import Batch, Transform, _check, ratio
from rfjax.fairness.preprocessing import _elements

_NAME = "correlation_remover"


class CorrelationRemoverState(NamedTuple):
  """The state of `correlation_remover`.

  Attributes:
    mean: [S], of the sensitive features.
    beta: [S, d], what a unit of each sensitive feature adds to each other one.
  """

  mean: jax.Array
  beta: jax.Array


def correlation_remover(
  alpha: float | jax.Array = 1.0, *, columns: Sequence[int] | None = None
) -> Transform:
  r"""Takes away from each feature its regression on the sensitive ones.

  $$z_i \leftarrow z_i - \alpha\, (s_i - \bar s)\, \beta, \qquad
  \beta = \arg\min_\beta \sum_i w_i \lVert z_i - \bar z - (s_i - \bar s)\, \beta \rVert^2$$

  with the weights w of the data set, and where there are several beta the shortest one in units of
  the spread of each s, such as for membership. At alpha = 1 no feature has a correlation with a
  sensitive one in the data that it was fitted on; what is not linear stays. One that is constant
  there takes nothing away. With the membership of a row as s, that moves all groups to the same
  mean. Where the group is missing the features stay.

  Args:
    alpha: how much is taken away, in [0, 1]; may be traced.
    columns: the columns of x that hold the sensitive features; they are left out of the new x.
      Membership in the groups when None, and no column is left out.

  Returns:
    The transform of a data set, which `fitted_on=` may fit on another; it writes x, and needs the
    group, or the columns, at prediction too.

  Raises:
    ValueError: for values out of range; when applied, where the group or the columns are missing.

  References:
    Weerts, Dudik, Edgar, Jalali, Lutz, Madaio, Fairlearn: assessing and improving fairness of AI
    systems, Journal of Machine Learning Research, 2023.

  Examples:
    >>> import jax, rfjax
    >>> from rfjax.fairness import preprocessing
    >>> data = rfjax.Batch.from_arrays([[0.0], [2.0], [4.0], [6.0]], [0, 1, 0, 1], [0, 0, 1, 1])
    >>> fair = rfjax.transform(preprocessing.correlation_remover(), data, key=jax.random.key(0))
    >>> fair.x.round(4)[:, 0].tolist()
    [2.0, 4.0, 2.0, 4.0]
  """
  _check.number("alpha", alpha, 0.0, 1.0)
  found = _elements.check_columns(columns)

  def split(batch: Batch) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The sensitive features [B, S], the others [B, d], and where the first are known [B]."""
    x = _elements.features(batch)
    if found is None:
      sensitive = batch.require("group", by=_NAME).membership.astype(x.dtype)
      return sensitive, x, jnp.any(sensitive > 0, axis=1)
    _elements.check_reach(found, x.shape[1])
    if len(found) == x.shape[1]:
      raise ValueError("columns must leave a column that is not sensitive, got all")
    return x[:, np.array(found)], jnp.delete(x, np.array(found), axis=1), batch.valid

  def init(data: Batch, **unused: Any) -> CorrelationRemoverState:
    del unused
    sensitive, others, known = split(data)
    weight = data.with_columns("weight").weight.astype(others.dtype) * known
    share = ratio(weight, jnp.sum(weight))
    average = lambda v: jnp.tensordot(share, v, 1, precision="highest")
    mean, scale = _elements.moments(sensitive, weight)
    # In units of their own: so the smallest eigenvalues tell what depends on the others.
    away, others = ratio(sensitive - mean, scale), others - average(others)
    product = lambda v: jnp.matmul((away * share[:, None]).T, v, precision="highest")
    beta = jnp.matmul(_pseudo_inverse(product(away)), product(others), precision="highest")
    return CorrelationRemoverState(mean, ratio(beta, scale[:, None]))

  def update(
    batch: Batch, state: CorrelationRemoverState, params: Any = None, **unused: Any
  ) -> tuple[Batch, CorrelationRemoverState]:
    del params, unused
    sensitive, others, known = split(batch)
    away = jnp.where(known[:, None], sensitive - state.mean, 0)
    new = others - alpha * jnp.matmul(away, state.beta, precision="highest")
    new = new.reshape(batch.x.shape) if found is None else new
    return batch.replace(x=new.astype(others.dtype)), state

  return Transform(init, update, writes=("x",))


def _pseudo_inverse(matrix: jax.Array) -> jax.Array:
  """Of a correlation matrix, in which columns of membership depend on each other."""
  tolerance = 32 * matrix.shape[0] * jnp.finfo(matrix.dtype).eps
  return jnp.linalg.pinv(matrix, rtol=tolerance, hermitian=True)
