"""The transition matrix by anchor points: rows of the data that surely are of a class."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from rfjax.core import _check, count, kth_largest
from rfjax.correction import _elements


def anchor_transition(
  probs: ArrayLike,
  *,
  percentile: float | jax.Array = 97.0,
  mask: ArrayLike | None = None,
  normalize: bool = True,
) -> jax.Array:
  r"""Estimates the transition matrix by the likeliest row of each class.

  $$\hat T_{ij} = \eta_j(x^i), \qquad
  \eta_i(x^i) = \text{the largest } \eta_i(x) \text{ below its percentile}$$

  with eta the probabilities of given labels, of a network trained on them. Where a class has rows
  that are surely of it, their eta is the row of T. The largest values are discarded as outliers: of
  n rows those at place ceil(percentile (n - 1) / 100) of the ascending order, from 0, and above, as
  many rows whether values are equal or not. The authors' code discards all that equal the one at
  that place, which leaves no anchor at all where softmax is saturated.

  That code also zeroes what it discards inside of eta itself, so that later classes read those
  zeros, and the code of T-revision divides by row sums along the wrong axis. This does neither.

  Args:
    probs: eta [N, C], such as `jnp.exp(predict(...).log_probs)` on the training set.
    percentile: from 0 to 100, where nothing is discarded; may be traced. The authors take 97, and
      100 with as many classes as CIFAR-100 has.
    mask: bool [N], which rows count; all when None.
    normalize: whether rows are divided by their sums.

  Returns:
    The matrix [C, C]; where rows are normalised, one of zeros becomes that of the identity.

  Raises:
    ValueError: for a percentile out of range, and shapes that do not fit.

  References:
    Patrini, Rozza, Krishna Menon, Nock, Qu, Making Deep Neural Networks Robust to Label Noise: a
    Loss Correction Approach, CVPR 2017.

  Examples:
    >>> import jax.numpy as jnp
    >>> from rfjax import correction
    >>> probs = jnp.array([[0.5, 0.5], [0.75, 0.25], [0.25, 0.75], [0.375, 0.625]])
    >>> correction.anchor_transition(probs, percentile=100).tolist()
    [[0.75, 0.25], [0.25, 0.75]]
  """
  _check.number("percentile", percentile, 0.0, 100.0)
  eta = _elements.probabilities(probs)
  taken = jnp.ones(eta.shape[0], bool) if mask is None else _elements.rows("mask", mask, eta)
  number = eta.shape[0] if mask is None else jnp.sum(taken)
  discarded = 1 + count((100 - percentile) / 100, jnp.maximum(number - 1, 0))
  discarded = jnp.where(jnp.asarray(percentile) >= 100, 0, jnp.minimum(discarded, number - 1))
  columns = jnp.where(taken[:, None], eta, -jnp.inf)
  best = jax.vmap(kth_largest, (1, None))(columns, discarded + 1)
  anchors = jnp.argmax(jnp.where(columns <= best, columns, -jnp.inf), axis=0)
  matrix = eta[anchors] * taken[anchors, None]
  return _elements.row_stochastic(matrix) if normalize else matrix
