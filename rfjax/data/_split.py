"""Splitting a data set at random, with statistics from its training part."""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

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
    batch: its rows, x as they are in the file; `index` is their position.
    names: the names of the columns of x; empty for images.
    numeric: the columns of x that are to be standardised.
    test_rows: how many of the last rows are the publisher's test set.
    validation_rows: how many of the rows before them are the publisher's validation set.
    classes: the names of the classes, by code; empty where they have none.
    groups: the names of the groups, by code; empty where they have none.
  """

  batch: Batch
  names: tuple[str, ...] = ()
  numeric: tuple[int, ...] = ()
  test_rows: int = 0
  validation_rows: int = 0
  classes: tuple[str, ...] = ()
  groups: tuple[str, ...] = ()


def split(
  data: Table | Batch,
  *,
  key: jax.Array | None = None,
  fractions: Sequence[float] | None = None,
  numeric: Sequence[int] | np.ndarray = (),
) -> Split:
  r"""Splits a data set and standardises its numeric columns.

  $$x_{ij} \leftarrow \frac{x_{ij} - m_j}{s_j}$$

  with the mean m and standard deviation s of the training part; a column that is constant there is
  only centred. A table that brings a test set keeps it, and only its other rows are split. The
  sizes are fixed by the fractions, so that it compiles and vectorises over keys.

  Args:
    data: a data set, or a table, whose own numeric columns are used where none are named.
    key: a key from `jax.random.key`, by which rows are drawn; may be traced. Where the table brings
      a test set it may be None: then the last rows before that set are the validation part, and the
      training part begins with the file's first row.
    fractions: of train, validation and test, in [0, 1], with sum 1; train must get a row. Of train
      and validation alone where the table brings a test set. 70, 10 and 20 %, or 90 and 10 %, when
      None. Sizes are rounded, so that of fewer than ten rows the validation part may be empty.
    numeric: the columns of x to standardise.

  Returns:
    The parts, disjoint and together all rows, each with addresses from 0.

  Raises:
    ValueError: for fractions or columns out of range, and where rows must be drawn without a key.

  Examples:
    >>> import jax
    >>> from rfjax import data
    >>> parts = data.split(data.zafar(jax.random.key(0), 50), key=jax.random.key(1))
    >>> [part.num_rows for part in parts]
    [35, 5, 10]
  """
  given, numeric = (0, 0), _listed("numeric", numeric, "column numbers")
  if isinstance(data, Table):
    given = (data.validation_rows, data.test_rows)
    data, numeric = data.batch, numeric or data.numeric
  if key is None and not any(given):
    raise ValueError("key is None, but rows are drawn at random: pass key=jax.random.key(seed)")
  own = data.num_rows - sum(given)
  bounds = _bounds(fractions, own, given)
  numeric = _columns(numeric, data.x.shape) if numeric else ()
  return Split(*_parts(data, key, own, bounds, numeric))


# One program, since compiling it operation by operation would take longer than reading the files.
@functools.partial(jax.jit, static_argnums=(2, 3, 4))
def _parts(
  data: Batch, key: jax.Array | None, own: int, bounds: tuple[int, int], numeric: tuple[int, ...]
) -> list[Batch]:
  rows = jnp.arange(own) if key is None else jax.random.permutation(key, own)
  parts = jnp.split(jnp.append(rows, jnp.arange(own, data.num_rows)), bounds)
  if numeric:
    data = _standardised(data, data.subset(parts[0]), jnp.array(numeric))
  return [data.subset(part) for part in parts]


def _bounds(
  fractions: Sequence[float] | None, rows: int, given: tuple[int, int]
) -> tuple[int, int]:
  """The first validation row and the first test row, of `rows` to split and the parts given."""
  validation, test = given
  drawn = ["train"] + ["validation"] * (not validation) + ["test"] * (not test and not validation)
  defaults = {3: (0.7, 0.1, 0.2), 2: (0.9, 0.1), 1: (1.0,)}
  if fractions is None:
    fractions = defaults[len(drawn)]
  fractions = _listed("fractions", fractions, "a fraction a part")
  _check.numbers("fractions", fractions, 0.0, 1.0)
  if len(fractions) != len(drawn) or abs(sum(fractions) - 1) > 1e-6:
    raise ValueError(f"fractions must be of {', '.join(drawn)} with sum 1, got {tuple(fractions)}")
  ends = [round(sum(fractions[: i + 1]) * rows) for i in range(len(drawn))]
  if ends[0] == 0:
    raise ValueError(
      f"fractions {tuple(fractions)} leave no training row of {rows}: raise the first"
    )
  return ends[0], rows + validation if len(drawn) == 1 else ends[1]


def _listed(name: str, values: Any, what: str) -> tuple[Any, ...]:
  """Several values as a tuple, or ValueError for a single one."""
  if isinstance(values, str) or np.ndim(values) != 1:
    raise ValueError(f"{name} must list {what}, got {values!r}")
  return tuple(values)


def _columns(numeric: Sequence[int], shape: tuple[int, ...]) -> tuple[int, ...]:
  if len(shape) != 2:
    raise ValueError(f"numeric names columns of x, which has shape {shape}: pass x of two axes")
  bad = [c for c in numeric if not 0 <= _check.count("numeric", c, 0) < shape[1]]
  if bad:
    raise ValueError(f"numeric must lie in [0, {shape[1]}), got {bad[0]}")
  return tuple(map(int, numeric))


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
