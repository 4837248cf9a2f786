"""How the commands print what they found."""

from collections.abc import Mapping, Sequence
from typing import Any

_UNBOUNDED = 10_000


def _cell(value: Any) -> str:
  return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def print_table(title: str, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
  """Prints a table with a title, a row a line where no person watches."""
  from rich import box, console, table

  grid = table.Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
  for i, column in enumerate(columns):
    grid.add_column(column, no_wrap=i == 0)
  for row in rows:
    grid.add_row(*(_cell(row[column]) for column in columns))
  out = console.Console(markup=False, highlight=False)
  if not out.is_terminal:
    out.width = _UNBOUNDED  # a row a line, for grep and its kind
  out.print(grid)


def print_fields(fields: Mapping[str, Any]) -> None:
  """Prints a field a line, without the empty ones."""
  lines = {key: _cell(value) for key, value in fields.items() if value not in (None, "", (), [])}
  width = max(map(len, lines)) + 2
  for key, value in lines.items():
    print(f"{key:<{width}}{value}")
