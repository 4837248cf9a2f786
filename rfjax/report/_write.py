"""Writes a report: every file of it, or none."""

import json
import os
import pathlib
import re
import tempfile
from collections.abc import Mapping
from typing import Any

from rfjax.report._table import Table

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def _name(argument: str, value: str) -> None:
  if not _NAME.fullmatch(value):
    raise ValueError(
      f"{argument} must be 1 to 100 of the characters A-Z a-z 0-9 . _ - and start with a letter"
      f" or a digit, got {value!r}"
    )


def write_report(
  directory: str | os.PathLike[str],
  name: str,
  *,
  page: str,
  tables: Mapping[str, Table],
  result: Any = None,
  times: Mapping[str, float],
) -> tuple[pathlib.Path, ...]:
  """Writes a report as files that are each whole at any time.

  All files are written to a temporary directory first and then moved to their names, where they
  replace what was there. If writing fails, nothing has changed. Only the times differ between two
  reports of the same work.

  Args:
    directory: where to; made if it is missing.
    name: starts the name of every file, of the characters A-Z a-z 0-9 . _ -.
    page: what `page` returned.
    tables: the tables by name, with names like `name`.
    result: an `xarray.Dataset` with the single runs, to be kept beside their summary.
    times: seconds by name.

  Returns:
    The paths of NAME.html, NAME.md, NAME.TABLE.csv for each table, NAME.times.json, and NAME.nc, in
    NetCDF 3, when there is a result.

  Raises:
    ValueError: for names with other characters.

  Examples:
    >>> import tempfile
    >>> from rfjax import report
    >>> table = report.Table(("method", "accuracy"), [("plain", 0.84)])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   paths = report.write_report(folder, "fr", page="", tables={"all": table}, times={})
    >>> [path.name for path in paths]
    ['fr.html', 'fr.md', 'fr.all.csv', 'fr.times.json']
  """
  _name("name", name)
  for key in tables:
    _name("tables", key)
  files = {
    f"{name}.html": page.encode(),
    f"{name}.md": "\n".join(table.to_markdown() for table in tables.values()).encode(),
    **{f"{name}.{key}.csv": table.to_csv().encode() for key, table in tables.items()},
    f"{name}.times.json": (json.dumps(dict(times), indent=2) + "\n").encode(),
  }
  if result is not None:
    files[f"{name}.nc"] = bytes(result.to_netcdf(engine="scipy"))
  return _replace(pathlib.Path(directory), files)


def _replace(directory: pathlib.Path, files: Mapping[str, bytes]) -> tuple[pathlib.Path, ...]:
  directory.mkdir(parents=True, exist_ok=True)
  with tempfile.TemporaryDirectory(dir=directory, prefix=".writing-") as folder:
    for name, content in files.items():
      pathlib.Path(folder, name).write_bytes(content)
    for name in files:
      os.replace(pathlib.Path(folder, name), directory / name)
  return tuple(directory / name for name in files)
