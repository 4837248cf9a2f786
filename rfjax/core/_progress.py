"""How far a sweep is, on stderr: a bar where a person watches, a line now and then elsewhere."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

_SECONDS = 10.0  # between two lines


@contextlib.contextmanager
def progress(runs: int, show: bool) -> Iterator[Callable[[int], None]]:
  """Shows how many of some runs are done, and how long the rest will take.

  Args:
    runs: how many there are.
    show: nothing is written when False.

  Yields:
    A function that is told how many more are done.
  """
  if not show:
    yield lambda done: None
  elif sys.stderr.isatty():
    with _bar(runs) as advance:
      yield advance
  else:
    yield _lines(runs)


@contextlib.contextmanager
def _bar(runs: int) -> Iterator[Callable[[int], None]]:
  from rich import console, progress

  columns = (
    progress.TextColumn("runs"),
    progress.BarColumn(),
    progress.MofNCompleteColumn(),
    progress.TimeElapsedColumn(),
    progress.TextColumn("left"),
    progress.TimeRemainingColumn(),
  )
  with progress.Progress(*columns, console=console.Console(file=sys.stderr)) as bar:
    task = bar.add_task("runs", total=runs)
    yield lambda done: bar.advance(task, done)


def _clock(seconds: float) -> str:
  return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def _lines(runs: int) -> Callable[[int], None]:
  began = last = time.monotonic()
  count = 0

  def advance(done: int) -> None:
    nonlocal last, count
    count, now = count + done, time.monotonic()
    if count == runs or now - last >= _SECONDS:
      left = (now - began) / count * (runs - count)
      text = f"runs {count}/{runs}, {_clock(now - began)}, left {_clock(left)}"
      print(text, file=sys.stderr, flush=True)
      last = now

  return advance
