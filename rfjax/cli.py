"""The command line. Results go to stdout, progress to stderr.

Exit codes: 0 for success, 1 for a run or check that failed, 2 for wrong usage and for files that
cannot be read or written, 130 for Ctrl-C, 143 for a preparation that was told to end.
"""

import argparse
import importlib
import os
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

from rfjax._version import __version__
from rfjax.catalog._reader import unknown

_HANDLERS = {  # module and function of each command; read when it is called, so help stays light
  "list": ("_catalog", "show_list"),
  "info": ("_catalog", "show_info"),
  "cite": ("_catalog", "show_citations"),
  "run": ("_run", "run"),
  "sweep": ("_run", "run"),
  "doctor": ("_doctor", "examine"),
  "data list": ("_data", "show_list"),
  "data info": ("_data", "show_info"),
  "data prepare": ("_data", "prepare"),
  "data verify": ("_data", "verify"),
}
_KINDS = ("method", "measure", "noise", "estimator")
_PARTS = ("I", "II", "III")
_DATA_DIR: dict[str, Any] = {
  "type": pathlib.Path,
  "metavar": "DIR",
  "help": "the folder of data; RFJAX_DATA_DIR or ./data when left out",
}
_JSON: dict[str, Any] = {"action": "store_true", "help": "print JSON"}


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
    "rfjax", description="Robust and fair machine learning as composable JAX transforms."
  )
  parser.add_argument("--version", action="version", version=f"rfjax {__version__}")
  commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

  lister = commands.add_parser("list", help="list methods, measures, noise and experiments")
  lister.add_argument("--kind", choices=_KINDS, help="only entries of this kind")
  lister.add_argument("--part", choices=_PARTS, help="only entries of this part of the tutorial")
  lister.add_argument("--json", **_JSON)

  info = commands.add_parser("info", help="show all that is known of one name")
  info.add_argument("name", help="a name that `rfjax list` shows")
  info.add_argument("--json", **_JSON)

  cite = commands.add_parser("cite", help="print BibTeX")
  cite.add_argument("names", nargs="*", help="names that `rfjax list` shows, or reference keys")
  cite.add_argument("--all", action="store_true", help="every reference of the catalogue")

  for name, does in (
    ("run", "run an experiment"),
    ("sweep", "run an experiment with --store DIR, where finished runs are kept; go on from there"),
  ):
    run = commands.add_parser(name, help=does)
    run.add_argument("experiment", help="an experiment of `rfjax list`, or a TOML file of settings")
    settings_help = f"settings; `rfjax {name} EXPERIMENT --help` lists them"
    run.add_argument("arguments", nargs=argparse.REMAINDER, metavar="...", help=settings_help)

  doctor = commands.add_parser("doctor", help="check this installation")
  doctor.add_argument("--data-dir", **_DATA_DIR)
  doctor.add_argument("--json", **_JSON)

  _add_data(commands.add_parser("data", help="list, describe, prepare and verify data sets"))
  return parser


def _add_data(parser: argparse.ArgumentParser) -> None:
  actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

  lister = actions.add_parser("list", help="list the data sets, and which are here")
  lister.add_argument("--json", **_JSON)

  info = actions.add_parser("info", help="show all that is known of a data set")
  info.add_argument("name", help="a data set that `rfjax data list` shows")
  info.add_argument("--json", **_JSON)

  prepare = actions.add_parser("prepare", help="write records, which load at once and stream")
  prepare.add_argument("name", help="a data set that `rfjax data list` shows")
  files_help = "where the publisher's files lie; its folder in the folder of data when left out"
  prepare.add_argument("--manual-dir", type=pathlib.Path, metavar="DIR", help=files_help)
  prepare.add_argument("--no-progress", action="store_false", dest="progress", help="show no bar")

  verify = actions.add_parser("verify", help="read files and records again; exit 1 where wrong")
  verify.add_argument("names", nargs="*", metavar="NAME", help="data sets; all here when left out")

  for action in (lister, info, prepare, verify):
    action.add_argument("--data-dir", **_DATA_DIR)


def _call(arguments: Sequence[str]) -> int:
  commands = {name.split()[0] for name in _HANDLERS}
  if arguments and not arguments[0].startswith("-") and arguments[0] not in commands:
    raise unknown("command", arguments[0], commands)
  options = _parser().parse_args(arguments)
  command = " ".join(filter(None, (options.command, getattr(options, "action", None))))
  module, function = _HANDLERS[command]
  return getattr(importlib.import_module(f"rfjax._cli.{module}"), function)(options)


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs a command.

  Args:
    arguments: the command and its options; those of the process by default.

  Returns:
    The exit code.

  Examples:
    >>> from rfjax import cli
    >>> cli.main(["cite", "roh2021"])
    2
  """
  try:
    code = _call(sys.argv[1:] if arguments is None else arguments)
    sys.stdout.flush()
    return code
  except SystemExit as stop:  # argparse and tyro have said what there is to say
    return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
  except BrokenPipeError:  # the reader has gone, so Python's last flush must not write either
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1
  except (ValueError, OSError) as error:
    print(f"rfjax: {error}", file=sys.stderr)
    return 2
  except MemoryError as error:
    print(f"rfjax: {error}", file=sys.stderr)
    return 1
  except KeyboardInterrupt:
    print("rfjax: interrupted", file=sys.stderr)
    return 130
