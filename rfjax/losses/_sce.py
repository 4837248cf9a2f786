"""Symmetric cross-entropy: cross-entropy and its reverse, with label and prediction exchanged."""

import math

import jax
import jax.numpy as jnp

from rfjax.core import Transform, _check
from rfjax.losses._elements import complement, loss


def _penalty(clip: float | jax.Array) -> float | jax.Array:
  """-log(clip), on the host where it can be."""
  return -jnp.log(clip) if _check.traced(clip) else -math.log(clip)


def rce(clip: float | jax.Array = 1e-4) -> Transform:
  r"""Reverse cross-entropy, where the prediction is asked to explain the label.

  $$\mathrm{cost}_{ik} = -\sum_j p_{ij} \log \max([j = k], \epsilon) =
  -\log \epsilon\;(1 - p_{ik})$$

  It is the mean absolute error times -log(epsilon) / 2, and as symmetric.

  Args:
    clip: epsilon in (0, 1), which stands for the logarithm of 0; may be traced.

  Returns:
    The loss; it writes cost.

  Raises:
    ValueError: for clip out of range.

  References:
    Wang, Ma, Chen, Luo, Yi, Bailey, Symmetric Cross Entropy for Robust Learning with Noisy Labels,
    ICCV 2019.

  Examples:
    >>> import jax.numpy as jnp, rfjax
    >>> from rfjax import losses
    >>> batch = rfjax.Batch.from_arrays([[0.0]], [1]).fill(jnp.zeros((1, 2)))
    >>> out, _ = losses.rce().update(batch, ())
    >>> round(float(out.risk), 4)
    4.6052
  """
  _check.number("clip", clip, 0.0, 1.0, open_low=True, open_high=True)
  return loss(lambda log_probs: _penalty(clip) * complement(log_probs))


def sce(
  alpha: float | jax.Array = 0.1, beta: float | jax.Array = 1.0, *, clip: float | jax.Array = 1e-4
) -> Transform:
  r"""Symmetric cross-entropy: cross-entropy that learns, and its reverse that is robust.

  $$\mathrm{cost}_{ik} = -\alpha \log p_{ik} - \beta \log \epsilon\;(1 - p_{ik})$$

  Args:
    alpha: weight of cross-entropy, at least 0; may be traced.
    beta: weight of reverse cross-entropy, at least 0; may be traced.
    clip: epsilon in (0, 1); may be traced.

  Returns:
    The loss; it writes cost.

  Raises:
    ValueError: for values out of range.

  References:
    Wang, Ma, Chen, Luo, Yi, Bailey, Symmetric Cross Entropy for Robust Learning with Noisy Labels,
    ICCV 2019.

  Examples:
    >>> import jax.numpy as jnp, rfjax
    >>> from rfjax import losses
    >>> batch = rfjax.Batch.from_arrays([[0.0]], [1]).fill(jnp.zeros((1, 2)))
    >>> out, _ = losses.sce(1.0, 0.5).update(batch, ())
    >>> round(float(out.risk), 4)
    2.9957
  """
  _check.number("alpha", alpha, 0.0, open_high=True)
  _check.number("beta", beta, 0.0, open_high=True)
  _check.number("clip", clip, 0.0, 1.0, open_low=True, open_high=True)

  def cost(log_probs: jax.Array) -> jax.Array:
    return beta * _penalty(clip) * complement(log_probs) - alpha * log_probs

  return loss(cost)
