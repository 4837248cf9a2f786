"""Label noise where labels are hard to tell apart, by what a network thought while it learned."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from rfjax.core import Batch, Transform, _check, count, rank, read, stateless
from rfjax.noise._draws import relabel

_TOLERANCE = 1e-3
_HALF = {"float16": 5e-3, "bfloat16": 2e-2}  # rounding of the entries adds up over the classes


def check_probs(name: str, probs: ArrayLike) -> Any:
  """Refuses what is no table of probabilities [N, C], of a traced one by its shape; returns it."""
  table = _check.array(name, probs)
  if table.ndim != 2 or table.shape[1] < 2:
    raise ValueError(f"{name} must have shape [N, C] with C of at least 2, got {table.shape}")
  if not _check.traced(table):
    _check_rows(name, np.asarray(table, np.float64), _HALF.get(table.dtype.name, _TOLERANCE))
  return table


def _check_rows(name: str, rows: np.ndarray, tolerance: float) -> None:
  sums = rows.sum(-1)
  bad = ~np.isfinite(rows).all(-1) | (rows < 0).any(-1) | (np.abs(sums - 1) > tolerance)
  if bad.any():
    at = int(np.flatnonzero(bad)[0])
    raise ValueError(
      f"{name} must have rows of probabilities with sum 1, but row {at} is {rows[at].tolist()}"
      f" with sum {sums[at]:g}: pass Batch.probs, not logits"
    )


def read_probs(name: str, probs: Any, batch: Batch) -> tuple[jax.Array, jax.Array]:
  """The probabilities of the rows of a batch by their `index`, [B, C], and which have some, [B]."""
  rows, classes = probs.shape
  _check.classes(name, classes, batch)
  if not _check.traced(batch.index, batch.valid):
    index, valid = np.asarray(batch.index), np.asarray(batch.valid)
    last = int(index.max(where=valid, initial=-1))
    if last >= rows:
      raise ValueError(
        f"{name} has {rows} rows, but the data set has the index {last}: pass one row an index"
      )
  known = batch.valid & (batch.index < rows)
  return read(jnp.asarray(probs, float), batch.index), known


def by_hardness(rate: float | jax.Array, probs: ArrayLike) -> Transform:
  r"""Gives the rows that look most like another class its label.

  $$c_i = \arg\max_{k \ne y_i} p_{ik}, \qquad \tilde y_i = c_i \quad\text{for the }
  \lfloor \tau N \rfloor \text{ rows with the largest } p_{i c_i}$$

  where p_i is the mean, over the epochs of a training with the clean labels, of what a network says
  about row i. Equal ones go by `index`. It is deterministic, and a higher rate strikes the rows of
  a lower one and some more. The true labels are kept in `truth`, unless they are there already.

  Args:
    rate: tau in [0, 1]; may be traced.
    probs: p [N, C], a row for each `Batch.index`; may be traced. `fit` records it, as below.

  Returns:
    The transform, for `rfjax.transform`.

  Raises:
    ValueError: for a rate out of range, or rows that are no probabilities; when applied, for a data
      set with other classes, or with an index that has no row. Inside of compiled code such rows
      keep their labels.

  References:
    Chen, Ye, Chen, Zhao, Heng, Beyond Class-Conditional Assumption: A Primary Attempt to Combat
    Instance-Dependent Label Noise, AAAI 2021.

  Examples:
    >>> import jax, optax, rfjax
    >>> from rfjax import architectures, noise
    >>> clean = rfjax.Batch.from_arrays([[-9.0], [-1.0], [2.0], [9.0]], [0, 0, 1, 1])
    >>> net, key = architectures.logistic(), jax.random.key(0)
    >>> look = lambda state, view: rfjax.predict(net, state, clean).probs
    >>> _, log = rfjax.fit(net, rfjax.chain(), optax.sgd(0.1), clean, key=key, epochs=5,
    ...                    observe=look)
    >>> rfjax.transform(noise.by_hardness(0.25, log.observed.mean(0)), clean, key=key).y.tolist()
    [0, 1, 1, 1]
  """
  _check.number("rate", rate, 0.0, 1.0)
  table = check_probs("probs", probs)

  def apply(batch: Batch, **unused: Any) -> Batch:
    del unused
    given = jax.nn.one_hot(batch.y, batch.num_classes, dtype=bool)
    found, known = read_probs("probs", table, batch)
    others = jnp.where(given, -1.0, found)
    place = rank(jnp.where(known, -jnp.max(others, axis=-1), jnp.inf), batch.index)
    struck = known & (place < count(rate, batch.valid))
    return relabel(batch, struck, jnp.argmax(others, axis=-1))

  return stateless(apply, writes=("y",))
