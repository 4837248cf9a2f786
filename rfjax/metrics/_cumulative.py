"""How scores are spread, by group: what measures of their distributions and ROC curves share."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rfjax.metrics._cells import warn_empty
from rfjax.metrics._rows import Rows


class Cumulative(NamedTuple):
  """Masses below scores, in ascending order of the scores; equal scores have equal entries.

  Attributes:
    score: [N].
    below: the mass of lower scores, [N, M].
    upto: the mass of scores that are not higher, [N, M].
  """

  score: jax.Array
  below: jax.Array
  upto: jax.Array


def cumulative(score: jax.Array, mass: jax.Array) -> Cumulative:
  """Sums masses [N, M] along the scores [N]."""
  order = jnp.argsort(score)
  score, places = score[order], jnp.arange(score.size)
  total = jnp.cumsum(mass[order], axis=0)
  new = score[1:] != score[:-1]
  first = jax.lax.cummax(jnp.where(jnp.append(True, new), places, 0))
  last = jax.lax.cummin(jnp.where(jnp.append(new, True), places, score.size - 1), reverse=True)
  return Cumulative(score, jnp.where(first[:, None] > 0, total[first - 1], 0), total[last])


def of_scores(rows: Rows) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Scores [K, N], masses [N, G] and their sums [G]; empty groups are warned of."""
  _, p = rows.one_vs_rest()
  mass = rows.mass
  size = jnp.sum(mass, axis=0)
  warn_empty(rows, "row", size[:, None])
  return p.T, mass, size


def worst_pair(apart: Callable[[Any, Any], jax.Array], count: int, valid: jax.Array) -> jax.Array:
  """The largest of `apart(g, h)` over pairs of valid groups, 0 where there are none."""
  pairs = [(g, h) for g in range(count) for h in range(g + 1, count)]
  if not pairs:
    return jnp.zeros(())
  one, two = jnp.asarray(pairs).T
  found = jax.lax.map(lambda pair: apart(*pair), (one, two))
  return jnp.max(jnp.where(valid[one] & valid[two], found, 0))
