"""How well scores rank the rows of each group: AUC by group and across groups, and ROC curves."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from rfjax.core import Batch, ratio
from rfjax.metrics._cells import Rate, drop_single, warn_empty
from rfjax.metrics._cumulative import cumulative, worst_pair
from rfjax.metrics._gap import DIFFERENCE
from rfjax.metrics._rows import Rows, read

_PAIR = "pair of a row of class {} and one of another"


def _of_classes(rows: Rows) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Scores [K, N] and the masses of positive and negative rows, [K, N, G]; warns of none."""
  y, p = rows.one_vs_rest()
  mass = rows.mass
  positive, negative = (y.T[:, :, None] * mass, (1 - y.T)[:, :, None] * mass)
  warn_empty(rows, _PAIR, (jnp.sum(positive, axis=1) * jnp.sum(negative, axis=1)).T)
  return p.T, positive, negative


def _xauc(scores: jax.Array, positive: jax.Array, negative: jax.Array) -> Rate:
  """Ranked pairs and all pairs of positives of g and negatives of h, [G, G, K]."""

  def pairs(score: jax.Array, positive: jax.Array, negative: jax.Array) -> jax.Array:
    found = cumulative(score, negative)
    lower = (found.below + found.upto) / 2  # ties count by half
    return jnp.einsum("ng,nh->gh", positive[jnp.argsort(score)], lower, precision="highest")

  hits = jnp.moveaxis(jax.vmap(pairs)(scores, positive, negative), 0, -1)
  sums = [jnp.sum(mass, axis=1).T for mass in (positive, negative)]
  return Rate(hits, sums[0][:, None] * sums[1])


def group_xauc(
  y_true: ArrayLike | Batch,
  y_pred: ArrayLike | None = None,
  group: ArrayLike | None = None,
  *,
  num_groups: int | None = None,
  num_classes: int | None = None,
  weight: ArrayLike | None = None,
) -> Rate:
  r"""How often a positive row of one group is ranked above a negative row of another.

  $$\mathrm{xAUC}_{gh} = P(s > s') + \tfrac12 P(s = s'), \qquad s \mid y = 1, g, \quad
  s' \mid y \ne 1, h$$

  The diagonal is the AUC of each group. Where xAUC of (g, h) is below that of (h, g), positives of
  g are ranked below negatives of h more often than the other way about.

  Args:
    y_true: labels [N], integers in [0, C); or a filled `Batch`, of which the softmax is read, and
      nothing else.
    y_pred: as in `ks_distance`.
    group: as in `demographic_parity_difference`.
    num_groups: as in `demographic_parity_difference`.
    num_classes: as in `demographic_parity_difference`.
    weight: as in `demographic_parity_difference`.

  Returns:
    A `Rate` [G, G], of positives of a row and negatives of a column, or [G, G, C] one-vs-rest for
    C > 2 classes. A UserWarning names the groups without positives or negatives outside jit.

  Raises:
    ValueError: for bad labels, predictions, groups, weights or lengths.

  References:
    Kallus, Zhou, The fairness of risk scores beyond classification: bipartite ranking and the xAUC
    metric, NeurIPS 2019.

  Examples:
    >>> from rfjax import metrics
    >>> y, scores, group = [0, 1, 0, 1], [0.1, 0.4, 0.4, 0.9], [0, 0, 1, 1]
    >>> metrics.group_xauc(y, scores, group).value.tolist()
    [[1.0, 0.5], [1.0, 1.0]]
  """
  soft = isinstance(y_true, Batch)
  rows = read("group_xauc", y_true, y_pred, group, num_groups, num_classes, weight, soft)
  return jax.tree.map(drop_single, _xauc(*_of_classes(rows)))


def auc_parity_difference(
  y_true: ArrayLike | Batch,
  y_pred: ArrayLike | None = None,
  group: ArrayLike | None = None,
  *,
  num_groups: int | None = None,
  num_classes: int | None = None,
  weight: ArrayLike | None = None,
) -> jax.Array:
  r"""How far apart the AUC of the groups are.

  $$\max_g \mathrm{AUC}_g - \min_g \mathrm{AUC}_g$$

  Args:
    y_true: as in `group_xauc`.
    y_pred: as in `ks_distance`.
    group: as in `demographic_parity_difference`.
    num_groups: as in `demographic_parity_difference`.
    num_classes: as in `demographic_parity_difference`.
    weight: as in `demographic_parity_difference`.

  Returns:
    [], in [0, 1], where 0 is fair: the largest over the C classes one-vs-rest if C > 2. A group
    without positives or negatives is left out, with a UserWarning outside jit; 0 when fewer than
    two remain.

  Raises:
    ValueError: for bad labels, predictions, groups, weights or lengths.

  References:
    Han et al., FFB: a fair fairness benchmark for in-processing group fairness methods, ICLR 2024.

  Examples:
    >>> from rfjax import metrics
    >>> y, scores, group = [0, 1, 0, 1], [0.1, 0.4, 0.9, 0.4], [0, 0, 1, 1]
    >>> float(metrics.auc_parity_difference(y, scores, group))
    1.0
  """
  soft = isinstance(y_true, Batch)
  rows = read("auc_parity_difference", y_true, y_pred, group, num_groups, num_classes, weight, soft)
  own = jax.tree.map(lambda v: jnp.diagonal(v).T, _xauc(*_of_classes(rows)))
  return DIFFERENCE.of(own, method="between_groups")


def abroca(
  y_true: ArrayLike | Batch,
  y_pred: ArrayLike | None = None,
  group: ArrayLike | None = None,
  *,
  num_groups: int | None = None,
  num_classes: int | None = None,
  weight: ArrayLike | None = None,
) -> jax.Array:
  r"""The area between the ROC curves of two groups, of the two furthest apart.

  $$\max_{g, h} \int_0^1 |\mathrm{ROC}_g(t) - \mathrm{ROC}_h(t)|\, dt$$

  with the true positive rate as a function of the false positive rate. Unlike the difference of
  areas it sees curves that cross. The curves are linear between thresholds and the integral is
  exact, where the authors' code takes 10,000 points.

  Args:
    y_true: as in `group_xauc`.
    y_pred: as in `ks_distance`.
    group: as in `demographic_parity_difference`.
    num_groups: as in `demographic_parity_difference`.
    num_classes: as in `demographic_parity_difference`.
    weight: as in `demographic_parity_difference`.

  Returns:
    [], in [0, 1], where 0 is fair: the largest over the C classes one-vs-rest if C > 2. A group
    without positives or negatives is left out, with a UserWarning outside jit.

  Raises:
    ValueError: for bad labels, predictions, groups, weights or lengths.

  References:
    Gardner, Brooks, Baker, Evaluating the fairness of predictive student models through slicing
    analysis, LAK 2019.

  Examples:
    >>> from rfjax import metrics
    >>> y, scores, group = [0, 1, 0, 1], [0.1, 0.4, 0.9, 0.4], [0, 0, 1, 1]
    >>> float(metrics.abroca(y, scores, group))
    1.0
  """
  soft = isinstance(y_true, Batch)
  rows = read("abroca", y_true, y_pred, group, num_groups, num_classes, weight, soft)
  scores, positive, negative = _of_classes(rows)

  def areas(score: jax.Array, positive: jax.Array, negative: jax.Array) -> jax.Array:
    fpr, tpr = _curve(score, negative), _curve(score, positive)
    valid = (jnp.sum(positive, axis=0) > 0) & (jnp.sum(negative, axis=0) > 0)
    area = lambda g, h: _area((fpr[:, g], tpr[:, g]), (fpr[:, h], tpr[:, h]))
    return worst_pair(area, rows.num_groups, valid)

  return jnp.max(jax.vmap(areas)(scores, positive, negative))


def _curve(score: jax.Array, mass: jax.Array) -> jax.Array:
  """The share of mass [N, G] at or above each threshold, the highest first, [N + 1, G]."""
  below = cumulative(score, mass).below
  total = jnp.sum(mass, axis=0)
  shares = ratio(total - below[::-1], jnp.broadcast_to(total, below.shape))
  # Sums in parallel may fall in the last place, which a curve must not.
  return jax.lax.cummax(jnp.concatenate([jnp.zeros_like(shares[:1]), shares]))


def _area(one: Any, two: Any) -> jax.Array:
  """The area between two curves (x, y), linear between points and vertical where x repeats."""
  ends = jnp.sort(jnp.concatenate([one[0], two[0]]))
  start, width = ends[:-1], jnp.diff(ends)
  # Between its ends each curve is a line; at them it may jump, so the line is read inside.
  off = [
    jnp.interp(start + share * width, *one) - jnp.interp(start + share * width, *two)
    for share in (0.25, 0.75)
  ]
  left, right = (jnp.abs(1.5 * off[i] - 0.5 * off[1 - i]) for i in (0, 1))
  crossing = (1.5 * off[0] - 0.5 * off[1]) * (1.5 * off[1] - 0.5 * off[0]) < 0
  crossed = ratio(left**2 + right**2, left + right)
  return jnp.sum(width * jnp.where(crossing, crossed, left + right)) / 2
