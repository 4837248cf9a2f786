"""Why a classifier discriminates: bias, variance and noise by group."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from rfjax.core import Batch, _check, group_mean
from rfjax.fairness.preprocessing._learning_curve import LearningCurve, learning_curve

_NAME = "discrimination_decomposition"
_FOR_A_CURVE = 3


class DiscriminationDecomposition(NamedTuple):
  """What `discrimination_decomposition` found: parts of the error of each size and group.

  Attributes:
    error: [K, G], the share of wrong predictions.
    bias: [K, G], the share of rows whose main prediction is not the best one.
    variance: [K, G], what predictions that differ from the main one add; it may be below 0.
    noise: [K, G], what labels that differ from the best prediction add; 0 where they are unknown.
    curve: the error [G] as a function of the size, or None for fewer than three sizes.
  """

  error: jax.Array
  bias: jax.Array
  variance: jax.Array
  noise: jax.Array
  curve: LearningCurve | None

  def between(self, group: int, other: int) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Error, bias, variance and noise of one group less those of another, each [K]."""
    parts = (self.error, self.bias, self.variance, self.noise)
    error, bias, variance, noise = (part[:, group] - part[:, other] for part in parts)
    return error, bias, variance, noise


def discrimination_decomposition(
  data: Batch,
  votes: ArrayLike,
  size: ArrayLike | None = None,
  *,
  chance: ArrayLike | None = None,
) -> DiscriminationDecomposition:
  r"""Decomposes the errors of groups, and with them discrimination, into bias, variance and noise.

  Of a row with main prediction $y_m$, the one of most trainings, and best prediction $y^*$,

  $$\mathrm{E}[\hat y \ne y] = \underbrace{[y_m \ne y^*]}_{\text{bias}}
  + \underbrace{(1 - 2 [y_m \ne y^*])\, P(\hat y \ne y_m)}_{\text{variance}}
  + \underbrace{(2 P(\hat y = y^*) - 1)\, P(y \ne y^*)}_{\text{noise}}$$

  exactly, over trainings and labels. The means over groups differ by
  $\bar\gamma_g - \bar\gamma_h = \Delta\bar B + \Delta\bar V + \Delta\bar N$: where variance
  differs, more rows help; where bias differs, another model; where noise differs, other features.

  Without the chances of labels the given label stands for the best prediction: then bias holds both
  bias and noise, of which `noise_bounds` tells apart what is noise. The offset of the curve
  $\gamma_g(n) = b\, n^{-a} + c$ is what no number of rows takes away.

  Args:
    data: the rows on which trainings are judged; two classes, and a group. It is not trained on.
    votes: predicted classes of R trainings, such as of bootstraps, on each of K numbers of rows,
      [K, R, N]; or [R, N] for one number. Integers in {0, 1}; may be traced.
    size: the K numbers of rows, ascending or not; needed for a curve. May be traced.
    chance: P(y = 1 | x) of each row, [N], in [0, 1], where it is known; may be traced.

  Returns:
    The `DiscriminationDecomposition`.

  Raises:
    ValueError: for values out of range, shapes that do not match, other than two classes, or where
      the group is missing.

  References:
    Chen, Johansson, Sontag, Why is my classifier discriminatory?, NeurIPS 2018.
    Domingos, A unified bias-variance decomposition for zero-one and squared loss, AAAI 2000.

  Examples:
    >>> import rfjax
    >>> from rfjax.fairness import preprocessing
    >>> data = rfjax.Batch.from_arrays([[0.0]] * 4, [0, 1, 0, 1], [0, 0, 1, 1])
    >>> votes = [[0, 1, 1, 1], [0, 1, 1, 0], [1, 1, 1, 1]]
    >>> found = preprocessing.discrimination_decomposition(data, votes)
    >>> error, bias, variance, noise = found.between(1, 0)
    >>> error.round(2).tolist(), bias.tolist()
    ([0.5], [0.5])
  """
  data.require("group", by=_NAME)
  if data.num_classes != 2:
    raise ValueError(f"num_classes must be 2 for {_NAME}, got {data.num_classes}")
  predicted = _read_votes(votes, data.num_rows)
  membership = data.membership
  if data.weight is not None:
    membership = membership * data.weight[:, None]
  one = jnp.mean(predicted, axis=1, dtype=membership.dtype)  # P(prediction is 1), [K, N]
  truth = data.y.astype(one.dtype)
  if chance is not None:
    truth = jnp.asarray(_check.numbers("chance", chance, 0.0, 1.0), one.dtype)
    if truth.shape != (data.num_rows,):
      raise ValueError(f"chance must have shape [{data.num_rows}], got {truth.shape}")
  best, main = truth > 0.5, one > 0.5
  biased = (main != best).astype(one.dtype)
  spread = jnp.where(main, 1 - one, one)
  agrees = jnp.where(best, one, 1 - one)
  rows = {
    "error": one * (1 - truth) + (1 - one) * truth,
    "bias": biased,
    "variance": (1 - 2 * biased) * spread,
    "noise": (2 * agrees - 1) * jnp.minimum(truth, 1 - truth),
  }
  parts = {name: group_mean(values.T, membership)[0].T for name, values in rows.items()}
  return DiscriminationDecomposition(**parts, curve=_curve(size, parts["error"]))


def _read_votes(votes: ArrayLike, rows: int) -> jax.Array:
  """The votes, [K, R, N]."""
  given: Any = _check.array("votes", votes)
  if given.ndim == 2:
    given = given[None]
  if given.ndim != 3 or given.shape[2] != rows or 0 in given.shape:
    raise ValueError(f"votes must have shape [K, R, {rows}] or [R, {rows}], got {given.shape}")
  if not _check.traced(given) and not np.isin(np.asarray(given), (0, 1)).all():
    raise ValueError("votes must be 0 or 1: pass predicted classes")
  return jnp.asarray(given)


def _curve(size: ArrayLike | None, error: jax.Array) -> LearningCurve | None:
  """The error [G] by the size, of errors [K, G]."""
  if size is None:
    return None
  sizes = jnp.asarray(_check.numbers("size", size, 0.0, open_low=True, open_high=True), float)
  if sizes.shape != error.shape[:1]:
    raise ValueError(f"size must have one number for each of {len(error)}, got {sizes.shape}")
  if sizes.size < _FOR_A_CURVE:
    return None
  return learning_curve(jnp.broadcast_to(sizes, error.T.shape), error.T, offset=True)
