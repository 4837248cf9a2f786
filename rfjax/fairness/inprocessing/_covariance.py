"""Covariance penalty: the boundary does not lean towards a group."""

import jax
import jax.numpy as jnp

from rfjax.core import Batch, Transform, _check
from rfjax.fairness.inprocessing._elements import (
  check_strength,
  covariances,
  decisions,
  penalty,
)


def covariance(strength: float | jax.Array, *, tolerance: float | jax.Array = 0.0) -> Transform:
  r"""Adds the covariance of the group and the signed distance to the decision boundary.

  $$\mathrm{penalty} \leftarrow \mathrm{penalty} + \lambda \sum_g \Bigl[\, \Bigl|
  \frac{1}{n} \sum_i (m_{ig} - \bar m_g)\, d_i \Bigr| - c \,\Bigr]_+$$

  with membership m and distance d, the difference of the two logits; one term for two groups, and
  one for each of more. With more than two classes each logit less the mean of all is a distance,
  and the terms of all classes add.

  It is the penalty form of Zafar's constraint on disparate impact, which `covariance_constraint`
  enforces. For a linear model it is convex. It falls when all distances shrink, and can be 0 while
  the rates of decisions differ.

  Args:
    strength: lambda, at least 0; may be traced.
    tolerance: c, at least 0, the covariance that is allowed; may be traced.

  Returns:
    The transform; it writes penalty, and needs group in training only.

  Raises:
    ValueError: for values out of range, or where the group is missing.

  References:
    Zafar, Valera, Gomez Rodriguez, Gummadi, Fairness constraints: mechanisms for fair
    classification, AISTATS 2017.

  Examples:
    >>> import rfjax
    >>> from rfjax.fairness import inprocessing
    >>> upright = inprocessing.covariance(1.0, tolerance=0.05)
  """
  check_strength(strength)
  _check.number("tolerance", tolerance, 0.0)

  def excess(batch: Batch) -> jax.Array:
    batch.require("logits", "group", by="covariance")
    found = covariances(decisions(batch), batch.membership)
    return jnp.sum(jax.nn.relu(jnp.abs(found) - tolerance))

  return penalty(strength, excess)
