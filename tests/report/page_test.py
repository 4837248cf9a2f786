import html.parser
import re

import pytest

from rfjax import report
from rfjax.report import Interval, Section, Series, Table

HOSTILE = "<script src=//evil.example>alert(1)</script>\"'> onload=x </style></title>\x00\ud800"
READ = "<script src=//evil.example>alert(1)</script>\"'> onload=x </style></title>"
VOID = {"meta", "link", "img", "br", "hr", "input", "base", "source"}
ALLOWED = set(
  "html head meta title style body header main section footer h1 h2 p figure figcaption div table"
  " caption span thead tbody tr th td ul li dl dt dd svg defs g path text use clippath rect".split()
)


class Reader(html.parser.HTMLParser):
  def __init__(self, text):
    super().__init__()
    self.tags, self.text, self.open = [], [], []
    self.feed(text)
    self.close()
    assert not self.open

  def handle_starttag(self, tag, attrs):
    self.tags.append((tag, dict(attrs)))
    if tag not in VOID:
      self.open.append(tag)

  def handle_startendtag(self, tag, attrs):
    self.tags.append((tag, dict(attrs)))

  def handle_endtag(self, tag):
    assert self.open.pop() == tag

  def handle_data(self, data):
    self.text.append((self.open[-1] if self.open else "", data))


def make(text):
  series = [Series(text, [0.6, 0.7], [0.8, 0.7], [0.01, 0.01], [0.01, 0.01], [text, None])]
  figure = report.frontier(
    series,
    xlabel=text,
    ylabel=text,
    references=[report.Reference(0.65, text)],
    marks=[Series(text, [0.6], [0.7])],
    caption=text,
    alt=text,
  )
  table = Table((text, "n"), [(text, Interval(0.5, 0.1)), (text, None)], text, (text, text))
  sections = [Section(text, (text, figure, table, figure)), Section(text, [table])]
  return report.page(text, text, sections, {text: text, "seeds": 32, "rate": 0.1})


@pytest.fixture(scope="module")
def hostile():
  return make(HOSTILE)


def test_the_same_bytes_every_time(hostile):
  assert make(HOSTILE) == hostile


def test_every_string_is_only_text(hostile):
  reader = Reader(hostile)
  assert {tag for tag, _ in reader.tags} == ALLOWED
  assert "<script" not in hostile.lower()
  places = [tag for tag, data in reader.text if READ in data]
  expected = {"title", "h1", "p", "h2", "figcaption", "text", "span", "th", "li", "dt", "dd"}
  assert set(places) == expected
  assert sum(d.get("aria-label") == READ for tag, d in reader.tags if tag == "svg") == 4


def test_nothing_is_fetched(hostile):
  for tag, attributes in Reader(hostile).tags:
    assert not any(name.startswith("on") for name in attributes)
    assert not {"src", "srcset", "data", "action", "poster", "background"} & set(attributes)
    assert attributes.get("href", "#").startswith("#") and (tag, "href") != ("a", "href")
  assert not re.search(r"@import|url\((?!#)", hostile)
  calm = make("calm").replace('xmlns="http://www.w3.org/2000/svg"', "")
  assert "http:" not in calm and "https:" not in calm
  policy = "default-src 'none'; style-src 'unsafe-inline'"
  assert f'content="{policy}"' in calm and calm.index(policy) < calm.index("<style>")


def test_ids_are_unique_and_every_link_has_its_target(hostile):
  tags = Reader(hostile).tags
  ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
  assert ids and len(set(ids)) == len(ids)
  links = [attributes["href"][1:] for _, attributes in tags if "href" in attributes]
  links += re.findall(r"url\(#([^)]*)\)", " ".join(str(a.get("clip-path")) for _, a in tags))
  assert set(links) == set(ids)


def test_both_themes_are_there_and_readable_without_eyes(hostile):
  tags = Reader(hostile).tags
  assert [a.get("class") for t, a in tags if a.get("class") in ("light", "dark")] == [
    "light",
    "dark",
  ] * 2
  assert all(a["role"] == "img" and a["aria-label"] for t, a in tags if t == "svg")
  assert ("html", {"lang": "en"}) in tags
  assert all("scope" in a for t, a in tags if t == "th")
  assert sum(t == "caption" for t, _ in tags) == 2
  assert "prefers-color-scheme: dark" in hostile


def test_the_manifest_is_shown_in_its_order():
  page = report.page("t", "l", [], {"b": 1, "a": 0.5})
  assert page.index("<dt>b</dt><dd>1</dd>") < page.index("<dt>a</dt><dd>0.5</dd>")


def test_a_page_too_large_is_refused():
  with pytest.raises(ValueError, match=r"sections make a page of \d+ bytes, more than 2000000"):
    report.page("t", "l", [Section("s", ("x" * 2_000_000,))], {})
  assert len(make("x").encode()) < 200_000


def test_bad_sections_are_refused():
  with pytest.raises(ValueError, match="put it in a tuple"):
    Section("s", "text")
  with pytest.raises(ValueError, match="body must hold Table, Figure and text, got 1"):
    Section("s", (1,))
