"""The income task of Ding et al. on person files of the American Community Survey."""

import csv
import pathlib
from collections.abc import Callable, Iterator

import numpy as np

from rfjax.data._files import Folder

_RENAMED = {"RELP": "RELSHIPP", "ST": "STATE"}  # by the Census Bureau, in 2019 and 2023
_ABOVE = {"AGEP": 16, "PINCP": 100, "WKHP": 0, "PWGTP": 0}  # the rows of the task


def acs_income(folder: Folder) -> dict[str, dict[str, np.ndarray]]:
  """Reads the people of the task in all CSV files, by name of the file; what is blank becomes 0."""
  place = folder.folder()
  paths = sorted(place.glob("*.csv"))
  if not paths:
    raise FileNotFoundError(f"{place} has no CSV file: {folder.data_set.publisher} has them")
  names = list(folder.data_set.columns)
  relations, parts = set(), []
  for path in paths:
    header, rows = _people(path, names)
    relations.add("RELP" if "RELP" in header else _RENAMED["RELP"])
    parts.append(rows)
  if len(relations) > 1:
    raise ValueError(f"{place} mixes years: RELP and RELSHIPP have other codes, keep one of them")
  table = np.concatenate(parts)
  return {"train": {name: table[:, i].copy() for i, name in enumerate(names)}}


def _people(path: pathlib.Path, names: list[str]) -> tuple[list[str], np.ndarray]:
  """The header of a file, and the columns of the people of the task, int32 [N, columns]."""
  try:
    with path.open(encoding="utf-8-sig", newline="") as file:
      lines = csv.reader(file)
      header = [name.strip() for name in next(lines, [])]
      rows = list(_kept(path, lines, header, names))
  except (UnicodeDecodeError, csv.Error) as error:
    raise ValueError(f"{path} is no CSV file: {error}") from None
  return header, np.array(rows, np.int32).reshape(-1, len(names))


def _kept(
  path: pathlib.Path, lines: Iterator[list[str]], header: list[str], names: list[str]
) -> Iterator[list[int]]:
  above = [(_number(path, header, name), limit) for name, limit in _ABOVE.items()]
  wanted = [_number(path, header, name) for name in names]
  for row, fields in enumerate(filter(None, lines), start=1):
    if len(fields) != len(header):
      raise ValueError(f"{path}, row {row} has {len(fields)} fields, expected {len(header)}")
    if all(number(row, fields) > limit for number, limit in above):
      yield [number(row, fields) for number in wanted]


def _number(path: pathlib.Path, header: list[str], name: str) -> Callable[[int, list[str]], int]:
  """What reads a column of a row as a whole number."""
  place = next((n for n in (name, _RENAMED.get(name)) if n in header), None)
  if place is None:
    found = ", ".join(header[:5]) or "nothing"
    raise ValueError(f"{path} has no column {name!r}, but {found} ...: put person files here alone")
  at = header.index(place)

  def number(row: int, fields: list[str]) -> int:
    value = fields[at].strip()
    try:
      found = int(value or 0)
    except ValueError:
      found = 2**31
    if not -(2**31) <= found < 2**31:
      raise ValueError(f"{path}, row {row}: column {name!r} holds no whole number of 32 bits")
    return found

  return number
