"""Counterfactual fairness: the prediction that somebody would get as a member of another group."""

from collections.abc import Callable
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from rfjax.core import Batch, _check, ratio
from rfjax.metrics._gap import Aggregate
from rfjax.metrics._individuals import apart
from rfjax.metrics._rows import Rows, read

Counterfactual = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]


def flip_column(column: int, values: ArrayLike | None = None) -> Counterfactual:
  r"""The counterfactual that sets one column of x and leaves all others as they are.

  $$x'_{ij} = \mathrm{values}_{a'} \text{ for } j = \mathrm{column}, \qquad x'_{ij} = x_{ij}
  \text{ else}$$

  This is no causal counterfactual unless the sensitive attribute has no effect on any other
  feature: whatever hangs on it (a job, a neighbourhood) stays that of the group as it is. It tells
  whether a model reads the column, and a model that does not read it is not thereby fair.

  Args:
    column: of x [N, d], that holds the sensitive attribute.
    values: what the column says for each group, [G]; its code when None. A group beyond them gives
      NaN.

  Returns:
    `counterfactual(x, group, other) -> x'` for `counterfactual_unfairness`.

  Raises:
    ValueError: where the column is no integer, or, when called, not one of x.

  References:
    Kusner, Loftus, Russell, Silva, Counterfactual fairness, NeurIPS 2017 (on why flipping is not
    enough).

  Examples:
    >>> import jax.numpy as jnp
    >>> from rfjax import metrics
    >>> x = jnp.array([[0.0, 5.0], [1.0, 6.0]])
    >>> metrics.flip_column(0)(x, jnp.array([0, 1]), 1).tolist()
    [[1.0, 5.0], [1.0, 6.0]]
  """
  column = _check.count("column", column, 0)
  codes = None if values is None else jnp.asarray(_check.array("values", values))

  def counterfactual(x: jax.Array, group: jax.Array, other: jax.Array) -> jax.Array:
    del group
    if column >= x.shape[1]:
      raise ValueError(f"column must be one of the {x.shape[1]} columns of x, got {column}")
    said = other if codes is None else jnp.take(codes, other, mode="fill", fill_value=jnp.nan)
    return x.at[:, column].set(jnp.asarray(said, x.dtype))

  return counterfactual


def counterfactual_unfairness(
  predict: Callable[[jax.Array], jax.Array],
  x: ArrayLike | Batch,
  group: ArrayLike | None = None,
  *,
  counterfactual: Counterfactual,
  num_groups: int | None = None,
  weight: ArrayLike | None = None,
  agg: Aggregate = "mean",
) -> jax.Array:
  r"""How much predictions would change, had each individual been of another group.

  $$\frac{\sum_i w_i \frac{1}{G - 1} \sum_{a' \ne a_i}
  \big| f(x_i^{a \leftarrow a'}) - f(x_i) \big|}{\sum_i w_i}$$

  of scores; of probabilities of several classes half the sum over classes. `agg` "worst_case" takes
  the largest over the other groups instead of the mean. What somebody would be like is not in the
  data: it is what `counterfactual` assumes, a structural causal model that infers the noise of
  each row from x and its group (abduction), sets the group (action) and computes x anew
  (prediction). The measure is as good as this model. `flip_column` is no such model.

  Args:
    predict: `predict(x) -> scores [N]`, or probabilities [N, C].
    x: features [N, ...]; or a `Batch`, whose x, group and valid rows are read.
    group: sensitive attribute [N], integers in [0, G).
    counterfactual: `counterfactual(x, group, other) -> x'` [N, ...], of all rows in group
      `other`, an int32 []. Where the noise is not known from x, average over keys outside.
    num_groups: G; needed inside jit, and seen outside it when None.
    weight: [N], at least 0, where 0 is padding; all 1 when None.
    agg: "mean" or "worst_case" over the other groups of a row.

  Returns:
    [], at least 0, where 0 is fair; 0 with one group.

  Raises:
    ValueError: for bad groups, weights, lengths, options, and scores that are not of the rows.

  References:
    Kusner, Loftus, Russell, Silva, Counterfactual fairness, NeurIPS 2017.

  Examples:
    >>> import jax.numpy as jnp
    >>> from rfjax import metrics
    >>> shift = lambda x, group, other: x + 2.0 * (other - group)[:, None]  # x = 2 a + noise
    >>> predict, x = (lambda x: 0.25 * x[:, 0]), jnp.array([[0.5], [2.5]])
    >>> float(metrics.counterfactual_unfairness(predict, x, [0, 1], counterfactual=shift))
    0.5
  """
  _check.choice("agg", agg, get_args(Aggregate))
  facts, rows = _read(x, group, num_groups, weight)
  weights, others = rows.weight, jnp.arange(rows.num_groups)

  def said(x: jax.Array) -> jax.Array:
    scores = jnp.asarray(predict(x))
    if scores.shape[:1] != weights.shape or scores.ndim > 2:
      raise ValueError(
        f"predict must give scores [N] or [N, C] of {len(weights)} rows, got shape {scores.shape}"
      )
    return scores.reshape(len(scores), -1)

  fact = said(facts)
  change = apart if fact.shape[1] > 1 else lambda p, q: jnp.abs(p - q)[:, 0]
  of_others = lambda other: change(said(counterfactual(facts, rows.group, other)), fact)
  each = jnp.where(others[:, None] != rows.group, jax.vmap(of_others)(others), 0)
  mean = jnp.sum(each, axis=0) / max(rows.num_groups - 1, 1)
  of_row = jnp.max(each, axis=0) if agg == "worst_case" else mean
  return ratio(jnp.sum(jnp.where(weights > 0, weights * of_row, 0)), jnp.sum(weights))


def _read(x: Any, group: Any, num_groups: int | None, weight: Any) -> tuple[jax.Array, Rows]:
  """Features as they are, and their hard groups and weights."""
  if isinstance(x, Batch):
    if group is not None or num_groups is not None:
      raise ValueError("group is part of a Batch already: leave it away")
    batch = x.require("group", by="counterfactual_unfairness")
    x, group, num_groups = batch.x, batch.group, batch.num_groups
    group = jnp.where(batch.valid, group, 0) if group.ndim == 1 else group
    weight = batch.valid if weight is None else batch.valid * _check.array("weight", weight)
  x = jnp.asarray(_check.array("x", x))
  unread = np.zeros(len(x), np.int32)
  name = "counterfactual_unfairness"
  rows = read(name, unread, unread, group, num_groups, 2, weight, False)
  if rows.group.ndim > 1:
    raise ValueError("group must hold integers [N], since each row has one group to be changed")
  return x, rows
