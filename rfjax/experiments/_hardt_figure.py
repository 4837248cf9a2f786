"""The figure of Hardt et al.: ROC curves by group, their hulls, and where each decision is."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rfjax import report
from rfjax.core import Batch, ratio
from rfjax.fairness.postprocessing._elements import cuts
from rfjax.fairness.postprocessing._hull import at, upper_hulls

_GRID = 401
_MARKERS = ("o", "s", "^", "D", "P", "X")


class Curves(NamedTuple):
  """What the figure shows of one score.

  Attributes:
    curve: [G, X], true positive rates on an even grid of false positive rates, by thresholds and
      straight lines between neighbouring ones.
    hull: [G, X], the highest ones that mixtures reach.
    points: [D, G, 2], the expected rates of each way to decide; None before they are known.
  """

  curve: Any
  hull: Any
  points: Any = None


def curves(rows: Batch) -> Curves:
  """The ROC curves and hulls of filled rows."""
  found, grid = cuts(rows), jnp.linspace(0, 1, _GRID)
  false = ratio(found.false, found.negatives[:, None])
  true = ratio(found.true, found.positives[:, None])
  curve = jax.vmap(jnp.interp, (None, 0, 0))(grid, false, true)
  hulls = upper_hulls(false, true, ascending=True)
  return Curves(curve, jax.vmap(at, (0, None))(hulls, grid).y)


def figure(
  name: str, found: Curves, groups: tuple[str, ...], decisions: tuple[str, ...]
) -> report.Figure:
  """The figure of one score."""
  grid = np.linspace(0, 1, _GRID)
  both = found.hull.min(axis=0)

  def draw(axes: Any, theme: report.Theme) -> None:
    axes.set_xlabel("false positive rate")
    axes.set_ylabel("true positive rate")
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    axes.fill_between(grid, grid, both, color=theme.faint, alpha=0.25, linewidth=0)
    axes.plot([0, 1], [0, 1], color=theme.faint, linewidth=0.8, linestyle=(0, (5, 3)))
    for g, group in enumerate(groups):
      colour = theme.series[g]
      axes.plot(grid, found.curve[g], color=colour, linewidth=1.4, label=group)
      axes.plot(grid, found.hull[g], color=colour, linewidth=0.9, linestyle=(0, (2, 2)))
    for d, way in enumerate(decisions):
      style = {"marker": _MARKERS[d], "s": 34, "linewidths": 1.2, "zorder": 4}
      axes.scatter([], [], label=way, facecolors="none", edgecolors=theme.ink, **style)
      for g in range(len(groups)):
        x, y = found.points[d, g]
        axes.scatter([x], [y], facecolors="none", edgecolors=theme.series[g], **style)
    axes.legend(loc="lower right", frameon=False, fontsize=9, labelcolor=theme.ink)

  return report.Figure(
    draw,
    alt=f"ROC curves of {' and '.join(groups)} by {name}, with {', '.join(decisions)}",
    caption=(
      f"{name}: what thresholds reach in each group (lines), what mixtures of them reach (dashed),"
      " and what all groups can reach alike (grey). Marks are the ways to decide, in the colour of"
      " the group. All of it is of the rows that the first run's thresholds are fitted on."
    ),
    height=5.2,
  )
