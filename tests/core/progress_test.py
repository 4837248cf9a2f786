"""Progress: silent when not wanted, lines where nobody watches a terminal."""

import re

from rfjax.core import _progress


def test_nothing_is_written_when_not_wanted(capsys):
  with _progress.progress(3, show=False) as advance:
    advance(3)
  assert capsys.readouterr() == ("", "")


def test_lines_on_stderr_tell_the_rest_by_proportion(capsys, monkeypatch):
  clock = iter([0.0, 5.0, 30.0, 35.0, 100.0])
  monkeypatch.setattr(_progress.time, "monotonic", lambda: next(clock))
  with _progress.progress(10, show=True) as advance:
    for done in (1, 2, 1, 6):
      advance(done)
  out, err = capsys.readouterr()
  assert out == ""
  assert err.splitlines() == ["runs 3/10, 0:30, left 1:10", "runs 10/10, 1:40, left 0:00"]


def test_a_terminal_gets_a_bar(capsys, monkeypatch):
  monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
  with _progress.progress(4, show=True) as advance:
    advance(4)
  assert re.search(r"4/4", capsys.readouterr().err)
