"""Reads the catalogue's TOML files into frozen records."""

import dataclasses
import difflib
import functools
import pathlib
import tomllib
from collections.abc import Iterable
from typing import Any, TypeVar

FOLDER = pathlib.Path(__file__).parent
_NO_FAMILY = ("references", "experiments", "data_sets")

Record = TypeVar("Record")


@dataclasses.dataclass(frozen=True)
class Published:
  """Results that a paper or its code reports.

  Attributes:
    name: what the source calls this setting.
    data_set: what was trained and tested on.
    settings: the hyper-parameters; a list gives one point for each of its values.
    result: the measures, lists in the order of the settings' lists.
    source: where the numbers stand.
  """

  name: str
  data_set: str
  settings: dict[str, Any]
  result: dict[str, Any]
  source: str


@dataclasses.dataclass(frozen=True)
class Entry:
  """What the catalogue says of one name of the library.

  Attributes:
    name: the public name.
    kind: "method", "measure", "noise" or "estimator".
    part: "I", "II" or "III" of the tutorial.
    family: the module that has the name.
    paper: keys of its papers in `references`.
    verified: against what the implementation is tested.
    checked: what its formula was read in: "paper", "code" or "memory".
    figure: the tutorial's figure that has its box.
    box: the box in that figure.
    survey: its places in the survey's list, A1 to E3, or its classes in Figures 3 and 4, such as
      "repair" or "noisy attribute".
    writes: the batch fields that it writes.
    needs: what it needs beyond features and given labels.
    neutral: the settings that make it plain cross-entropy; empty where there are none.
    neutral_reason: why there are none.
    published: published results.
  """

  name: str
  kind: str
  part: str
  family: str
  paper: tuple[str, ...]
  verified: str
  checked: str
  figure: int | None = None
  box: str = ""
  survey: tuple[str, ...] = ()
  writes: tuple[str, ...] = ()
  needs: tuple[str, ...] = ()
  neutral: str = ""
  neutral_reason: str = ""
  published: tuple[Published, ...] = ()


@dataclasses.dataclass(frozen=True)
class Experiment:
  """An experiment that `rfjax run` knows.

  Attributes:
    name: its name on the command line.
    module: the module that runs it.
    summary: what it shows, in one line.
    paper: keys of its papers in `references`.
    methods: the catalogued methods that it trains.
  """

  name: str
  module: str
  summary: str
  paper: tuple[str, ...] = ()
  methods: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class File:
  """A file that a publisher gives out.

  Attributes:
    name: its path below the data set's folder.
    sha256: its digest in hexadecimal; empty where publishers' copies differ.
  """

  name: str
  sha256: str = ""


@dataclasses.dataclass(frozen=True)
class DataSet:
  """A data set that `rfjax.data` reads.

  Attributes:
    name: its name in `rfjax.data.load`.
    summary: what it holds, in one line.
    kind: "table", "images", "crowd" or "synthetic".
    folder: the folder of the publisher's files, below the folder of data.
    publisher: where the publisher keeps them.
    licence: what the publisher allows.
    columns: for each column its type and axes, such as "uint8[28,28]".
    rows: for each split how many there are; 0 where copies differ.
    files: the files; none where it is a folder of many.
    classes: names of the classes, in the order of their codes.
    paper: keys of its papers in `references`.
    variants: what other recipes there are, by the name that follows "NAME:".
    options: the options of its recipe, with their values.
    version: of its records.
    note: what a user must know beyond this.
  """

  name: str
  summary: str
  kind: str
  folder: str
  publisher: str
  licence: str
  columns: dict[str, str]
  rows: dict[str, int]
  files: tuple[File, ...] = ()
  classes: tuple[str, ...] = ()
  paper: tuple[str, ...] = ()
  variants: dict[str, str] = dataclasses.field(default_factory=dict)
  options: dict[str, str] = dataclasses.field(default_factory=dict)
  version: str = "1.0.0"
  note: str = ""


def unknown(what: str, name: str, names: Iterable[str]) -> ValueError:
  """The error for a name that is none of `names`, with the nearest of them."""
  names = sorted(names)
  near = difflib.get_close_matches(name, names, n=1)
  advice = f"did you mean {near[0]!r}?" if near else f"choose one of {', '.join(names)}"
  return ValueError(f"unknown {what} {name!r}: {advice}")


def _read(stem: str) -> dict[str, Any]:
  with open(FOLDER / f"{stem}.toml", "rb") as file:
    return tomllib.load(file)


def _record(kind: type[Record], stem: str, table: dict[str, Any]) -> Record:
  values = {key: tuple(v) if isinstance(v, list) else v for key, v in table.items()}
  try:
    return kind(**values)
  except TypeError as error:
    raise ValueError(f"{stem}.toml, {table.get('name', kind.__name__)!r}: {error}") from None


def _entry(family: str, table: dict[str, Any]) -> Entry:
  published = [_record(Published, family, row) for row in table.get("published", [])]
  return _record(Entry, family, {**table, "family": family, "published": published})


@functools.cache
def entries() -> tuple[Entry, ...]:
  """Lists the catalogue.

  Returns:
    All entries, family by family, in the order of the files.

  Examples:
    >>> from rfjax import catalog
    >>> [e.name for e in catalog.entries() if e.box == "equal merger"]
    ['fr_train', 'fair_robust', 'fair_small_loss']
  """
  families = sorted(path.stem for path in FOLDER.glob("*.toml") if path.stem not in _NO_FAMILY)
  return tuple(_entry(f, table) for f in families for table in _read(f).get("entry", []))


def entry(name: str) -> Entry:
  """Looks a name up.

  Args:
    name: the public name of a method, measure, noise or estimator.

  Returns:
    Its entry.

  Raises:
    ValueError: for a name that the catalogue lacks, with the nearest one that it has.

  Examples:
    >>> from rfjax import catalog
    >>> catalog.entry("fr_train").needs
    ('group', 'trusted')
  """
  table = {e.name: e for e in entries()}
  if name not in table:
    raise unknown("entry", name, table)
  return table[name]


@functools.cache
def experiments() -> tuple[Experiment, ...]:
  """Lists the experiments that `rfjax run` knows.

  Returns:
    The experiments.

  Examples:
    >>> from rfjax import catalog
    >>> [e.name for e in catalog.experiments() if "fr_train" in e.methods]
    ['fr-train']
  """
  stem = "experiments"
  return tuple(_record(Experiment, stem, table) for table in _read(stem)["experiment"])


@functools.cache
def data_sets() -> tuple[DataSet, ...]:
  """Lists the data sets that `rfjax.data` reads.

  Returns:
    The data sets, by name.

  Examples:
    >>> from rfjax import catalog
    >>> [d.rows for d in catalog.data_sets() if d.name == "mnist"]
    [{'train': 60000, 'test': 10000}]
  """
  stem = "data_sets"
  tables = _read(stem)["data_set"]
  files = [[_record(File, stem, row) for row in table.get("files", [])] for table in tables]
  found = [_record(DataSet, stem, {**t, "files": f}) for t, f in zip(tables, files, strict=True)]
  return tuple(sorted(found, key=lambda data_set: data_set.name))


def data_set(name: str) -> DataSet:
  """Looks a data set up.

  Args:
    name: the name of a data set.

  Returns:
    What the catalogue says of it.

  Raises:
    ValueError: for a name that the catalogue lacks, with the nearest one that it has.

  Examples:
    >>> from rfjax import catalog
    >>> catalog.data_set("fashion_mnist").classes[9]
    'ankle boot'
  """
  table = {d.name: d for d in data_sets()}
  if name not in table:
    raise unknown("data set", name, table)
  return table[name]


@functools.cache
def references() -> dict[str, dict[str, Any]]:
  """Lists the papers.

  Returns:
    For each key the BibTeX fields: type, author (a list), title, booktitle or journal, year.

  Examples:
    >>> from rfjax import catalog
    >>> catalog.references()["roh2020"]["year"]
    2020
  """
  return _read("references")


def bibtex(key: str) -> str:
  """Writes a reference as BibTeX.

  Args:
    key: a key of `references`, as in `Entry.paper`.

  Returns:
    The BibTeX entry.

  Raises:
    ValueError: for a key that the catalogue lacks, with the nearest one that it has.

  Examples:
    >>> from rfjax import catalog
    >>> print(catalog.bibtex("hardt2016"))
    @inproceedings{hardt2016,
      author = {Hardt, Moritz and Price, Eric and Srebro, Nathan},
      title = {{Equality of Opportunity in Supervised Learning}},
      booktitle = {Advances in Neural Information Processing Systems (NeurIPS)},
      year = {2016},
    }
  """
  if key not in references():
    raise unknown("reference", key, references())
  fields = dict(references()[key])
  kind = fields.pop("type")
  fields["author"] = " and ".join(fields["author"])
  fields["title"] = f"{{{fields['title']}}}"  # the inner braces keep the capitals
  lines = [f"  {name} = {{{value}}}," for name, value in fields.items()]
  return "\n".join([f"@{kind}{{{key},", *lines, "}"])
