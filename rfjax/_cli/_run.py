"""rfjax run and sweep: train an experiment and print its table, or its rows as JSON."""

import argparse
import contextlib
import dataclasses
import functools
import importlib
import json
import math
import pathlib
import sys
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any, Generic, TypeVar

import tyro

from rfjax import catalog
from rfjax._cli import _device
from rfjax.catalog._reader import unknown

_FILE_KEYS = ("experiment", "settings")

Settings = TypeVar("Settings")


@dataclasses.dataclass(frozen=True)
class _Options(Generic[Settings]):
  """An experiment's own settings, and what the command line does with its results."""

  settings: tyro.conf.OmitArgPrefixes[Settings]
  out: pathlib.Path = pathlib.Path("results")
  """Folder for reports; each experiment has a folder of its own in it."""
  json: bool = False
  """Print one JSON object with settings and rows instead of the table."""
  store: pathlib.Path | None = None
  """Folder in which finished runs are kept; the same command goes on from there."""
  checkpoint_every: int | None = None
  """Epochs after which runs under way are set down in the store, for runs that take hours."""
  distributed: bool = False
  """Share the runs with the other processes of a Slurm, GKE or TPU job; the first one reports."""
  progress: bool = True
  """Show the stages and how far the runs are, on stderr."""


def _named(name: str) -> tuple[catalog.Experiment, dict[str, Any]]:
  known = {e.name: e for e in catalog.experiments()}
  if name not in known:
    raise unknown("experiment", name, known)
  return known[name], {}


def _read_file(path: str) -> tuple[catalog.Experiment, dict[str, Any]]:
  """The experiment that a file of frozen settings names, and the settings."""
  if not pathlib.Path(path).is_file():
    raise FileNotFoundError(f"no settings file {path}")
  try:
    table = tomllib.loads(pathlib.Path(path).read_text(encoding="utf-8"))
  except ValueError as error:
    raise ValueError(f"{path}: {error}") from None
  for key in table:
    if key not in _FILE_KEYS:
      raise unknown(f"key of {path}", key, _FILE_KEYS)
  if not isinstance(table.get("experiment"), str):
    raise ValueError(f'{path} must name its experiment: add experiment = "NAME"')
  if not isinstance(table.setdefault("settings", {}), dict):
    raise ValueError(f"{path}: settings must be a table: write [settings]")
  return _named(table["experiment"])[0], table["settings"]


def _arguments(settings: Mapping[str, Any], prefix: str = "--") -> Iterator[str]:
  """A file's settings as arguments, so that one parser checks both."""
  for key, value in settings.items():
    if isinstance(value, Mapping):
      yield from _arguments(value, f"{prefix}{key}.")
    else:
      yield f"{prefix}{key}"
      yield from map(str, value if isinstance(value, list) else [value])


def _frozen(kind: type[Settings], path: str, table: Mapping[str, Any]) -> Settings:
  """The settings of a file, through the parser of the command line."""
  flags = (tyro.conf.FlagConversionOff,)
  try:
    return tyro.cli(kind, args=list(_arguments(table)), prog=path, config=flags)
  except SystemExit:  # tyro has said which and why
    raise ValueError(f"the settings of {path} are not those of its experiment") from None


def _parse(module: Any, command: argparse.Namespace, summary: str, table: Mapping) -> _Options:
  name = command.experiment
  parse = functools.partial(
    tyro.cli, args=command.arguments, prog=f"rfjax {command.command} {name}", description=summary
  )
  if table:
    parse = functools.partial(parse, default=_Options(_frozen(module.Settings, name, table)))
  return parse(_Options[module.Settings])


def _plain(value: Any) -> Any:
  """The value in JSON's own types; what is not finite becomes null."""
  if isinstance(value, Mapping):
    return {str(key): _plain(v) for key, v in value.items()}
  if isinstance(value, (list, tuple)):
    return [_plain(v) for v in value]
  if hasattr(value, "tolist"):
    return _plain(value.tolist())
  if isinstance(value, float):
    return value if math.isfinite(value) else None
  return value if isinstance(value, (str, int, type(None))) else str(value)


def _print_results(module: Any, name: str, options: _Options, result: Any) -> None:
  if options.json:
    settings = dataclasses.asdict(options.settings)
    found = {"experiment": name, "settings": settings, "rows": module.rows(result)}
    print(json.dumps(_plain(found), indent=2), flush=True)
    return
  for title, table in module.tables(result).items():
    print(f"{title}\n\n{table.to_text()}", flush=True)


def _stored(options: _Options) -> contextlib.AbstractContextManager[None]:
  """Whether sweeps keep their runs, and where; read after JAX was told of its devices."""
  from rfjax.core._sweep import stored_in

  if options.store is None:
    return contextlib.nullcontext()
  return stored_in(options.store, options.checkpoint_every)


def _reports() -> bool:
  from rfjax.core._hosts import is_first

  return is_first()


def _check_store(command: str, options: _Options) -> None:
  every = options.checkpoint_every
  if every is not None and every < 1:
    raise ValueError(f"checkpoint-every must be at least 1 epoch, got {every}")
  if options.store is None and (command == "sweep" or every is not None):
    raise ValueError("store is missing: pass --store DIR, the folder in which runs are kept")


def run(command: argparse.Namespace) -> int:
  """Runs an experiment, prints its tables or its rows, and writes its report.

  As `sweep` it must have a store.
  """
  is_file = command.experiment.endswith(".toml")
  experiment, table = _read_file(command.experiment) if is_file else _named(command.experiment)
  module = importlib.import_module(experiment.module)
  options = _parse(module, command, experiment.summary, table)
  _check_store(command.command, options)

  def stage(text: str) -> None:
    if options.progress:
      print(f"{experiment.name}: {text}", file=sys.stderr, flush=True)

  stage("starting JAX")
  _device.prepare(options.distributed)
  stage("training")
  with _stored(options):
    result = module.run(options.settings, progress=options.progress)
  if not _reports():
    return 0
  _print_results(module, experiment.name, options, result)  # before anything else can fail
  stage("writing the report")
  page = module.report(result, options.out / experiment.name)
  print(f"report: {page}", file=sys.stderr if options.json else sys.stdout)
  return 0
