"""Differential fairness: how far the odds of an outcome may change with the group."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from rfjax.core import Batch, _check
from rfjax.metrics._cells import Rate, outcomes, rate
from rfjax.metrics._rows import read


def _epsilon(selected: Rate, concentration: Any) -> jax.Array:
  """The largest log ratio of smoothed outcome rates, of selection rates [G, K]."""
  hits, size = rates = outcomes(selected)
  log = jnp.log((hits + concentration / hits.shape[1]) / (size + concentration))
  highest = jnp.max(log, axis=0, where=rates.valid, initial=-jnp.inf)
  lowest = jnp.min(log, axis=0, where=rates.valid, initial=jnp.inf)
  # An outcome that no group has at all tells nothing, and would be infinity less infinity.
  return jnp.max(jnp.where(highest > lowest, highest - lowest, 0))


def differential_fairness(
  y_true: ArrayLike | Batch,
  y_pred: ArrayLike | None = None,
  group: ArrayLike | None = None,
  *,
  num_groups: int | None = None,
  num_classes: int | None = None,
  weight: ArrayLike | None = None,
  concentration: Any = 1.0,
  soft: bool = False,
) -> jax.Array:
  r"""The smallest epsilon for which predictions are differentially fair, from smoothed counts.

  $$\max_k \max_{g, h} \ln \frac{s_{gk}}{s_{hk}}, \qquad
  s_{gk} = \frac{n_{gk} + c / C}{n_g + c}$$

  with the weight n_g of a group and n_gk of those of its rows that are predicted to be k. Groups
  are meant to be all intersections of several sensitive attributes. Then the bound also holds for
  each attribute alone, at least of rates without smoothing. Of a data set, pass its labels as
  y_pred.

  Args:
    y_true: as in `demographic_parity_difference`.
    y_pred: as in `demographic_parity_difference`.
    group: as in `demographic_parity_difference`.
    num_groups: as in `demographic_parity_difference`.
    num_classes: as in `demographic_parity_difference`.
    weight: as in `demographic_parity_difference`.
    concentration: c, of the Dirichlet prior of all classes together, at least 0; may be traced.
      Without it epsilon is infinite where only some groups have an outcome.
    soft: as in `demographic_parity_difference`.

  Returns:
    [], at least 0, where 0 is fair. A group without rows is left out, with a UserWarning outside
    jit; 0 when fewer than two remain.

  Raises:
    ValueError: for bad labels, predictions, groups, weights, lengths or concentration.

  References:
    Foulds, Islam, Keya, Pan, An intersectional definition of fairness, ICDE 2020.

  Examples:
    >>> from rfjax import metrics
    >>> y, y_pred, group = [1, 0, 1, 0], [1, 1, 1, 0], [0, 0, 1, 1]
    >>> round(float(metrics.differential_fairness(y, y_pred, group)), 4)
    1.0986
  """
  _check.number("concentration", concentration, 0, np.inf, open_high=True)
  rows = read("differential_fairness", y_true, y_pred, group, num_groups, num_classes, weight, soft)
  return _epsilon(rate(rows, "selection_rate"), concentration)


def differential_fairness_bias_amplification(
  y_true: ArrayLike | Batch,
  y_pred: ArrayLike | None = None,
  group: ArrayLike | None = None,
  *,
  num_groups: int | None = None,
  num_classes: int | None = None,
  weight: ArrayLike | None = None,
  concentration: Any = 1.0,
  soft: bool = False,
) -> jax.Array:
  r"""How much less differentially fair predictions are than the labels.

  $$\epsilon(\hat y) - \epsilon(y)$$

  with the `differential_fairness` of predictions and of labels.

  Args:
    y_true: as in `demographic_parity_difference`.
    y_pred: as in `demographic_parity_difference`.
    group: as in `demographic_parity_difference`.
    num_groups: as in `demographic_parity_difference`.
    num_classes: as in `demographic_parity_difference`.
    weight: as in `demographic_parity_difference`.
    concentration: as in `differential_fairness`.
    soft: as in `demographic_parity_difference`.

  Returns:
    [], above 0 where a model is less fair than its data. A group without rows is left out, with a
    UserWarning outside jit.

  Raises:
    ValueError: for bad labels, predictions, groups, weights, lengths or concentration.

  References:
    Foulds, Islam, Keya, Pan, An intersectional definition of fairness, ICDE 2020.

  Examples:
    >>> from rfjax import metrics
    >>> y, y_pred, group = [1, 0, 1, 0], [1, 1, 1, 0], [0, 0, 1, 1]
    >>> round(float(metrics.differential_fairness_bias_amplification(y, y_pred, group)), 4)
    1.0986
  """
  _check.number("concentration", concentration, 0, np.inf, open_high=True)
  name = "differential_fairness_bias_amplification"
  rows = read(name, y_true, y_pred, group, num_groups, num_classes, weight, soft)
  said = _epsilon(rate(rows, "selection_rate"), concentration)
  return said - _epsilon(rate(rows.replace(y_pred=rows.y), "selection_rate"), concentration)
