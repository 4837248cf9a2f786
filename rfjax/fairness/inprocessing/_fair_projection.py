"""Fair projection penalty: how far what the network says is from the nearest fair answer."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rfjax.core import Batch, Transform, _check, ratio
from rfjax.fairness.inprocessing._elements import check_statistics, check_strength, penalty
from rfjax.metrics._cells import STATISTICS
from rfjax.metrics._rows import Rows

_NAME = "fair_projection"
_OF_LABEL = ("accuracy", "error_rate")
_REACH = 5.0  # how far a step may move a logit: Newton's would leap where all scores are saturated
_SHRINK = 2.0 ** -np.arange(6)


def fair_projection(
  strength: float | jax.Array, statistic: str = "selection_rate", *, steps: int = 20
) -> Transform:
  r"""Adds the divergence of the nearest fair scores from the scores.

  $$\mathrm{penalty} \leftarrow \mathrm{penalty} + \frac{\lambda}{n} \sum_i
  \mathrm{KL}(h_i \,\|\, p_i), \qquad h = \arg\min_h \sum_i \mathrm{KL}(h_i \,\|\, p_i)
  \quad\text{such that}\quad r_g(h) = r(p) \ \text{for all } g$$

  with probabilities p of the class, as of a coin, and the statistic r of `metrics.group_rates`.
  With its target held at what it is over all rows, the constraint is linear in h, so that
  $\mathrm{logit}\, h_i = \mathrm{logit}\, p_i + \sum_g \mu_g a_{ig}$ with one multiplier a group,
  which Newton's method finds. Gradients stop at h: the penalty teaches the network the fair scores,
  as a loss would. Of more than two classes each is a coin of its own, and their divergences add.
  The n rows are those with a group; without one a row stays as it is.

  A group that has no row that counts asks for nothing. Where no scores are fair, such as the
  precision of a group of one label, h goes as far towards it as the steps reach.

  Args:
    strength: lambda, at least 0; may be traced.
    statistic: a name of `metrics.group_rates`; static.
    steps: of Newton's method; static.

  Returns:
    The transform; it writes penalty, and needs group in training only.

  Raises:
    ValueError: for values out of range, or where the group is missing.

  References:
    Buyl, Defrance, De Bie, fairret: a framework for differentiable fairness regularization terms,
    ICLR 2024 (there by a general solver for convex programs).

  Examples:
    >>> import rfjax
    >>> from rfjax.fairness import inprocessing
    >>> fair = inprocessing.fair_projection(1.0, "false_positive_rate")
  """
  check_strength(strength)
  (statistic,) = check_statistics(statistic)
  steps = _check.count("steps", steps)

  def divergence(batch: Batch) -> jax.Array:
    batch.require("logits", "group", by=_NAME)
    log_p, log_q = _coins(batch, statistic)
    fixed_p, fixed_q = jax.lax.stop_gradient((log_p, log_q))
    slope, offset = _constraints(batch, statistic, jnp.exp(fixed_p))
    project = lambda logit, slope, offset: slope @ _multipliers(logit, slope, offset, steps)
    moved = jax.vmap(project, (1, 2, 1), 1)(fixed_p - fixed_q, slope, offset)
    total = jnp.logaddexp(fixed_p + moved, fixed_q)
    log_h, log_not_h = fixed_p + moved - total, fixed_q - total
    away = jnp.exp(log_h) * (log_h - log_p) + jnp.exp(log_not_h) * (log_not_h - log_q)
    known = jnp.any(batch.membership != 0, axis=1)
    return jnp.sum(jnp.where(known[:, None], away, 0)) / jnp.maximum(jnp.sum(known), 1)

  return penalty(strength, divergence)


def _coins(batch: Batch, statistic: str) -> tuple[jax.Array, jax.Array]:
  """Log-probabilities [B, K] of what the statistic reads, and of all else."""
  log_probs = jax.nn.log_softmax(batch.logits)
  classes = jnp.ones((batch.num_rows, 1), jnp.int32)
  if statistic in _OF_LABEL:
    classes = batch.y[:, None]
  elif batch.num_classes > 2:
    classes = jnp.broadcast_to(jnp.arange(batch.num_classes), log_probs.shape)
  own = classes[:, :, None] == jnp.arange(batch.num_classes)
  others = jnp.where(own, -jnp.inf, log_probs[:, None])
  return jnp.take_along_axis(log_probs, classes, 1), jax.nn.logsumexp(others, axis=2)


def _constraints(batch: Batch, statistic: str, p: jax.Array) -> tuple[jax.Array, jax.Array]:
  """The constraints `offset + slope.T @ h = 0`: slopes [B, G, K] and offsets [G, K]."""
  member = batch.membership
  ones = jnp.ones((batch.num_rows, batch.num_classes), p.dtype)

  def counts(y_pred: jax.Array) -> tuple[jax.Array, jax.Array]:
    rows = Rows(_NAME, batch.y, y_pred, member, ones[:, 0], batch.num_groups, batch.num_classes)
    return STATISTICS[statistic].counts(rows)

  of_none, of_all = counts(0 * ones), counts(ones)
  (top, bottom), (top_slope, bottom_slope) = of_none, jax.tree.map(jnp.subtract, of_all, of_none)
  known = jnp.sum(member, axis=1, keepdims=True)
  total = lambda part, slope: jnp.sum(known * (part + slope * p), axis=0)
  target = ratio(total(top, top_slope), total(bottom, bottom_slope))
  slope = member[:, :, None] * (top_slope - target * bottom_slope)[:, None]
  offset = jnp.einsum("bg,bk->gk", member, top - target * bottom, precision="highest")
  return slope, offset


def _multipliers(logit: jax.Array, slope: jax.Array, offset: jax.Array, steps: int) -> jax.Array:
  """The multipliers [G] at which `offset + slope.T @ sigmoid(logit + slope @ mu)` is 0."""
  unmet = lambda mu: offset + slope.T @ jax.nn.sigmoid(logit + slope @ mu)
  steepest = jnp.max(jnp.abs(slope), axis=0)
  reach = _REACH / jnp.where(steepest > 0, steepest, 1)

  def step(_: Any, mu: jax.Array) -> jax.Array:
    at = logit + slope @ mu
    spread = jax.nn.sigmoid(at) * jax.nn.sigmoid(-at)
    curvature = slope.T @ (spread[:, None] * slope)
    eps = jnp.finfo(mu.dtype).eps
    tiny = eps * jnp.trace(curvature) + eps**2  # where scores are saturated, or a group is empty
    way = jnp.linalg.solve(curvature + tiny * jnp.eye(len(mu), dtype=mu.dtype), -unmet(mu))
    way = jnp.clip(way, -reach, reach)
    tried = mu + jnp.asarray(_SHRINK, mu.dtype)[:, None] * way
    worst = jax.vmap(lambda mu: jnp.sum(unmet(mu) ** 2))(tried)
    return tried[jnp.argmin(worst)]

  return jax.lax.fori_loop(0, steps, step, jnp.zeros(offset.shape, logit.dtype))
