"""Bounded group loss: no group is served worse than is allowed."""

import jax
import jax.numpy as jnp

from rfjax.core import Batch, Transform, _check, group_mean
from rfjax.fairness.inprocessing._elements import check_strength, penalty


def bounded_group_loss(strength: float | jax.Array, bound: float | jax.Array = 0.0) -> Transform:
  r"""Adds what the mean loss of each group exceeds a bound by.

  $$\mathrm{penalty} \leftarrow \mathrm{penalty} + \lambda \sum_g [L_g - \zeta]_+$$

  with the mean of the chain's own loss over the rows of a group that are kept; weights do not
  enter. So it is of the corrected or robust loss that stands in front of it. At a bound of 0 groups
  count alike whatever their size.

  Args:
    strength: lambda, at least 0; may be traced.
    bound: zeta; may be traced.

  Returns:
    The transform; it writes penalty, and needs group in training only.

  Raises:
    ValueError: for values out of range, or where the group is missing.

  References:
    Agarwal, Dudík, Wu, Fair regression: quantitative definitions and reduction-based algorithms,
    ICML 2019.

  Examples:
    >>> import rfjax
    >>> from rfjax import losses
    >>> from rfjax.fairness import inprocessing
    >>> method = rfjax.chain(losses.gce(0.7), inprocessing.bounded_group_loss(1.0, 0.2))
  """
  check_strength(strength)
  _check.number("bound", bound)

  def excess(batch: Batch) -> jax.Array:
    batch.require("group", "target", "cost", "keep", by="bounded_group_loss")
    kept = batch.membership * batch.keep[:, None]
    mean, size = group_mean(batch.loss, kept)
    return jnp.sum(jnp.where(size > 0, jax.nn.relu(mean - bound), 0))

  return penalty(strength, excess)
