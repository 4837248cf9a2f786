"""A report as one page: no scripts, nothing from elsewhere, light and dark, wide and narrow."""

import dataclasses
import importlib.resources
import itertools
from collections.abc import Iterator, Mapping, Sequence

from rfjax.report._figure import THEMES, Figure
from rfjax.report._table import Table
from rfjax.report._text import escaped

LIMIT = 2_000_000
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


@dataclasses.dataclass(frozen=True)
class Section:
  """A part of a page.

  Attributes:
    title: its heading.
    body: tables, figures and paragraphs of plain text, in their order.

  Raises:
    ValueError: for anything else in its body.
  """

  title: str
  body: Sequence[Table | Figure | str]

  def __post_init__(self) -> None:
    if isinstance(self.body, str):
      raise ValueError(f"body must be a sequence, got the string {self.body!r}: put it in a tuple")
    for part in self.body:
      if not isinstance(part, (Table, Figure, str)):
        raise ValueError(f"body must hold Table, Figure and text, got {part!r}")


def page(
  title: str,
  lead: str,
  sections: Sequence[Section],
  manifest: Mapping[str, str | int | float],
) -> str:
  """Makes a page of HTML that needs nothing but itself and has the same bytes at every call.

  Args:
    title: the title.
    lead: the finding in one sentence.
    sections: the parts of the page.
    manifest: how it was made, by name, such as `manifest` returns; shown at the end.

  Returns:
    The page. All text is escaped; a policy in it forbids scripts and anything from elsewhere.

  Raises:
    ImportError: with figures but without matplotlib.
    ValueError: for a page of more than 2 MB.

  Examples:
    >>> from rfjax import report
    >>> part = report.Section("Results", ("Nothing <b>yet</b>.",))
    >>> "<p>Nothing &lt;b&gt;yet&lt;/b&gt;.</p>" in report.page("FR-Train", "", [part], {})
    True
  """
  text = "\n".join(_lines(title, lead, sections, manifest)) + "\n"
  size = len(text.encode())
  if size > LIMIT:
    raise ValueError(
      f"sections make a page of {size} bytes, more than {LIMIT}: draw fewer points, or keep long"
      " tables in files of their own"
    )
  return text


def _lines(
  title: str,
  lead: str,
  sections: Sequence[Section],
  manifest: Mapping[str, str | int | float],
) -> Iterator[str]:
  style = importlib.resources.files("rfjax.report").joinpath("_page.css").read_text("utf-8")
  yield f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escaped(title)}</title>
<style>
{style}</style>
</head>
<body>
<header>
<h1>{escaped(title)}</h1>
<p class="lead">{escaped(lead)}</p>
</header>
<main>"""
  figures = itertools.count(1)
  for section in sections:
    yield f"<section>\n<h2>{escaped(section.title)}</h2>"
    yield from (_part(part, figures) for part in section.body)
    yield "</section>"
  yield "</main>\n<footer>\n<h2>How this was made</h2>\n<dl>"
  for name, value in manifest.items():
    yield f"<div><dt>{escaped(name)}</dt><dd>{escaped(value)}</dd></div>"
  yield "</dl>\n</footer>\n</body>\n</html>"


def _part(part: Table | Figure | str, figures: Iterator[int]) -> str:
  match part:
    case Table():
      label = escaped(part.caption or "table")
      region = f'<div class="scroll" role="region" aria-label="{label}" tabindex="0">'
      return f"{region}\n{part.to_html()}\n</div>"
    case Figure():
      return _figure(part, next(figures))
    case str():
      return f"<p>{escaped(part)}</p>"


def _figure(figure: Figure, number: int) -> str:
  drawings = (
    f'<div class="{theme}">\n{figure.svg(theme, prefix=f"figure-{number}-{theme}-")}\n</div>'
    for theme in THEMES
  )
  caption = f"<figcaption>{escaped(figure.caption)}</figcaption>\n" if figure.caption else ""
  return "<figure>\n" + "\n".join(drawings) + f"\n{caption}</figure>"
