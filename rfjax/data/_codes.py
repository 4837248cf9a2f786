"""Values of a column as numbers and codes, and what cannot be either."""

from typing import Any

import numpy as np

MOST_VALUES = 1000


def rows(bad: np.ndarray) -> str:
  """How many rows are bad, and which the first are, counted from 0."""
  first = ", ".join(map(str, np.flatnonzero(bad)[:3]))
  return f"{int(bad.sum())} of {bad.size} rows, the first at {first}"


def as_text(value: Any) -> str:
  """A value as text, so that 1, 1.0 and "1" are one."""
  if isinstance(value, (float, np.floating)) and value.is_integer():
    return str(int(value))
  return str(value)


def codes(
  argument: str, name: str, values: np.ndarray, listed: tuple[str, ...] | None
) -> tuple[np.ndarray, tuple[str, ...]]:
  """The place of each value of a column among the listed or else the sorted ones.

  Args:
    argument: which named the column, for messages.
    name: of the column.
    values: numbers or text [N], none missing.
    listed: the values in order, as text; sorted ones when None.

  Returns:
    Codes int32 [N], and the values in their order.

  Raises:
    ValueError: for a value that is not listed, and more values than can be meant.
  """
  found, places = np.unique(values, return_inverse=True)
  if listed is None and len(found) > MOST_VALUES:
    raise ValueError(
      f"{argument}: {name!r} has {len(found)} different values, more than {MOST_VALUES}: leave it"
      " out, merge some, or list them"
    )
  texts = tuple(as_text(value) for value in found)
  if listed is None:
    return places.astype(np.int32), texts
  for place, text in enumerate(texts):
    if text not in listed:
      raise ValueError(
        f"{argument}: {name!r} is {text!r} in {rows(places == place)}, and the values listed are"
        f" {', '.join(map(repr, listed))}: list it too, or leave these rows out"
      )
  return np.array([listed.index(text) for text in texts], np.int32)[places], listed


def occurring(values: np.ndarray, order: tuple[str, ...] | None) -> tuple[str, ...] | None:
  """Those of the ordered values that a column has, or None without an order."""
  if order is None:
    return None
  found = {as_text(value) for value in np.unique(values)}
  return tuple(text for text in order if text in found)


def number(name: str, values: np.ndarray) -> np.ndarray:
  """A numeric column as float32 [N], or ValueError where one of its numbers is not finite."""
  with np.errstate(over="ignore"):
    numbers = values.astype(np.float32)
  bad = ~np.isfinite(numbers)
  if bad.any():
    raise ValueError(
      f"numeric: {name!r} is infinite, or too large for float32, in {rows(bad)}: correct or scale"
      " it"
    )
  return numbers


def indicators(
  name: str, values: np.ndarray, listed: tuple[str, ...] | None
) -> dict[str, np.ndarray]:
  """A categorical column as float32 [N] for each of its values; of two only for the second."""
  found, texts = codes("categorical", name, values, listed)
  first = 1 if len(texts) == 2 else 0
  return {f"{name}={texts[i]}": (found == i).astype(np.float32) for i in range(first, len(texts))}
