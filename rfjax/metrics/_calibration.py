"""Calibration within groups: of the rows with a score near s, a share of s is positive."""

from typing import Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from rfjax.core import Batch, _check, group_sum
from rfjax.core import ratio as divide
from rfjax.metrics._cells import Rate, drop_single, warn_empty
from rfjax.metrics._gap import DIFFERENCE
from rfjax.metrics._rows import Rows, read

Binning = Literal["equal_width", "equal_mass"]


def _equal_width(score: jax.Array, mass: jax.Array, num_bins: int) -> jax.Array:
  del mass
  edges = np.linspace(0, 1, num_bins + 1)[1:-1].astype(score.dtype)
  return jnp.sum(score[:, None] > edges, axis=1)


def _equal_mass(score: jax.Array, mass: jax.Array, num_bins: int) -> jax.Array:
  order = jnp.argsort(score)
  ascending = score[order]
  below = jnp.concatenate([jnp.zeros(1, mass.dtype), jnp.cumsum(mass[order])])
  # Equal scores share the middle of their mass, and so a bin.
  low, high = (below[jnp.searchsorted(ascending, score, side=side)] for side in ("left", "right"))
  place = divide(num_bins * (low + high) / 2, below[-1])
  return jnp.clip(jnp.floor(place).astype(jnp.int32), 0, num_bins - 1)


def _errors(rows: Rows, num_bins: int, binning: Binning) -> Rate:
  """Bins' absolute sums of label less score, summed by group [G, K], over the weight of a group."""
  num_bins = _check.count("num_bins", num_bins)
  _check.choice("binning", binning, get_args(Binning))
  place = _equal_width if binning == "equal_width" else _equal_mass
  label, score = rows.one_vs_rest()
  member = rows.mass

  def of_cell(mass: jax.Array, label: jax.Array, score: jax.Array) -> jax.Array:
    bins = place(score, mass, num_bins)
    return jnp.sum(jnp.abs(group_sum(mass * (label - score), bins, num_bins)))

  of_groups = jax.vmap(of_cell, (1, None, None))
  hits = jax.vmap(of_groups, (None, 1, 1), out_axes=1)(member, label, score)
  size = jnp.broadcast_to(jnp.sum(member, axis=0)[:, None], hits.shape)
  warn_empty(rows, "row", size[:, :1])
  return Rate(hits, size)


def calibration_error(
  y_true: ArrayLike | Batch,
  y_pred: ArrayLike | None = None,
  group: ArrayLike | None = None,
  *,
  num_groups: int | None = None,
  num_classes: int | None = None,
  weight: ArrayLike | None = None,
  num_bins: int = 15,
  binning: Binning = "equal_width",
) -> jax.Array:
  r"""The expected calibration error of each group.

  $$\mathrm{ECE}_g = \sum_b \frac{n_{gb}}{n_g}\, |\bar y_{gb} - \bar p_{gb}|$$

  over bins b of the predicted probability p, with the weight n of the rows of a group in a bin and
  their means of label and probability. Bins of equal width are ((b - 1)/B, b/B]; bins of equal mass
  hold a share 1/B of the group's own rows each, as far as equal scores, which stay together, allow.
  Each bin's share of the errors cancels within it: a wide bin hides some.

  Args:
    y_true: labels [N], integers in [0, C); or a filled `Batch`, of which the softmax is read.
    y_pred: probabilities of class 1 [N], or of all [N, C]; or classes, as probabilities of 0 and 1.
    group: as in `demographic_parity_difference`.
    num_groups: as in `demographic_parity_difference`.
    num_classes: as in `demographic_parity_difference`.
    weight: as in `demographic_parity_difference`.
    num_bins: B, at least 1.
    binning: "equal_width" or "equal_mass".

  Returns:
    [G], or [G, C] one-vs-rest for C > 2 classes, in [0, 1], where 0 is calibrated; its maximum is
    the error of the worst group. A group without rows gives 0, with a UserWarning outside jit.

  Raises:
    ValueError: for bad labels, predictions, groups, weights, lengths or options.

  References:
    Naeini, Cooper, Hauskrecht, Obtaining well calibrated probabilities using Bayesian binning,
    AAAI 2015 (the error).
    Kleinberg, Mullainathan, Raghavan, Inherent trade-offs in the fair determination of risk scores,
    ITCS 2017 (calibration within groups).

  Examples:
    >>> from rfjax import metrics
    >>> y, y_pred, group = [1, 0, 1, 1], [0.5, 0.5, 0.75, 0.75], [0, 0, 1, 1]
    >>> metrics.calibration_error(y, y_pred, group).tolist()
    [0.0, 0.25]
  """
  soft = isinstance(y_true, Batch)
  rows = read("calibration_error", y_true, y_pred, group, num_groups, num_classes, weight, soft)
  return drop_single(_errors(rows, num_bins, binning).value)


def calibration_gap(
  y_true: ArrayLike | Batch,
  y_pred: ArrayLike | None = None,
  group: ArrayLike | None = None,
  *,
  num_groups: int | None = None,
  num_classes: int | None = None,
  weight: ArrayLike | None = None,
  num_bins: int = 15,
  binning: Binning = "equal_width",
) -> jax.Array:
  r"""How far apart the expected calibration errors of the groups are.

  $$\max_g \mathrm{ECE}_g - \min_g \mathrm{ECE}_g$$

  It says whether the scores mean as much in one group as in another, not whether they mean much:
  that is the maximum of `calibration_error`.

  Args:
    y_true: as in `calibration_error`.
    y_pred: as in `calibration_error`.
    group: as in `demographic_parity_difference`.
    num_groups: as in `demographic_parity_difference`.
    num_classes: as in `demographic_parity_difference`.
    weight: as in `demographic_parity_difference`.
    num_bins: as in `calibration_error`.
    binning: as in `calibration_error`.

  Returns:
    [], in [0, 1], where 0 is fair: the largest over the C classes one-vs-rest if C > 2. A group
    without rows is left out, with a UserWarning outside jit; 0 when fewer than two remain.

  Raises:
    ValueError: for bad labels, predictions, groups, weights, lengths or options.

  References:
    Kleinberg, Mullainathan, Raghavan, Inherent trade-offs in the fair determination of risk scores,
    ITCS 2017.
    Pleiss, Raghavan, Wu, Kleinberg, Weinberger, On fairness and calibration, NIPS 2017.

  Examples:
    >>> from rfjax import metrics
    >>> y, y_pred, group = [1, 0, 1, 1], [0.5, 0.5, 0.75, 0.75], [0, 0, 1, 1]
    >>> float(metrics.calibration_gap(y, y_pred, group))
    0.25
  """
  soft = isinstance(y_true, Batch)
  rows = read("calibration_gap", y_true, y_pred, group, num_groups, num_classes, weight, soft)
  return DIFFERENCE.of(_errors(rows, num_bins, binning), method="between_groups")
