"""What experiments share: the methods that settings name, and work that is done elsewhere."""

import importlib
import pathlib
from collections.abc import Callable, Iterable
from typing import Any

Run = Callable[..., Any]
Tables = Callable[[Any], dict[str, Any]]
Report = Callable[[Any, pathlib.Path], pathlib.Path]


def named_methods(
  text: str, options: Iterable[str], baseline: str | None = None
) -> tuple[str, ...]:
  """The methods that a setting names, separated by commas, or all.

  Args:
    text: the setting.
    options: all methods.
    baseline: the one that is always run, first; None where one must be named.

  Returns:
    Their names, each once.

  Raises:
    ValueError: for a name that is not known, and for none.
  """
  from rfjax.catalog._reader import unknown

  options = tuple(options)
  if text.strip() == "all":
    return options
  named = [name.strip() for name in text.split(",") if name.strip()]
  for name in named:
    if name not in options:
      raise unknown("method", name, options)
  if baseline is not None:
    named.insert(0, baseline)
  if not named:
    raise ValueError(f"method must name one of {', '.join(options)}, or all, got none")
  return tuple(dict.fromkeys(named))


def delegate(
  check: Callable[[Any], None], runs: str | Callable[[Any], str], shows: str | None = None
) -> tuple[Run, Tables, Report]:
  """The functions `run`, `tables` and `report` of an experiment, which import nothing until called.

  Args:
    check: refuses settings that no run could use.
    runs: the name of the module in `rfjax.experiments` that has `run(settings, *, progress)`, or a
      function that gives it of the settings.
    shows: the name of the one that has `tables(result)` and `write(result, directory)`; that of
      `runs` when None.

  Returns:
    `run(settings, *, progress=True)`, which checks the settings and returns a result for `rows`,
    `tables` and `report`, whose `data` holds the runs; `tables(result)`, the `rfjax.report.Table`s
    that a reader wants first, by title; and `report(result, directory)`, which writes the page, its
    tables and the times, and returns the path of the page.
  """

  def module(name: str | None, settings: Any) -> Any:
    name = name or (runs if isinstance(runs, str) else runs(settings))
    return importlib.import_module(f"rfjax.experiments.{name}")

  def run(settings: Any, *, progress: bool = True) -> Any:
    """Runs the experiment, and shows on stderr how far it is.

    Raises ValueError for settings that no run could use, and FileNotFoundError for data that are
    not there.
    """
    check(settings)
    return module(None, settings).run(settings, progress=progress)

  def tables(result: Any) -> dict[str, Any]:
    """The tables that a reader wants first, by title, of what `run` returned."""
    return module(shows, result.settings).tables(result)

  def report(result: Any, directory: pathlib.Path) -> pathlib.Path:
    """Writes the page of what `run` returned, its tables and the times; returns the page's path."""
    return module(shows, result.settings).write(result, directory)

  return run, tables, report
