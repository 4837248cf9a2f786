"""rfjax data: what data sets there are, and their records. Listing them imports no JAX."""

import argparse
import contextlib
import dataclasses
import json
import os
import pathlib
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

from rfjax import catalog
from rfjax._cli._tables import print_fields, print_table
from rfjax._places import data_folder, has_files

_USE = {  # of what a data set can be asked for
  "variants": 'data.table("{}:VARIANT")',
  "options": 'data.table("{}", OPTION=...)',
}
_COLUMNS = ("name", "kind", "rows", "here", "summary", "licence")


def _records(data_set: catalog.DataSet, folder: pathlib.Path) -> pathlib.Path:
  return folder / f"rfjax_{data_set.name}" / data_set.version


def _here(data_set: catalog.DataSet, folder: pathlib.Path) -> str:
  """What of a data set is in the folder of data."""
  found = ["files"] * has_files(folder / data_set.folder, data_set.files)
  return ", ".join(found + ["records"] * os.path.isdir(_records(data_set, folder)))


def _fields(data_set: catalog.DataSet, folder: pathlib.Path) -> dict[str, Any]:
  return {**dataclasses.asdict(data_set), "here": _here(data_set, folder)}


def _counts(rows: dict[str, int]) -> str:
  return ", ".join(f"{split} {count or '?'}" for split, count in rows.items())


def show_list(options: argparse.Namespace) -> int:
  """Prints the data sets, and what of them is in the folder of data."""
  through, folder = data_folder(options.data_dir)
  found = [_fields(data_set, folder) for data_set in catalog.data_sets()]
  if options.json:
    print(json.dumps(found, indent=2))
    return 0
  rows = [{**fields, "rows": _counts(fields["rows"])} for fields in found]
  print_table(f"Data sets; here: in {folder} (through {through})", _COLUMNS, rows)
  return 0


def show_info(options: argparse.Namespace) -> int:
  """Prints all that the catalogue says of a data set."""
  data_set = catalog.data_set(options.name)
  folder = data_folder(options.data_dir)[1]
  fields = _fields(data_set, folder)
  if options.json:
    print(json.dumps(fields, indent=2))
    return 0
  files = fields.pop("files")
  fields["rows"] = _counts(data_set.rows)
  fields["columns"] = [f"{key}: {value}" for key, value in data_set.columns.items()]
  fields["folder"] = str(folder / data_set.folder)
  choices = {name: fields.pop(name) for name in ("variants", "options")}
  print_fields(fields)
  for name, values in choices.items():
    if values:
      print(f"\n{name}, as {_USE[name].format(options.name)}")
      print_fields({f"  {key}": value for key, value in values.items()})
  for file in files:
    print(f"\nfile    {file['name']}\nsha256  {file['sha256'] or 'copies differ'}")
  for key in data_set.paper:
    print(f"\n{catalog.bibtex(key)}")
  return 0


@contextlib.contextmanager
def _ended_tidily() -> Iterator[None]:
  """Makes SIGTERM an exception, so that what was half written goes; only a main thread can."""
  if threading.current_thread() is not threading.main_thread():
    yield
    return
  before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
  try:
    yield
  finally:
    signal.signal(signal.SIGTERM, before)


def prepare(options: argparse.Namespace) -> int:
  """Writes the records of a data set."""
  from rfjax import data

  with _ended_tidily():
    folder = data.prepare(
      options.name,
      data_dir=options.data_dir,
      manual_dir=options.manual_dir,
      progress=options.progress,
    )
  print(folder)
  return 0


def verify(options: argparse.Namespace) -> int:
  """Reads files and records again and says whether they are right; exit code 1 where not."""
  from rfjax.data import _verify

  folder = data_folder(options.data_dir)[1]
  names = options.names or [d.name for d in catalog.data_sets() if _here(d, folder)]
  if not names:
    raise FileNotFoundError(f"{folder} holds no data set: `rfjax data info NAME` says where to get")
  failed = 0
  for data_set in [catalog.data_set(name) for name in names]:
    print(f"{data_set.name}: reading", file=sys.stderr, flush=True)
    try:
      said = _verify.verify(data_set, folder)
    except (ValueError, OSError) as error:
      failed, said = failed + 1, f"WRONG, {error}"
    print(f"{data_set.name:<16}{said}", flush=True)
  return 1 if failed else 0
