"""Cross-entropy: the loss that all others are measured against."""

import jax.numpy as jnp

from rfjax.core import Transform
from rfjax.losses._elements import loss


def cross_entropy() -> Transform:
  r"""Cross-entropy, which every network starts with: naming it in a chain says so.

  $$\mathrm{cost}_{ik} = -\log p_{ik}$$

  It fits any label in the end, wrong ones too: its derivative by p grows without bound as p falls.

  Returns:
    The loss; it writes cost.

  Raises:
    ValueError: when applied to a batch that no network has filled.

  References:
    Zhang, Sabuncu, Generalized Cross Entropy Loss for Training Deep Neural Networks with Noisy
    Labels, NeurIPS 2018 (for what noise does to it).

  Examples:
    >>> import jax.numpy as jnp, rfjax
    >>> from rfjax import losses
    >>> batch = rfjax.Batch.from_arrays([[0.0]], [1]).fill(jnp.zeros((1, 2)))
    >>> out, _ = losses.cross_entropy().update(batch, ())
    >>> round(float(out.risk), 4)
    0.6931
  """
  return loss(jnp.negative)
