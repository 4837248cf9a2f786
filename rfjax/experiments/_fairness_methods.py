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
    ranks: whether it needs a ranker: then a plain run says something of the training set first.
    batch_size: rows a step; all of them when None.
  """

  make: Callable[[str, Any], Transform]
  acts: Literal["data", "training", "output"] = "training"
  strengths: tuple[float, ...] = (0.0,)
  features: bool = False
  ranks: bool = False
  batch_size: int | None = None


_RATES = (0.02, 0.05, 0.1, 0.2, 0.5)  # of a penalty on rates, which have the size of a loss
_LAWS = (0.1, 0.25, 0.5, 1.0, 2.0)  # of one on whole laws of scores


def _given_labels(make: Callable[..., Transform]) -> Callable[[str, Any], Transform]:
  """Asks a penalty on laws of scores for independence: of all rows, or of those of a label."""

  def of(criterion: str, strength: Any) -> Transform:
    labels = {"demographic_parity": (None,), "equal_opportunity": (1,), "equalized_odds": (0, 1)}
    return chain(*(make(strength, label=label) for label in labels[criterion]))

  return of


def _mistreatment(criterion: str, strength: Any) -> Transform:
  kinds = {"equal_opportunity": 1, "equalized_odds": 2}[criterion]
  errors = ("false_negative", "false_positive")[:kinds]
  return chain(*(inprocessing.mistreatment_covariance(strength, kind) for kind in errors))


RECIPES = {
  "plain": Recipe(lambda criterion, strength: chain()),
  "reweighing": Recipe(lambda criterion, strength: preprocessing.reweighing(), "data"),
  "fair_balance": Recipe(lambda criterion, strength: preprocessing.fair_balance(), "data"),
  "massaging": Recipe(
    lambda criterion, strength: preprocessing.massaging(strength=strength),
    "data",
    (0.25, 0.5, 0.75, 1.0),
    ranks=True,
  ),
  "preferential_sampling": Recipe(
    lambda criterion, strength: preprocessing.preferential_sampling(),
    "data",
    ranks=True,
  ),
  "gap": Recipe(
    lambda criterion, strength: inprocessing.gap(strength, STATISTICS[criterion]),
    strengths=_RATES,
  ),
  "mmd": Recipe(_given_labels(inprocessing.mmd), strengths=_LAWS),
  "hsic": Recipe(_given_labels(inprocessing.hsic), strengths=(5.0, 10.0, 50.0, 100.0, 200.0)),
  "correlation": Recipe(_given_labels(inprocessing.correlation), strengths=_RATES),
  "wasserstein": Recipe(_given_labels(inprocessing.wasserstein), strengths=_LAWS),
  "covariance": Recipe(
    lambda criterion, strength: inprocessing.covariance(strength),
    strengths=_RATES,
  ),
  "mistreatment_covariance": Recipe(_mistreatment, strengths=_RATES),
  "equalized_odds": Recipe(lambda criterion, strength: postprocessing.equalized_odds(), "output"),
  "equal_opportunity": Recipe(
    lambda criterion, strength: postprocessing.equal_opportunity(),
    "output",
  ),
  # In all four data sets class 1 is given more often to group 1.
  "reject_option": Recipe(
    lambda criterion, strength: postprocessing.reject_option(
      1, STATISTICS[criterion], lower=-strength, upper=strength
    ),
    "output",
    (0.01, 0.05, 0.1),
  ),
}
