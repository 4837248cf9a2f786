"""What the estimators share: arrays and data frames become a `Batch`, and groups become codes."""

from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np

import rfjax
from rfjax.core import Batch, _check


class Groups:
  """The groups of sensitive features, crossed, as codes in the order of their values.

  A row where a feature is missing (None or NaN) is of no group.

  Attributes:
    values: the values of each feature, sorted, one array a feature.
    crossed: codes into `values` of the groups that occur, [G, features].
  """

  def __init__(self, values: list[np.ndarray], crossed: np.ndarray) -> None:
    self.values, self.crossed = values, crossed

  @classmethod
  def of(cls, sensitive_features: Any) -> Self:
    """The groups that occur, at least one of which must be known."""
    columns = _columns(sensitive_features)
    values = [np.unique(column[~_missing(column)]) for column in columns]
    codes, known = cls(values, np.zeros((0, len(values)), int))._codes(columns)
    if not known.any():
      raise ValueError("sensitive_features must have a row without missing values, got none")
    return cls(values, np.unique(codes[known], axis=0))

  def names(self) -> list[Any]:
    """The groups in the order of their codes: values, or tuples of several features' values."""
    named = [
      tuple(values[code] for values, code in zip(self.values, codes, strict=True))
      for codes in self.crossed
    ]
    return named if len(self.values) > 1 else [name for (name,) in named]

  def membership(self, sensitive_features: Any, rows: int) -> np.ndarray:
    """Membership [rows, G], a row of zeros where it is missing."""
    columns = _columns(sensitive_features)
    if len(columns) != len(self.values) or len(columns[0]) != rows:
      raise ValueError(
        f"sensitive_features must have {rows} rows and {len(self.values)} columns, got"
        f" {len(columns[0])} and {len(columns)}: pass what was passed to fit, one row for each of X"
      )
    codes, known = self._codes(columns)
    same = (codes[:, None, :] == self.crossed[None]).all(-1) & known[:, None]
    new = known & ~same.any(1)
    if new.any():
      seen = tuple(str(column[np.flatnonzero(new)[0]]) for column in columns)
      raise ValueError(
        f"sensitive_features must be of a group that fit has seen, got {', '.join(seen)}"
        f" in {int(new.sum())} of {rows} rows: fit on data with all groups"
      )
    return same.astype(np.float32)

  def _codes(self, columns: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Codes [N, features], -1 where the value is new, and where nothing is missing [N]."""
    codes = np.full((len(columns[0]), len(columns)), -1)
    known = ~np.any([_missing(column) for column in columns], axis=0)
    for j, (column, values) in enumerate(zip(columns, self.values, strict=True)):
      for code, value in enumerate(values):
        codes[column == value, j] = code
    return codes, known


def _columns(sensitive_features: Any) -> list[np.ndarray]:
  """The sensitive features, one array each."""
  framed = hasattr(sensitive_features, "to_numpy")
  array = sensitive_features.to_numpy() if framed else np.asarray(sensitive_features)
  if array.ndim not in (1, 2) or array.size == 0:
    raise ValueError(
      f"sensitive_features must be one column or several, got shape {array.shape}: pass [n] or"
      " [n, features]"
    )
  return [array] if array.ndim == 1 else list(array.T)


def _missing(column: np.ndarray) -> np.ndarray:
  """Where a value is None, NaN, or the NA of pandas, which has no truth value."""
  absent = lambda v: v is None or type(v).__name__ == "NAType" or v != v
  return np.array([absent(value) for value in column.tolist()], bool)


def batch(
  x: np.ndarray,
  codes: np.ndarray | None,
  num_classes: int,
  groups: Groups | None = None,
  sensitive_features: Any = None,
  sample_weight: np.ndarray | None = None,
) -> Batch:
  """A data set of checked arrays; labels are 0 where there are none."""
  codes = np.zeros(len(x), np.int32) if codes is None else codes
  member = None
  if groups is not None and sensitive_features is not None:
    member = groups.membership(sensitive_features, len(x))
    member = member.argmax(1) if member.any(1).all() else member  # codes where nobody is missing
  made = Batch.from_arrays(x, codes, num_classes=num_classes)
  if member is not None:
    assert groups is not None
    made = made.replace(group=jnp.asarray(member), num_groups=len(groups.crossed))
  if sample_weight is not None:
    made = made.replace(weight=jnp.asarray(sample_weight, jnp.float32))
  return made


def key(random_state: Any) -> jax.Array:
  """A key of scikit-learn's random_state: a number, a generator or None."""
  from sklearn.utils import check_random_state

  if isinstance(random_state, int | np.integer):
    return jax.random.key(int(_check.seeds([random_state], "random_state")[0]))
  return jax.random.key(check_random_state(random_state).randint(2**31 - 1))


def chained(name: str, given: Any) -> rfjax.Transform:
  """A transform, or a chain of a sequence of them."""
  if given is None:
    return rfjax.chain()
  if isinstance(given, rfjax.Transform):
    return given
  if isinstance(given, list | tuple) and all(isinstance(t, rfjax.Transform) for t in given):
    return rfjax.chain(*given)
  raise ValueError(f"{name} must be a Transform, a sequence of them or None, got {given!r}")


def updated(method: rfjax.Transform, data: Batch, state: Any, key: jax.Array) -> Batch:
  """What a fitted method makes of rows."""
  arguments = {"key": key, "step": 0, "epoch": 0, "forward": None}
  return method.update(data, state, None, **arguments)[0]


def codes(classes: np.ndarray, y: Any) -> tuple[np.ndarray, np.ndarray]:
  """Codes [n] of labels by the sorted classes, and where there is such a class [n]."""
  y = np.asarray(y)
  found = np.searchsorted(classes, y).clip(max=len(classes) - 1)
  return found, classes[found] == y


def probs(logits: np.ndarray) -> np.ndarray:
  """The softmax [n, C] of logits, in their own precision."""
  odds = np.exp(logits - logits.max(axis=1, keepdims=True))
  return odds / odds.sum(axis=1, keepdims=True)
