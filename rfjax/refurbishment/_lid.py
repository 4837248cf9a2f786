"""Local intrinsic dimensionality."""

import jax
import jax.numpy as jnp

from rfjax.core import _check

_LEAST = 1e-8  # of a ratio of distances, so that equal rows do not weigh infinitely


def lid(features: jax.Array, neighbours: int = 20, *, mask: jax.Array | None = None) -> jax.Array:
  r"""The local intrinsic dimensionality around each row, by maximum likelihood.

  $$\mathrm{LID}_i = -\Bigl(\frac{1}{k} \sum_{j=1}^{k} \log \frac{r_{ij}}{r_{ik}}\Bigr)^{-1}$$

  with the distances r to the k nearest other rows, in ascending order. Around a point inside of a
  uniform distribution in d dimensions its mean is d k / (k - 2).

  Args:
    features: [n, d].
    neighbours: k, at least 2; where there are fewer other rows, all of them.
    mask: bool [n], the rows that take part; all when None.

  Returns:
    The estimates [n]; infinity where all k rows are at one distance. Those of rows outside of the
    mask mean nothing.

  Raises:
    ValueError: for values out of range, features without two axes, and a single row.

  References:
    Amsaleg, Chelly, Furon, Girard, Houle, Kawarabayashi, Nett, Estimating Local Intrinsic
    Dimensionality, KDD 2015.

  Examples:
    >>> import jax.numpy as jnp
    >>> from rfjax import refurbishment
    >>> line = jnp.arange(100.0)[:, None] * jnp.ones(5)
    >>> bool(1 < refurbishment.lid(line)[50] < 1.5)
    True
  """
  if features.ndim != 2:
    raise ValueError(f"features must have two axes, got shape {features.shape}: flatten them")
  if features.shape[0] < 2:
    raise ValueError(f"features must have at least 2 rows, got shape {features.shape}")
  wanted = min(_check.count("neighbours", neighbours, 2), features.shape[0] - 1)
  mask = jnp.ones(features.shape[0], bool) if mask is None else mask
  number = jnp.minimum(wanted, jnp.sum(mask) - 1)

  def estimate(row: jax.Array) -> jax.Array:
    # Differences, not a product of matrices, which would round small distances away.
    squares = jnp.sum(jnp.square(features - features[row]), axis=-1)
    others = mask & (jnp.arange(mask.size) != row)
    near = jnp.sqrt(-jax.lax.top_k(jnp.where(others, -squares, -jnp.inf), wanted)[0])
    farthest = near[number - 1]
    ratio = jnp.maximum(near / jnp.where(farthest > 0, farthest, 1), _LEAST)
    # Compared, not divided: compilers multiply by a reciprocal, and x / x is not 1 then.
    ratio = jnp.where((jnp.arange(wanted) < number) & (near < farthest), ratio, 1)
    return number / jnp.abs(jnp.sum(jnp.log(ratio)))

  return jax.lax.map(estimate, jnp.arange(features.shape[0]))
