"""The methods of the fairness experiment, and the strengths that make their frontiers."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from rfjax.core import Transform, chain
from rfjax.fairness import inprocessing, postprocessing, preprocessing

STATISTICS = {
  "demographic_parity": ("selection_rate",),
  "equal_opportunity": ("true_positive_rate",),
  "equalized_odds": ("true_positive_rate", "false_positive_rate"),
}


class Recipe(NamedTuple):
  """How the experiment makes a method.

  Attributes:
    make: the transform for a criterion and a strength, which may be traced.
    acts: on what; what acts on the output is fitted on the validation set.
    strengths: one run each; a method without a strength has one, which it does not read.
    features: whether it changes the features, of test rows too.
    batch_size: rows a step; all of them when None.
    criteria: those that it can be asked for.
  """

  make: Callable[[str, Any], Transform]
  acts: Literal["data", "training", "output"] = "training"
  strengths: tuple[float, ...] = (0.0,)
  features: bool = False
  batch_size: int | None = None
  criteria: tuple[str, ...] = tuple(STATISTICS)


_PARITY, _ODDS = ("demographic_parity",), ("equalized_odds",)
_RATES = (0.02, 0.05, 0.1, 0.2, 0.5)  # of a penalty on rates, which have the size of a loss

RECIPES = {
  "plain": Recipe(lambda criterion, strength: chain()),
  "reweighing": Recipe(lambda criterion, strength: preprocessing.reweighing(), "data"),
  "gap": Recipe(
    lambda criterion, strength: inprocessing.gap(strength, STATISTICS[criterion]),
    strengths=_RATES,
  ),
  "equalized_odds": Recipe(lambda criterion, strength: postprocessing.equalized_odds(), "output"),
}
