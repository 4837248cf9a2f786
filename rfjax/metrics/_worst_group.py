"""The worst group: its accuracy, and by how much losses exceed a bound."""

from collections.abc import Callable
from typing import Literal, get_args

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from rfjax.core import Batch, _check
from rfjax.metrics._cells import STATISTICS, Statistic, rate
from rfjax.metrics._rows import Rows, read

Loss = Literal["log", "square", "zero_one"]
Excess = Literal["worst_case", "sum"]


def worst_group_accuracy(
  y_true: ArrayLike | Batch,
  y_pred: ArrayLike | None = None,
  group: ArrayLike | None = None,
  *,
  num_groups: int | None = None,
  num_classes: int | None = None,
  weight: ArrayLike | None = None,
  per_class: bool = False,
  soft: bool = False,
) -> jax.Array:
  r"""The accuracy of the group that has the lowest.

  $$\min_g P(\hat y = y \mid g) \quad\text{or}\quad \min_{g, k} P(\hat y = k \mid y = k, g)$$

  Args:
    y_true: labels [N], integers in [0, C); or a filled `Batch`, and nothing else.
    y_pred: as in `demographic_parity_difference`.
    group: as in `demographic_parity_difference`.
    num_groups: as in `demographic_parity_difference`.
    num_classes: as in `demographic_parity_difference`; needed if per_class only.
    weight: as in `demographic_parity_difference`.
    per_class: whether the rows of each label of each group are a group of their own.
    soft: as in `demographic_parity_difference`.

  Returns:
    [], in [0, 1], where higher is better. A group without rows is left out, with a UserWarning
    outside jit; 0 when none remains.

  Raises:
    ValueError: for bad labels, predictions, groups, weights or lengths.

  References:
    Sagawa, Koh, Hashimoto, Liang, Distributionally robust neural networks for group shifts, ICLR
    2020 (of groups of label and attribute).

  Examples:
    >>> from rfjax import metrics
    >>> y, y_pred, group = [1, 0, 1, 0], [1, 1, 1, 0], [0, 0, 1, 1]
    >>> float(metrics.worst_group_accuracy(y, y_pred, group))
    0.5
    >>> float(metrics.worst_group_accuracy(y, y_pred, group, per_class=True))
    0.0
  """
  rows = read("worst_group_accuracy", y_true, y_pred, group, num_groups, num_classes, weight, soft)
  if per_class:
    rates = [rate(rows, "true_positive_rate")]
    if rows.num_classes == 2:  # whose table holds class 1 alone
      rates.append(rate(rows, "true_negative_rate"))
  else:
    rates = [rate(rows, "accuracy")]
  value, valid = (jnp.concatenate([getattr(r, n) for r in rates], 1) for n in ("value", "valid"))
  lowest = jnp.min(value, where=valid, initial=jnp.inf)
  return jnp.where(jnp.any(valid), lowest, 0.0)


def _of_label(loss: Callable[[jax.Array], jax.Array]) -> Statistic:
  """The mean of a loss of the predicted probability of the label, [N, 1]."""

  def counts(rows: Rows) -> tuple[jax.Array, jax.Array]:
    p = rows.probability(rows.y[:, None])
    return loss(p), jnp.ones_like(p)

  return Statistic(counts, "row")


_LOSSES = {
  "log": _of_label(lambda p: -jnp.log(jnp.maximum(p, jnp.finfo(p.dtype).tiny))),
  "square": _of_label(lambda p: (1 - p) ** 2),
  "zero_one": STATISTICS["error_rate"],
}


def bounded_group_loss_violation(
  y_true: ArrayLike | Batch,
  y_pred: ArrayLike | None = None,
  group: ArrayLike | None = None,
  *,
  bound: ArrayLike,
  num_groups: int | None = None,
  num_classes: int | None = None,
  weight: ArrayLike | None = None,
  loss: Loss = "log",
  agg: Excess = "worst_case",
) -> jax.Array:
  r"""By how much the mean losses of the groups exceed a bound.

  $$\max_g\, [L_g - \zeta]_+ \quad\text{or}\quad \sum_g\, [L_g - \zeta]_+, \qquad
  L_g = E[\ell \mid g]$$

  with the bound $\zeta$. Of a bound of 0 the worst case is the loss of the worst group, which
  minimax fairness minimises.

  Args:
    y_true: labels [N], integers in [0, C); or a filled `Batch`, of which the softmax is read.
    y_pred: as in `demographic_parity_difference`.
    group: as in `demographic_parity_difference`.
    bound: of a group's mean loss, at least 0; may be traced.
    num_groups: as in `demographic_parity_difference`.
    num_classes: as in `demographic_parity_difference`; not needed.
    weight: as in `demographic_parity_difference`.
    loss: of the probability p of the label: "log", -ln p in nats, at most 87 in float32, of
      probabilities only; "square", (1 - p)^2; or "zero_one", 1 - p, of a Batch that of the largest
      logit.
    agg: "worst_case" takes the largest excess, "sum" that of all groups together.

  Returns:
    [], at least 0, where 0 means that the bound holds. A group without rows is left out, with a
    UserWarning outside jit.

  Raises:
    ValueError: for bad labels, predictions, groups, weights, lengths or options.

  References:
    Agarwal, Dudik, Wu, Fair regression: quantitative definitions and reduction-based algorithms,
    ICML 2019.
    Diana, Gill, Kearns, Kenthapadi, Roth, Minimax group fairness: algorithms and experiments, AIES
    2021.

  Examples:
    >>> from rfjax import metrics
    >>> y, y_pred, group = [1, 0, 1, 0], [1, 1, 1, 0], [0, 0, 1, 1]
    >>> float(metrics.bounded_group_loss_violation(y, y_pred, group, bound=0.25, loss="zero_one"))
    0.25
  """
  _check.choice("loss", loss, get_args(Loss))
  _check.choice("agg", agg, get_args(Excess))
  _check.number("bound", bound, 0)
  soft = isinstance(y_true, Batch) and loss != "zero_one"
  rows = read(
    "bounded_group_loss_violation", y_true, y_pred, group, num_groups, num_classes, weight, soft
  )
  if loss == "log" and jnp.issubdtype(rows.y_pred.dtype, jnp.integer):
    raise ValueError(
      "loss must not be 'log' for classes, whose loss has no bound: pass probabilities as y_pred"
    )
  losses = rate(rows, _LOSSES[loss])
  excess = jnp.where(losses.valid, jnp.maximum(losses.value - bound, 0), 0)
  return jnp.max(excess) if agg == "worst_case" else jnp.sum(excess)
