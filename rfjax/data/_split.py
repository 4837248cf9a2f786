"""Splitting a data set at random, with statistics from its training part."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rfjax.core import Batch, _check


class Split(NamedTuple):
  """The parts of a data set.

  Attributes:
    train: what is learned from.
    validation: what picks everything that is picked.
    test: what is read once, after the last step.
  """

  train: Batch
  validation: Batch
  test: Batch


class Table(NamedTuple):
  """A data set with named columns.

  Attributes:
    batch: its rows, x as they are in the file.
    names: the names of the columns of x.
    numeric: the columns of x that are to be standardised.
  """

  batch: Batch
  names: tuple[str, ...]
  numeric: tuple[int, ...]


def split(
  data: Table | Batch,
  *,
  key: jax.Array,
  fractions: Sequence[float] = (0.7, 0.1, 0.2),
  numeric: Sequence[int] = (),
) -> Split:
  r"""Splits a data set at random and standardises its numeric columns.

  $$x_{ij} \leftarrow \frac{x_{ij} - m_j}{s_j}$$

  with the mean m and standard deviation s of the training part; a column that is constant there is
  only centred. The sizes are fixed by the fractions, so that it compiles and vectorises over keys.

  Args:
    data: a data set, or a table, whose own numeric columns are used where none are named.
    key: a key from `jax.random.key`; may be traced.
    fractions: of train, validation and test, in [0, 1], with sum 1; train must get a row.
    numeric: the columns of x to standardise.

  Returns:
    The parts, disjoint and together all rows, each with addresses from 0.

  Raises:
    ValueError: for fractions or columns out of range.

  Examples:
    >>> import jax
    >>> from rfjax import data
    >>> parts = data.split(data.zafar(jax.random.key(0), 50), key=jax.random.key(1))
    >>> [part.num_rows for part in parts]
    [35, 5, 10]
  """
  if isinstance(data, Table):
    data, numeric = data.batch, numeric or data.numeric
  first, second = _bounds(fractions, data.num_rows)
  rows = jax.random.permutation(key, data.num_rows)
  train = data.subset(rows[:first])
  if numeric:
    data = _standardised(data, train, _columns(numeric, data.x.shape))
  return Split(*(data.subset(part) for part in jnp.split(rows, (first, second))))


def _bounds(fractions: Sequence[float], rows: int) -> tuple[int, int]:
  _check.number("fractions", fractions, 0.0, 1.0)
  if len(fractions) != 3 or abs(sum(fractions) - 1) > 1e-6:
    raise ValueError(f"fractions must be three numbers with sum 1, got {tuple(fractions)}")
  first, second = round(fractions[0] * rows), round((fractions[0] + fractions[1]) * rows)
  if first == 0:
    raise ValueError(
      f"fractions {tuple(fractions)} leave no training row of {rows}: raise the first"
    )
  return first, second


def _columns(numeric: Sequence[int], shape: tuple[int, ...]) -> jax.Array:
  if len(shape) != 2:
    raise ValueError(f"numeric names columns of x, which has shape {shape}: pass x of two axes")
  bad = [c for c in numeric if not 0 <= _check.count("numeric", c, 0) < shape[1]]
  if bad:
    raise ValueError(f"numeric must lie in [0, {shape[1]}), got {bad[0]}")
  return jnp.array(numeric)


def _standardised(data: Batch, train: Batch, columns: jax.Array) -> Batch:
  values = train.x[:, columns].astype(float)
  real = train.valid[:, None]
  mean = train.mean(values)
  deviation = jnp.sqrt(train.mean((values - mean[None]) ** 2))
  # Rounding of the mean leaves a constant column a deviation that is tiny, but not 0.
  low = jnp.min(values, axis=0, where=real, initial=jnp.inf)
  high = jnp.max(values, axis=0, where=real, initial=-jnp.inf)
  scale = jnp.where(high > low, deviation, 1)

  def apply(batch: Batch) -> Batch:
    new = (batch.x[:, columns] - mean[None]) / scale[None]
    x = batch.x.astype(new.dtype).at[:, columns].set(new)
    return batch.replace(x=x, trusted=batch.trusted and apply(batch.trusted))

  return apply(data)
