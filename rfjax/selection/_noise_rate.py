"""Noise rates: estimates of the share of wrong labels, for all methods that ask for it."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from rfjax.core import _check, gaussian_mixture
from rfjax.selection._elements import check_rows, square


def rate_from_areas(area: jax.Array, mask: jax.Array | None = None) -> jax.Array:
  r"""The noise rate by the areas under the loss curves of the examples, as in MORPH.

  $$\hat\tau = \frac{1}{N} \sum_i P(\mathrm{upper} \mid a_i), \qquad
  a_i = \sum_{s \le t} \mathrm{loss}_i^{(s)}$$

  with the upper one of two normal distributions that are fitted to the areas, see
  `rfjax.core.gaussian_mixture`. Two distributions always find two parts, also where no label is
  wrong.

  Args:
    area: a, floats [N], sums of losses; losses of one epoch will do where it has learned little
      yet. May be traced.
    mask: bool [N], which rows count; all when None.

  Returns:
    The rate []; 0 where no row counts.

  Raises:
    ValueError: for arrays that do not match.

  References:
    Song, Kim, Park, Shin, Lee, Robust Learning by Self-Transition for Handling Noisy Labels, KDD
    2021.

  Examples:
    >>> import jax.numpy as jnp
    >>> from rfjax import selection
    >>> float(selection.rate_from_areas(jnp.array([1.0, 1.2, 0.8, 5.0])).round(3))
    0.25
  """
  area = jnp.asarray(_check.array("area", area))
  if area.ndim != 1:
    raise ValueError(f"area must have one number a row, got shape {area.shape}")
  check_rows("mask", mask, area.shape[0])
  posterior = gaussian_mixture(area, mask).posterior
  counts = jnp.ones_like(posterior) if mask is None else mask.astype(posterior.dtype)
  return jnp.tensordot(counts, posterior, 1, precision="highest") / jnp.maximum(jnp.sum(counts), 1)


def rate_from_agreement(accuracy: ArrayLike, num_classes: int) -> jax.Array:
  r"""The noise rate by how often the given labels agree with held-out predictions, as in INCV.

  $$\mathrm{accuracy} = (1 - \tau)^2 + \frac{\tau^2}{C - 1} \quad \Rightarrow \quad
  \hat\tau = \frac{1 - \mathrm{accuracy}}
  {1 + \sqrt{1 - \frac{C}{C - 1} (1 - \mathrm{accuracy})}}$$

  The network has learned the noise as it is: its labels are wrong with the same rate, symmetric
  and independent of the given ones. The smaller of the two solutions is taken. An agreement of
  chance, 1/C, or less gives the largest rate that can be told, 1 - 1/C; the search of the
  authors' code ends at 1 there.

  Args:
    accuracy: share of held-out rows whose prediction is the given label, in [0, 1]; any shape. May
      be traced.
    num_classes: C, at least 2.

  Returns:
    The rate, of the shape of the accuracy.

  Raises:
    ValueError: for values out of range.

  References:
    Chen, Liao, Chen, Zhang, Understanding and Utilizing Deep Neural Networks Trained with Noisy
    Labels, ICML 2019.

  Examples:
    >>> from rfjax import selection
    >>> float(selection.rate_from_agreement(0.66, 3).round(3))
    0.2...
  """
  given = jnp.asarray(_check.numbers("accuracy", accuracy, 0.0, 1.0))
  classes = _check.count("num_classes", num_classes, 2)
  missed = 1 - given.astype(jnp.promote_types(given.dtype, jnp.float32))
  root = jnp.sqrt(jnp.maximum(1 - classes / (classes - 1) * missed, 0))
  return jnp.minimum(missed / (1 + root), 1 - 1 / classes)


def rate_from_confident_joint(joint: ArrayLike) -> jax.Array:
  r"""The noise rate by the counts of given and true labels, as in confident learning.

  $$\hat\tau = 1 - \frac{\sum_k Q_{kk}}{\sum_{ij} Q_{ij}}$$

  Args:
    joint: Q [C, C], counts or probabilities of (given, true) labels, at least 0, such as
      `confident_joint(...)`; may be traced.

  Returns:
    The rate []; 0 where nothing was counted.

  Raises:
    ValueError: for a matrix that is not square, or has negative entries.

  References:
    Northcutt, Jiang, Chuang, Confident Learning: Estimating Uncertainty in Dataset Labels, Journal
    of Artificial Intelligence Research, 2021.

  Examples:
    >>> from rfjax import selection
    >>> float(selection.rate_from_confident_joint([[6, 1], [1, 2]]).round(3))
    0.2...
  """
  counts = jnp.asarray(square("joint", joint))
  counts = counts.astype(jnp.promote_types(counts.dtype, jnp.float32))
  total = jnp.sum(counts)
  wrong = total - jnp.trace(counts)
  return jnp.where(total > 0, wrong / jnp.where(total > 0, total, 1), 0)
