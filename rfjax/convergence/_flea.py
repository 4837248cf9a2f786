"""FLEA: distances between data sources tell which of them somebody has tampered with."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike

from rfjax.convergence._sources import rows_of_sources, source_ids
from rfjax.core import Batch, Transform, _check, logistic_regression, rank, ratio, stateless

AGGREGATES = ("sum", "max")
_NAME = "flea"
_NEWTON_STEPS = 15
_RATE = 0.05  # of Adam, on features of unit variance


class SourceDistances(NamedTuple):
  """How far sources are from each other: symmetric [S, S], 0 on the diagonal, at most 1.

  Attributes:
    discrepancy: how differently a classifier can err on the two.
    disparity: how differently a classifier can treat the groups of the two.
    disbalance: how different the groups' shares are.
  """

  discrepancy: jax.Array
  disparity: jax.Array
  disbalance: jax.Array


class _Source(NamedTuple):
  """The rows of one source, padded to those of the largest."""

  x: jax.Array  # [M, d]
  y: jax.Array  # [M]
  group: jax.Array  # [M]
  valid: jax.Array  # [M]


def source_distances(
  data: Batch, source: ArrayLike, *, l2: float | jax.Array = 1.0, steps: int = 200
) -> SourceDistances:
  r"""Measures how far any two sources of a data set are apart, for accuracy and for fairness.

  $$\begin{aligned}
  \mathrm{disc}_{ij} &= \sup_h \lvert \mathrm{err}_i(h) - \mathrm{err}_j(h) \rvert, &
  \mathrm{disp}_{ij} &= \sup_h \lvert \Gamma_i(h) - \Gamma_j(h) \rvert, \\
  \mathrm{disb}_{ij} &= \lvert P_i(z = 1) - P_j(z = 1) \rvert, &
  \Gamma_i(h) &= \lvert P_i(h = 1 \mid z = 1) - P_i(h = 1 \mid z = 0) \rvert
  \end{aligned}$$

  over linear h, each supremum from below by one that is found: for the discrepancy, logistic
  regression of the labels of i and the opposite of those of j; for the disparity, one that predicts
  the groups of i and is fair on j,

  $$\min_h\; \tfrac12 \sum_g \overline{\log(1 + e^{\mp h})}_{i, z = g}
  + \bigl\lvert \overline{\sigma(h)}_{j, z = 1} - \overline{\sigma(h)}_{j, z = 0} \bigr\rvert,$$

  by Adam from logistic regression of the groups of i, and the same for j and i; the larger value
  counts. Both sources of a pair weigh the same, whatever their sizes, and features are scaled to
  unit variance pair by pair, so that no third source has a say.

  Args:
    data: the data set, with two classes and two groups.
    source: the source of each row, int [N] from 0, addressed by `index`; known on the host, since
      it says how large sources are.
    l2: the strength of the penalty of the regressions, above 0; may be traced.
    steps: steps of Adam, at least 1.

  Returns:
    The distances. A source without valid rows of a group has a rate of 0 for it.

  Raises:
    ValueError: for values out of range, fewer than two sources, rows that have none, other than two
      classes and groups, or a missing or soft group.

  References:
    Iofinova, Konstantinov, Lampert, FLEA: Provably Robust Fair Multisource Learning from Unreliable
    Training Data, TMLR 2022.

  Examples:
    >>> import jax, rfjax
    >>> from rfjax import convergence
    >>> data = rfjax.data.zafar(jax.random.key(0), 100)
    >>> apart = convergence.source_distances(data, [0, 1] * 50, steps=10)
    >>> apart.discrepancy.shape
    (2, 2)
  """
  _check.number("l2", l2, 0.0, open_low=True, open_high=True)
  steps = _check.count("steps", steps)
  stacked = _stack(data, source)
  size = stacked.valid.shape[0]
  first, second = np.triu_indices(size, 1)

  def between(pair: tuple[jax.Array, jax.Array]) -> SourceDistances:
    a, b = (jax.tree.map(lambda v: v[k], stacked) for k in pair)
    a, b = _scaled(a, b)
    disparity = jnp.maximum(_disparity(a, b, l2, steps), _disparity(b, a, l2, steps))
    disbalance = jnp.abs(_mean(a.group, a.valid) - _mean(b.group, b.valid))
    return SourceDistances(_discrepancy(a, b, l2), disparity, disbalance)

  found = jax.lax.map(between, (jnp.asarray(first), jnp.asarray(second)), batch_size=64)
  table = lambda v: jnp.zeros((size, size), v.dtype).at[first, second].set(v)
  return jax.tree.map(lambda v: table(v) + table(v).T, found)


def kept_sources(
  distances: ArrayLike | SourceDistances, keep: int | jax.Array, aggregate: str = "sum"
) -> jax.Array:
  r"""The sources that have the most company nearby.

  $$q_i = D_{i, (K)}, \qquad \text{kept: the K smallest } q$$

  where $D_{i, (K)}$ is the K-th smallest entry of a row, its own 0 among them. Where K sources are
  clean, each of them has a q within the distances of clean ones, so that the K smallest are; and
  with K above half, whatever is kept is that near to a clean source.

  Args:
    distances: D [S, S], or distances of three kinds to be aggregated.
    keep: K in [1, S]; may be traced.
    aggregate: "sum" or "max" of the three kinds.

  Returns:
    bool [S]; of equal ones those come first that stand first.

  Raises:
    ValueError: for values out of range, or a matrix that is not square.

  References:
    Iofinova, Konstantinov, Lampert, FLEA: Provably Robust Fair Multisource Learning from Unreliable
    Training Data, TMLR 2022.

  Examples:
    >>> from rfjax import convergence
    >>> distances = [[0.0, 0.1, 0.9], [0.1, 0.0, 0.8], [0.9, 0.8, 0.0]]
    >>> convergence.kept_sources(distances, keep=2).tolist()
    [True, True, False]
  """
  _check.choice("aggregate", aggregate, AGGREGATES)
  if isinstance(distances, SourceDistances):
    kinds = jnp.stack(distances)
    matrix = jnp.sum(kinds, axis=0) if aggregate == "sum" else jnp.max(kinds, axis=0)
  else:
    matrix = jnp.asarray(distances)
  if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
    raise ValueError(f"distances must be square, [S, S], got shape {matrix.shape}")
  _check.number("keep", keep, 1, len(matrix))
  place = jnp.asarray(keep, int) - 1
  return rank(jnp.sort(matrix, axis=1)[:, place]) <= place


def flea(
  source: ArrayLike,
  keep: int | jax.Array | None = None,
  *,
  aggregate: str = "sum",
  l2: float | jax.Array = 1.0,
  steps: int = 200,
) -> Transform:
  r"""FLEA: leaves out the sources that are far from most others, for accuracy or for fairness.

  $$\mathrm{valid}_i \leftarrow \mathrm{valid}_i \cdot [\mathrm{source}_i \text{ is kept}]$$

  by `source_distances` and `kept_sources`. What is learnt on the rest, by any method, is nearly as
  accurate and as fair as on clean sources only, whatever fewer than half of the sources contain:
  other labels, groups, or rows. It needs sources that are large, a thousand rows and more: what
  distinguishes clean ones by chance has to be less than what an adversary does.

  Args:
    source: the source of each row, int [N] from 0, addressed by `index`.
    keep: how many sources are kept, in [1, S]; more than half, S // 2 + 1, when None. May be
      traced.
    aggregate: "sum" or "max" of the three distances.
    l2: as in `source_distances`.
    steps: as in `source_distances`.

  Returns:
    The transform of a data set; it writes valid, and needs group and source ids.

  Raises:
    ValueError: as `source_distances` and `kept_sources`, when applied.

  References:
    Iofinova, Konstantinov, Lampert, FLEA: Provably Robust Fair Multisource Learning from Unreliable
    Training Data, TMLR 2022.

  Examples:
    >>> import jax, rfjax
    >>> from rfjax import convergence, noise
    >>> clean = rfjax.data.zafar(jax.random.key(0), 1500)
    >>> source = jax.numpy.arange(1500) % 3
    >>> data = rfjax.transform(noise.corrupt_sources("flip_label", source, [1]), clean,
    ...                        key=jax.random.key(1))
    >>> kept = rfjax.transform(convergence.flea(source, steps=20), data, key=jax.random.key(2))
    >>> [int(kept.valid[source == s].sum()) for s in range(3)]
    [500, 0, 500]
  """
  _check.choice("aggregate", aggregate, AGGREGATES)
  _check.number("l2", l2, 0.0, open_low=True, open_high=True)
  _check.count("steps", steps)
  ids = source_ids(source)
  if keep is not None:
    _check.number("keep", keep, 1, int(ids.max()) + 1)

  def apply(batch: Batch, **unused: Any) -> Batch:
    del unused
    size = int(ids.max()) + 1
    distances = source_distances(batch, ids, l2=l2, steps=steps)
    kept = kept_sources(distances, size // 2 + 1 if keep is None else keep, aggregate)
    mine = jnp.take(jnp.asarray(ids), batch.index, mode="fill", fill_value=size)
    return batch.replace(valid=batch.valid & jnp.take(kept, mine, mode="fill", fill_value=False))

  return stateless(apply, writes=("valid",))


def _stack(data: Batch, source: Any) -> _Source:
  """The rows of all sources, [S, M, ...]."""
  data.require("group", by=_NAME)
  if data.num_classes != 2 or data.num_groups != 2 or data.group.ndim != 1:
    raise ValueError(
      f"{_NAME} needs two classes and two groups, a group for each row; got num_classes"
      f" {data.num_classes}, num_groups {data.num_groups} and a group of shape {data.group.shape}"
    )
  found = rows_of_sources(source_ids(source), data)
  there = found < data.num_rows
  rows = jnp.where(there, found, 0)
  x = data.x.reshape(data.num_rows, -1)
  x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
  return _Source(x[rows], data.y[rows], data.group[rows], data.valid[rows] & there)


def _mean(values: jax.Array, mass: jax.Array) -> jax.Array:
  mass = mass.astype(float)
  return ratio(jnp.sum(values * mass), jnp.sum(mass))


def _scaled(a: _Source, b: _Source) -> tuple[_Source, _Source]:
  """Both sources with features of mean 0 and variance 1 over the two, each weighing the same."""
  mass = jnp.concatenate([_share(a), _share(b)])
  x = jnp.concatenate([a.x, b.x])
  mean = jnp.average(x, axis=0, weights=mass)
  spread = jnp.sqrt(jnp.average((x - mean) ** 2, axis=0, weights=mass))
  scaled = lambda v: (v - mean) / jnp.where(spread > 0, spread, 1)
  return a._replace(x=scaled(a.x)), b._replace(x=scaled(b.x))


def _share(s: _Source, of: jax.Array | None = None) -> jax.Array:
  """Weights [M] that are equal on the valid rows, or on some of them, and add up to 1."""
  mass = s.valid if of is None else s.valid & of
  return mass / jnp.maximum(jnp.sum(mass), 1)


def _discrepancy(a: _Source, b: _Source, l2: Any) -> jax.Array:
  rows = (jnp.sum(a.valid) + jnp.sum(b.valid)) / 2
  kernel, intercept = logistic_regression(
    jnp.concatenate([a.x, b.x]),
    jnp.concatenate([a.y, 1 - b.y]),
    weight=rows * jnp.concatenate([_share(a), _share(b)]),
    l2=l2,
    steps=_NEWTON_STEPS,
  )
  error = lambda s: _mean((s.x @ kernel + intercept > 0) != s.y, s.valid)
  return jnp.abs(error(a) - error(b))


def _gap(values: jax.Array, s: _Source) -> jax.Array:
  """The difference between the groups' means of values [M]."""
  one, zero = (jnp.sum(_share(s, s.group == g) * values) for g in (1, 0))
  return jnp.abs(one - zero)


def _disparity(a: _Source, b: _Source, l2: Any, steps: int) -> jax.Array:
  """How much less fair on a than on b one is that predicts a's groups and is to be fair on b."""
  balance = (_share(a, a.group == 0) + _share(a, a.group == 1)) / 2
  start = logistic_regression(
    a.x, a.group, weight=jnp.sum(a.valid) * balance, l2=l2, steps=_NEWTON_STEPS
  )
  score = lambda params, s: s.x @ params[0] + params[1]

  def loss(params: tuple[jax.Array, jax.Array]) -> jax.Array:
    wrong = jax.nn.softplus(-(2 * a.group - 1) * score(params, a))
    return jnp.sum(balance * wrong) + _gap(jax.nn.sigmoid(score(params, b)), b)

  tx = optax.adam(_RATE)

  def step(_: Any, carry: tuple[Any, Any]) -> tuple[Any, Any]:
    params, state = carry
    updates, state = tx.update(jax.grad(loss)(params), state)
    return optax.apply_updates(params, updates), state

  params, _ = jax.lax.fori_loop(0, steps, step, (start, tx.init(start)))
  accepted = lambda s: (score(params, s) > 0).astype(float)
  return jnp.abs(_gap(accepted(a), a) - _gap(accepted(b), b))
