"""Consistency: whether those who are alike get the same prediction."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from rfjax.core import Batch, _check, ratio
from rfjax.metrics._individuals import apart, individuals


def consistency(
  x: ArrayLike | Batch,
  y_pred: ArrayLike | None = None,
  *,
  neighbors: int = 5,
  include_self: bool = False,
  num_classes: int | None = None,
  weight: ArrayLike | None = None,
  soft: bool = False,
  block: int = 32,
) -> jax.Array:
  r"""One less how far predictions are from the mean prediction of the nearest neighbours.

  $$1 - \frac{\sum_i w_i\, \tfrac12 \big\lVert p_i - \tfrac1k \sum_{j \in N_k(i)} p_j \big\rVert_1}
  {\sum_i w_i}$$

  which for two classes is the absolute difference of the probabilities of class 1. Neighbours are
  the k nearest by Euclidean distance; equally near ones go by row, in a Batch by `index`. Scale the
  features first. It compares all pairs of rows, so that twice the rows cost four times as much.

  Args:
    x: features [N, ...], finite; or a filled `Batch`, and no y_pred.
    y_pred: predicted classes [N], integers; or probabilities of class 1 [N], or of all [N, C].
    neighbors: k, at least 1; static. Where fewer rows count, all of them are neighbours.
    include_self: whether a row is among its own neighbours, as in AIF360.
    num_classes: C; needed inside jit for a y_pred of integers, and seen outside it when None.
    weight: [N], at least 0, where 0 is padding, which is nobody's neighbour; all 1 when None.
    soft: whether to read a Batch's softmax instead of the largest logit.
    block: for how many rows distances are held at a time; static.

  Returns:
    [], in [0, 1], where 1 is fair; 1 when no row counts.

  Raises:
    ValueError: for bad features, predictions, weights, lengths or numbers of neighbours.

  References:
    Zemel, Wu, Swersky, Pitassi, Dwork, Learning fair representations, ICML 2013.

  Examples:
    >>> from rfjax import metrics
    >>> x, y_pred = [[0.0], [1.0], [2.0], [9.0]], [0, 0, 1, 1]
    >>> float(metrics.consistency(x, y_pred, neighbors=1))
    0.75
  """
  neighbors, block = _check.count("neighbors", neighbors), _check.count("block", block)
  rows = individuals("consistency", x, y_pred, num_classes, weight, soft)
  count = len(rows.x)
  places, counted = jnp.arange(count), rows.weight > 0
  k = min(neighbors, count)

  def off(i: jax.Array) -> jax.Array:
    distance = jnp.sum((rows.x - rows.x[i]) ** 2, axis=-1)
    near = counted if include_self else counted & (places != i)
    # Of equal values top_k takes the first.
    closest = jax.lax.top_k(jnp.where(near, -distance, -jnp.inf), k)[1]
    member = near[closest].astype(rows.probs.dtype)
    mean = ratio(member @ rows.probs[closest], jnp.sum(member))
    return jnp.where(jnp.any(near), apart(rows.probs[i], mean), 0)

  each = jax.lax.map(off, places, batch_size=min(block, count))
  return 1 - ratio(jnp.sum(rows.weight * each), jnp.sum(rows.weight))
