"""Which classes are mistaken for which, from rows whose true and given labels are known."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from rfjax.core import _check


def check_confusing(matrix: ArrayLike) -> Any:
  """The matrix, checked, with a diagonal of 0."""
  given = _check.transition("confusing", matrix)
  if not _check.traced(given) and np.asarray(given).diagonal().any():
    raise ValueError("confusing must have a diagonal of 0: set it to 0 and divide by the row sums")
  return given


def _labels(
  y: ArrayLike, given: ArrayLike, classes: int, valid: ArrayLike | None = None
) -> list[jax.Array]:
  """True and given labels; those of rows that count are checked where they are known."""
  pair = {"y": y, "given": given}
  for name, values in pair.items():
    if not _check.traced(values, valid):
      known = values if valid is None else np.where(valid, np.asarray(values), 0)
      _check.labels(name, known, classes, 2)
  found = [jnp.asarray(values) for values in pair.values()]
  if found[0].shape != found[1].shape:
    raise ValueError(
      f"given must have one label for each of the {found[0].shape[0]} rows of y, got shape"
      f" {found[1].shape}"
    )
  return found


def confusing_matrix(
  y: ArrayLike, given: ArrayLike, *, num_classes: int, valid: ArrayLike | None = None
) -> jax.Array:
  r"""Which classes are mistaken for which, from rows whose true labels are known.

  $$M_{ij} \propto f_{ij}\, [\,j \text{ is among the } m_i \text{ largest of row } i\,], \qquad
  m_i = \arg\max_m \sum_{k \le m} f_{i(k)} \log \frac{f_{i(k)}}{F_m} - (1 - F_m) \log(C - 1)$$

  with f the shares of the given labels among the wrong ones of true class i, f_(k) the k-th largest
  of them, and F_m the sum of the first m. So it keeps what random mistakes do not explain.

  Args:
    y: int [N], the true labels.
    given: int [N], the given ones.
    num_classes: C; static.
    valid: bool [N], which rows count; all when None.

  Returns:
    M [C, C]; uniform off the diagonal in the row of a class that was never mistaken.

  Raises:
    ValueError: for fewer than two classes, or labels that are not of them.

  References:
    Xiao, Xia, Yang, Huang, Wang, Learning from Massive Noisy Labeled Data for Image Classification,
    CVPR 2015.

  Examples:
    >>> from rfjax import architectures
    >>> y, given = [0, 0, 0, 1, 2, 2], [1, 1, 2, 1, 0, 2]
    >>> architectures.confusing_matrix(y, given, num_classes=3).round(2).tolist()
    [[0.0, 1.0, 0.0], [0.5, 0.0, 0.5], [1.0, 0.0, 0.0]]
  """
  classes = _check.count("num_classes", num_classes, 2)
  y, given = _labels(y, given, classes, valid)
  weight = jnp.ones(y.shape) if valid is None else jnp.asarray(valid, float)
  counts = jnp.zeros((classes, classes)).at[y, given].add(weight)
  others = 1 - jnp.eye(classes)
  wrong = jnp.sum(counts * others, axis=1, keepdims=True)
  shares = counts * others / jnp.maximum(wrong, 1)
  order = jnp.argsort(shares, axis=1)[:, ::-1]
  largest = jnp.take_along_axis(shares, order, axis=1)
  total = jnp.cumsum(largest, axis=1)
  own = jnp.cumsum(jax.scipy.special.xlogy(largest, largest), axis=1)
  fit = own - jax.scipy.special.xlogy(total, total) - (1 - total) * jnp.log(classes - 1)
  fit = jnp.where(largest > 0, fit, -jnp.inf)
  # Of equally good numbers the largest; rounding must not break the tie.
  good = fit >= jnp.max(fit, axis=1, keepdims=True) - 1e-6
  number = classes - jnp.argmax(good[:, ::-1], axis=1)
  kept = (
    jnp.zeros_like(shares)
    .at[jnp.arange(classes)[:, None], order]
    .set(jnp.where(jnp.arange(classes) < number[:, None], largest, 0))
  )
  kept = jnp.where(wrong > 0, kept, others)
  return kept / jnp.sum(kept, axis=1, keepdims=True)


def noise_types(y: ArrayLike, given: ArrayLike, confusing: ArrayLike) -> jax.Array:
  r"""The type of each given label, on which the second network of `probabilistic_noise` trains.

  $$n = 0 \text{ if } \tilde y = y, \quad 1 \text{ if } M_{y \tilde y} < \frac{1}{C - 1}, \quad
  2 \text{ otherwise}$$

  Args:
    y: int [N], the true labels.
    given: int [N], the given ones.
    confusing: M [C, C], as of `confusing_matrix`.

  Returns:
    The types, int32 [N]: 0 right, 1 wrong at random, 2 mistaken.

  Raises:
    ValueError: for a bad matrix, or labels that are not of its classes.

  References:
    Xiao, Xia, Yang, Huang, Wang, Learning from Massive Noisy Labeled Data for Image Classification,
    CVPR 2015.

  Examples:
    >>> from rfjax import architectures
    >>> confusing = [[0.0, 1.0, 0.0], [0.5, 0.0, 0.5], [1.0, 0.0, 0.0]]
    >>> architectures.noise_types([0, 0, 0, 2], [0, 1, 2, 0], confusing).tolist()
    [0, 2, 1, 2]
  """
  matrix = jnp.asarray(check_confusing(confusing))
  y, given = _labels(y, given, matrix.shape[0])
  random = matrix[y, given] < 1 / (matrix.shape[0] - 1)
  return jnp.where(y == given, 0, jnp.where(random, 1, 2)).astype(jnp.int32)
