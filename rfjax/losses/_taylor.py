"""Taylor cross-entropy: cross-entropy's series at p = 1, cut off."""

import jax
import jax.numpy as jnp
import numpy as np

from rfjax.core import Transform, _check
from rfjax.losses._elements import complement, loss


def taylor(order: int = 2) -> Transform:
  r"""Taylor cross-entropy: the first terms of the series of -log p at p = 1.

  $$\mathrm{cost}_{ik} = \sum_{n=1}^{t} \frac{(1 - p_{ik})^n}{n}$$

  It is `unhinged` at order 1 and comes close to cross-entropy as the order grows; the sum over all
  labels lies in [C - 1, (C - 1) (1 + 1/2 + ... + 1/t)].

  Args:
    order: t, at least 1, static; 2 to 6 in the paper.

  Returns:
    The loss; it writes cost.

  Raises:
    ValueError: for an order below 1.

  References:
    Feng, Shu, Lin, Lv, Li, An, Can Cross Entropy Loss Be Robust to Label Noise?, IJCAI 2020.

  Examples:
    >>> import jax.numpy as jnp, rfjax
    >>> from rfjax import losses
    >>> batch = rfjax.Batch.from_arrays([[0.0]], [1]).fill(jnp.zeros((1, 2)))
    >>> out, _ = losses.taylor(2).update(batch, ())
    >>> out.cost.tolist()
    [[0.625, 0.625]]
  """
  coefficients = np.append(1 / np.arange(_check.count("order", order), 0, -1), 0.0)

  def cost(log_probs: jax.Array) -> jax.Array:
    return jnp.polyval(jnp.asarray(coefficients, log_probs.dtype), complement(log_probs))

  return loss(cost)
