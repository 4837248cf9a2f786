"""Demographic parity among rows that are alike in what may explain a difference."""

from typing import Any, get_args

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from rfjax.core import Batch, _check
from rfjax.core import ratio as divide
from rfjax.metrics._cells import Rate, drop_single, rate
from rfjax.metrics._gap import DIFFERENCE, Aggregate, Method
from rfjax.metrics._rows import Rows, read, read_codes


def _cells(rows: Rows, control: Any, num_controls: int | None) -> tuple[Rows, int]:
  """Makes a group of each group of each stratum, S G of them, and says what S is."""
  strata, count = read_codes("control", control, len(rows.y), num_controls)
  groups = rows.num_groups
  if rows.group.ndim == 1:
    # A code of no group must not become one of the next stratum.
    known = (rows.group >= 0) & (rows.group < groups)
    cell = jnp.where(known, strata * groups + rows.group, count * groups)
    return rows.replace(group=cell, num_groups=count * groups), count
  one_hot = jax.nn.one_hot(strata, count, dtype=rows.group.dtype)
  member = (one_hot[:, :, None] * rows.group[:, None, :]).reshape(len(rows.y), -1)
  return rows.replace(group=member, num_groups=count * groups), count


def _by_stratum(cells: Rate, num_strata: int) -> Rate:
  """Sums of cells [S G, K] as [S, G, K]."""
  return Rate(*(v.reshape(num_strata, -1, v.shape[-1]) for v in cells))


def conditional_demographic_parity_difference(
  y_true: ArrayLike | Batch,
  y_pred: ArrayLike | None = None,
  group: ArrayLike | None = None,
  *,
  control: ArrayLike,
  num_groups: int | None = None,
  num_classes: int | None = None,
  num_controls: int | None = None,
  weight: ArrayLike | None = None,
  method: Method = "between_groups",
  agg: Aggregate = "worst_case",
  soft: bool = False,
) -> jax.Array:
  r"""How far apart the selection rates of the groups are within strata of a control feature.

  $$\max_c \Delta_c \quad\text{or}\quad \sum_c P(c)\, \Delta_c, \qquad
  \Delta_c = \max_g r_{gc} - \min_g r_{gc} \quad\text{or}\quad \max_g |r_{gc} - r_c|$$

  with the selection rates $r_{gc} = P(\hat y = 1 \mid g, c)$. A difference that the control feature
  explains counts as fair, so the feature must be a legitimate reason.

  Args:
    y_true: as in `demographic_parity_difference`.
    y_pred: as in `demographic_parity_difference`.
    group: as in `demographic_parity_difference`.
    control: the stratum c of each row, integers [N] in [0, S); several features become one as the
      codes of their combinations.
    num_groups: as in `demographic_parity_difference`.
    num_classes: as in `demographic_parity_difference`.
    num_controls: S; needed inside jit, and seen outside it when None.
    weight: as in `demographic_parity_difference`.
    method: as in `demographic_parity_difference`, within a stratum.
    agg: "worst_case" takes the largest difference of a stratum, "mean" their mean by the weight of
      the rows.
    soft: as in `demographic_parity_difference`.

  Returns:
    [], in [0, 1], where 0 is fair: the largest over the C classes one-vs-rest if C > 2. A group
    without rows in a stratum is left out there, with a UserWarning outside jit, and a stratum with
    fewer than two groups altogether; 0 when none remains.

  Raises:
    ValueError: for bad labels, predictions, groups, strata, weights, lengths or options.

  References:
    Kamiran, Zliobaite, Calders, Quantifying explainable discrimination and removing illegal
    discrimination in automated decision making, Knowledge and Information Systems 2013.
    Corbett-Davies, Pierson, Feller, Goel, Huq, Algorithmic decision making and the cost of
    fairness, KDD 2017 (conditional statistical parity).

  Examples:
    >>> from rfjax import metrics
    >>> y, y_pred, group = [0, 0, 0, 0, 0], [1, 0, 1, 0, 0], [0, 1, 0, 1, 1]
    >>> measure = metrics.conditional_demographic_parity_difference
    >>> float(measure(y, y_pred, group, control=[0, 0, 1, 1, 1], agg="mean"))
    1.0
  """
  name = "conditional_demographic_parity_difference"
  _check.choice("agg", agg, get_args(Aggregate))
  _check.choice("method", method, get_args(Method))
  rows = read(name, y_true, y_pred, group, num_groups, num_classes, weight, soft)
  cells, strata = _cells(rows, control, num_controls)
  groups = rows.num_groups
  place = lambda g: f" in group {g % groups} of stratum {g // groups}"
  rates = _by_stratum(rate(cells, "selection_rate", place), strata)
  gaps = jax.vmap(lambda r: DIFFERENCE.of_classes(r, method))(rates)
  if agg == "worst_case":
    return jnp.max(gaps)
  mass = jnp.sum(rates.size, axis=1) * (jnp.sum(rates.valid, axis=1) >= 2)
  return jnp.max(divide(jnp.sum(mass * gaps, axis=0), jnp.sum(mass, axis=0)))


def conditional_demographic_disparity(
  y_true: ArrayLike | Batch,
  y_pred: ArrayLike | None = None,
  group: ArrayLike | None = None,
  *,
  control: ArrayLike,
  num_groups: int | None = None,
  num_classes: int | None = None,
  num_controls: int | None = None,
  weight: ArrayLike | None = None,
  soft: bool = False,
) -> jax.Array:
  r"""How much more of the rejected than of the accepted each group makes up, within strata.

  $$\mathrm{CDD}_g = \sum_c P(c) \left(P(g \mid \hat y = 0, c) - P(g \mid \hat y = 1, c)\right)$$

  over the strata c of a control feature. It compares the composition of those who are rejected and
  accepted, so a small group has a small disparity; the groups' disparities sum to 0.

  Args:
    y_true: as in `demographic_parity_difference`.
    y_pred: as in `demographic_parity_difference`.
    group: as in `demographic_parity_difference`.
    control: as in `conditional_demographic_parity_difference`.
    num_groups: as in `demographic_parity_difference`.
    num_classes: as in `demographic_parity_difference`.
    num_controls: as in `conditional_demographic_parity_difference`.
    weight: as in `demographic_parity_difference`.
    soft: as in `demographic_parity_difference`.

  Returns:
    [G], or [G, C] one-vs-rest for C > 2 classes, in [-1, 1], where 0 is fair and a positive number
    says that the group is disadvantaged. A stratum in which all or none are accepted has no
    disparity, and a group without rows has none.

  Raises:
    ValueError: for bad labels, predictions, groups, strata, weights or lengths.

  References:
    Wachter, Mittelstadt, Russell, Why fairness cannot be automated: bridging the gap between EU
    non-discrimination law and AI, Computer Law & Security Review 2021.

  Examples:
    >>> from rfjax import metrics
    >>> y, y_pred, group = [0, 0, 0, 0], [1, 0, 1, 0], [0, 1, 0, 0]
    >>> metrics.conditional_demographic_disparity(y, y_pred, group, control=[0, 0, 1, 1]).tolist()
    [-0.5, 0.5]
  """
  name = "conditional_demographic_disparity"
  rows = read(name, y_true, y_pred, group, num_groups, num_classes, weight, soft)
  cells, strata = _cells(rows, control, num_controls)
  accepted, size = _by_stratum(rate(cells, "selection_rate", warn=False), strata)
  rejected = size - accepted
  among = lambda mass: divide(mass, jnp.sum(mass, axis=1, keepdims=True))
  both = jnp.all(jnp.stack([jnp.sum(v, 1) > 0 for v in (accepted, rejected)]), axis=0)
  disparity = jnp.where(both[:, None], among(rejected) - among(accepted), 0)
  share = divide(jnp.sum(size, axis=1), jnp.sum(size, axis=(0, 1)))
  return drop_single(jnp.sum(share[:, None] * disparity, axis=0))
