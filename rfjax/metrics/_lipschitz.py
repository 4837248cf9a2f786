"""Individual fairness: similar individuals, similar predictions, by a Lipschitz condition."""

from collections.abc import Callable
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from rfjax.core import Batch, _check, ratio
from rfjax.metrics._gap import Aggregate
from rfjax.metrics._individuals import Individuals, apart, individuals


def euclidean(a: jax.Array, b: jax.Array) -> jax.Array:
  """The Euclidean distance of two rows; of equal ones its slope is 0."""
  square = jnp.sum((a - b) ** 2)
  return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)


def _draw(rows: Individuals, key: jax.Array, pairs: int) -> tuple[Individuals, Individuals]:
  """Pairs of two different rows that count, all equally likely; of one row with itself if alone."""
  count = jnp.sum(rows.weight > 0)
  first_key, step_key = jax.random.split(key)
  first = jax.random.randint(first_key, (pairs,), 0, jnp.maximum(count, 1))
  step = jax.random.randint(step_key, (pairs,), 1, jnp.maximum(count, 2))
  order = jnp.argsort(rows.weight <= 0)  # is stable: those that count, in their order
  take = lambda at: jax.tree.map(lambda v: v[order[at % jnp.maximum(count, 1)]], rows)
  return take(first), take(first + step)


def lipschitz_violation(
  x: ArrayLike | Batch,
  y_pred: ArrayLike | None = None,
  *,
  key: jax.Array,
  lipschitz: Any = 1.0,
  pairs: int = 10_000,
  agg: Aggregate = "worst_case",
  distance: Callable[[jax.Array, jax.Array], jax.Array] = euclidean,
  num_classes: int | None = None,
  weight: ArrayLike | None = None,
) -> jax.Array:
  r"""How far predictions for pairs of rows differ by more than the rows do.

  $$\max_{(i, j)} \Big[ \tfrac12 \lVert p_i - p_j \rVert_1 - L\, d(x_i, x_j) \Big]_+$$

  or its mean, over pairs of different rows that are drawn at random. Of two classes the total
  variation is the absolute difference of the probabilities of class 1. The condition says as much
  as the distance does: which differences should matter is a decision for people, and the Euclidean
  default is none.

  Args:
    x: features [N, ...], finite; or a filled `Batch`, of which the softmax is read, and no y_pred.
    y_pred: probabilities of class 1 [N], or of all [N, C]; or predicted classes [N], integers.
    key: a key from `jax.random.key`, by which pairs are drawn.
    lipschitz: L, at least 0; may be traced.
    pairs: how many are drawn, with repetition; static.
    agg: "worst_case", the largest of those drawn, which is at most that of all pairs; or "mean",
      which weighs a pair by the product of its weights.
    distance: `distance(a, b) -> []` of two rows [d].
    num_classes: C; needed inside jit for a y_pred of integers, and seen outside it when None.
    weight: [N], at least 0, where 0 is padding, which no pair has; all 1 when None.

  Returns:
    [], in [0, 1], where 0 is fair; 0 when fewer than two rows count.

  Raises:
    ValueError: for bad features, predictions, weights, lengths or options.

  References:
    Dwork, Hardt, Pitassi, Reingold, Zemel, Fairness through awareness, ITCS 2012.

  Examples:
    >>> import jax
    >>> from rfjax import metrics
    >>> x, probs = [[0.0], [1.0], [3.0]], [0.0, 0.5, 1.0]
    >>> float(metrics.lipschitz_violation(x, probs, key=jax.random.key(0), lipschitz=0.25))
    0.25
  """
  _check.choice("agg", agg, get_args(Aggregate))
  _check.number("lipschitz", lipschitz, 0, np.inf, open_high=True)
  soft = isinstance(x, Batch)
  rows = individuals("lipschitz_violation", x, y_pred, num_classes, weight, soft)
  one, two = _draw(rows, key, _check.count("pairs", pairs))
  allowed = lipschitz * jax.vmap(distance)(one.x, two.x)
  excess = jnp.maximum(apart(one.probs, two.probs) - allowed, 0)
  product = one.weight * two.weight
  mean = ratio(jnp.sum(product * excess), jnp.sum(product))
  return mean if agg == "mean" else jnp.max(excess)
