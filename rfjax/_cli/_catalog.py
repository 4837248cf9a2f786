"""rfjax list, info and cite: what the catalogue says. None of them imports JAX."""

import argparse
import dataclasses
import json
from typing import Any

from rfjax import catalog
from rfjax._cli._tables import print_fields, print_table
from rfjax.catalog._reader import unknown

_COLUMNS = ("name", "kind", "part", "box", "paper", "needs", "checked")


def _print_json(value: Any) -> None:
  print(json.dumps(value, indent=2))


def show_list(options: argparse.Namespace) -> int:
  """Prints the entries of a kind and part, and without either the experiments too."""
  wanted = {"kind": options.kind, "part": options.part}
  wanted = {key: value for key, value in wanted.items() if value is not None}
  found = [e for e in catalog.entries() if all(getattr(e, key) == v for key, v in wanted.items())]
  if options.json:
    _print_json([dataclasses.asdict(e) for e in found])
    return 0
  print_table("Catalogue", _COLUMNS, list(map(vars, found)))
  if not wanted:
    columns = ("name", "summary", "paper")
    print_table("Experiments", columns, list(map(vars, catalog.experiments())))
  return 0


def _known() -> dict[str, catalog.Entry | catalog.Experiment]:
  return {record.name: record for record in (*catalog.experiments(), *catalog.entries())}


def _lookup(name: str) -> catalog.Entry | catalog.Experiment:
  known = _known()
  if name not in known:
    raise unknown("name", name, known)
  return known[name]


def show_info(options: argparse.Namespace) -> int:
  """Prints all that the catalogue says of one name."""
  record = _lookup(options.name)
  fields = dataclasses.asdict(record)
  if options.json:
    _print_json(fields)
    return 0
  published = fields.pop("published", ())
  print_fields(fields)
  for row in published:
    print(f"\npublished {row['name']}: {row['data_set']}\n  source: {row['source']}")
    for key, value in {**row["settings"], **row["result"]}.items():
      print(f"  {key}: {json.dumps(value)}")
  for key in record.paper:
    print(f"\n{catalog.bibtex(key)}")
  return 0


def show_citations(options: argparse.Namespace) -> int:
  """Prints the BibTeX of names or reference keys, each reference once."""
  if options.all == bool(options.names):
    raise ValueError("cite needs names or --all: for instance `rfjax cite fr_train`")
  references, known = catalog.references(), _known()
  keys = list(references) if options.all else []
  for name in options.names:
    if name not in references and name not in known:
      raise unknown("name", name, [*references, *known])
    keys += [name] if name in references else known[name].paper
  print("\n\n".join(catalog.bibtex(key) for key in dict.fromkeys(keys)))
  return 0
