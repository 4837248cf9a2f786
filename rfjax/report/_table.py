"""Tables: one set of cells, for a terminal, for Markdown, for a spreadsheet and for a page."""

import csv
import dataclasses
import io
import re
from collections.abc import Iterator, Mapping, Sequence

from rfjax.core import _check
from rfjax.report import _cells
from rfjax.report._cells import Cell
from rfjax.report._statistics import Interval
from rfjax.report._text import escaped, plain

_NUMBER = ' class="number"'
_UNBOUNDED = 10_000


def _texts(name: str, values: Sequence[str]) -> tuple[str, ...]:
  if isinstance(values, str) or not all(isinstance(v, str) for v in values):
    raise ValueError(f"{name} must be a sequence of strings, got {values!r}")
  return tuple(values)


def _columns(values: Sequence[str]) -> tuple[str, ...]:
  columns = _texts("columns", values)
  if not columns or len(set(columns)) < len(columns):
    raise ValueError(f"columns must have names, all different, got {columns}")
  return columns


def _rows(values: Sequence[Sequence[Cell]], width: int) -> tuple[tuple[Cell, ...], ...]:
  rows = tuple(tuple(_cells.cell(value) for value in row) for row in values)
  for row in rows:
    if len(row) != width:
      raise ValueError(f"rows must have {width} cells, one a column, got {row}")
  return rows


def _digits(digits: int | Mapping[str, int], columns: tuple[str, ...]) -> dict[str, int]:
  named = digits if isinstance(digits, Mapping) else dict.fromkeys(columns, digits)
  unknown = [name for name in named if name not in columns]
  if unknown:
    raise ValueError(f"digits names {unknown[0]!r}, which is none of the columns {columns}")
  return {name: _check.count("digits", named.get(name, 3), 0) for name in columns}


@dataclasses.dataclass(frozen=True)
class Table:
  """A table.

  Attributes:
    columns: their names, all different.
    rows: one sequence of cells each, as long as `columns`: text, numbers, None for what is missing,
      or an `Interval`. The first cell is the head of its row.
    caption: one sentence that says what is shown.
    notes: what a reader must know about single columns or rows.
    digits: after the point, for all columns, or by name with 3 where a name is left out. They hold
      for floats and intervals where the table is shown; `to_csv` keeps all digits.

  Raises:
    ValueError: for names that repeat, rows of another length, and other types of cells.

  Examples:
    >>> from rfjax.report import Interval, Table
    >>> table = Table(("method", "accuracy"), [("plain", Interval(0.84, 0.003)), ("fair", 0.831)])
    >>> print(table.to_markdown())
    | method | accuracy      |
    | :----- | ------------: |
    | plain  | 0.840 ± 0.003 |
    | fair   | 0.831         |
  """

  columns: Sequence[str]
  rows: Sequence[Sequence[Cell]]
  caption: str = ""
  notes: Sequence[str] = ()
  digits: int | Mapping[str, int] = 3

  def __post_init__(self) -> None:
    columns = _columns(self.columns)
    object.__setattr__(self, "columns", columns)
    object.__setattr__(self, "rows", _rows(self.rows, len(columns)))
    object.__setattr__(self, "notes", _texts("notes", self.notes))
    object.__setattr__(self, "digits", _digits(self.digits, columns))

  def to_text(self) -> str:
    """The table for a terminal: styled where standard output is one, plain elsewhere."""
    from rich import box, console, table, text

    out = console.Console(highlight=False, force_jupyter=False)
    title = text.Text(plain(self.caption)) if self.caption else None
    grid = table.Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    head, *body = self._block(*self._lines())
    for name in head:
      grid.add_column(text.Text(name))
    for row in body:
      grid.add_row(*map(text.Text, row))
    parts = [grid, *(text.Text(plain(note), style="dim") for note in self.notes)]
    if not out.is_terminal:
      out.width = _UNBOUNDED
    with out.capture() as captured:
      out.print(*parts, sep="\n")
    lines = (line.rstrip() for line in captured.get().splitlines())
    return "\n".join(lines).strip("\n") + "\n"

  def to_markdown(self) -> str:
    """The table in GitHub's Markdown, in line for those who read the source, too."""
    head, *body = ([_cells.markdown(text) for text in row] for row in self._lines())
    rule = ["--:" if right else ":--" for right in self._numeric]
    lines = self._block(head, rule, *body)
    lines[1] = [re.sub("[ -]", "-", text) for text in lines[1]]
    parts = [f"**{_cells.markdown(plain(self.caption))}**"] if self.caption else []
    parts.append("\n".join(f"| {' | '.join(line)} |" for line in lines))
    if self.notes:
      parts.append("\n".join(f"- {_cells.markdown(plain(note))}" for note in self.notes))
    return "\n\n".join(parts) + "\n"

  def to_csv(self) -> str:
    """The cells with all their digits; an interval takes two columns, and None is empty.

    Text that a spreadsheet would run as a formula gets an apostrophe in front.
    """
    split = [any(isinstance(v, Interval) for v in column) for column in self._by_column()]
    names = [[n, f"{n} half width"] if s else [n] for n, s in zip(self.columns, split, strict=True)]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_cells.guarded(name) for pair in names for name in pair)
    for row in self.rows:
      cells = [_cells.fields(v, two) for v, two in zip(row, split, strict=True)]
      writer.writerow(field for pair in cells for field in pair)
    return out.getvalue()

  def to_html(self) -> str:
    """A table element with caption and scopes, everything escaped, and the notes as a list."""
    lines = ["<table>"]
    if self.caption:
      lines.append(f"<caption><span>{escaped(self.caption)}</span></caption>")
    head = zip(self.columns, self._numeric, strict=True)
    names = (f'<th scope="col"{_NUMBER if right else ""}>{escaped(n)}</th>' for n, right in head)
    lines += ["<thead>", f"<tr>{''.join(names)}</tr>", "</thead>", "<tbody>"]
    lines += [f"<tr>{''.join(cells)}</tr>" for cells in self._html_rows()]
    lines += ["</tbody>", "</table>"]
    if self.notes:
      items = "".join(f"<li>{escaped(note)}</li>" for note in self.notes)
      lines.append(f'<ul class="notes">{items}</ul>')
    return "\n".join(lines)

  def _html_rows(self) -> Iterator[Iterator[str]]:
    def cell(shown: _cells.Shown, right: bool, widest: str, kind: str = "td") -> str:
      text = _cells.html_number(shown, widest) if right else escaped(_cells.line(shown))
      scope = ' scope="row"' if kind == "th" else ""
      return f"<{kind}{scope}{_NUMBER if right else ''}>{text}</{kind}>"

    columns = self._numeric, self._widest, ["th"] + ["td"] * (len(self.columns) - 1)
    for shown in self._shown():
      yield map(cell, shown, *columns)

  def _by_column(self) -> list[tuple[Cell, ...]]:
    return [tuple(row[i] for row in self.rows) for i in range(len(self.columns))]

  @property
  def _numeric(self) -> list[bool]:
    return [_cells.numeric(column) for column in self._by_column()]

  def _shown(self) -> list[list[_cells.Shown]]:
    digits = _digits(self.digits, tuple(self.columns)).values()
    return [[_cells.show(v, d) for v, d in zip(row, digits, strict=True)] for row in self.rows]

  @property
  def _widest(self) -> list[str]:
    """The longest half width of each column of numbers; empty where there is none."""
    shown = self._shown()
    columns = [[row[i].half for row in shown] for i in range(len(self.columns))]
    return [
      max(column, key=len, default="") if right else ""
      for column, right in zip(columns, self._numeric, strict=True)
    ]

  def _lines(self) -> list[list[str]]:
    """The head and the rows as text."""
    widest = self._widest
    rows = [[_cells.line(t, w) for t, w in zip(row, widest, strict=True)] for row in self._shown()]
    return [[plain(name) for name in self.columns], *rows]

  def _block(self, *lines: list[str]) -> list[list[str]]:
    """Pads lines of text to columns, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    shapes = list(zip(widths, self._numeric, strict=True))
    return [
      [t.rjust(w) if right else t.ljust(w) for t, (w, right) in zip(line, shapes, strict=True)]
      for line in lines
    ]
