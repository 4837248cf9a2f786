"""Equalized odds fitted on noisy groups: what is left of a bias, and an audit of the noise."""

import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from rfjax.convergence._group_noise import group_posterior, transition_of_groups
from rfjax.core import Batch, _check, ratio

_AUDIT = "group_noise_audit"


class GroupNoiseAudit(NamedTuple):
  """What `group_noise_audit` found.

  Attributes:
    transition: [C, G, G], of each label, rows of probabilities of the given groups.
    shares: [C, G], of the true groups among the rows of each label.
    dependence: [], in [0, 1/4]; 0 where the noise does not hang on the decision.
  """

  transition: jax.Array
  shares: jax.Array
  dependence: jax.Array


def equalized_odds_bias_factor(
  matrix: ArrayLike, shares: ArrayLike, *, at_prediction: str = "true"
) -> jax.Array:
  r"""How much of a bias is left, at most, by equalized odds that was fitted on noisy groups.

  `postprocessing.equalized_odds` makes the rates of the given groups equal. If the noise of a group
  hangs on the label, but not on the decision, then between two true groups a bias of
  $|r_0 - r_1|$ in the rate of decision 1 at a label becomes at most F times that, with

  $$F = P(z = 1 \mid \tilde z = 0) + P(z = 0 \mid \tilde z = 1)$$

  at this label: at most 1 where a group is given wrongly with $\gamma_0 + \gamma_1 \le 1$, as
  Awasthi et al. show. They fit on noisy groups and predict by true ones. Where those at prediction
  are noisy too, in the same way, the factor is

  $$1 - (1 - \gamma_0 - \gamma_1)(1 - F) \le 1,$$

  so that no noise makes a bias larger. For more groups it is the largest factor for a pair of them
  that any rule with equal rates of the given groups, and any rates, can have, relative to the
  largest distance between true groups before; its time grows with $2^G$.

  Args:
    matrix: H [G, G], $P(\tilde z = h \mid z = g)$; or one for each label [C, G, G]. May be traced.
    shares: $P(z = g \mid y)$ [G], or [C, G] of the labels; or counts. May be traced.
    at_prediction: by which groups the rule decides, "true" or "given".

  Returns:
    [], or [C] for each label, at least 0; groups without a share do not count, and it is infinite
    where one with a share is never given, but asked for at prediction.

  Raises:
    ValueError: for a matrix that is no transition of so many groups, or shares below 0.

  References:
    Awasthi, Kleindessner, Morgenstern, Equalized Odds Postprocessing under Imperfect Group
    Information, AISTATS 2020 (its F, for two groups).

  Examples:
    >>> from rfjax import convergence
    >>> noise = [[0.75, 0.25], [0.25, 0.75]]
    >>> float(convergence.equalized_odds_bias_factor(noise, [0.5, 0.5]))
    0.5
    >>> float(convergence.equalized_odds_bias_factor(noise, [0.5, 0.5], at_prediction="given"))
    0.75
  """
  _check.choice("at_prediction", at_prediction, ("true", "given"))
  given = jnp.asarray(transition_of_groups(matrix))
  share = jnp.asarray(_check.numbers("shares", shares, 0.0, open_high=True))
  labels, groups = given.shape[:-2], given.shape[-1]
  if share.ndim not in (1, 2) or share.shape[-1] != groups:
    raise ValueError(
      f"shares must have one number for each of the {groups} groups, got shape {share.shape}"
    )
  if labels and share.ndim == 2 and share.shape[0] != labels[0]:
    raise ValueError(
      f"shares must have one row for each of the {labels[0]} labels of matrix, got {share.shape[0]}"
    )
  labels = labels or share.shape[:-1]
  given = jnp.broadcast_to(given, (*labels, groups, groups))
  share = jnp.broadcast_to(share, (*labels, groups))
  of = lambda h, pi: _factor(h, pi, at_prediction == "true")
  return jax.vmap(of)(given, share) if labels else of(given, share)


def _factor(matrix: jax.Array, share: jax.Array, true: bool) -> jax.Array:
  groups = len(share)
  posterior = group_posterior(matrix, share)
  one = jnp.eye(groups, dtype=posterior.dtype)
  asked = one if true else matrix
  # The rule of given group h has slope s_h, and gives the true group g of rate r_g what all given
  # groups get, and s_h times r_g less the rate of h.
  apart = asked[:, :, None] * (one[:, None] - posterior)  # [g, h, k], by the rates r_k
  signs = np.array([(1, *rest) for rest in itertools.product((1, -1), repeat=groups - 1)])
  exists = (share > 0)[:, None] & (share > 0)

  moved = jnp.einsum("sh,ghk->sgk", signs.astype(one.dtype), apart, precision="highest")
  # Rates in [0, 1] by coefficients of sum 0: at most their positive part.
  between = jnp.sum(jnp.abs(moved[:, :, None] - moved[:, None]), axis=-1) / 2
  factor = jnp.max(jnp.where(exists, between, 0))
  never = jnp.sum(share[:, None] * matrix, axis=0) == 0
  missed = jnp.any(never & (share > 0)) & (jnp.sum(share > 0) > 1) & true
  return jnp.where(missed, jnp.inf, factor)


def group_noise_audit(data: Batch) -> GroupNoiseAudit:
  r"""Noise of the groups on rows where the true ones are known, and whether decisions hang on it.

  $$H^{(y)}_{gh} = P(\tilde z = h \mid z = g, y), \qquad \max_{y, g, h, k}
  \bigl| P(\hat y = k, \tilde z = h \mid y, g) - P(\hat y = k \mid y, g)\, P(\tilde z = h \mid y, g)
  \bigr|$$

  The second number, the `dependence`, is 0 where what `equalized_odds_bias_factor` and
  `corrected_groups` suppose holds; on n rows of a cell it is of the size of $1 / \sqrt n$ even so.

  Args:
    data: a filled data set with the given groups, hard or soft, the true ones in `truth`, and
      `weight` where rows count unequally. Rows without either group are left out.

  Returns:
    A `GroupNoiseAudit`; a group without rows of a label has the identity's row.

  Raises:
    ValueError: without logits, groups or true groups.

  References:
    Awasthi, Kleindessner, Morgenstern, Equalized Odds Postprocessing under Imperfect Group
    Information, AISTATS 2020 (its measure of conditional independence).

  Examples:
    >>> import jax, jax.numpy as jnp, rfjax
    >>> from rfjax import convergence
    >>> truth = rfjax.Truth(group=jnp.array([0, 0, 1, 1]))
    >>> data = rfjax.Batch.from_arrays([[0.0]] * 4, [1, 1, 1, 1], [0, 1, 1, 1], truth=truth)
    >>> said = data.fill(jnp.eye(2)[jnp.array([1, 1, 0, 1])])
    >>> found = convergence.group_noise_audit(said)
    >>> found.transition[1].tolist(), found.shares[1].tolist(), float(found.dependence)
    ([[0.5, 0.5], [0.0, 1.0]], [0.5, 0.5], 0.0)
  """
  data.require("logits", "group", by=_AUDIT)
  if data.truth is None or data.truth.group is None:
    raise ValueError(f"{_AUDIT} needs the true groups: pass truth=Truth(group=...) to from_arrays")
  classes, groups = data.num_classes, data.num_groups
  rows = data.with_columns("weight").weight[:, None] * data.membership
  one_hot = lambda codes, count: jax.nn.one_hot(codes, count, dtype=rows.dtype)
  true = one_hot(data.y, classes)[:, :, None] * one_hot(data.truth.group, groups)[:, None]
  said = rows[:, :, None] * one_hot(jnp.argmax(data.logits, axis=1), classes)[:, None]
  flat = lambda v: v.reshape(data.num_rows, -1)
  joint = jnp.matmul(flat(true).T, flat(said), precision="highest")
  joint = joint.reshape(classes, groups, groups, classes)
  size = jnp.sum(joint, axis=(2, 3))
  both = ratio(joint, size[:, :, None, None])
  of_given, of_said = jnp.sum(both, axis=3), jnp.sum(both, axis=2)
  transition = jnp.where(size[:, :, None] > 0, of_given, jnp.eye(groups, dtype=rows.dtype))
  apart = jnp.abs(both - of_given[:, :, :, None] * of_said[:, :, None])
  return GroupNoiseAudit(
    transition, ratio(size, jnp.sum(size, axis=1, keepdims=True)), jnp.max(apart)
  )
