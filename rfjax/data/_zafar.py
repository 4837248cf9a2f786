"""Zafar et al.'s synthetic data: two Gaussian classes and a sensitive attribute that leans on x."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.stats import multivariate_normal
from jax.typing import ArrayLike

from rfjax.core import Batch, Truth, _check

MEANS = ((2.0, 2.0), (-2.0, -2.0))
COVARIANCES = (((5.0, 1.0), (1.0, 5.0)), ((10.0, 1.0), (1.0, 3.0)))


def planar(points: jax.Array, y: jax.Array, z: jax.Array) -> Batch:
  """Makes a data set of points [N, 2], labels and attributes [N]; x is (x0, x1, z)."""
  rows = y.shape[0]
  y, z = y.astype(jnp.int32), z.astype(jnp.int32)
  return Batch(
    index=jnp.arange(rows, dtype=jnp.int32),
    valid=jnp.ones(rows, bool),
    x=jnp.concatenate([points, z[:, None].astype(points.dtype)], axis=1),
    y=y,
    group=z,
    truth=Truth(y, z),
    num_groups=2,
  )


def zafar(
  key: jax.Array,
  num_rows: int,
  *,
  means: ArrayLike | tuple = MEANS,
  covariances: ArrayLike | tuple = COVARIANCES,
  angle: float | jax.Array = math.pi / 4,
  odds: float | jax.Array = 1.0,
) -> Batch:
  r"""Draws Zafar et al.'s synthetic data, a pure function of a key.

  $$x \mid y \sim \mathcal{N}(\mu_y, \Sigma_y), \qquad
  P(z = 1 \mid x) = \frac{o\,p(x' \mid 1)}{o\,p(x' \mid 1) + p(x' \mid 0)}, \qquad
  x' = x \begin{pmatrix} \cos\varphi & -\sin\varphi \\ \sin\varphi & \cos\varphi \end{pmatrix}$$

  The smaller the angle, the more the sensitive attribute z tells about the label; at 0 and odds 1
  it is distributed as the label given x.

  Args:
    key: a key from `jax.random.key`.
    num_rows: N, at least 1; half of them, rounded down, have label 1, in random order.
    means: of class 1 and of class 0, in this order, [2, 2].
    covariances: of class 1 and of class 0, [2, 2, 2], positive definite.
    angle: the angle of rotation phi; may be traced.
    odds: o, above 0; may be traced. Below 1 group 1 gets smaller, above 1 larger.

  Returns:
    A `Batch` of N rows with x = (x0, x1, z), y in {0, 1}, z as the group too, and both as truth.

  Raises:
    ValueError: for values out of range.

  References:
    Zafar, Valera, Gomez Rodriguez, Gummadi, Fairness Constraints: Mechanisms for Fair
    Classification, AISTATS 2017. Roh, Lee, Whang, Suh, Sample Selection for Fair and Robust
    Training, NeurIPS 2021 (odds: 7, angle: pi / 5, means: (1, 1) and (-1, -1)).

  Examples:
    >>> import jax
    >>> from rfjax import data
    >>> batch = data.zafar(jax.random.key(0), 100)
    >>> batch.x.shape, int(batch.y.sum()), batch.num_groups
    ((100, 3), 50, 2)
  """
  num_rows = _check.count("num_rows", num_rows)
  _check.number("odds", odds, 0.0, open_low=True)
  _check_moments(means, covariances)
  means, covariances = jnp.asarray(means, float), jnp.asarray(covariances, float)
  order, noise, sensitive = jax.random.split(key, 3)
  y = jax.random.permutation(order, jnp.arange(num_rows) % 2)
  normal = jax.random.normal(noise, (num_rows, 2))
  factor = jnp.linalg.cholesky(covariances)[1 - y]
  # Sums, because a device may shorten the factors of a matrix product.
  points = means[1 - y] + jnp.sum(factor * normal[:, None], axis=-1)
  cos, sin = jnp.cos(angle), jnp.sin(angle)
  x0, x1 = points[:, 0], points[:, 1]
  rotated = jnp.stack([cos * x0 + sin * x1, cos * x1 - sin * x0], axis=1)
  density = lambda c: multivariate_normal.logpdf(rotated, means[c], covariances[c])
  z = jax.random.bernoulli(sensitive, jax.nn.sigmoid(jnp.log(odds) + density(0) - density(1)))
  return planar(points, y, z)


def _check_moments(means: Any, covariances: Any) -> None:
  for name, value, shape in (("means", means, (2, 2)), ("covariances", covariances, (2, 2, 2))):
    if jnp.asarray(value).shape != shape:
      raise ValueError(f"{name} must have shape {shape}, got {jnp.asarray(value).shape}")
  if _check.traced(*jax.tree.leaves(covariances)):
    return
  matrices = np.asarray(covariances, float)
  symmetric = np.array_equal(matrices, matrices.transpose(0, 2, 1))
  if not symmetric or np.linalg.eigvalsh(matrices).min() <= 0:
    raise ValueError(f"covariances must be symmetric positive definite, got {covariances}")
