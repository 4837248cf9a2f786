"""Figures: drawn once for a light and once for a dark page, the same bytes every time."""

import dataclasses
import io
import os
from collections.abc import Callable
from typing import Any, NamedTuple

from rfjax.core import _check
from rfjax.report import _svg
from rfjax.report._text import plain


class Theme(NamedTuple):
  """The colours of a figure.

  Attributes:
    ink: text and marks.
    muted: axes and small labels.
    faint: reference lines.
    paper: the page behind a figure.
    series: one colour for each series, told apart by colour-blind readers too.
    labels: the same hues where they are text, with more contrast.
  """

  ink: str
  muted: str
  faint: str
  paper: str
  series: tuple[str, ...]
  labels: tuple[str, ...]


# Hues of Okabe and Ito, Color universal design, 2008. Its yellow is too light to be read on white.
_DARK = ("#56b4e9", "#e69f00", "#2fbf94", "#cc79a7", "#f0e442", "#e8702a")
THEMES = {
  "light": Theme(
    ink="#1f2328",
    muted="#57606a",
    faint="#afb8c1",
    paper="#ffffff",
    series=("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"),
    labels=("#005f96", "#b04d00", "#007355", "#9c4576", "#8f6200", "#1f6f9f"),
  ),
  "dark": Theme("#e6edf3", "#9da7b1", "#4d5661", "#0d1117", series=_DARK, labels=_DARK),
}
_SETTINGS = {
  "axes.axisbelow": True,
  "axes.labelpad": 7.0,
  "axes.labelsize": 10.5,
  "axes.linewidth": 0.8,
  "axes.spines.right": False,
  "axes.spines.top": False,
  "figure.constrained_layout.h_pad": 0.03,
  "figure.constrained_layout.w_pad": 0.03,
  "figure.dpi": 72.0,
  "font.family": ["sans-serif"],
  "font.sans-serif": [_svg.MEASURED],
  "font.size": 10.5,
  "svg.fonttype": "none",
  "svg.hashsalt": "rfjax",
  "text.hinting": "none",
  "text.parse_math": False,
  "xtick.labelsize": 9.5,
  "ytick.labelsize": 9.5,
}


@dataclasses.dataclass(frozen=True)
class Figure:
  """A drawing with a caption; matplotlib is imported when it is asked for.

  Attributes:
    draw: `draw(axes, theme)`, which draws on a matplotlib `Axes` in the colours of a `Theme`.
    alt: what the figure shows, for readers who cannot see it.
    caption: what stands below it.
    width: in inches.
    height: in inches.

  Examples:
    >>> from rfjax.report import Figure
    >>> figure = Figure(lambda axes, theme: axes.plot([0, 1], color=theme.ink), alt="A line.")
    >>> figure.svg("dark").startswith("<svg")
    True
  """

  draw: Callable[[Any, Theme], Any]
  alt: str
  caption: str = ""
  width: float = 6.2
  height: float = 4.4

  def svg(self, theme: str = "light", *, prefix: str = "") -> str:
    """The figure as SVG on a transparent ground: text stays text, no dates, no links out.

    Args:
      theme: "light" or "dark".
      prefix: starts every id, so that several figures can stand in one page.

    Returns:
      An SVG element, the same string at every call.

    Raises:
      ImportError: without matplotlib.
      ValueError: for another theme.
    """
    out = io.StringIO()
    self._save(out, theme, format="svg", transparent=True)
    return _svg.clean(out.getvalue(), prefix=prefix, alt=plain(self.alt))

  def png(self, path: str | os.PathLike[str], theme: str = "light") -> None:
    """Writes the figure as PNG at twice the size of a screen's pixels, on the theme's paper.

    Args:
      path: where to.
      theme: "light" or "dark".

    Raises:
      ImportError: without matplotlib.
      ValueError: for another theme.
    """
    out = io.BytesIO()
    paper = THEMES["light" if theme not in THEMES else theme].paper
    self._save(out, theme, format="png", dpi=192, facecolor=paper, metadata={"Software": None})
    with open(path, "wb") as file:
      file.write(out.getvalue())

  def _save(self, out: Any, theme: str, **options: Any) -> None:
    _check.choice("theme", theme, tuple(THEMES))
    matplotlib = import_matplotlib()
    from matplotlib.figure import Figure as Canvas

    colours = THEMES[theme]
    with matplotlib.rc_context():
      matplotlib.rcdefaults()
      matplotlib.rcParams.update(_SETTINGS | _coloured(colours))
      canvas = Canvas(figsize=(self.width, self.height), layout="constrained")
      self.draw(canvas.add_subplot(), colours)
      canvas.savefig(out, **options)


def _coloured(theme: Theme) -> dict[str, Any]:
  muted = ("axes.edgecolor", "xtick.color", "ytick.color")
  return dict.fromkeys(muted, theme.muted) | {
    "axes.labelcolor": theme.ink,
    "text.color": theme.ink,
    "axes.facecolor": "none",
  }


def import_matplotlib() -> Any:
  """matplotlib, or ImportError with the remedy."""
  try:
    import matplotlib
  except ImportError as error:
    raise ImportError("figures need matplotlib: pip install 'rfjax[report]'") from error
  return matplotlib
