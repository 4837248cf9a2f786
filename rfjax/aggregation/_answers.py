"""Answers of crowd workers: which worker gave which label to which item."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from rfjax.core import _check


def _static() -> Any:
  return dataclasses.field(metadata={"static": True})


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Answers:
  """Answers of crowd workers, as a flat list; a worker may answer an item several times.

  Attributes:
    item: int32 [A], in [0, num_items).
    worker: int32 [A], in [0, num_workers).
    label: int32 [A], in [0, num_classes).
    valid: bool [A], an answer that counts, and no padding. Where it is False the codes mean
      nothing.
    num_items: N, static.
    num_workers: W, static.
    num_classes: C, static.
  """

  item: jax.Array
  worker: jax.Array
  label: jax.Array
  valid: jax.Array
  num_items: int = _static()
  num_workers: int = _static()
  num_classes: int = _static()

  @property
  def answered(self) -> jax.Array:
    """Whether an item has a valid answer, bool [N]; without one there is nothing to aggregate."""
    return jnp.zeros(self.num_items, bool).at[self.item].max(self.valid)


def answers(
  label: Any,
  worker: Any,
  item: Any = None,
  *,
  num_classes: int | None = None,
  num_items: int | None = None,
  num_workers: int | None = None,
) -> Answers:
  r"""Makes answers of a table or of flat lists, checked once, here, on the host.

  The table has a row an item. Ids are anything that can be sorted, and become codes in their sorted
  order, as by numpy.unique; pass `num_items` or `num_workers` where they are codes already. Answers
  stay in the order given, a table row by row, so that a weight an answer is easy to line up.

  There is no answer where a label or an id is -1, None, NaN, pandas.NA or an empty string.

  Args:
    label: codes [N, M], or with `item` [A], integers in [0, num_classes).
    worker: ids of the same shape; or [M], for a table that has a column a worker.
    item: ids [A] for flat lists; None for a table.
    num_classes: C, inferred from label as max(label) + 1, at least 2, when None.
    num_items: N; the ids in `item` are then codes in [0, N). Inferred when None.
    num_workers: W; the ids in `worker` are then codes in [0, W). Inferred when None.

  Returns:
    The `Answers`, A = N M of a table, invalid where there is none.

  Raises:
    ValueError: naming the argument, the offending answers and the remedy; for tracers, which have
      no values to check.

  Examples:
    >>> from rfjax import aggregation
    >>> table = aggregation.answers([[1, 1, -1], [0, 1, 0]], ["bob", "ann", "cyd"])
    >>> table.worker.tolist(), table.valid.tolist()
    ([1, 0, 2, 1, 0, 2], [True, True, False, True, True, True])
    >>> flat = aggregation.answers([1, 1, 0], ["bob", "ann", "bob"], item=["x", "x", "y"])
    >>> flat.item.tolist(), flat.num_items, flat.num_workers
    ([0, 0, 1], 2, 2)
  """
  if _check.traced(label, worker, item):
    raise ValueError(
      "answers are checked on the host: make them outside of compiled code, or fill Answers with"
      " codes"
    )
  # As objects, None and NaN stay what they are beside strings.
  label, worker = np.asarray(label, object), np.asarray(worker, object)
  if item is None:
    label, worker, item, num_items = _table(label, worker, num_items)
  item = np.asarray(item, object)
  _check_lists(label, worker, item)
  present = [_present(values) for values in (label, worker, item)]
  valid = np.logical_and.reduce(present)
  if not valid.any():
    raise ValueError("label has no answer by a known worker to a known item: pass at least one")
  label, num_classes = _labels(label, valid, num_classes)
  worker, num_workers = _codes("worker", worker, present[1], num_workers)
  item, num_items = _codes("item", item, present[2], num_items)
  return Answers(
    item=jnp.asarray(item),
    worker=jnp.asarray(worker),
    label=jnp.asarray(label),
    valid=jnp.asarray(valid),
    num_items=num_items,
    num_workers=num_workers,
    num_classes=num_classes,
  )


def mass(answers: Answers, weight: ArrayLike | None) -> jax.Array:
  """How much each answer counts, float [A]; 0 where it is not valid."""
  if weight is None:
    return answers.valid.astype(float)
  if np.shape(weight) != answers.label.shape:
    raise ValueError(
      f"weight has shape {np.shape(weight)} but there are {answers.label.size} answers:"
      " pass one an answer"
    )
  if not _check.traced(weight):
    values = np.asarray(weight, np.float64)
    bad = ~(np.isfinite(values) & (values >= 0))
    if bad.any():
      raise ValueError(
        f"weight must be finite and at least 0, got {values[bad][0]:g} ({_check._rows(bad)}):"
        " give answers that must not count weight 0"
      )
  return jnp.where(answers.valid, jnp.asarray(weight, float), 0)


def _table(
  label: np.ndarray, worker: np.ndarray, num_items: int | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
  """Label, worker and item of each cell of a table, row by row, and the number of items."""
  if label.ndim != 2:
    raise ValueError(
      f"label without item must be a table [items, answers], got shape {label.shape}: pass item=,"
      " or rows of equal length"
    )
  if worker.shape not in (label.shape, label.shape[1:]):
    raise ValueError(
      f"worker has shape {worker.shape} but label {label.shape}: pass an id a cell, or one a column"
    )
  item = np.repeat(np.arange(label.shape[0]), label.shape[1])
  count = label.shape[0] if num_items is None else num_items
  return label.ravel(), np.broadcast_to(worker, label.shape).ravel(), item, count


def _check_lists(label: np.ndarray, worker: np.ndarray, item: np.ndarray) -> None:
  if item.ndim != 1 or not item.shape == label.shape == worker.shape:
    raise ValueError(
      f"label, worker and item must be lists of one length, got shapes {label.shape},"
      f" {worker.shape} and {item.shape}: pass one of each an answer"
    )


def _present(values: np.ndarray) -> np.ndarray:
  return np.array([not _missing(value) for value in values], bool)


def _missing(value: Any) -> bool:
  try:
    unequal = bool(value != value)
  except TypeError:  # pandas.NA does not say whether it equals itself
    return True
  return value is None or unequal or value in (-1, "")


def _labels(
  label: np.ndarray, valid: np.ndarray, num_classes: int | None
) -> tuple[np.ndarray, int]:
  if num_classes is not None:
    num_classes = _check.count("num_classes", num_classes, 2)
  return _check.labels("label", _numbers(label, valid), num_classes, 2)


def _codes(
  name: str, ids: np.ndarray, present: np.ndarray, count: int | None
) -> tuple[np.ndarray, int]:
  """Codes [A], 0 where no id is, and how many there are."""
  if count is not None:
    count = _check.count(f"num_{name}s", count)
    return _check.labels(name, _numbers(ids, present), count, 1)
  try:
    distinct, found = np.unique(ids[present], return_inverse=True)
  except TypeError:
    raise ValueError(f"{name} must hold ids of one kind: make them all strings") from None
  codes = np.zeros(ids.shape, np.int32)
  codes[present] = found
  return codes, len(distinct)


def _numbers(values: np.ndarray, present: np.ndarray) -> np.ndarray:
  """The values that are there as numbers, 0 elsewhere."""
  found = np.asarray(values[present].tolist())
  # Beside NaN, integers were floats.
  if (
    found.dtype.kind == "f" and np.array_equal(found, np.floor(found)) and np.isfinite(found).all()
  ):
    found = found.astype(np.int64)
  numbers = np.zeros(values.shape, found.dtype)
  numbers[present] = found
  return numbers
