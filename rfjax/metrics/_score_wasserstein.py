"""Wasserstein distance between the scores of groups."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from rfjax.core import Batch
from rfjax.metrics._gap import Aggregate, Method
from rfjax.metrics._scores import Scores, aggregate, check_compared, contrasts, read_scores


def score_wasserstein(
  y_true: ArrayLike | Batch,
  y_pred: ArrayLike | None = None,
  group: ArrayLike | None = None,
  *,
  num_groups: int | None = None,
  num_classes: int | None = None,
  weight: ArrayLike | None = None,
  label: int | None = None,
  method: Method = "between_groups",
  agg: Aggregate = "worst_case",
) -> jax.Array:
  r"""The Wasserstein distance between the scores of groups.

  $$\int |F_a(s) - F_b(s)|\, ds$$

  with distribution functions F: how far the scores of one group must be moved, on average, to
  become those of the other. It is the demographic parity difference of probabilities against a
  threshold, averaged over all thresholds.

  Args:
    y_true: as in `score_mmd`.
    y_pred: probabilities of class 1 [N], or of all classes [N, C], each a score of its own.
    group: as in `demographic_parity_difference`.
    num_groups: as in `demographic_parity_difference`.
    num_classes: as in `demographic_parity_difference`.
    weight: as in `demographic_parity_difference`.
    label: as in `score_mmd`.
    method: as in `score_mmd`.
    agg: "worst_case" or "mean" of the comparisons and, for C > 2, classes.

  Returns:
    [], in [0, 1], where 0 is fair. A group without rows is left out; 0 when fewer than two remain.

  Raises:
    ValueError: for bad labels, predictions, groups, weights, lengths or options.

  References:
    Jiang, Pacchiano, Stepleton, Jiang, Chiappa, Wasserstein fair classification, UAI 2019.

  Examples:
    >>> from rfjax import metrics
    >>> y, y_pred, group = [1, 0, 1, 0], [0.75, 0.5, 0.5, 0.25], [0, 0, 1, 1]
    >>> float(metrics.score_wasserstein(y, y_pred, group))
    0.25
  """
  check_compared(method, agg)
  found = read_scores(
    "score_wasserstein", y_true, y_pred, group, num_groups, num_classes, weight, label
  )
  return wasserstein_of(found, method, agg)


def wasserstein_of(scores: Scores, method: Method, agg: Aggregate) -> jax.Array:
  """The distance of scores, checked before."""
  signed, valid = contrasts(scores.member, method)

  def distance(values: jax.Array) -> jax.Array:
    order = jnp.argsort(jax.lax.stop_gradient(values))
    apart = jnp.abs(jnp.cumsum(signed[order], axis=0))
    steps = jnp.diff(values[order])
    return jnp.sum(apart[:-1] * steps[:, None], axis=0)

  return aggregate(jax.vmap(distance, 1, 1)(scores.values), valid, agg)
