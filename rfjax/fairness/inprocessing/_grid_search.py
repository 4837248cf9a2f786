"""Grid search: a classifier for every point of a grid of multipliers, and the best trade-off."""

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rfjax.core import Batch, _check
from rfjax.fairness.inprocessing._oracle import Oracle, RandomizedClassifier, logistic_oracle, rows
from rfjax.fairness.inprocessing._parity_moments import parity_moments

_LANES = 64


class GridSearch(NamedTuple):
  """What `grid_search` found, of every point of the grid.

  Attributes:
    classifier: the `RandomizedClassifier` that always takes the best hypothesis.
    best: [], its place.
    errors: [S], shares of wrong decisions on the training set.
    gammas: [S, 2, E, G], the moments there.
    multipliers: [S, 2, E, G], the grid.
  """

  classifier: RandomizedClassifier
  best: jax.Array
  errors: jax.Array
  gammas: jax.Array
  multipliers: jax.Array


def grid_search(
  data: Batch,
  constraint: str,
  *,
  grid_size: int = 10,
  grid_limit: float | jax.Array = 2.0,
  constraint_weight: float | jax.Array = 0.5,
  ratio_bound: float | jax.Array = 1.0,
  oracle: Oracle | None = None,
) -> GridSearch:
  r"""Fair classification by a grid of multipliers, each a weighted learning problem of its own.

  $$h_\lambda = \arg\min_h\; \mathrm{err}(h) + \sum_j \lambda_j \gamma_j(h), \qquad
  \min_\lambda\; (1 - a)\, \mathrm{err}(h_\lambda) + a \max_j \gamma_j(h_\lambda)$$

  The grid has a signed coordinate for each event and each group but the last one: the points of
  integers with a sum of sizes of at most n, times limit / n, with the smallest n that gives enough;
  of those the first `grid_size`. All are learned in one program. The answer is one classifier that
  always decides alike, where `exponentiated_gradient` mixes several. Weights of rows count
  as they do there.

  Args:
    data: the training set, of two classes.
    constraint: a name of `parity_moments`.
    grid_size: S, at least 1. With many events and groups the first S points are far from all sides.
    grid_limit: the largest sum of multipliers, above 0; may be traced.
    constraint_weight: a, in [0, 1]; may be traced.
    ratio_bound: as in `parity_moments`.
    oracle: the learner; `logistic_oracle()` when None.

  Returns:
    The `GridSearch`. Its classifier needs no group at prediction.

  Raises:
    ValueError: for values out of range, more than two classes, or where the group is missing.

  References:
    Agarwal, Beygelzimer, Dudik, Langford, Wallach, A reductions approach to fair classification,
    ICML 2018 (section 3.4).

  Examples:
    >>> import rfjax
    >>> from rfjax.fairness import inprocessing
    >>> x = [[-2.0], [-1.0], [0.0], [0.5], [1.0], [2.0]]
    >>> data = rfjax.Batch.from_arrays(x, [0, 0, 1, 0, 1, 1], [0, 0, 0, 1, 1, 1])
    >>> found = inprocessing.grid_search(data, "demographic_parity", grid_size=5)
    >>> (found.multipliers[:, 0, 0, 0] - found.multipliers[:, 1, 0, 0]).tolist()
    [-2.0, -1.0, 0.0, 1.0, 2.0]
  """
  grid_size = _check.count("grid_size", grid_size)
  _check.number("grid_limit", grid_limit, 0.0, open_low=True, open_high=True)
  _check.number("constraint_weight", constraint_weight, 0.0, 1.0)
  moments = parity_moments(data, constraint, ratio_bound=ratio_bound)
  x = rows(data).astype(moments.y.dtype)
  oracle = logistic_oracle() if oracle is None else oracle
  _, events, groups = moments.cells.shape
  points, units = _grid(events * (groups - 1), grid_size)
  points = jnp.asarray(points.reshape(grid_size, events, groups - 1), x.dtype) * grid_limit / units
  points = jnp.pad(points, ((0, 0), (0, 0), (0, 1)))
  multipliers = jnp.maximum(jnp.stack([points, -points], axis=1), 0)

  def learn(multipliers: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    costs = moments.costs(multipliers)
    label = (costs > 0).astype(x.dtype)
    weight = moments.weight * jnp.abs(costs) * moments.rows / moments.total
    found = oracle.fit(x, label, weight, oracle.init(x))
    decision = oracle.decide(found, x)
    return found, moments.error(decision), moments.gamma(decision)

  # A learner may need a copy of the features for each: one at a time is fastest on CPU.
  lanes = 1 if jax.default_backend() == "cpu" else min(grid_size, _LANES)
  hypotheses, errors, gammas = jax.lax.map(learn, multipliers, batch_size=lanes)
  worst = jnp.max(jnp.where(moments.valid, gammas, -jnp.inf), (1, 2, 3))
  best = jnp.argmin((1 - constraint_weight) * errors + constraint_weight * worst)
  classifier = RandomizedClassifier(
    weights=jax.nn.one_hot(best, grid_size, dtype=x.dtype),
    hypotheses=hypotheses,
    decide=oracle.decide,
  )
  return GridSearch(classifier, best, errors, gammas, multipliers)


def _grid(dimensions: int, size: int) -> tuple[np.ndarray, int]:
  """The first points of integers in a cross-polytope that is just large enough, and its radius."""
  for units in itertools.count():
    points = list(itertools.islice(_points(dimensions, units), size))
    if len(points) == size:
      return np.array(points), max(units, 1)
    if dimensions == 0:
      raise ValueError(f"grid_size must be 1 for a single group, got {size}")
  raise AssertionError


def _points(dimensions: int, units: int) -> Iterator[tuple[int, ...]]:
  """Points of integers whose sizes add up to at most `units`, in lexicographic order."""
  if dimensions == 0:
    yield ()
    return
  for value in range(-units, units + 1):
    for rest in _points(dimensions - 1, units - abs(value)):
      yield (value, *rest)
