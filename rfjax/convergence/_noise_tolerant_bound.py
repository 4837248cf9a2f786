"""The noise-tolerant bound: how near noisy groups must be for true ones to be near enough."""

from typing import Any, get_args

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from rfjax.convergence._group_noise import (
  check_group_transition,
  group_posterior,
  true_shares,
)
from rfjax.core import _check
from rfjax.metrics._gap import Method


def noise_tolerant_bound(
  bound: float | jax.Array,
  matrix: ArrayLike,
  given_shares: ArrayLike,
  *,
  method: Method = "between_groups",
) -> jax.Array:
  r"""Turns a bound on how far true groups may differ into one for groups given with noise.

  Noise of two groups shrinks every difference of means between them by the same factor,

  $$r_{\tilde 1} - r_{\tilde 0} = (1 - \alpha - \beta)\, (r_1 - r_0), \qquad
  \alpha = P(z = 0 \mid \tilde z = 1), \quad \beta = P(z = 1 \mid \tilde z = 0),$$

  so any learner that takes a bound meets $\epsilon$ on the true groups by meeting
  $\epsilon\, (1 - \alpha - \beta)$ on the given ones. A distance to all rows together is the
  difference times the share of the other group, and its factor is

  $$(1 - \alpha - \beta)\, \frac{\max_g \tilde\pi_g}{\max_g \pi_g}.$$

  It is the way for learners that need groups as they are, such as
  `inprocessing.exponentiated_gradient`, whose bound is "to_overall". For penalties and multipliers
  `corrected_groups` is the same in the mean, and serves any number of groups.

  Args:
    bound: epsilon on the true groups, at least 0; may be traced.
    matrix: H [2, 2], P(given group | true group), invertible; may be traced.
    given_shares: shares or counts of the given groups [2]: of all rows for demographic parity, of
      those of label 1 for equal opportunity; may be traced.
    method: what the bound is on, "between_groups" or "to_overall".

  Returns:
    The bound on the given groups, [].

  Raises:
    ValueError: for a bound below 0, a matrix that is no transition of two groups, or not
      invertible.

  References:
    Lamy, Zhong, Menon, Verma, Noise-tolerant Fair Classification, NeurIPS 2019.

  Examples:
    >>> from rfjax import convergence
    >>> round(float(convergence.noise_tolerant_bound(0.1, [[0.8, 0.2], [0.2, 0.8]], [1, 1])), 4)
    0.06
  """
  _check.number("bound", bound, 0.0, open_high=True)
  _check.choice("method", method, get_args(Method))
  given = jnp.asarray(check_group_transition(matrix, by_label=False))
  if given.shape != (2, 2):
    raise ValueError(
      f"matrix must be of two groups, got shape {given.shape}: use corrected_groups for more"
    )
  known: Any = _check.numbers("given_shares", given_shares, 0.0, open_high=True)
  if jnp.shape(known) != (2,):
    raise ValueError(f"given_shares must be of two groups, got shape {jnp.shape(known)}")
  shares = true_shares(known, given)
  posterior = group_posterior(given, shares)
  factor = 1 - posterior[1, 0] - posterior[0, 1]
  if method == "to_overall":
    found = shares @ given
    factor = factor * jnp.max(found) / jnp.max(shares)
  return bound * jnp.abs(factor)
