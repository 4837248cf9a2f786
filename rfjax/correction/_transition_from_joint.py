"""The transition matrix of a joint distribution of given and true labels."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from rfjax.core import _check
from rfjax.correction import _elements


def transition_from_joint(joint: ArrayLike, *, rows: str = "given") -> jax.Array:
  r"""Turns a joint of given and true labels, such as a confident joint, into a transition matrix.

  $$\hat T_{ij} = \frac{Q_{\tilde y = j,\, y = i}}{\sum_k Q_{\tilde y = k,\, y = i}}$$

  Confident learning writes given labels in rows and true ones in columns, while the rows of a
  transition matrix are true labels. Divided by its own row sums, that joint would give the
  probability of true labels, P(y | given), which no correction of a loss takes.

  Args:
    joint: counts or probabilities Q [C, C], at least 0; may be traced.
    rows: what its rows are, "given" as in confident learning, or "true".

  Returns:
    The matrix [C, C], rows of probabilities; the row of a true class without any mass is that of
    the identity.

  Raises:
    ValueError: for negative numbers, and for a matrix that is not square.

  References:
    Northcutt, Jiang, Chuang, Confident Learning: Estimating Uncertainty in Dataset Labels, Journal
    of Artificial Intelligence Research, 2021.

  Examples:
    >>> from rfjax import correction
    >>> correction.transition_from_joint([[3, 2], [1, 2]]).tolist()
    [[0.75, 0.25], [0.5, 0.5]]
  """
  _check.choice("rows", rows, ("given", "true"))
  found = jnp.asarray(_check.numbers("joint", joint, 0.0, open_high=True))
  if found.ndim != 2 or found.shape[0] != found.shape[1] or found.shape[0] < 2:
    raise ValueError(f"joint must be a square matrix of at least 2, got shape {found.shape}")
  found = found.astype(jnp.promote_types(found.dtype, jnp.float32))
  return _elements.row_stochastic(found.T if rows == "given" else found)
