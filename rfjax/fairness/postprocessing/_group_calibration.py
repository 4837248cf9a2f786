"""Calibration by group: a temperature or a monotone curve for each of them."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rfjax.core import Batch, Transform, _check, ratio
from rfjax.fairness.postprocessing._scores import of_groups, weighted_membership, with_probs

_BY = "group_calibration"
_CURVES = ("temperature", "isotonic")
_COLDEST, _HOTTEST, _HALVINGS = 1e-2, 1e2, 50


class GroupCalibrationState(NamedTuple):
  """The state of `group_calibration`.

  Attributes:
    temperature: [G]; 1 with "isotonic".
    knots: [G, C, N], the probabilities between which the curve is linear, ascending; () with
      "temperature".
    values: [G, C, N], its values there; () with "temperature".
  """

  temperature: jax.Array
  knots: Any = ()
  values: Any = ()


def group_calibration(curve: str = "temperature") -> Transform:
  r"""Calibrates what the network says in each group by itself, so that a score means the same.

  $$\mathrm{logits}_i \leftarrow \frac{\mathrm{logits}_i}{T_{g_i}} \qquad\text{or}\qquad
  p_{ic} \leftarrow \frac{f_{g_i c}(p_{ic})}{\sum_k f_{g_i k}(p_{ik})}$$

  with the temperature of least cross-entropy on the rows of the group, or for each class the
  increasing function f of least squared error to "the label is c", by pooling adjacent violators,
  linear between rows and constant beyond them. The order of scores stays with a temperature, and
  so do decisions. A group without rows keeps its scores.

  Args:
    curve: "temperature" or "isotonic".

  Returns:
    The transform of a filled data set, fitted on another; it writes logits, and needs group at
    prediction.

  Raises:
    ValueError: for an unknown curve, or where the group is missing.

  References:
    Guo, Pleiss, Sun, Weinberger, On calibration of modern neural networks, ICML 2017.
    Zadrozny, Elkan, Transforming classifier scores into accurate multiclass probability estimates,
    KDD 2002.

  Examples:
    >>> import jax, jax.numpy as jnp, rfjax
    >>> from rfjax.fairness import postprocessing
    >>> data = rfjax.Batch.from_arrays([[0.0]] * 6, [1, 0, 1, 0, 1, 1], [0, 0, 0, 1, 1, 1])
    >>> score = jnp.array([0.2, 0.3, 0.4, 0.1, 0.5, 0.6])
    >>> said = data.fill(jnp.log(jnp.stack([1 - score, score], axis=1)))
    >>> method = postprocessing.group_calibration("isotonic")
    >>> fair = rfjax.transform(method, said, key=jax.random.key(0))
    >>> [round(p, 3) for p in fair.probs[:, 1].tolist()]
    [0.5, 0.5, 1.0, 0.0, 1.0, 1.0]
  """
  _check.choice("curve", curve, _CURVES)

  def init(data: Batch, **unused: Any) -> GroupCalibrationState:
    del unused
    data.require("logits", "group", by=_BY)
    weight = weighted_membership(data).T
    if curve == "temperature":
      return GroupCalibrationState(_temperature(data, weight))
    hit = jax.nn.one_hot(data.y, data.num_classes, axis=0, dtype=weight.dtype)
    curves = jax.vmap(jax.vmap(_isotonic, (0, 0, None)), (None, None, 0))
    probs = jax.nn.softmax(data.logits).T
    return GroupCalibrationState(jnp.ones(len(weight), probs.dtype), *curves(probs, hit, weight))

  def update(
    batch: Batch, state: GroupCalibrationState, params: Any = None, **unused: Any
  ) -> tuple[Batch, GroupCalibrationState]:
    del params, unused
    logits = batch.require("logits", "group", by=_BY).logits
    probs = jax.nn.softmax(logits)
    if curve == "temperature":
      each = jax.nn.softmax(logits[:, None] / state.temperature[:, None])
    else:
      read = jax.vmap(jax.vmap(jnp.interp), (None, 0, 0))
      found = jnp.moveaxis(read(probs.T, state.knots, state.values), -1, 0)
      found = jnp.maximum(found, jnp.finfo(found.dtype).eps)  # none is certain never to occur
      each = found / jnp.sum(found, axis=2, keepdims=True)
    return with_probs(batch, of_groups(batch, each, probs, rows=True)), state

  return Transform(init, update, writes=("logits",))


def _temperature(data: Batch, weight: jax.Array) -> jax.Array:
  """The temperature [G] of least cross-entropy, which is convex in its inverse, by bisection."""
  logits = jax.nn.log_softmax(data.logits)
  given = jnp.take_along_axis(logits, data.y[:, None], axis=1)

  def halve(_: Any, interval: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
    low, high = interval
    middle = (low + high) / 2
    p = jax.nn.softmax(jnp.exp(middle)[:, None, None] * logits)
    slope = jnp.einsum("gn,gnc,nc->g", weight, p, logits - given, precision="highest")
    return jnp.where(slope > 0, low, middle), jnp.where(slope > 0, middle, high)

  ends = (jnp.full(len(weight), jnp.log(1 / t), logits.dtype) for t in (_HOTTEST, _COLDEST))
  low, high = jax.lax.fori_loop(0, _HALVINGS, halve, tuple(ends))
  return jnp.where(jnp.sum(weight, axis=1) > 0, jnp.exp(-(low + high) / 2), 1)


def _isotonic(x: jax.Array, y: jax.Array, weight: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Knots and values of the isotonic regression of y on x, [N]; the identity without weight."""
  rows = len(x)
  key = jnp.where(weight > 0, x, jnp.inf)
  order = jnp.argsort(key)
  key, y, weight = key[order], y[order], weight[order]
  # Rows of equal x are one row; what is left at the end has no weight.
  run = jnp.cumsum(jnp.append(False, key[1:] != key[:-1]))
  size, hits = (jax.ops.segment_sum(v, run, rows) for v in (weight, weight * y))
  knots = jnp.full(rows, jnp.inf, x.dtype).at[run].set(key)
  knots = jnp.where(size > 0, knots, jnp.max(knots, where=size > 0, initial=0))
  values = _pool(ratio(hits, size).astype(x.dtype), size.astype(x.dtype))
  known = jnp.any(weight > 0)
  line = jnp.linspace(0, 1, rows, dtype=x.dtype)
  return jnp.where(known, knots, line), jnp.where(known, values, line)


def _pool(values: jax.Array, weight: jax.Array) -> jax.Array:
  """Pools adjacent violators: the closest values [n] that ascend, in 2n steps of one operation.

  A stack holds the blocks so far. A step either merges its last two, where they descend or one of
  them has no weight, or pushes the next value.
  """
  rows = len(values)

  def step(_: Any, state: tuple) -> tuple:
    mean, size, start, depth, following = state
    under, top = jnp.maximum(depth - 2, 0), jnp.maximum(depth - 1, 0)
    empty = (size[under] == 0) | (size[top] == 0)
    merges = (depth > 1) & (empty | (mean[under] >= mean[top]))
    pushes = ~merges & (following < rows)
    both = size[under] + size[top]
    joint = ratio(size[under] * mean[under] + size[top] * mean[top], both)
    at = jnp.where(merges, under, jnp.where(pushes, depth, rows))  # row number n is no row
    new = jnp.minimum(following, rows - 1)
    put = lambda stack, merged, pushed: stack.at[at].set(
      jnp.where(merges, merged, pushed), mode="drop"
    )
    return (
      put(mean, joint, values[new]),
      put(size, both, weight[new]),
      put(start, start[under], following),
      depth - merges + pushes,
      following + pushes,
    )

  zeros, zero = jnp.zeros_like(values), jnp.zeros((), jnp.int32)
  stack = (zeros, zeros, jnp.zeros(rows, jnp.int32), zero, zero)
  mean, _, start, depth, _ = jax.lax.fori_loop(0, 2 * rows, step, stack)
  starts = jnp.where(jnp.arange(rows) < depth, start, rows)
  block = jnp.cumsum(jnp.zeros(rows, jnp.int32).at[starts].set(1, mode="drop")) - 1
  return mean[block]
