"""Prejudice remover: decisions say little about the group."""

import jax
import jax.numpy as jnp

from rfjax.core import Batch, Transform, group_mean, ratio
from rfjax.fairness.inprocessing._elements import check_strength, penalty


def prejudice_remover(strength: float | jax.Array) -> Transform:
  r"""Adds the prejudice index: the mutual information of decision and group.

  $$\mathrm{penalty} \leftarrow \mathrm{penalty} + \frac{\eta}{n} \sum_i \sum_k p_{ik}
  \ln \frac{q_{g_i k}}{r_k} = \eta \sum_g \frac{n_g}{n}\, \mathrm{KL}(q_g \,\|\, r)$$

  with probabilities p, their mean q in a group, and their mean r over all rows that have a group.
  The paper sums over rows where this takes the mean, so its eta is a multiple n smaller; and it
  has a logistic regression for each group, where this is of any network.

  Args:
    strength: eta, at least 0; may be traced.

  Returns:
    The transform; it writes penalty, and needs group in training only.

  Raises:
    ValueError: for values out of range, or where the group is missing.

  References:
    Kamishima, Akaho, Asoh, Sakuma, Fairness-aware classifier with prejudice remover regularizer,
    ECML PKDD 2012.

  Examples:
    >>> import rfjax
    >>> from rfjax.fairness import inprocessing
    >>> unprejudiced = inprocessing.prejudice_remover(2.0)
  """
  check_strength(strength)
  return penalty(strength, _index)


def _index(batch: Batch) -> jax.Array:
  batch.require("logits", "group", by="prejudice_remover")
  mean, size = group_mean(jax.nn.softmax(batch.logits), batch.membership)
  share = ratio(size, jnp.sum(size))[:, None]
  overall = jnp.sum(share * mean, axis=0)
  return jnp.sum(share * mean * (_log(mean) - _log(overall)))


def _log(probability: jax.Array) -> jax.Array:
  """The logarithm, with a finite slope also at 0."""
  return jnp.log(jnp.maximum(probability, jnp.finfo(probability.dtype).tiny))
