"""Cells of a table: what they may be, and how each reader of a table wants them."""

import re
from typing import Any, NamedTuple

from rfjax.report._statistics import Interval
from rfjax.report._text import escaped, plain

Cell = str | int | float | Interval | None

MISSING = "–"
FIGURE_SPACE = "\N{FIGURE SPACE}"
_FORMULA = re.compile(r"^\s*[=+\-@＝＋－＠]|^[\t\r\n]")
_MARKDOWN = re.compile(r"[\\`*\[\]|~]|(?<![^\W_])_|_(?![^\W_])")


class Shown(NamedTuple):
  """A cell as text: a number or words, and the half width that may follow it."""

  main: str
  half: str = ""


def cell(value: Any) -> Cell:
  """Turns scalars of NumPy and JAX into Python's; refuses what no table can show."""
  if isinstance(value, Interval):
    return Interval(float(value.mean), float(value.half_width))
  if getattr(value, "ndim", None) == 0:
    value = value.item()
  if value is None or isinstance(value, str):
    return value
  if isinstance(value, bool) or not isinstance(value, (int, float)):
    raise ValueError(
      f"rows must hold text, numbers, None and Interval, got {value!r} of type"
      f" {type(value).__name__}: turn it into one of these"
    )
  return value


def numeric(column: tuple[Cell, ...]) -> bool:
  """Whether a column holds numbers and nothing else; such columns are aligned at the right."""
  known = [value for value in column if value is not None]
  return bool(known) and not any(isinstance(value, str) for value in known)


def show(value: Cell, digits: int) -> Shown:
  """A cell as text, with so many digits after the point and no negative zero."""
  match value:
    case None:
      return Shown(MISSING)
    case Interval(mean, half_width):
      return Shown(f"{mean:z.{digits}f}", f"{half_width:z.{digits}f}")
    case float():
      return Shown(f"{value:z.{digits}f}")
  return Shown(plain(value))


def line(shown: Shown, widest: str = "") -> str:
  """A cell as one string; in a column of intervals all others leave room for a half width."""
  if shown.half:
    return f"{shown.main} ± {shown.half.rjust(len(widest))}"
  return shown.main + " " * len(widest and f" ± {widest}")


def markdown(text: str) -> str:
  """Escapes what Markdown would read as anything but text."""
  return _MARKDOWN.sub(r"\\\g<0>", text.replace("&", "&amp;").replace("<", "&lt;"))


def html_number(shown: Shown, widest: str = "") -> str:
  """A number with a true minus sign; an unseen half width keeps its column in line."""
  main = escaped(shown.main).replace("-", "\N{MINUS SIGN}")
  if not widest:
    return main
  if not shown.half:
    return f'{main}<span class="unseen" aria-hidden="true"> ± {widest}</span>'
  return f"{main}<span> ± {shown.half.rjust(len(widest), FIGURE_SPACE)}</span>"


def guarded(text: str) -> str:
  """Puts an apostrophe before text that a spreadsheet would run as a formula."""
  return "'" + text if _FORMULA.match(text) else text


def fields(value: Cell, two: bool) -> list[Any]:
  """A cell in full precision as the one or two fields of its column in CSV."""
  if isinstance(value, Interval):
    return list(value)
  field = guarded(value) if isinstance(value, str) else "" if value is None else value
  return [field, ""] if two else [field]
