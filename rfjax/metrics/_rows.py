"""What a measure reads: arrays or a filled batch, made one, and checked where they are known."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rfjax.core import Batch, _check
from rfjax.core._batch import on_device

_STATIC = {"static": True}


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Rows:
  """The rows that a measure counts.

  Attributes:
    measure: its name, for messages; static, as the numbers below are.
    y: labels, int32 [N].
    y_pred: classes int32 [N], probabilities of class 1 [N], or probabilities of all classes [N, C].
    group: int32 [N], or soft membership [N, G].
    weight: [N], at least 0; its type is the one to sum in.
    num_groups: G.
    num_classes: C; None where a traced y_pred leaves it open.
    whole: whether all weights are 0 or 1, as far as their type tells.
  """

  measure: str = dataclasses.field(metadata=_STATIC)
  y: jax.Array
  y_pred: jax.Array
  group: jax.Array
  weight: jax.Array
  num_groups: int = dataclasses.field(metadata=_STATIC)
  num_classes: int | None = dataclasses.field(metadata=_STATIC)
  whole: bool = dataclasses.field(default=False, metadata=_STATIC)

  def replace(self, **changes: Any) -> "Rows":
    """Changes fields."""
    return dataclasses.replace(self, **changes)

  def probability(self, classes: jax.Array) -> jax.Array:
    """Predicted probability of classes int [N, K] or [1, K], as [N, K]; 0 or 1 of a hard one."""
    if jnp.issubdtype(self.y_pred.dtype, jnp.integer):
      return (self.y_pred[:, None] == classes).astype(self.weight.dtype)
    if self.y_pred.ndim == 2:
      return jnp.take_along_axis(self.y_pred, classes, axis=1)
    first = self.y_pred[:, None]
    return jnp.where(classes == 1, first, 1 - first)

  @property
  def mass(self) -> jax.Array:
    """How much of a row's weight each group has, [N, G]."""
    member = self.group
    if member.ndim == 1:
      member = jax.nn.one_hot(member, self.num_groups, dtype=self.weight.dtype)
    return self.weight[:, None] * member

  def one_vs_rest(self) -> tuple[jax.Array, jax.Array]:
    """0-1 labels and probabilities [N, K]: of class 1 of two (K = 1), else of each one (K = C)."""
    if self.num_classes is None:
      raise ValueError(
        f"{self.measure} needs num_classes, which a traced y_pred of integers does not tell: pass"
        " num_classes=, or probabilities"
      )
    classes = jnp.arange(self.num_classes)[None] if self.num_classes > 2 else jnp.ones((1, 1), int)
    return (self.y[:, None] == classes).astype(self.weight.dtype), self.probability(classes)


def read(
  measure: str,
  y_true: Any,
  y_pred: Any,
  group: Any,
  num_groups: int | None,
  num_classes: int | None,
  weight: Any,
  soft: bool,
  overall: bool = False,
  signed: bool = False,
) -> Rows:
  """Reads the arguments of a measure.

  `overall` makes one group of all rows. Membership may be `signed`, that of a batch, which a
  correction for noise may have given entries below 0.
  """
  if isinstance(y_true, Batch):
    _refuse_extra(y_pred=y_pred, group=group, num_groups=num_groups, num_classes=num_classes)
    return _read_batch(measure, y_true, weight, soft, overall)
  if soft:
    raise ValueError("soft is True without a Batch: pass probabilities as y_pred instead")
  y = read_array("y_true", y_true, (1,))
  y_pred = read_array("y_pred", y_pred, (1, 2), len(y))
  weight = read_array("weight", np.ones(len(y), bool) if weight is None else weight, (1,), len(y))
  _check_values("weight", weight, np.inf, "be finite and at least 0", "give padding rows weight 0")
  y, y_pred, num_classes = _check_classes(y, y_pred, num_classes)
  if overall:
    group, num_groups = np.zeros(len(y), np.int32), 1
  group, num_groups = _check_groups(read_array("group", group, (1, 2), len(y)), num_groups, signed)
  dtype = _sum_type(y_pred, group, weight)
  y_pred, group = (_placed(v, v.dtype if _is_integer(v) else dtype) for v in (y_pred, group))
  sizes, whole = (num_groups, num_classes), weight.dtype == bool
  return Rows(measure, _placed(y, y.dtype), y_pred, group, _placed(weight, dtype), *sizes, whole)


def read_labels(
  measure: str,
  y_true: Any,
  group: Any,
  num_groups: int | None,
  num_classes: int | None,
  weight: Any,
) -> Rows:
  """Reads labels by group, of a batch that no network needs to have filled; y_pred is y."""
  if isinstance(y_true, Batch):
    _refuse_extra(group=group, num_groups=num_groups, num_classes=num_classes)
    batch = y_true.require("group", by=measure)
    y, num_groups, num_classes = batch.y, batch.num_groups, batch.num_classes
    group, weight = _group(batch), read_weight(batch, weight)
  else:
    y = _codes("y_true", read_array("y_true", y_true, (1,)), num_classes, 2)[0]
  signed = isinstance(y_true, Batch)
  return read(measure, y, y, group, num_groups, num_classes, weight, False, signed=signed)


def _refuse_extra(**given: Any) -> None:
  extra = [name for name, value in given.items() if value is not None]
  if extra:
    raise ValueError(f"{extra[0]} is part of a Batch already: leave it away")


def _group(batch: Batch) -> Any:
  """Its groups, where the code of padding, which is that of no group, is 0."""
  if batch.group is None or batch.group.ndim > 1:
    return batch.group
  return jnp.where(batch.valid, batch.group, 0)


def read_weight(batch: Batch, weight: Any) -> Any:
  if weight is None:
    return batch.valid
  return batch.valid * read_array("weight", weight, (1,), batch.num_rows)


def _read_batch(measure: str, batch: Batch, weight: Any, soft: bool, overall: bool) -> Rows:
  logits: Any = batch.require("logits", *(() if overall else ("group",)), by=measure).logits
  if not _check.traced(logits):
    bad = np.any(np.isnan(np.asarray(logits)), axis=1, keepdims=True)
    if bad.any():
      raise ValueError(f"logits must be numbers, got nan ({_check._rows(bad)}): training diverged")
  y_pred = jax.nn.softmax(logits) if soft else jnp.argmax(logits, axis=-1)
  group, weight = _group(batch), read_weight(batch, weight)
  sizes = batch.num_groups, batch.num_classes
  return read(measure, batch.y, y_pred, group, *sizes, weight, False, overall, signed=True)


def read_codes(name: str, values: Any, rows: int, count: int | None) -> tuple[jax.Array, int]:
  """Reads integer codes [N] beside the rows of a measure, such as strata, and their number."""
  if count is not None:
    count = _check.count(f"num_{name}s", count)
  values, seen = _codes(name, read_array(name, values, (1,), rows), count, 1)
  if seen is None:
    raise ValueError(f"num_{name}s is None and a traced {name} does not tell it: pass num_{name}s=")
  return _placed(values, values.dtype), seen


def _placed(values: Any, dtype: Any) -> jax.Array:
  return values.astype(dtype) if isinstance(values, jax.Array) else on_device(values.astype(dtype))


def _is_integer(values: Any) -> bool:
  return jnp.issubdtype(values.dtype, np.integer)


def read_array(name: str, values: Any, axes: tuple[int, ...], rows: int | None = None) -> Any:
  """An array, on the host unless it is a JAX array, of as many axes and rows as it must have."""
  if values is None:
    raise ValueError(f"{name} is None: pass {name}=, or a Batch alone")
  values = values if isinstance(values, jax.Array) else np.asarray(values)
  if not any(jnp.issubdtype(values.dtype, kind) for kind in (bool, np.integer, np.floating)):
    raise ValueError(f"{name} must hold numbers, got dtype {values.dtype}: encode it as 0, 1, ...")
  if values.ndim not in axes:
    raise ValueError(f"{name} must not have shape {values.shape}: pass one number a row")
  if len(values) == 0:
    raise ValueError(f"{name} is empty: pass at least one row")
  if rows is not None and len(values) != rows:
    raise ValueError(f"{name} has {len(values)} rows but y_true has {rows}: pass one a row")
  return values


def _check_values(name: str, values: Any, high: float, must: str, remedy: str) -> None:
  if _check.traced(values):
    return
  values = np.asarray(values, np.float64)
  bad = ~(np.isfinite(values) & (values >= 0) & (values <= high))
  if bad.any():
    rows = bad.reshape(len(bad), -1).any(1)
    raise ValueError(f"{name} must {must}, got {values[bad][0]:g} ({_check._rows(rows)}): {remedy}")


def _codes(name: str, values: Any, count: int | None, low: int) -> tuple[Any, int | None]:
  """Checks integer codes [N]; returns them, and their number where it is given or can be seen."""
  if not _check.traced(values):
    return _check.labels(name, values, count, low)
  if jnp.issubdtype(values.dtype, np.floating) or values.ndim != 1:
    raise ValueError(
      f"{name} must hold integers [N], got {values.dtype} {list(values.shape)}: remap {name}"
    )
  return values.astype(jnp.int32), count


def _check_classes(y: Any, y_pred: Any, num_classes: int | None) -> tuple[Any, Any, int | None]:
  """Checks labels and predictions; returns them, and the number of classes where it is known."""
  if num_classes is not None:
    num_classes = _check.count("num_classes", num_classes, 2)
  if _is_integer(y_pred):
    y, seen = _codes("y_true", y, num_classes, 2)
    y_pred, predicted = _codes("y_pred", y_pred, num_classes, 2)
    return y, y_pred, None if seen is None or predicted is None else max(seen, predicted)
  remedy = "pass classes as integers, or probabilities such as the softmax of logits"
  _check_values("y_pred", y_pred, 1 + 1e-5, "lie in [0, 1]", remedy)
  columns = y_pred.shape[1] if y_pred.ndim == 2 else 2
  if columns < 2:
    raise ValueError(f"y_pred has shape {y_pred.shape}: pass y_pred.ravel()")
  if num_classes not in (None, columns):
    raise ValueError(f"num_classes is {num_classes} but y_pred is of {columns}: leave it away")
  return _codes("y_true", y, columns, 2)[0], y_pred, columns


def _check_groups(group: Any, num_groups: int | None, signed: bool) -> tuple[Any, int]:
  """Checks a sensitive attribute, of which a group may be empty; returns it and their number."""
  if group.ndim == 1:
    group, num_groups = _codes("group", group, num_groups, 1)
    if num_groups is None:
      raise ValueError("num_groups is None and a traced group does not tell it: pass num_groups=")
    return group, num_groups
  if num_groups not in (None, group.shape[1]):
    raise ValueError(
      f"num_groups is {num_groups} but group has {group.shape[1]} columns: leave it away"
    )
  if not _check.traced(group):
    _check.groups(group, num_groups, signed=signed)
  return group, group.shape[1]


def _sum_type(*values: Any) -> Any:
  """The widest floating type among the values, of 32 bits at least, to sum them in."""
  floating = [v.dtype for v in values if jnp.issubdtype(v.dtype, np.floating)] or [np.float64]
  return jnp.result_type(np.float32, *map(jax.dtypes.canonicalize_dtype, floating))
