import csv
import html.parser
import io
import re

import jax.numpy as jnp
import numpy as np
import pytest

from rfjax.report import Interval, Table

HOSTILE = "<script>alert(1)</script>\"'> a|b \\| `c` [d](e) _f_ *g* \x1b[31m\x00\u202e\n| h &lt; 1"
READ = "<script>alert(1)</script>\"'> a|b \\| `c` [d](e) _f_ *g* [31m | h &lt; 1"


def table():
  rows = [
    ("plain", Interval(0.84, 0.0031), 50, -0.00001, 0.5),
    ("fair", None, 8, -1.25, Interval(0.6, 0.25)),
    ("robust", 0.25, None, float("nan"), "given"),
  ]
  return Table(("method", "accuracy", "seeds", "gap", "rate"), rows, digits={"gap": 2})


class Reader(html.parser.HTMLParser):
  """Collects the cells of tables, and all tags with their attributes."""

  def __init__(self, text):
    super().__init__()
    self.tags, self.cells, self.open = [], [], []
    self.feed(text)
    assert not self.open

  def handle_starttag(self, tag, attrs):
    self.tags.append((tag, dict(attrs)))
    self.open.append(tag)
    if tag in ("th", "td", "li", "caption"):
      self.cells.append("")

  def handle_endtag(self, tag):
    assert self.open.pop() == tag

  def handle_data(self, data):
    if set(self.open) & {"th", "td", "li", "caption"}:
      self.cells[-1] += data


def markdown_cells(line):
  """Splits a row as GitHub does: at bars without a backslash, then undoes the escapes."""
  cells = re.findall(r"((?:\\.|[^|\\])+)\|", line[1:])
  plain = [re.sub(r"\\([^A-Za-z0-9\s])", r"\1", cell.strip()) for cell in cells]
  return [cell.replace("&lt;", "<").replace("&amp;", "&") for cell in plain]


def test_numbers_are_aligned_and_have_their_digits(monkeypatch):
  monkeypatch.delenv("FORCE_COLOR", raising=False)
  lines = table().to_text().splitlines()
  assert lines[0].split() == ["method", "accuracy", "seeds", "gap", "rate"]
  assert [line.strip() for line in lines[2:]] == [
    "plain    0.840 ± 0.003      50    0.00   0.500",
    "fair         –               8   -1.25   0.600 ± 0.250",
    "robust   0.250               –     nan   given",
  ]


def test_text_is_plain_in_a_file_and_styled_in_a_terminal(monkeypatch):
  wide = Table(("a" * 60, "b" * 60), [(HOSTILE, 1)], notes=("note",))
  monkeypatch.delenv("FORCE_COLOR", raising=False)
  assert "\x1b" not in wide.to_text() and READ in wide.to_text() and "a" * 60 in wide.to_text()
  monkeypatch.setenv("FORCE_COLOR", "1")
  monkeypatch.setenv("TERM", "xterm-256color")
  assert "\x1b[" in wide.to_text() and "\x1b[31m" not in wide.to_text()


def test_markdown_cells_survive():
  shown = Table(
    (HOSTILE, "n"), [(HOSTILE, 1), ("co_teaching", 2)], HOSTILE, (HOSTILE,)
  ).to_markdown()
  caption, rows, notes = shown.strip().split("\n\n")
  head, rule, first, second = rows.splitlines()
  assert markdown_cells(head) == [READ, "n"] and markdown_cells(first) == [READ, "1"]
  assert "| co_teaching " in second and re.fullmatch(r"\| :-+ \| -+: \|", rule)
  assert len({len(line) for line in (head, rule, first, second)}) == 1
  assert not re.search(r"<|(?<!\\)[`*\[]", caption.strip("*") + rows + notes)


def test_csv_keeps_all_digits_and_splits_intervals():
  rows = list(csv.reader(io.StringIO(table().to_csv())))
  head = ["method", "accuracy", "accuracy half width", "seeds", "gap", "rate", "rate half width"]
  assert rows == [
    head,
    ["plain", "0.84", "0.0031", "50", "-1e-05", "0.5", ""],
    ["fair", "", "", "8", "-1.25", "0.6", "0.25"],
    ["robust", "0.25", "", "", "nan", "given", ""],
  ]


@pytest.mark.parametrize("start", ["=", "+", "-", "@", " =", "\t", "\r", "\n=", "＝"])
def test_csv_cells_are_no_formulas(start):
  text = start + 'cmd|" /C calc"!A0'
  rows = list(csv.reader(io.StringIO(Table((text,), [(text,), (-1.5,)]).to_csv(), newline="")))
  assert rows == [["'" + text], ["'" + text], ["-1.5"]]


def test_html_is_escaped_and_accessible():
  shown = Table((HOSTILE, "n"), [(HOSTILE, -1.5)], HOSTILE, (HOSTILE,)).to_html()
  reader = Reader(shown)
  assert reader.cells == [READ, READ, "n", READ, "−1.500", READ]
  assert {tag for tag, _ in reader.tags} == set(
    "table caption span thead tbody tr th td ul li".split()
  )
  scopes = [attributes["scope"] for tag, attributes in reader.tags if tag == "th"]
  assert scopes == ["col", "col", "row"]


def test_html_columns_of_intervals_stay_in_line():
  rows = [("a", Interval(1.0, 0.5)), ("b", Interval(-1.0, 10.5)), ("c", 2.0)]
  cells = Reader(Table(("m", "x"), rows, digits=1).to_html()).cells
  numbers = cells[3::2]
  assert numbers == ["1.0 ± \u20070.5", "−1.0 ± 10.5", "2.0 ± 10.5"]
  hidden = '2.0<span class="unseen" aria-hidden="true"> ± 10.5</span>'
  assert hidden in Table(("m", "x"), rows, digits=1).to_html()


def test_scalars_of_numpy_and_jax_are_numbers():
  row = (np.float32(0.5), np.int64(3), jnp.float32(0.25), Interval(np.float64(1), jnp.float32(2)))
  new = Table(tuple("abcd"), [row])
  assert new.rows == ((0.5, 3, 0.25, Interval(1.0, 2.0)),)
  assert [type(value) for value in new.rows[0][:3]] == [float, int, float]


def test_an_empty_table_has_a_head():
  empty = Table(("a", "b"), [])
  assert empty.to_csv() == "a,b\n"
  assert empty.to_markdown().splitlines() == ["| a   | b   |", "| :-- | :-- |"]
  assert "<tbody>\n</tbody>" in empty.to_html() and "a" in empty.to_text()


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    ((("a", "a"), []), "all different"),
    (((), []), "all different"),
    (("ab", []), "columns must be a sequence of strings, got 'ab'"),
    ((("a",), [(1, 2)]), "rows must have 1 cells"),
    ((("a",), [(True,)]), "got True of type bool"),
    ((("a",), [([1],)]), r"got \[1\] of type list"),
    ((("a",), [(np.ones(2),)]), "of type ndarray"),
    ((("a",), [], "", "note"), "notes must be a sequence"),
    ((("a",), [], "", (), {"b": 1}), "digits names 'b'"),
    ((("a",), [], "", (), -1), "digits must be an integer of at least 0"),
  ],
)
def test_bad_tables_are_refused(arguments, message):
  with pytest.raises(ValueError, match=message):
    Table(*arguments)
