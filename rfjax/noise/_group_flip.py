"""Noise of a sensitive attribute: by a rate, by a matrix, by label and group together."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from rfjax.core import Batch, Transform, _check, stateless, uniform
from rfjax.noise._draws import categorical, select, with_truth


def hard_group(batch: Batch, by: str) -> jax.Array:
  """The given group, int32 [B]; a soft one is refused."""
  group = batch.require("group", by=by).group
  if group.ndim != 1:
    raise ValueError(
      f"{by} needs one group a row, got soft membership of shape {group.shape}: put it in front of"
      " group_missing; group.argmax(1) would give the rows whose group is missing to group 0"
    )
  return group


def check_groups(name: str, groups: int, batch: Batch) -> None:
  """Refuses what is not of the data set's groups."""
  if groups != batch.num_groups:
    raise ValueError(
      f"{name} is of {groups} groups, but the data set has num_groups {batch.num_groups}"
    )


def _others(batch: Batch) -> jax.Array:
  """One for each group but the given one, [B, G]."""
  if batch.num_groups < 2:
    raise ValueError(f"group noise needs two groups, got num_groups {batch.num_groups}")
  return 1 - jax.nn.one_hot(batch.group, batch.num_groups)


def _strike(
  batch: Batch, rate: Any, goals: jax.Array, key: jax.Array, exact_count: bool = False
) -> Batch:
  """Strikes rows at their rate, [] or [B], and draws their new groups from goals [B, G]."""
  strike_key, goal_key = jax.random.split(key)
  struck = select(uniform(strike_key, batch), rate, batch, exact_count)
  group = jnp.where(struck, categorical(uniform(goal_key, batch), goals), batch.group)
  return batch.replace(group=group.astype(jnp.int32), truth=with_truth(batch, "group"))


def group_symmetric(rate: float | jax.Array, *, exact_count: bool = False) -> Transform:
  r"""Symmetric noise of the sensitive attribute: any other group is as likely as any other.

  $$P(\tilde z = h \mid z = g) = (1 - \gamma)\, [g = h] + \gamma\, \frac{[g \ne h]}{G - 1}$$

  so that two groups are flipped. The true groups are kept in `truth`, unless they are there
  already; x stays as it is, even where a column of it holds the attribute. With one key, a higher
  rate strikes the rows of a lower one and some more.

  Args:
    rate: gamma in [0, 1]; may be traced.
    exact_count: whether floor(gamma N) rows are struck, as in Wang et al.; else each is struck by
      itself.

  Returns:
    The transform, for `rfjax.transform`.

  Raises:
    ValueError: for a rate out of range; when applied, for a data set without groups, with a single
      one, or with soft membership.

  References:
    Wang, Guo, Narasimhan, Cotter, Gupta, Jordan, Robust Optimization for Fairness with Noisy
    Protected Groups, NeurIPS 2020.

  Examples:
    >>> import jax, rfjax
    >>> from rfjax import noise
    >>> clean = rfjax.Batch.from_arrays([[0.0]] * 100, [0, 1] * 50, group=[0, 0, 1, 1] * 25)
    >>> half = noise.group_symmetric(0.5, exact_count=True)
    >>> noisy = rfjax.transform(half, clean, key=jax.random.key(0))
    >>> int((noisy.group != noisy.truth.group).sum())
    50
  """
  _check.number("rate", rate, 0.0, 1.0)

  def apply(batch: Batch, *, key: jax.Array, **unused: Any) -> Batch:
    del unused
    hard_group(batch, "group_symmetric")
    return _strike(batch, rate, _others(batch), key, exact_count)

  return stateless(apply, writes=("group",))


def group_matrix(matrix: ArrayLike) -> Transform:
  r"""Noise of the sensitive attribute by a transition matrix.

  $$P(\tilde z = h \mid z = g) = H_{gh}$$

  Two mutually contaminated groups, of which a share rho_0 and rho_1 is given as the other one, are
  the matrix [[1 - rho_0, rho_0], [rho_1, 1 - rho_1]]. The true groups are kept in `truth`, unless
  they are there already; x stays as it is, even where a column of it holds the attribute. With one
  key, all matrices strike from the same draws.

  Args:
    matrix: H [G, G], rows of probabilities; may be traced.

  Returns:
    The transform, of data sets with G groups, for `rfjax.transform`.

  Raises:
    ValueError: for a matrix that is not square, or a row that has no sum of 1, with that row and
      its sum; when applied, for a data set without groups, with another number of them, or with
      soft membership.

  References:
    Celis, Huang, Keswani, Vishnoi, Fair Classification with Noisy Protected Attributes: A Framework
    with Provable Guarantees, ICML 2021.
    Lamy, Zhong, Menon, Verma, Noise-tolerant Fair Classification, NeurIPS 2019 (two rates).

  Examples:
    >>> import jax, rfjax
    >>> from rfjax import noise
    >>> clean = rfjax.Batch.from_arrays([[0.0]] * 4, [0, 1, 0, 1], group=[0, 0, 1, 1])
    >>> hide_ones = noise.group_matrix([[1.0, 0.0], [1.0, 0.0]])
    >>> rfjax.transform(hide_ones, clean, key=jax.random.key(0)).group.tolist()
    [0, 0, 0, 0]
  """
  given = _check.transition("matrix", matrix)

  def apply(batch: Batch, *, key: jax.Array, **unused: Any) -> Batch:
    del unused
    table = jnp.asarray(given, float)
    group = hard_group(batch, "group_matrix")
    check_groups("matrix", table.shape[0], batch)
    goals = table[group] * _others(batch)
    return _strike(batch, jnp.sum(goals, axis=-1), goals, key)

  return stateless(apply, writes=("group",))


def group_class_conditional(rates: ArrayLike) -> Transform:
  r"""Noise of the sensitive attribute at a rate that depends on the label and the group.

  $$P(\tilde z = h \mid y, z = g) = (1 - \gamma_{yg})\, [g = h] +
  \gamma_{yg}\, \frac{[g \ne h]}{G - 1}$$

  by the given label. The true groups are kept in `truth`, unless they are there already; x stays as
  it is, even where a column of it holds the attribute. With one key, all rates strike from the same
  draws.

  Args:
    rates: gamma [C, G] in [0, 1]; may be traced.

  Returns:
    The transform, of data sets with C classes and G groups, for `rfjax.transform`.

  Raises:
    ValueError: for rates out of range, or without two axes; when applied, for a data set without
      groups, with another number of classes or groups, or with soft membership.

  References:
    Awasthi, Kleindessner, Morgenstern, Equalized Odds Postprocessing under Imperfect Group
    Information, AISTATS 2020.

  Examples:
    >>> import jax, rfjax
    >>> from rfjax import noise
    >>> clean = rfjax.Batch.from_arrays([[0.0]] * 4, [0, 1, 0, 1], group=[0, 0, 1, 1])
    >>> only_positives_of_group_1 = noise.group_class_conditional([[0.0, 0.0], [0.0, 1.0]])
    >>> rfjax.transform(only_positives_of_group_1, clean, key=jax.random.key(0)).group.tolist()
    [0, 0, 1, 0]
  """
  given = _check.numbers("rates", rates, 0.0, 1.0)
  if given.ndim != 2:
    raise ValueError(
      f"rates must have shape [classes, groups], got shape {given.shape}: pass a row a class"
    )

  def apply(batch: Batch, *, key: jax.Array, **unused: Any) -> Batch:
    del unused
    table = jnp.asarray(given, float)
    group = hard_group(batch, "group_class_conditional")
    if table.shape != (batch.num_classes, batch.num_groups):
      raise ValueError(
        f"rates has shape {table.shape}, but the data set has num_classes {batch.num_classes} and"
        f" num_groups {batch.num_groups}: pass one rate for each pair"
      )
    return _strike(batch, table[batch.y, group], _others(batch), key)

  return stateless(apply, writes=("group",))
