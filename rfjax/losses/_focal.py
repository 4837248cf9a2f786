"""Focal loss: cross-entropy that looks less at what the model is sure of."""

import jax
import jax.numpy as jnp

from rfjax.core import Transform, _check
from rfjax.losses._elements import complement, expm1_ratio, loss


def focal(gamma: float | jax.Array = 2.0) -> Transform:
  r"""Focal loss.

  $$\mathrm{cost}_{ik} = -(1 - p_{ik})^\gamma \log p_{ik}$$

  It is cross-entropy at gamma = 0. By itself it is not robust, since it looks most at examples of
  which the model thinks little; normalised, it is an active loss of Ma et al., with gamma = 0.5.

  Args:
    gamma: at least 0; may be traced.

  Returns:
    The loss; it writes cost.

  Raises:
    ValueError: for gamma out of range.

  References:
    Lin, Goyal, Girshick, He, Dollar, Focal Loss for Dense Object Detection, ICCV 2017.
    Ma, Huang, Wang, Romano, Erfani, Bailey, Normalized Loss Functions for Deep Learning with Noisy
    Labels, ICML 2020.

  Examples:
    >>> import jax.numpy as jnp, rfjax
    >>> from rfjax import losses
    >>> batch = rfjax.Batch.from_arrays([[0.0]], [1]).fill(jnp.zeros((1, 2)))
    >>> out, _ = losses.focal(1.0).update(batch, ())
    >>> round(float(out.risk), 4)
    0.3466
  """
  _check.number("gamma", gamma, 0.0, open_high=True)

  def cost(log_probs: jax.Array) -> jax.Array:
    surprise = jnp.where(log_probs <= 0, -log_probs, 0)  # behind a channel log p may exceed 0
    sure = surprise < 1
    near, far = jnp.where(sure, surprise, 1.0), jnp.where(sure, 1.0, surprise)
    # For gamma < 1 the slope of (1 - p) ** gamma at p = 1 is infinite, that of the product is not.
    smooth = near ** (1 + gamma) * expm1_ratio(-near) ** gamma
    return jnp.where(sure, smooth, far * complement(-far) ** gamma)

  return loss(cost)
