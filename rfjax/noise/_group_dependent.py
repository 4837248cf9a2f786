"""Label noise that differs between sensitive groups."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from rfjax.core import Batch, Transform, _check, stateless
from rfjax.noise._class_conditional import move
from rfjax.noise._symmetric import symmetric_matrix


def check_by_group(name: str, values: ArrayLike) -> Any:
  """Refuses what is no transition of labels for each group, [G, C, C], or rate [G]."""
  given = _check.array(name, values)
  if given.ndim == 1:
    return _check.numbers(name, given, 0.0, 1.0)
  return _check.transition(name, given, axes=3)


def by_group(name: str, given: ArrayLike, batch: Batch) -> jax.Array:
  """T [G, C, C] of the data set's groups and classes, also of rates [G]."""
  values = jnp.asarray(given, float)
  if values.ndim == 1:
    values = jax.vmap(lambda rate: symmetric_matrix(rate, batch.num_classes))(values)
  _check.classes(name, values.shape[-1], batch)
  if values.shape[0] != batch.num_groups:
    raise ValueError(
      f"{name} is of {values.shape[0]} groups, but the data set has num_groups {batch.num_groups}"
    )
  return values


def group_dependent(matrix: ArrayLike) -> Transform:
  r"""Label noise with a transition matrix for each sensitive group.

  $$P(\tilde y_i = j \mid y_i = k) = \sum_g m_{ig}\, T^{(g)}_{kj} +
  \Bigl(1 - \sum_g m_{ig}\Bigr)\, [j = k]$$

  where m_i is row i's membership by the given group: hard, or soft, which mixes the matrices; where
  it is missing, the label is kept. The true labels are kept in `truth`, unless they are there
  already; with one key, all matrices strike from the same draws.

  Args:
    matrix: T [G, C, C], rows of probabilities; or rates [G] in [0, 1], which mean `symmetric` noise
      of that rate in each group. May be traced.

  Returns:
    The transform, of data sets with G groups and C classes.

  Raises:
    ValueError: for rates out of range, matrices that are not square, or a row that has no sum of 1;
      when applied, for a data set without groups, or with another number of groups or classes.

  References:
    Wang, Liu, Levy, Fair Classification with Group-Dependent Label Noise, FAccT 2021.

  Examples:
    >>> import jax, rfjax
    >>> from rfjax import noise
    >>> clean = rfjax.Batch.from_arrays([[0.0]] * 4, [0, 1, 0, 1], group=[0, 0, 1, 1])
    >>> swap_in_group_1 = noise.group_dependent([0.0, 1.0])
    >>> rfjax.transform(swap_in_group_1, clean, key=jax.random.key(0)).y.tolist()
    [0, 1, 1, 0]
  """
  given = check_by_group("matrix", matrix)

  def apply(batch: Batch, *, key: jax.Array, **unused: Any) -> Batch:
    del unused
    membership = batch.require("group", by="group_dependent").membership
    rows = by_group("matrix", given, batch)[:, batch.y]
    return move(batch, jnp.einsum("bg,gbc->bc", membership, rows, precision="highest"), key)

  return stateless(apply, writes=("y",))
