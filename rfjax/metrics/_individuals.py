"""What measures of individual fairness read: features and probabilities, in the order of rows."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rfjax.core import Batch, _check
from rfjax.metrics._rows import read


class Individuals(NamedTuple):
  """Rows in ascending order of `index`, so that what is drawn or tied hangs on no batch's order.

  Attributes:
    x: features [N, d].
    probs: what is said of them, [N, C], 0 or 1 of a hard prediction.
    weight: [N], at least 0.
  """

  x: jax.Array
  probs: jax.Array
  weight: jax.Array


def features(x: Any) -> jax.Array:
  """Features [N, ...], finite where they are known, as floats [N, d]."""
  x = _check.array("x", x)
  if x.ndim < 2 or x.shape[0] == 0:
    raise ValueError(f"x must have a row and a column, got shape {x.shape}: pass x[:, None]")
  if not _check.traced(x) and not np.isfinite(np.asarray(x, np.float64)).all():
    raise ValueError("x must be finite, got NaN or infinity: impute or drop such rows")
  x = jnp.asarray(x)
  return x.astype(jnp.promote_types(x.dtype, jnp.float32)).reshape(len(x), -1)


def individuals(
  measure: str, x: Any, y_pred: Any, num_classes: int | None, weight: Any, soft: bool
) -> Individuals:
  """Reads arrays, or a filled batch as x."""
  if isinstance(x, Batch):
    rows = read(measure, x, y_pred, None, None, num_classes, weight, soft, overall=True)
    x, order = x.x, jnp.argsort(x.index)
  else:
    x, order = features(x), None
    unread = np.zeros(len(x), np.int32)
    rows = read(measure, unread, y_pred, None, None, num_classes, weight, soft, overall=True)
  if rows.num_classes is None:
    raise ValueError(
      f"{measure} needs num_classes, which a traced y_pred of integers does not tell"
    )
  probs = rows.probability(jnp.arange(rows.num_classes)[None])
  found = Individuals(features(x), probs, rows.weight)
  return found if order is None else jax.tree.map(lambda v: v[order], found)


def apart(p: jax.Array, q: jax.Array) -> jax.Array:
  """The total variation between probabilities [..., C], and the absolute difference of scores."""
  return jnp.sum(jnp.abs(p - q), axis=-1) / 2
