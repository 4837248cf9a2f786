"""Mean absolute error and the unhinged loss: linear in the probability, and symmetric."""

from rfjax.core import Transform
from rfjax.losses._elements import complement, loss


def mae() -> Transform:
  r"""Mean absolute error between the one-hot label and the probabilities.

  $$\mathrm{cost}_{ik} = \sum_j |p_{ij} - [j = k]| = 2\,(1 - p_{ik})$$

  Over all labels it sums to the constant 2 (C - 1), so that with symmetric label noise below
  (C - 1) / C its minimiser is that of clean labels. The price is slow learning: where p is small,
  so is its derivative by the logits. Many codes leave out the factor 2, which is `unhinged`.

  Returns:
    The loss; it writes cost.

  Raises:
    ValueError: when applied to a batch that no network has filled.

  References:
    Ghosh, Kumar, Sastry, Robust Loss Functions under Label Noise for Deep Neural Networks, AAAI
    2017.

  Examples:
    >>> import jax.numpy as jnp, rfjax
    >>> from rfjax import losses
    >>> batch = rfjax.Batch.from_arrays([[0.0]], [1]).fill(jnp.zeros((1, 2)))
    >>> out, _ = losses.mae().update(batch, ())
    >>> out.cost.tolist()
    [[1.0, 1.0]]
  """
  return loss(lambda log_probs: 2 * complement(log_probs))


def unhinged() -> Transform:
  r"""The unhinged loss of the probabilities, half the mean absolute error.

  $$\mathrm{cost}_{ik} = 1 - p_{ik}$$

  It is the linear loss of the probability, the limit of `gce` at q = 1.

  Returns:
    The loss; it writes cost.

  Raises:
    ValueError: when applied to a batch that no network has filled.

  References:
    van Rooyen, Menon, Williamson, Learning with Symmetric Label Noise: The Importance of Being
    Unhinged, NeurIPS 2015.

  Examples:
    >>> import jax.numpy as jnp, rfjax
    >>> from rfjax import losses
    >>> batch = rfjax.Batch.from_arrays([[0.0]], [1]).fill(jnp.zeros((1, 2)))
    >>> out, _ = losses.unhinged().update(batch, ())
    >>> out.cost.tolist()
    [[0.5, 0.5]]
  """
  return loss(complement)
