"""Cross-entropy: the loss that all others are measured against."""

import jax
import jax.numpy as jnp

from rfjax.core import Transform, _check
from rfjax.losses._elements import loss


def cross_entropy(floor: float | jax.Array = 0.0) -> Transform:
  r"""Cross-entropy, which every network starts with: naming it in a chain says so.

  $$\mathrm{cost}_{ik} = -\log(p_{ik} + \epsilon)$$

  It fits any label in the end, wrong ones too: its derivative by p grows without bound as p falls.
  A floor bounds it by -log(epsilon), which methods that subtract it need, such as `peer_loss`.

  Args:
    floor: epsilon in [0, 1); may be traced.

  Returns:
    The loss; it writes cost.

  Raises:
    ValueError: for a floor out of range.

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
  _check.number("floor", floor, 0.0, 1.0, open_high=True)
  if not _check.traced(floor) and float(floor) == 0:
    return loss(jnp.negative)

  def cost(log_probs: jax.Array) -> jax.Array:
    return -jnp.logaddexp(log_probs, jnp.log(jnp.asarray(floor, log_probs.dtype)))

  return loss(cost)
