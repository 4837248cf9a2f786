"""Optimized pre-processing: rows change at random, as little as a linear program says."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from rfjax.core import Batch, Transform, _check, group_sum, ratio, uniform
from rfjax.fairness.preprocessing import _elements
from rfjax.fairness.preprocessing._least_change import least_change

_NAME = "optimized_preprocessing"
_mixed = functools.partial(jnp.einsum, precision="highest")
Distortion = Callable[[jax.Array, jax.Array, jax.Array, jax.Array], jax.Array]


class OptimizedPreprocessingState(NamedTuple):
  """The state of `optimized_preprocessing`, over K = A C pairs a C + y of a cell and a label.

  Attributes:
    change: [G, K, K], how likely each pair becomes each other one, by group.
    label_share: [G, A, C], how often the rows of a group and cell have each label.
    distance: [], the total variation between the pairs before and after.
    excess: [], by how much the worst constraint is missed; large where they cannot be met.
  """

  change: jax.Array
  label_share: jax.Array
  distance: jax.Array
  excess: jax.Array


State = OptimizedPreprocessingState


def optimized_preprocessing(
  domain: ArrayLike,
  *,
  thresholds: Sequence[float],
  limits: ArrayLike,
  epsilon: float | jax.Array = 0.05,
  distortion: Distortion | None = None,
  labels: bool = True,
  steps: int = 10_000,
) -> Transform:
  r"""Calmon's optimized pre-processing: the least random change that makes base rates alike.

  A row with cell x and label y of group g becomes $(\hat x, \hat y)$ with the probabilities that
  solve the linear program

  $$\min_p\; \tfrac12 \sum_{\hat x \hat y} |p(\hat x, \hat y) - p_{XY}(\hat x, \hat y)|
  \quad\text{with}\quad |p(\hat y \mid g) - p(\hat y \mid h)| \le \epsilon, \quad
  P(\delta \ge c_k \mid x, y) \le d_k$$

  for all groups g, h, labels, thresholds c_k and pairs (x, y), where delta is the distortion
  between the old and the new pair. It is solved by the primal-dual hybrid gradient method with
  restarts: probabilities are exact ones, and `init(data).excess` says by how much the rest is
  missed. The paper also has the ratio of rates in the place of their difference, as here and in
  AIF360.

  A row belongs to the nearest cell, and keeps its features where the cell stays. Draws are by
  `index`. Counts are of weights, and by soft membership; where the group is missing a row stays.

  Args:
    domain: the cells, rows of features [A, d], such as those that occur.
    thresholds: c_k, at least one; a distortion counts from there on.
    limits: d_k in [0, 1], as many; may be traced.
    epsilon: in [0, 1]; may be traced.
    distortion: `distortion(x, y, new_x, new_y) -> []` of features [d] and labels; how many of the
      features and the label differ when None.
    labels: whether to read the label and change it too. False is for data to predict on: it draws
      new features by how often their group and cell have each label in the fit, and keeps y.
    steps: steps of the solver, at least 1; rounded up to whole rounds of at most 500.

  Returns:
    The transform of a data set, which `fitted_on=` may fit on another; it writes x and y, or x, and
    needs group at prediction too.

  Raises:
    ValueError: for values out of range, or of unequal number; when applied, where the group is
      missing, or for features of another number.

  References:
    Calmon, Wei, Vinzamuri, Ramamurthy, Varshney, Optimized pre-processing for discrimination
    prevention, NIPS 2017.
    Chambolle, Pock, A first-order primal-dual algorithm for convex problems with applications to
    imaging, Journal of Mathematical Imaging and Vision, 2011.

  Examples:
    >>> import jax, rfjax
    >>> from rfjax.fairness import preprocessing
    >>> data = rfjax.Batch.from_arrays([[0.0]] * 4, [0, 0, 1, 1], [0, 0, 0, 1])
    >>> method = preprocessing.optimized_preprocessing(
    ...   [[0.0]], thresholds=[1.0], limits=[0.5], epsilon=0.2, steps=500)
    >>> round(float(method.init(data).excess), 3)
    0.0
  """
  cells = _check.numbers("domain", domain)
  if cells.ndim != 2 or not cells.size:
    raise ValueError(f"domain must have shape [A, d], got {cells.shape}: pass one row a cell")
  marks = _check.numbers("thresholds", tuple(thresholds))
  bounds = _check.numbers("limits", limits, 0.0, 1.0)
  if marks.ndim != 1 or not marks.size or bounds.shape != marks.shape:
    raise ValueError(f"limits must be as many as thresholds, got {bounds.shape} and {marks.shape}")
  _check.number("epsilon", epsilon, 0.0, 1.0)
  steps = _check.count("steps", steps)

  def cell(batch: Batch) -> jax.Array:
    x = _elements.features(batch)
    if x.shape[1] != cells.shape[1]:
      raise ValueError(f"domain has {cells.shape[1]} columns, but x has {x.shape[1]} features")
    return jnp.argmin(jnp.sum((x[:, None, :] - jnp.asarray(cells, x.dtype)) ** 2, axis=2), axis=1)

  def init(data: Batch, **unused: Any) -> State:
    del unused
    data, classes = data.require("group", by=_NAME).with_columns("weight"), data.num_classes
    pairs = jax.nn.one_hot(cell(data) * classes + data.y, len(cells) * classes)
    count = group_sum(pairs * data.weight[:, None], data.membership)
    joint = ratio(count, jnp.sum(count))
    far = _distortions(jnp.asarray(cells, joint.dtype), classes, distortion or _differences)
    far = far >= jnp.asarray(marks, joint.dtype)[:, None, None]
    change, distance, excess = least_change(joint, far, classes, epsilon, bounds, steps)
    share = joint.reshape(joint.shape[0], -1, classes)
    share = ratio(share, jnp.sum(share, axis=2, keepdims=True))
    return OptimizedPreprocessingState(change, share, distance, excess)

  def update(
    batch: Batch,
    state: OptimizedPreprocessingState,
    params: Any = None,
    *,
    key: jax.Array,
    **_: Any,
  ) -> tuple[Batch, OptimizedPreprocessingState]:
    del params
    membership, classes = batch.require("group", by=_NAME).membership, batch.num_classes
    before = cell(batch)
    known = jnp.sum(membership, axis=1) > 0
    if labels:
      chances = _mixed("bg,gbk->bk", membership, state.change[:, before * classes + batch.y])
      after, y = jnp.divmod(_draw(chances, key, batch), classes)
    else:
      groups, number = state.change.shape[0], len(cells)
      whole = state.change.reshape(groups, number, classes, number, classes)
      blind = _mixed("gay,gaybz->gab", state.label_share, whole)
      chances = _mixed("bg,gba->ba", membership, blind[:, before])
      known &= jnp.sum(chances, axis=1) > 0
      after, y = _draw(chances, key, batch), batch.y
    moved = (known & (after != before)).reshape(-1, *(1,) * (batch.x.ndim - 1))
    x = jnp.asarray(cells, batch.x.dtype)[after].reshape(batch.x.shape)
    changes = {"x": jnp.where(moved, x, batch.x)}
    if labels:
      changes["y"] = jnp.where(known, y, batch.y).astype(batch.y.dtype)
    return batch.replace(**changes), state

  return Transform(init, update, writes=("x", "y") if labels else ("x",))


def _differences(x: jax.Array, y: jax.Array, new_x: jax.Array, new_y: jax.Array) -> jax.Array:
  return jnp.sum(x != new_x) + (y != new_y)


def _distortions(cells: jax.Array, classes: int, distortion: Distortion) -> jax.Array:
  """The distortion from each pair to each other, [K, K]."""
  x, y = jnp.repeat(cells, classes, axis=0), jnp.tile(jnp.arange(classes), len(cells))
  to = lambda x, y: jax.vmap(lambda new_x, new_y: distortion(x, y, new_x, new_y))
  return jax.vmap(lambda one, label: to(one, label)(x, y))(x, y)


def _draw(chances: jax.Array, key: jax.Array, batch: Batch) -> jax.Array:
  """One of the columns for each row, by its lot."""
  upper = jnp.cumsum(chances, axis=1)
  lot = uniform(key, batch)[:, None] * upper[:, -1:]
  return jnp.minimum(jnp.sum(lot >= upper, axis=1), chances.shape[1] - 1)
