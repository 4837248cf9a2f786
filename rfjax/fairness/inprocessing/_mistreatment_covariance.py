"""Mistreatment covariance: errors are no deeper in one group than in another."""

from typing import Literal, get_args

import jax
import jax.numpy as jnp

from rfjax.core import Batch, Transform, _check
from rfjax.fairness.inprocessing._elements import (
  check_strength,
  covariances,
  decisions,
  penalty,
)

Errors = Literal["all", "false_positive", "false_negative"]


def mistreatment_covariance(
  strength: float | jax.Array,
  errors: Errors = "all",
  *,
  tolerance: float | jax.Array = 0.0,
) -> Transform:
  r"""Adds the covariance of the group and the distance of errors to the decision boundary.

  $$\mathrm{penalty} \leftarrow \mathrm{penalty} + \lambda \sum_g \Bigl[\, \Bigl|
  \frac{1}{n} \sum_i (m_{ig} - \bar m_g) \min(0, \tilde y_i d_i) \Bigr| - c \,\Bigr]_+$$

  with the label $\tilde y$ as -1 or 1, so that only errors count, by how far they are on the wrong
  side. Sums, n and the mean are over the rows of label -1 for false positives, of label 1 for false
  negatives, and over all for all errors. For groups, classes and distances see `covariance`; of
  more than two classes each is a label against the rest.

  It is the penalty form of the constraint on disparate mistreatment; a chain of the one for false
  positives and the one for false negatives asks for both. It is not convex, also of a linear model.

  Args:
    strength: lambda, at least 0; may be traced.
    errors: "all", "false_positive" or "false_negative"; static.
    tolerance: c, at least 0, the covariance that is allowed; may be traced.

  Returns:
    The transform; it writes penalty, and needs group in training only.

  Raises:
    ValueError: for values out of range, or where the group is missing.

  References:
    Zafar, Valera, Gomez Rodriguez, Gummadi, Fairness beyond disparate treatment and disparate
    impact: learning classification without disparate mistreatment, WWW 2017.

  Examples:
    >>> import rfjax
    >>> from rfjax.fairness import inprocessing
    >>> both = rfjax.chain(inprocessing.mistreatment_covariance(1.0, "false_positive"),
    ...                    inprocessing.mistreatment_covariance(1.0, "false_negative"))
  """
  check_strength(strength)
  _check.choice("errors", errors, get_args(Errors))
  _check.number("tolerance", tolerance, 0.0)

  def excess(batch: Batch) -> jax.Array:
    batch.require("logits", "group", by="mistreatment_covariance")
    distance, member = decisions(batch), batch.membership
    classes = jnp.arange(batch.num_classes) if batch.num_classes > 2 else jnp.ones(1, int)
    own = batch.y[:, None] == classes
    depth = -jax.nn.relu(jnp.where(own, -distance, distance))
    counts = {"all": own | ~own, "false_positive": ~own, "false_negative": own}[errors]
    of_class = lambda depth, counts: covariances(depth[:, None], member * counts[:, None])[:, 0]
    found = jax.vmap(of_class, 1)(depth, counts)
    return jnp.sum(jax.nn.relu(jnp.abs(found) - tolerance))

  return penalty(strength, excess)
