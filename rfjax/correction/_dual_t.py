"""Dual-T: the transition matrix as a product of two that are easier to estimate."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from rfjax.correction import _elements
from rfjax.correction._anchor_transition import anchor_transition


def dual_t(
  probs: ArrayLike,
  y: ArrayLike,
  *,
  percentile: float | jax.Array = 97.0,
  mask: ArrayLike | None = None,
) -> jax.Array:
  r"""Estimates the transition matrix by way of the class that a network predicts.

  $$\hat T = T^\clubsuit\, T^\spadesuit, \qquad
  T^\clubsuit_{il} = \eta_l(x^i), \qquad
  T^\spadesuit_{lj} = \frac{|\{n : \hat y_n = l,\; \tilde y_n = j\}|}{|\{n : \hat y_n = l\}|},
  \qquad \hat y_n = \arg\max_k \eta_k(x_n)$$

  with eta the probabilities of a network trained on the given labels, and x^i as in
  `anchor_transition`. The first factor leads from the true to the predicted class, the second, by
  counting, from there to the given label: so noise that an overconfident network hides is counted.
  It is exact for a network that predicts the true class surely, where the first factor is the
  identity, and falls back to anchors for one that has memorised the given labels.

  A class that is never predicted has a row of zeros in the second factor, as in the authors' code;
  the rows of the product are then divided by their sums, which the code leaves below 1.

  Args:
    probs: eta [N, C], such as `jnp.exp(predict(...).log_probs)` on the training set.
    y: int [N], the given labels.
    percentile: as in `anchor_transition`; may be traced.
    mask: bool [N], which rows count; all when None.

  Returns:
    The matrix [C, C], rows of probabilities.

  Raises:
    ValueError: for a percentile or labels out of range, and shapes that do not fit.

  References:
    Yao, Liu, Han, Gong, Deng, Niu, Sugiyama, Dual T: Reducing Estimation Error for Transition
    Matrix in Label-noise Learning, NeurIPS 2020.

  Examples:
    >>> from rfjax import correction
    >>> sure = [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]
    >>> correction.dual_t(sure, [0, 0, 1, 1, 0, 1]).tolist()
    [[0.75, 0.25], [0.0, 1.0]]
  """
  eta = _elements.probabilities(probs)
  club = anchor_transition(eta, percentile=percentile, mask=mask)
  one_hot = lambda labels: jax.nn.one_hot(labels, eta.shape[1], dtype=eta.dtype)
  predicted, given = one_hot(jnp.argmax(eta, axis=-1)), one_hot(_elements.labels(y, eta, mask))
  if mask is not None:
    given = given * _elements.rows("mask", mask, eta)[:, None]
  counts = jnp.matmul(predicted.T, given, precision=jax.lax.Precision.HIGHEST)
  spade = counts / jnp.maximum(jnp.sum(counts, axis=-1, keepdims=True), 1)
  product = jnp.matmul(club, spade, precision=jax.lax.Precision.HIGHEST)
  return _elements.row_stochastic(product)
