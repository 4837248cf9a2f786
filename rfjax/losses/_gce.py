"""Generalized cross-entropy, between cross-entropy and the mean absolute error."""

from typing import Any

import jax

from rfjax.core import Transform, _check
from rfjax.losses._elements import loss, power


def gce(q: float | jax.Array = 0.7) -> Transform:
  r"""Generalized cross-entropy, the negative Box-Cox transformation of the probability.

  $$\mathrm{cost}_{ik} = \frac{1 - p_{ik}^q}{q}$$

  It is cross-entropy at q = 0 and `unhinged` at q = 1. The gradient by the logits is that of
  cross-entropy times p ** q, so that examples of which the model thinks little count less.

  Args:
    q: in [0, 1]; may be traced.

  Returns:
    The loss; it writes cost.

  Raises:
    ValueError: for q out of range.

  References:
    Zhang, Sabuncu, Generalized Cross Entropy Loss for Training Deep Neural Networks with Noisy
    Labels, NeurIPS 2018.

  Examples:
    >>> import jax.numpy as jnp, rfjax
    >>> from rfjax import losses
    >>> batch = rfjax.Batch.from_arrays([[0.0]], [1]).fill(jnp.zeros((1, 4)))
    >>> out, _ = losses.gce(0.5).update(batch.replace(num_classes=4), ())
    >>> out.cost[0].tolist()
    [1.0, 1.0, 1.0, 1.0]
  """
  _check.number("q", q, 0.0, 1.0)

  def cost(log_probs: jax.Array) -> Any:
    return -power(log_probs, q)

  return loss(cost)
