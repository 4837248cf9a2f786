"""FR-Train's synthetic data, drawn again from the seed that its authors drew it from."""

import random

import jax
import jax.numpy as jnp
import numpy as np

from rfjax.core import _check, transform
from rfjax.data._split import Split
from rfjax.data._zafar import COVARIANCES, MEANS, planar
from rfjax.noise import margin_flip

_SEED = 1122334455
_ROWS_PER_CLASS = 3700
_SKIPPED_NORMALS = 280


def fr_train(*, poisoned: bool = True) -> Split:
  r"""FR-Train's synthetic data: Zafar et al.'s generator, and labels poisoned in one group.

  The released arrays are reproduced, not read: NumPy's and Python's generators are seeded as the
  authors seeded theirs. The poisoned labels are those of

  $$\mathtt{margin\_flip}(0.1,\ \mathtt{group} = 1)$$

  on the clean rows 0 to 1999, 200 labels, of which 179 fall into the training part.

  Args:
    poisoned: whether the training labels are the poisoned ones.

  Returns:
    Train, rows 0 to 1799, with the validation part as its `trusted`; validation, clean rows 2000
    to 2199; test, clean rows 2700 to 3699. x = (x0, x1, z), y in {0, 1}, z as the group too, and
    the true labels in `truth`. The global random state is left alone.

  Raises:
    ValueError: where `poisoned` is neither True nor False.

  References:
    Roh, Lee, Whang, Suh, FR-Train: A Mutual Information-Based Approach to Fair and Robust Training,
    ICML 2020.

  Examples:
    >>> from rfjax import data
    >>> train, validation, test = data.fr_train()
    >>> train.x.shape, int((train.y != train.truth.y).sum()), validation.num_rows, test.num_rows
    ((1800, 3), 179, 200, 1000)
  """
  _check.choice("poisoned", poisoned, (True, False))
  data = planar(*map(jnp.asarray, draw()))
  train, validation, test = (
    data.subset(jnp.arange(*rows)) for rows in ((0, 2000), (2000, 2200), (2700, 3700))
  )
  if poisoned:
    # The flips are deterministic: no key changes them.
    train = transform(margin_flip(0.1, group=1), train, key=jax.random.key(0))
  return Split(train.subset(jnp.arange(1800)).replace(trusted=validation), validation, test)


def draw() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Draws all 7,400 rows: points float32 [N, 2], labels and attributes int32 [N]."""
  stream = np.random.RandomState(_SEED)
  classes = [
    stream.multivariate_normal(mean, covariance, _ROWS_PER_CLASS)
    for mean, covariance in zip(MEANS, COVARIANCES, strict=True)
  ]
  order = list(range(2 * _ROWS_PER_CLASS))
  random.Random(_SEED).shuffle(order)
  points = np.concatenate(classes)[order]
  y = (np.array(order) < _ROWS_PER_CLASS).astype(np.int32)
  # What the authors drew in between is not known, only how much.
  stream.standard_normal(_SKIPPED_NORMALS)
  uniform = stream.uniform(size=len(order))
  z = (uniform < _attribute_probability(points)).astype(np.int32)
  return points.astype(np.float32), y, z


def _attribute_probability(points: np.ndarray) -> np.ndarray:
  cos, sin = np.cos(np.pi / 4), np.sin(np.pi / 4)
  rotated = points @ np.array([[cos, -sin], [sin, cos]])
  one, zero = (_density(rotated, *moments) for moments in zip(MEANS, COVARIANCES, strict=True))
  return one / (one + zero)


def _density(points: np.ndarray, mean: tuple, covariance: tuple) -> np.ndarray:
  distance = points - np.array(mean)
  square = np.einsum("ni,ij,nj->n", distance, np.linalg.inv(covariance), distance)
  return np.exp(-0.5 * square) / np.sqrt(np.linalg.det(covariance))
