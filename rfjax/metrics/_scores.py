"""What measures of whole laws of scores share: the rows, the groups compared, kernels."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np

from rfjax.core import Batch, _check, ratio
from rfjax.metrics._cells import warn_empty
from rfjax.metrics._gap import Aggregate, Method
from rfjax.metrics._rows import read

Kernel = Literal["gaussian", "laplacian"]
_BLOCK = 1024  # rows of a kernel matrix that are in memory at once


class Scores(NamedTuple):
  """Scores and who has them.

  Attributes:
    values: [N, K], finite; 0 of rows that count nowhere.
    member: [N, G], membership times weight; 0 of rows that count nowhere.
  """

  values: jax.Array
  member: jax.Array


def scores(values: jax.Array, member: jax.Array, y: jax.Array, label: int | None) -> Scores:
  """Takes the rows that have a group, and the label where one is asked for."""
  if label is not None:
    member = member * (y == label)[:, None]
  values = jnp.where(jnp.any(member != 0, axis=1, keepdims=True), values, 0)
  return Scores(values, member.astype(values.dtype))


def read_scores(
  measure: str,
  y_true: Any,
  y_pred: Any,
  group: Any,
  num_groups: int | None,
  num_classes: int | None,
  weight: Any,
  label: int | None,
) -> Scores:
  """Reads the arguments of a measure: of two classes the probability of 1, else of each one."""
  soft = isinstance(y_true, Batch)
  rows = read(measure, y_true, y_pred, group, num_groups, num_classes, weight, soft)
  _, values = rows.one_vs_rest()
  check_label(label, rows.num_classes)
  found = scores(values, rows.mass, rows.y, label)
  over = "row" if label is None else f"row of class {label}"
  warn_empty(rows, over, jnp.sum(found.member, axis=0)[:, None])
  return found


def check_label(label: int | None, num_classes: int | None = None) -> None:
  """Refuses what is no class; None stands for rows of all of them."""
  if label is None:
    return
  _check.count("label", label, 0)
  if num_classes is not None and label >= num_classes:
    raise ValueError(f"label must lie in [0, {num_classes}), got {label}")


def check_kernel(kernel: str, width: Any) -> None:
  """Refuses an unknown kernel, and a width that is not above 0."""
  _check.choice("kernel", kernel, get_args(Kernel))
  _check.number("width", width, 0.0, open_low=True, open_high=True)


def check_compared(method: str, agg: str) -> None:
  """Refuses unknown comparisons."""
  _check.choice("method", method, get_args(Method))
  _check.choice("agg", agg, get_args(Aggregate))


def contrasts(member: jax.Array, method: Method) -> tuple[jax.Array, jax.Array]:
  """Differences of two laws, as signed measures on the rows.

  Returns:
    The differences [N, P], of each pair of groups or of each group and all rows, and which of them
    are of two laws that exist, bool [P].
  """
  law = ratio(member, jnp.sum(member, axis=0))
  groups = member.shape[1]
  if method == "between_groups":
    first, second = np.triu_indices(groups, 1)
  else:
    first, second = np.arange(groups), np.full(groups, groups)
    every = jnp.sum(member, axis=1, keepdims=True)
    law = jnp.concatenate([law, ratio(every, jnp.sum(every))], axis=1)
  exists = jnp.any(law > 0, axis=0)
  return law[:, first] - law[:, second], exists[first] & exists[second]


def aggregate(distances: jax.Array, valid: jax.Array, agg: Aggregate) -> jax.Array:
  """The largest, or the mean, of distances [P, K], at least 0, of which some exist, bool [P]."""
  counts = jnp.broadcast_to(valid[:, None], distances.shape)
  if agg == "worst_case":
    return jnp.max(distances, where=counts, initial=0)
  total = jnp.sum(distances, where=counts)
  return ratio(total, jnp.sum(counts).astype(total.dtype))


def energy(values: jax.Array, signed: jax.Array, kernel: Kernel, width: Any) -> jax.Array:
  r"""$\sum_{ij} c_{ip}\, k(s_i, s_j)\, c_{jp}$ of signed measures c [N, P], as [P]."""
  of = _KERNELS[kernel]

  def smooth(value: jax.Array) -> jax.Array:
    squared = jnp.sum(((value - values) / width) ** 2, axis=1)
    return jnp.matmul(of(squared), signed, precision="highest")

  if len(values) <= _BLOCK:
    smoothed = jax.vmap(smooth)(values)
  else:
    smoothed = jax.lax.map(smooth, values, batch_size=_BLOCK)
  return jnp.sum(signed * smoothed, axis=0)


def _laplacian(squared: jax.Array) -> jax.Array:
  apart = squared > 0
  return jnp.exp(-jnp.where(apart, jnp.sqrt(jnp.where(apart, squared, 1)), 0))


_KERNELS: dict[str, Callable[[jax.Array], jax.Array]] = {
  "gaussian": lambda squared: jnp.exp(-squared),
  "laplacian": _laplacian,
}
