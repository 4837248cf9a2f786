"""Reject option: where the classifier is least certain, the group decides."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rfjax.core import Batch, Transform, _check, ratio
from rfjax.fairness.postprocessing._decide import binary, decide
from rfjax.fairness.postprocessing._scores import of_groups, privileged_side, weighted_membership

_BY = "reject_option"
_STATISTICS = ("selection_rate", "true_positive_rate", "false_positive_rate")
_INFEASIBLE = ("closest", "lowest")


class RejectOptionState(NamedTuple):
  """The state of `reject_option`.

  Attributes:
    threshold: t, [].
    margin: m, half the width of the band, [].
    difference: what is left between the sides on the data that it was fitted on, [].
    accuracy: its balanced accuracy there, [].
    feasible: bool [], whether the difference is within its bounds.
  """

  threshold: jax.Array
  margin: jax.Array
  difference: jax.Array
  accuracy: jax.Array
  feasible: jax.Array


def reject_option(
  privileged: int | Sequence[int],
  statistics: str | Sequence[str] = "selection_rate",
  *,
  lower: float | jax.Array = -0.05,
  upper: float | jax.Array = 0.05,
  lowest: float | jax.Array = 0.01,
  highest: float | jax.Array = 0.99,
  thresholds: int = 100,
  margins: int = 50,
  infeasible: str = "closest",
) -> Transform:
  r"""Reject option classification: scores in a band around the threshold go by group.

  $$\hat y = \begin{cases} [s > t - m] & \text{in the groups that are not privileged} \\
  [s > t + m] & \text{in the privileged ones} \end{cases}$$

  which accepts all of the one side and nobody of the other in the band $(t - m, t + m]$. Of all
  thresholds t on a grid, and margins m from 0 to min(t, 1 - t), those count whose difference

  $$\mathrm{mean}_s \bigl(r^s_{\text{others}} - r^s_{\text{privileged}}\bigr) \in
  [\mathrm{lower}, \mathrm{upper}],$$

  and the first one of highest balanced accuracy is taken. Where the group is missing, t decides.

  Args:
    privileged: one or more groups; static.
    statistics: "selection_rate" for demographic parity, "true_positive_rate" for equal opportunity,
      both "true_positive_rate" and "false_positive_rate" for the average odds difference; static.
    lower: the least difference; may be traced.
    upper: the greatest difference; may be traced.
    lowest: the lowest threshold, in [0, 1]; may be traced.
    highest: the highest threshold, in [0, 1]; may be traced.
    thresholds: how many there are, at least 1.
    margins: how many of each threshold, at least 1.
    infeasible: where no candidate is within the bounds, "closest" takes one that is closest to
      them, and of those the most accurate; "lowest" that of the lowest difference, with its sign,
      which is what AIF360 does.

  Returns:
    The transform of a filled data set, fitted on another; it writes logits, the log-odds of the
    decision, and needs group at prediction.

  Raises:
    ValueError: for values out of range, more than two classes, or where the group is missing.

  References:
    Kamiran, Karim, Zhang, Decision theory for discrimination-aware classification, ICDM 2012.

  Examples:
    >>> import jax, jax.numpy as jnp, rfjax
    >>> from rfjax.fairness import postprocessing
    >>> data = rfjax.Batch.from_arrays([[0.0]] * 6, [0, 1, 1, 0, 0, 1], [0, 0, 0, 1, 1, 1])
    >>> score = jnp.array([0.1, 0.45, 0.7, 0.3, 0.55, 0.9])
    >>> said = data.fill(jnp.log(jnp.stack([1 - score, score], axis=1)))
    >>> fair = rfjax.transform(
    ...     postprocessing.reject_option(1, "true_positive_rate"), said, key=jax.random.key(0))
    >>> fair.logits.argmax(1).tolist()
    [0, 1, 1, 0, 0, 1]
  """
  for group in (privileged,) if isinstance(privileged, int) else privileged:
    _check.count("privileged", group, 0)
  names = (statistics,) if isinstance(statistics, str) else tuple(statistics)
  for name in names:
    _check.choice("statistics", name, _STATISTICS)
  for name, bound in (("lower", lower), ("upper", upper)):
    _check.number(name, bound, -1.0, 1.0)
  if not _check.traced(lower, upper) and lower > upper:
    raise ValueError(f"lower must be at most upper, got {lower} and {upper}: exchange them")
  for name, bound in (("lowest", lowest), ("highest", highest)):
    _check.number(name, bound, 0.0, 1.0)
  _check.count("thresholds", thresholds)
  _check.count("margins", margins)
  _check.choice("infeasible", infeasible, _INFEASIBLE)

  def init(data: Batch, **unused: Any) -> RejectOptionState:
    del unused
    side = privileged_side(privileged, binary(data, _BY))
    t = jnp.linspace(lowest, highest, thresholds)[:, None]
    t, m = jnp.broadcast_arrays(t, jnp.minimum(t, 1 - t) * jnp.linspace(0.0, 1.0, margins))
    t, m = t.reshape(-1), m.reshape(-1)
    hits, size = _accepted(data, side, jnp.stack([t - m, t + m]))
    apart = jnp.mean(jnp.stack([_difference(name, hits, size) for name in names]), axis=0)
    false, true = ratio(jnp.sum(hits, axis=0), jnp.sum(size, axis=0))
    accuracy = (true + 1 - false) / 2
    beyond = jnp.maximum(jnp.maximum(lower - apart, apart - upper), 0)
    slack = 10 * jnp.finfo(apart.dtype).eps  # rounding must not choose among equals
    feasible = jnp.min(beyond) <= slack
    near = beyond <= jnp.min(beyond) + slack
    value = jnp.where(near, accuracy, -jnp.inf)
    if infeasible == "lowest":
      value = jnp.where(feasible, value, -apart)
    best = jnp.argmax(value >= jnp.max(value) - slack)
    return RejectOptionState(t[best], m[best], apart[best], accuracy[best], feasible)

  def update(
    batch: Batch, state: RejectOptionState, params: Any = None, *, key: jax.Array, **unused: Any
  ) -> tuple[Batch, RejectOptionState]:
    del params, unused
    score = jax.nn.softmax(binary(batch, _BY).logits)[:, 1]
    sign = jnp.where(privileged_side(privileged, batch), 1, -1)
    by_group = score[:, None] > state.threshold + sign * state.margin
    said = of_groups(batch, by_group.astype(score.dtype), score > state.threshold, rows=True)
    return decide(batch, said, False, key), state

  return Transform(init, update, writes=("logits",))


def _difference(name: str, hits: jax.Array, size: jax.Array) -> jax.Array:
  """The difference of a rate between the sides, [K]; 0 where a side has no rows of it."""
  labels = {"selection_rate": [0, 1], "true_positive_rate": [1], "false_positive_rate": [0]}[name]
  hits, size = (jnp.sum(counts[:, jnp.array(labels)], axis=1) for counts in (hits, size))
  rate = ratio(hits, size)
  return jnp.where(jnp.all(size > 0), rate[0] - rate[1], 0)


def _accepted(data: Batch, side: np.ndarray, above: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Weight above thresholds [2, K] of the two sides by label, [2, 2, K], and in all, [2, 2, 1]."""
  weight = weighted_membership(data)
  sides = jnp.stack([jnp.sum(weight, axis=1, where=~side), jnp.sum(weight, axis=1, where=side)])
  cells = sides[:, None] * jnp.stack([data.y == 0, data.y == 1])  # [side, label, N]
  score = jax.nn.softmax(data.logits)[:, 1]
  order = jnp.argsort(score)
  below = jnp.pad(jnp.cumsum(cells[..., order], axis=-1), ((0, 0), (0, 0), (1, 0)))
  at = jax.vmap(lambda x: jnp.searchsorted(score[order], x, side="right"))(above)
  hits = below[..., -1:] - jnp.take_along_axis(below, at[:, None], axis=-1)
  return hits, below[..., -1:]
