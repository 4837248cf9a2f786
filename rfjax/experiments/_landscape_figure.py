"""The picture of the landscape: a map for each bias, coloured by the family that is enough."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from rfjax import report
from rfjax.experiments.landscape import Settings


def landscape(
  settings: Settings,
  speakers: Mapping[str, str],
  needed: np.ndarray,
  in_vain: np.ndarray,
  scores: Mapping[str, np.ndarray],
) -> report.Figure:
  """Draws the maps.

  Args:
    settings: the settings.
    speakers: for each family the method that speaks for it.
    needed: the place of the family that is enough, [label noise, attribute noise, bias].
    in_vain: where no family is better than the same answer for all, of the same shape.
    scores: accuracy less disparity of each method, [label noise, attribute noise, bias, seeds].

  Returns:
    The figure.
  """
  families, names = list(speakers), list(speakers.values())
  shape = (len(settings.label_noise), len(settings.attribute_noise))

  def draw(axes: Any, theme: report.Theme) -> None:
    axes.set_axis_off()
    width = 1 / len(settings.bias)
    for b, bias in enumerate(settings.bias):
      part = axes.inset_axes((b * width + 0.02, 0.14, width - 0.05, 0.72))
      part.set_xlim(-0.5, shape[0] - 0.5)
      part.set_ylim(-0.5, shape[1] - 0.5)
      part.set_facecolor("none")
      for n, a in np.ndindex(shape):
        who = int(needed[n, a, b])
        colour = theme.series[who]
        part.fill_between([n - 0.5, n + 0.5], a - 0.5, a + 0.5, color=colour, alpha=0.35, lw=0)
        gain = scores[names[who]][n, a, b].mean() - scores[names[0]][n, a, b].mean()
        text = families[who] + "*" * bool(in_vain[n, a, b])
        text += f"\n{gain:+.2f}" if who else ""
        style = {"ha": "center", "va": "center", "fontsize": 7.5, "color": theme.ink}
        part.text(n, a, text, **style)
      part.set_xticks(range(shape[0]), [f"{v:g}" for v in settings.label_noise], fontsize=8)
      part.set_yticks(range(shape[1]), [f"{v:g}" for v in settings.attribute_noise], fontsize=8)
      part.tick_params(colors=theme.muted, length=0)
      for side in part.spines.values():
        side.set_color(theme.faint)
      part.set_title(f"bias {bias:g}", fontsize=9, color=theme.ink)
      part.set_xlabel("label noise", fontsize=8.5, color=theme.ink)
      if b == 0:
        part.set_ylabel("attribute noise", fontsize=8.5, color=theme.ink)

  spoken = ", ".join(f"{family} ({name})" for family, name in speakers.items())
  return report.Figure(
    draw,
    alt=f"maps of label noise and attribute noise by bias, coloured by family: {spoken}",
    caption=(
      f"The simplest family that is enough on {settings.data}: {spoken}. Numbers are what it gains"
      f" over {names[0]} training in accuracy less disparity; *: by this measure no family"
      " is better than the same answer for all."
    ),
    height=3.4,
  )
