"""The methods of the fairness experiment, and the strengths that make their frontiers."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import optax

from rfjax.core import Batch, Transform, chain
from rfjax.fairness import inprocessing, postprocessing, preprocessing

STATISTICS = {
  "demographic_parity": ("selection_rate",),
  "equal_opportunity": ("true_positive_rate",),
  "equalized_odds": ("true_positive_rate", "false_positive_rate"),
}


class Recipe(NamedTuple):
  """How the experiment makes a method.

  Attributes:
    make: the transform for a criterion and a strength, which may be traced; where `favours`, also
      for the group that is given class 1 most often.
    acts: on what; what acts on the output is fitted on the validation set.
    strengths: one run each; a method without a strength has one, which it does not read.
    learn: what trains in the place of `fit`, on a criterion, a strength and the training set; it
      returns what fills a data set with log-odds of decisions.
    lots: whether its decisions are by lot, so that what is expected of them is measured.
    features: whether it changes the features, of test rows too.
    ranks: whether it needs a ranker: then a plain run says something of the training set first.
    favours: whether it must be told which group is favoured.
    batch_size: rows a step; all of them when None.
  """

  make: Callable[..., Transform] = lambda criterion, strength: chain()
  acts: Literal["data", "training", "output"] = "training"
  strengths: tuple[float, ...] = (0.0,)
  learn: Callable[[str, Any, Batch], Callable[[Batch], Batch]] | None = None
  lots: bool = False
  features: bool = False
  ranks: bool = False
  favours: bool = False
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


PARITIES = {  # what fairlearn calls the criteria
  "demographic_parity": "demographic_parity",
  "equal_opportunity": "true_positive_rate_parity",
  "equalized_odds": "equalized_odds",
}
_BOUNDS = (0.0, 0.02, 0.05, 0.1, 0.2)  # of a difference


def _reductions(criterion: str, strength: Any, given: Batch) -> Callable[[Batch], Batch]:
  # fairlearn's bound is on the distance to all groups together, of two equal groups half of theirs.
  found = inprocessing.exponentiated_gradient(
    given, PARITIES[criterion], difference_bound=strength / 2
  )
  return found.classifier.predict


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
  "uniform_sampling": Recipe(lambda criterion, strength: preprocessing.uniform_sampling(), "data"),
  "label_bias_correction": Recipe(
    lambda criterion, strength: preprocessing.label_bias_correction(
      criterion, learning_rate=strength
    ),
    strengths=(0.02, 0.05, 0.1),
  ),
  "correlation_remover": Recipe(
    lambda criterion, strength: preprocessing.correlation_remover(strength),
    "data",
    (0.25, 0.5, 0.75, 1.0),
    features=True,
  ),
  "disparate_impact_remover": Recipe(
    lambda criterion, strength: preprocessing.disparate_impact_remover(strength),
    "data",
    (0.25, 0.5, 0.75, 1.0),
    features=True,
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
  "relative_gap": Recipe(
    lambda criterion, strength: inprocessing.relative_gap(strength, STATISTICS[criterion]),
    strengths=(0.005, 0.01, 0.02, 0.05, 0.1),
  ),
  "prejudice_remover": Recipe(
    lambda criterion, strength: inprocessing.prejudice_remover(strength),
    strengths=(1.0, 2.0, 5.0, 10.0, 20.0),
  ),
  "lagrangian": Recipe(
    lambda criterion, strength: inprocessing.lagrangian(
      strength, STATISTICS[criterion], hard=False
    ),
    strengths=_BOUNDS,
  ),
  "proxy_lagrangian": Recipe(
    lambda criterion, strength: inprocessing.proxy_lagrangian(strength, STATISTICS[criterion]),
    strengths=_BOUNDS,
  ),
  "exponentiated_gradient": Recipe(learn=_reductions, strengths=_BOUNDS, lots=True),
  "fairbatch": Recipe(
    lambda criterion, strength: inprocessing.fairbatch(criterion, strength),
    strengths=(0.005, 0.02),
    batch_size=100,
  ),
  # The plain game: with Zhang's projection Adam at a constant rate goes in circles here.
  "adversarial_debiasing": Recipe(
    lambda criterion, strength: inprocessing.adversarial_debiasing(
      strength, criterion, tx=optax.adam(0.05)
    ),
    strengths=_LAWS,
  ),
  "gradient_reversal": Recipe(
    lambda criterion, strength: inprocessing.gradient_reversal(
      strength, criterion, inputs="logits"
    ),
    strengths=_LAWS,
  ),
  "equalized_odds": Recipe(
    lambda criterion, strength: postprocessing.equalized_odds("error"), "output", lots=True
  ),
  "equal_opportunity": Recipe(
    lambda criterion, strength: postprocessing.equal_opportunity("error"), "output", lots=True
  ),
  "reject_option": Recipe(
    lambda criterion, strength, favoured: postprocessing.reject_option(
      favoured, STATISTICS[criterion], lower=-strength, upper=strength
    ),
    "output",
    (0.01, 0.05, 0.1),
    favours=True,
  ),
  "threshold_optimizer": Recipe(
    lambda criterion, strength: postprocessing.threshold_optimizer(PARITIES[criterion]),
    "output",
    lots=True,
  ),
  "wasserstein_barycenter": Recipe(
    lambda criterion, strength: postprocessing.wasserstein_barycenter(strength),
    "output",
    (0.25, 0.5, 0.75, 1.0),
  ),
  "plug_in_equal_opportunity": Recipe(
    lambda criterion, strength: postprocessing.plug_in_equal_opportunity(), "output"
  ),
  "linear_post": Recipe(
    lambda criterion, strength: postprocessing.linear_post(criterion, tolerance=strength),
    "output",
    (0.001, 0.02, 0.05, 0.1, 0.2),
    lots=True,
  ),
}
