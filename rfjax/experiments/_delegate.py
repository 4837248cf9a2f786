"""What every experiment shows, delegated to the module that makes it when it is asked for."""

import importlib
import pathlib
from collections.abc import Callable
from typing import Any

Tables = Callable[[Any], dict[str, Any]]
Report = Callable[[Any, pathlib.Path], pathlib.Path]


def delegate(module: str | Callable[[Any], str]) -> tuple[Tables, Report]:
  """The functions `tables` and `report` of an experiment, which import nothing until called.

  Args:
    module: the name of the module in `rfjax.experiments` that has `tables(result)` and
      `write(result, directory)`, or a function that gives it of a result.

  Returns:
    `tables(result)`, the `rfjax.report.Table`s that a reader wants first, by title; and
    `report(result, directory)`, which writes the page, its tables and the times, and returns the
    path of the page.
  """

  def made(result: Any) -> Any:
    name = module if isinstance(module, str) else module(result)
    return importlib.import_module(f"rfjax.experiments.{name}")

  def tables(result: Any) -> dict[str, Any]:
    """The tables that a reader wants first, by title, of what `run` returned."""
    return made(result).tables(result)

  def report(result: Any, directory: pathlib.Path) -> pathlib.Path:
    """Writes the page of what `run` returned, its tables and the times; returns the page's path."""
    return made(result).write(result, directory)

  return tables, report
