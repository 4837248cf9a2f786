"""How far long work is, on stderr: a bar where a person watches, a line now and then elsewhere."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

_SECONDS = 10.0  # between two lines


@contextlib.contextmanager
def progress(total: int, show: bool, what: str = "runs") -> Iterator[Callable[[int], None]]:
  """Shows how many of some things are done, and how long the rest will take.

  Args:
    total: how many there are.
    show: nothing is written when False.
    what: the things.

  Yields:
    A function that is told how many more are done.
  """
  if not show:
    yield lambda done: None
  elif sys.stderr.isatty():
    with _bar(total, what) as advance:
      yield advance
  else:
    yield _lines(total, what)


@contextlib.contextmanager
def _bar(total: int, what: str) -> Iterator[Callable[[int], None]]:
  from rich import console, progress

  columns = (
    progress.TextColumn(what),
    progress.BarColumn(),
    progress.MofNCompleteColumn(),
    progress.TimeElapsedColumn(),
    progress.TextColumn("left"),
    progress.TimeRemainingColumn(),
  )
  with progress.Progress(*columns, console=console.Console(file=sys.stderr)) as bar:
    task = bar.add_task(what, total=total)
    yield lambda done: bar.advance(task, done)


def _clock(seconds: float) -> str:
  return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def _lines(total: int, what: str) -> Callable[[int], None]:
  began = last = time.monotonic()
  count = 0

  def advance(done: int) -> None:
    nonlocal last, count
    count, now = count + done, time.monotonic()
    if count == total or now - last >= _SECONDS:
      left = (now - began) / count * (total - count)
      text = f"{what} {count}/{total}, {_clock(now - began)}, left {_clock(left)}"
      print(text, file=sys.stderr, flush=True)
      last = now

  return advance
