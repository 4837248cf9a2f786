"""What is fitted to scores: the cuts that thresholds make in each group, and what they count."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from rfjax.core import Batch, ratio, stable_order
from rfjax.fairness.postprocessing._hull import first_largest
from rfjax.fairness.postprocessing._scores import of_groups, weighted_membership
from rfjax.metrics import Rate
from rfjax.metrics._cells import STATISTICS
from rfjax.metrics._rows import Rows

Costs = tuple[float | jax.Array, float | jax.Array]  # of a false positive, of a false negative


class Cuts(NamedTuple):
  """What a threshold can do to each group: K = N + 1 cuts of its rows, from nobody to everybody.

  Thresholds fall from infinity, and weights rise. Where a cut would part equal scores, or is none
  of the group's, the one before it stands again.

  Attributes:
    threshold: [G, K]; scores above it are decided 1.
    false: weight of the negatives above the threshold, [G, K].
    true: weight of the positives above the threshold, [G, K].
    negatives: weight of all negatives, [G].
    positives: weight of all positives, [G].
  """

  threshold: jax.Array
  false: jax.Array
  true: jax.Array
  negatives: jax.Array
  positives: jax.Array


def scores(batch: Batch) -> jax.Array:
  """The log-odds of class 1 of two, [B], in float32 at least."""
  margin = batch.margin[:, 0]
  return margin.astype(jnp.promote_types(margin.dtype, jnp.float32))


def cuts(data: Batch) -> Cuts:
  """All cuts of every group: rows are sorted by score once, and counted group by group."""
  score = scores(data)
  order = stable_order(-score)
  score, label = score[order], data.y[order]

  def of_group(weight: jax.Array) -> Cuts:
    weight = weight[order].astype(score.dtype)
    own = jnp.where(weight > 0, score, -jnp.inf)
    below = jnp.append(jax.lax.cummax(own[::-1])[::-1][1:], -jnp.inf)
    possible = own > below
    # A cut that would part equal scores, or is another group's, is the one before it.
    threshold = jnp.where(possible, _between(below, own), jnp.inf)
    threshold = jax.lax.cummin(jnp.append(jnp.inf, threshold))
    counts = [jnp.cumsum(weight * (label == y)) for y in (0, 1)]
    keep = lambda count: jax.lax.cummax(jnp.append(0.0, jnp.where(possible, count, 0.0)))
    false, true = map(keep, counts)
    return Cuts(threshold, false, true, counts[0][-1], counts[1][-1])

  return jax.vmap(of_group, in_axes=1)(weighted_membership(data))


def _between(low: jax.Array, high: jax.Array) -> jax.Array:
  """The middle of two scores, and the lower one where no float lies between them."""
  bottom = jnp.isinf(low)
  middle = jnp.where(bottom, 0, low) / 2 + jnp.where(bottom, 0, high) / 2
  inside = (low <= middle) & (middle < high)
  return jnp.where(inside & ~bottom, middle, low)


def rates(found: Cuts, statistic: str) -> Rate:
  """A statistic of `metrics.group_rates` after every cut, [G, K]: it is linear in four cells."""
  whole = (found.negatives[:, None], found.positives[:, None])
  parts = (whole[0] - found.false, found.false, whole[1] - found.true, found.true)
  cells = jnp.stack(parts, axis=2)
  y, said = jnp.array([0, 0, 1, 1]), jnp.array([0, 1, 0, 1])
  rows = Rows(statistic, y, said, 0 * y, jnp.ones(4, cells.dtype), 1, 2)
  hits, size = STATISTICS[statistic].counts(rows)
  return Rate(jnp.sum(cells * hits[:, 0], axis=2), jnp.sum(cells * size[:, 0], axis=2))


def losses(found: Cuts, balanced: bool, cost: Costs) -> jax.Array:
  """What errors cost after every cut, in rows, [G, K].

  False positives and false negatives count as they are; balanced, their rates count for as many
  rows as the group has.
  """
  false, missed = found.false, found.positives[:, None] - found.true
  if balanced:
    size = (found.negatives + found.positives)[:, None]
    false = size * ratio(false, found.negatives[:, None])
    missed = size * ratio(missed, found.positives[:, None])
  return cost[0] * false + cost[1] * missed


def choose(found: Cuts, rate: Rate, loss: jax.Array) -> tuple[jax.Array, jax.Array]:
  """The cut of least loss, up to rounding the first: threshold and rate of each group, [G] each.

  A loss of infinity stands for no cut; a group without any keeps its decisions, by threshold 0.
  """
  best = first_largest(-loss)[:, None]
  of = lambda values: jnp.take_along_axis(values, best, axis=1)[:, 0]
  some = jnp.isfinite(of(loss))
  return jnp.where(some, of(found.threshold), 0), jnp.where(some, of(rate.value), 0)


def shift(batch: Batch, threshold: jax.Array) -> Batch:
  """Moves log-odds by the threshold [G] of a row's group, to log(p / (1 - p)) of float32 at most.

  Rows of mixed membership get the mean of thresholds; those without a group stay as they are.
  """
  score = scores(batch)
  info = jnp.finfo(score.dtype)
  finite = jnp.clip(threshold, info.min / 8, info.max / 8).astype(score.dtype)
  most = -jnp.log(jnp.finfo(jnp.float32).tiny)
  moved = jnp.clip(score - of_groups(batch, finite, jnp.zeros(())), -most, most)
  moved = jnp.where(jnp.any(batch.membership > 0, axis=1), moved, score)
  logits = jnp.stack([jnp.zeros_like(moved), moved], axis=1)
  return batch.replace(logits=logits.astype(batch.logits.dtype))
