"""The transition matrix by trusted examples: what a network trained on noise says of each class."""

import jax
from jax.typing import ArrayLike

from rfjax.core import conditional
from rfjax.correction import _elements


def gold_transition(probs: ArrayLike, y: ArrayLike, mask: ArrayLike | None = None) -> jax.Array:
  r"""Estimates the transition matrix by the mean prediction for each trusted label.

  $$\hat C_{ij} = \frac{\sum_n [y_n = i]\, p_j(x_n)}{\sum_n [y_n = i]}$$

  with p of a network that was trained on the noisy labels alone. It is the matrix itself where p is
  the true distribution of given labels and does not vary within a class.

  Args:
    probs: p [M, C] of the trusted rows, such as `predict(network, state, data.trusted).probs`.
    y: int [M], their trusted labels.
    mask: bool [M], which rows count; all when None.

  Returns:
    The matrix [C, C]; the row of a class without trusted rows is that of the identity.

  Raises:
    ValueError: for labels out of range, and shapes that do not fit.

  References:
    Hendrycks, Mazeika, Wilson, Gimpel, Using Trusted Data to Train Deep Networks on Labels
    Corrupted by Severe Noise, NeurIPS 2018.

  Examples:
    >>> from rfjax import correction
    >>> correction.gold_transition([[0.75, 0.25], [0.25, 0.75], [0.5, 0.5]], [0, 1, 1]).tolist()
    [[0.75, 0.25], [0.375, 0.625]]
  """
  p = _elements.probabilities(probs)
  labels = jax.nn.one_hot(_elements.labels(y, p, mask), p.shape[1], dtype=p.dtype)
  if mask is not None:
    labels = labels * _elements.rows("mask", mask, p)[:, None]
  return conditional(labels, p)
