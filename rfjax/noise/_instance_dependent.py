"""Label noise that depends on the example: the new label follows from the features."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.special import ndtr, ndtri

from rfjax.core import Batch, Transform, _check, stateless, uniform
from rfjax.core._network import as_float
from rfjax.noise._class_conditional import move


def _truncated_normal(u: jax.Array, mean: Any, std: Any) -> jax.Array:
  """Quantiles at u of a normal distribution cut to [0, 1]; a higher mean gives higher ones."""
  u = jnp.maximum(u, jnp.finfo(u.dtype).epsneg)  # at 0 the quantile is an end and not a draw
  scale = jnp.maximum(std, 1e-6)  # without spread, 0 / 0 else
  low, high = -mean / scale, (1 - mean) / scale
  # Either half is inverted from its own tail, where the distribution function keeps its digits.
  lower = ndtr(low) + u * (ndtr(high) - ndtr(low))
  upper = ndtr(-high) + (1 - u) * (ndtr(-low) - ndtr(-high))
  z = jnp.where(lower < upper, ndtri(lower), -ndtri(upper))
  return jnp.clip(mean + std * z, 0.0, 1.0)


def _goals(batch: Batch, key: jax.Array) -> jax.Array:
  """Where the rows go that leave, [B, C]: softmax(x W[y]) over the labels other than y."""
  x = as_float(batch.x).astype(float).reshape(batch.num_rows, -1)
  shape = (x.shape[1], batch.num_classes)

  # One class after the other: all of W, and a copy of it for each row, would be too large.
  def body(c: Any, scores: jax.Array) -> jax.Array:
    weights = jax.random.normal(jax.random.fold_in(key, c), shape)
    own = jnp.matmul(x, weights, precision="highest")
    return jnp.where((batch.y == c)[:, None], own, scores)

  empty = jnp.zeros((batch.num_rows, batch.num_classes))
  scores = jax.lax.fori_loop(0, batch.num_classes, body, empty)
  given = jax.nn.one_hot(batch.y, batch.num_classes, dtype=bool)
  return jax.nn.softmax(jnp.where(given, -jnp.inf, scores))


def _distribution(batch: Batch, rate: Any, std: Any, key: jax.Array) -> jax.Array:
  """Each row's distribution over the labels, [B, C]."""
  flip_key, goal_key = jax.random.split(key)
  flip = _truncated_normal(uniform(flip_key, batch), rate, std)[:, None]
  given = jax.nn.one_hot(batch.y, batch.num_classes)
  return flip * _goals(batch, goal_key) + (1 - flip) * given


def instance_dependent(rate: float | jax.Array, *, std: float | jax.Array = 0.1) -> Transform:
  r"""Instance-dependent label noise by random projections of the features.

  $$P(\tilde y_i = j \mid x_i, y_i) = \begin{cases} 1 - q_i & j = y_i \\
  q_i\, \mathrm{softmax}_{j \ne y_i}(x_i W^{(y_i)})_j & j \ne y_i \end{cases}$$

  where the q_i are drawn from the normal distribution of mean tau and standard deviation sigma cut
  to [0, 1], and the W [C, d, C] from the standard normal distribution. Features are flattened;
  bytes are pixels and divided by 255. Their scale matters: with small ones the new label is nearly
  uniform, with large ones nearly always the one with the largest score.

  The share of wrong labels is the mean of q, which is tau at 0.5 only. With a, b = -tau / sigma,
  (1 - tau) / sigma and the density phi and distribution function Phi of the standard normal,

  $$\mathrm{E}\,q = \tau + \sigma\, \frac{\phi(a) - \phi(b)}{\Phi(b) - \Phi(a)}$$

  so that at sigma = 0.1 a rate of 0 gives 0.08, 0.1 gives 0.129, 0.2 gives 0.206, and 1 gives 0.92;
  a rate of 0 means clean labels only if std is 0 too. The true labels are kept in `truth`, unless
  they are there already; with one key, a higher rate strikes the rows of a lower one and some more.

  Args:
    rate: tau in [0, 1]; may be traced.
    std: sigma in [0, 1]; may be traced.

  Returns:
    The transform, for `rfjax.transform`.

  Raises:
    ValueError: for values out of range.

  References:
    Xia, Liu, Han, Wang, Gong, Liu, Niu, Tao, Sugiyama, Part-dependent Label Noise: Towards
    Instance-dependent Label Noise, NeurIPS 2020.

  Examples:
    >>> import jax, rfjax
    >>> from rfjax import noise
    >>> clean = rfjax.Batch.from_arrays([[5.0]] * 20, [0, 1, 2, 3] * 5)
    >>> noisy = rfjax.transform(noise.instance_dependent(1.0, std=0.0), clean,
    ...                         key=jax.random.key(0))
    >>> int((noisy.y != noisy.truth.y).sum())
    20
  """
  _check.number("rate", rate, 0.0, 1.0)
  _check.number("std", std, 0.0, 1.0)

  def apply(batch: Batch, *, key: jax.Array, **unused: Any) -> Batch:
    del unused
    rows_key, move_key = jax.random.split(key)
    return move(batch, _distribution(batch, rate, std, rows_key), move_key)

  return stateless(apply, writes=("y",))
