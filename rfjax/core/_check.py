"""Checks at the door: on the host, once, before anything compiles."""

import math
import operator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

SEED_LIMIT = 2**32
_ROW_SUM = 1e-4  # how far from 1 the rows of a transition matrix may add up
_SINGULAR = 1e-6  # the least singular value that float32 can be trusted with
_REAL = (jnp.floating, jnp.integer, jnp.bool_)


def _rows(bad: np.ndarray) -> str:
  shown = ", ".join(str(i) for i in np.flatnonzero(bad)[:3])
  return f"{int(bad.sum())} of {bad.size} rows, the first at {shown}"


def _integers(name: str, values: Any, remedy: str) -> np.ndarray:
  values = np.asarray(values)
  if values.dtype.kind == "b":
    values = values.astype(np.int32)
  if values.dtype.kind not in "iu":
    raise ValueError(f"{name} must hold integers, got dtype {values.dtype}: {remedy}")
  return values


def labels(name: str, values: Any, count: int | None, smallest: int) -> tuple[np.ndarray, int]:
  """Checks integer codes [N] against [0, count); infers count as max + 1 when it is None."""
  codes = f"remap {name} to 0, 1, ..., for instance with numpy.unique(..., return_inverse=True)"
  values = _integers(name, values, codes)
  if values.ndim != 1:
    raise ValueError(f"{name} must have one axis, got shape {values.shape}: pass {name}.ravel()")
  if values.size == 0:
    raise ValueError(f"{name} is empty: pass at least one row")
  if count is None:
    count = max(int(values.max()) + 1, smallest)
  bad = (values < 0) | (values >= count)
  if bad.any():
    value = values[bad][0]
    raise ValueError(f"{name} must lie in [0, {count}), got {value} ({_rows(bad)}): {codes}")
  return values.astype(np.int32), count


def _soft_group(group: np.ndarray, num_groups: int | None, signed: bool) -> tuple[np.ndarray, int]:
  if num_groups is not None and group.shape[1] != num_groups:
    raise ValueError(
      f"group has {group.shape[1]} columns but num_groups is {num_groups}: pass one a group"
    )
  low, high = (-np.inf, np.inf) if signed else (0, 1 + 1e-5)
  bad = ~np.isfinite(group).all(1) | (group < low).any(1) | (group.sum(1) > high)
  if bad.any():
    raise ValueError(
      f"group must hold memberships in [0, 1] with row sums at most 1, got {group[bad][0]}"
      f" ({_rows(bad)}): normalise the rows; a row of zeros means missing"
    )
  return group.astype(np.float32), group.shape[1]


def groups(group: Any, num_groups: int | None, *, signed: bool = False) -> tuple[np.ndarray, int]:
  """Checks a sensitive attribute, hard [N] or soft [N, G]; every hard group must occur.

  A soft one may be `signed`, with any entries, where it has been corrected for noise.
  """
  group = np.asarray(group)
  if group.ndim == 2 and group.shape[1] == 1:
    raise ValueError(
      f"group must have one axis, or a column a group of at least 2, got shape {group.shape}:"
      " pass group.ravel()"
    )
  if group.ndim == 2:
    return _soft_group(group, num_groups, signed)
  group, num_groups = labels("group", group, num_groups, smallest=1)
  empty = np.flatnonzero(np.bincount(group, minlength=num_groups) == 0)
  if empty.size:
    raise ValueError(
      f"group {int(empty[0])} of {num_groups} is empty: renumber the groups that occur,"
      " or pass num_groups= to match them"
    )
  return group, num_groups


def data(
  x: Any, y: Any, group: Any, num_classes: int | None, num_groups: int | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, int, int]:
  """Checks the arrays of a data set together; see `Batch.from_arrays`."""
  try:
    x = np.asarray(x)
  except ValueError:
    raise ValueError("x must have rows of equal length: pad or encode them") from None
  if num_classes is not None:
    num_classes = count("num_classes", num_classes, 2)
  if num_groups is not None and group is not None:
    num_groups = count("num_groups", num_groups)
  if x.dtype.kind in "iu" and x.size and (x.max() >= 2**31 or x.min() < -(2**31)):
    raise ValueError(f"x must fit into int32, got {x.max()}: pass it as float")
  if x.dtype.kind not in "biuf":
    raise ValueError(f"x must hold numbers, got dtype {x.dtype}: encode its columns first")
  if x.dtype == np.float64 or x.dtype.kind == "b":
    x = x.astype(jax.dtypes.canonicalize_dtype(np.float64))
  y, num_classes = labels("y", y, num_classes, smallest=2)
  if x.ndim < 1 or x.shape[0] != y.shape[0]:
    rows = f"{x.shape[0]} rows" if x.ndim else "shape ()"
    raise ValueError(f"x has {rows} but y has {y.shape[0]} rows: pass one label a row")
  if x.dtype.kind == "f":
    bad = ~np.isfinite(x).reshape(len(x), -1).all(1)
    if bad.any():
      raise ValueError(
        f"x must be finite, got NaN or infinity in {_rows(bad)}: impute or drop them"
      )
  if group is None:
    if num_groups:
      raise ValueError(f"num_groups is {num_groups} but group is None: pass group=")
    return x, y, None, num_classes, 0
  group, num_groups = groups(group, num_groups)
  if group.shape[0] != y.shape[0]:
    raise ValueError(f"group has {group.shape[0]} rows but y has {y.shape[0]}: pass one a row")
  return x, y, group, num_classes, num_groups


def shapes(
  x: Any, y: Any, group: Any, num_classes: int | None, num_groups: int | None
) -> tuple[Any, Any, Any, int, int]:
  """The checks of `data` that arrays without values allow, inside of compiled code."""
  if num_classes is None or (group is not None and num_groups is None):
    raise ValueError("num_classes and num_groups must be given inside of compiled code")
  x, y = jnp.asarray(x), jnp.asarray(y)
  for name, values in (("x", x), ("group", y if group is None else jnp.asarray(group))):
    if values.shape[:1] != y.shape:
      raise ValueError(f"{name} has shape {values.shape} but y has {y.shape}: pass one a row")
  return x, y.astype(jnp.int32), group, num_classes, num_groups or 0


def truth(truth: Any, rows: int, num_classes: int, num_groups: int) -> None:
  """Checks what only measurements read."""
  if truth is None:
    return
  # A true label may be num_classes: none of them.
  for name, values, size in (("y", truth.y, num_classes + 1), ("group", truth.group, num_groups)):
    if values is None or traced(values):
      continue
    values, _ = labels(f"truth.{name}", values, size or None, smallest=1)
    if values.shape[0] != rows:
      raise ValueError(f"truth.{name} has {values.shape[0]} rows but y has {rows}: pass one a row")


def trusted(batch: Any, shape: tuple[int, ...], num_classes: int) -> None:
  """Checks that clean examples are of the same kind as the data."""
  if batch is None:
    return
  if batch.x.shape[1:] != shape:
    raise ValueError(
      f"trusted has rows of shape {batch.x.shape[1:]} but x of {shape}: make them one"
    )
  if batch.num_classes != num_classes:
    raise ValueError(
      f"trusted has {batch.num_classes} classes but the data {num_classes}: pass num_classes="
      " to both"
    )


def traced(*values: Any) -> bool:
  """Whether any of the values is a tracer, whose value nobody knows yet."""
  return any(isinstance(v, Tracer) for v in values)


def array(name: str, values: Any) -> Any:
  """The values as an array of numbers: one of jax if they are traced, also in part, else of numpy.

  An array of jax stays what it is.
  """
  known = isinstance(values, jax.Array) or traced(*jax.tree.leaves(values))
  try:
    found = jnp.asarray(values) if known else np.asarray(values)
  except (TypeError, ValueError):
    raise ValueError(f"{name} must have rows of equal length: pad or complete them") from None
  if not any(jnp.issubdtype(found.dtype, kind) for kind in _REAL):
    raise ValueError(f"{name} must hold numbers, got dtype {found.dtype}: convert them")
  return found


def number(
  name: str,
  value: Any,
  low: float = -math.inf,
  high: float = math.inf,
  *,
  open_low: bool = False,
  open_high: bool = False,
) -> None:
  """Refuses what is not one number in an interval; a traced one passes: nobody knows it yet."""
  try:
    found = array(name, value)
  except ValueError:
    raise ValueError(f"{name} must be a number, got {value!r}") from None
  if found.ndim:
    raise ValueError(
      f"{name} must be a single number, got shape {found.shape}: vectorise by vmap or sweep"
    )
  _inside(name, found, low, high, open_low, open_high)


def numbers(
  name: str,
  values: Any,
  low: float = -math.inf,
  high: float = math.inf,
  *,
  open_low: bool = False,
  open_high: bool = False,
) -> Any:
  """Refuses an array with a number outside an interval, unless it is traced; returns the array."""
  found = array(name, values)
  _inside(name, found, low, high, open_low, open_high)
  return found


def _inside(
  name: str, values: Any, low: float, high: float, open_low: bool, open_high: bool
) -> None:
  if traced(values):
    return
  given = np.asarray(values)
  exact = given.astype(np.float64)
  above = operator.gt if open_low else operator.ge
  below = operator.lt if open_high else operator.le
  bad = ~(above(exact, low) & below(exact, high))
  if bad.any():
    left, right = "(" if open_low else "[", ")" if open_high else "]"
    interval = f"{left}{low:g}, {high:g}{right}"
    raise ValueError(f"{name} must lie in {interval}, got {given[bad].flat[0]}")


def count(name: str, value: Any, low: int = 1) -> int:
  """Refuses what is not an integer of at least `low`; returns it as an int."""
  try:
    result = operator.index(value)
  except TypeError:
    raise ValueError(f"{name} must be an integer of at least {low}, got {value!r}") from None
  if result < low:
    raise ValueError(f"{name} must be an integer of at least {low}, got {result}")
  return result


def seed_count(value: Any, low: int = 2) -> int:
  """Refuses a number of seeds, 0, 1, ..., below `low`, or so large that seeds would repeat."""
  result = count("seeds", value, low)
  if result > SEED_LIMIT:
    raise ValueError(f"seeds must be at most 2**32, since seeds repeat, got {result}")
  return result


def choice(name: str, value: Any, options: tuple[Any, ...]) -> None:
  """Refuses a value that is not one of the options."""
  if value not in options:
    raise ValueError(f"{name} must be one of {', '.join(map(repr, options))}, got {value!r}")


def seeds(values: Any, name: str = "seed") -> np.ndarray:
  """Checks seeds [R] against [0, 2**32), outside which they alias others; returns uint32."""
  values = _integers(name, values, "pass whole numbers")
  bad = (values < 0) | (values >= SEED_LIMIT)
  if bad.any():
    raise ValueError(
      f"{name} must lie in [0, 2**32), got {values[bad][0]}: outside it seeds repeat others"
    )
  return values.astype(np.uint32)


def transition(name: str, matrix: Any, axes: int = 2) -> Any:
  """Refuses what is no stack of row-stochastic matrices, of a traced one by its shape.

  Returns:
    The matrices as an array.
  """
  given = array(name, matrix)
  shape = given.shape
  if len(shape) != axes or shape[-1] != shape[-2] or shape[-1] < 2:
    raise ValueError(
      f"{name} must have {axes} axes, the last two square and of at least 2, got shape {shape}"
    )
  if traced(given):
    return given
  rows = np.asarray(given, np.float64)
  sums = rows.sum(-1)
  bad = ~np.isfinite(rows).all(-1) | (rows < 0).any(-1) | (np.abs(sums - 1) > _ROW_SUM)
  if bad.any():
    at = tuple(int(i) for i in np.argwhere(bad)[0])
    row = ", ".join(map(str, at))
    raise ValueError(
      f"{name} must have rows of probabilities with sum 1, but row {row} is {rows[at].tolist()}"
      f" with sum {sums[at]:g}: divide each row by its sum"
    )
  return given


def invertible(name: str, matrices: Any, remedy: str) -> None:
  """Refuses square matrices [..., C, C] of which one has no inverse, unless they are traced."""
  if traced(matrices):
    return
  least = np.linalg.svd(np.asarray(matrices, np.float64), compute_uv=False)[..., -1].min()
  if least < _SINGULAR:
    raise ValueError(
      f"{name} must be invertible, got a least singular value of {least:.1e}: {remedy}"
    )


def classes(name: str, classes: int, data: Any) -> None:
  """Refuses a matrix that is not of the data set's classes."""
  if classes != data.num_classes:
    raise ValueError(
      f"{name} is of {classes} classes, but the data set has num_classes {data.num_classes}"
    )
