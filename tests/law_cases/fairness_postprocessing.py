"""Cases of what makes the decisions of a trained model fair."""

from law_cases.case import Case
from rfjax.fairness import postprocessing

CASES = {
  "equalized_odds": Case(
    make=lambda s: postprocessing.equalized_odds(false_positive_cost=1 + s),
    neutral=None,
    refused=((("profit",), {}), ((), {"false_negative_cost": -1.0})),
    acts="output",
    num_classes=2,
  ),
  "group_thresholds": Case(
    make=lambda s: postprocessing.group_thresholds(s),
    neutral=None,
    refused=(((-0.1,), {}), ((0.5, "profit"), {})),
    acts="output",
    num_classes=2,
  ),
  "equal_opportunity": Case(
    make=lambda s: postprocessing.equal_opportunity("error", false_positive_cost=1 + s),
    neutral=None,
    refused=((("profit",), {}), ((), {"false_positive_cost": -1.0})),
    acts="output",
    num_classes=2,
  ),
  "calibrated_equalized_odds": Case(
    make=lambda s: postprocessing.calibrated_equalized_odds("false_positive_rate"),
    neutral=None,
    refused=((("profit",), {}),),
    acts="output",
    num_classes=2,
  ),
  "reject_option": Case(
    make=lambda s: postprocessing.reject_option(0, upper=s, thresholds=10, margins=5),
    neutral=None,
    refused=(((-1,), {}), ((0, "kindness"), {}), ((0,), {"upper": 2.0})),
    acts="output",
    num_classes=2,
  ),
  "wasserstein_barycenter": Case(
    make=postprocessing.wasserstein_barycenter,
    neutral=lambda: postprocessing.wasserstein_barycenter(0.0),
    refused=(((1.1,), {}), ((-0.1,), {})),
    acts="output",
    num_classes=2,
  ),
  "threshold_optimizer": Case(
    make=lambda s: postprocessing.threshold_optimizer(tol=s, grid_size=20, flip=True),
    neutral=None,
    refused=((("parity",), {}), (("equalized_odds",), {"tol": 0.1}), ((), {"grid_size": 0})),
    acts="output",
    num_classes=2,
  ),
  "plug_in_equal_opportunity": Case(
    make=lambda s: postprocessing.plug_in_equal_opportunity(),
    neutral=None,
    refused=(),
    acts="output",
    num_classes=2,
  ),
  "level_up": Case(
    make=lambda s: postprocessing.level_up(s),
    neutral=None,
    refused=(((1.5,), {}), ((0.5, "false_positive_rate"), {}), ((0.5,), {"objective": "profit"})),
    acts="output",
    num_classes=2,
  ),
  "linear_post": Case(
    # At a low temperature logits are large, and hide in float32 what the laws compare.
    make=lambda s: postprocessing.linear_post("equalized_odds", tolerance=s, temperature=0.1),
    neutral=None,
    refused=((("kindness",), {}), ((), {"tolerance": 1.1}), ((), {"temperature": 0.0})),
    acts="output",
  ),
  "group_calibration": Case(
    make=lambda s: postprocessing.group_calibration("isotonic"),
    neutral=None,
    refused=((("kindness",), {}),),
    acts="output",
  ),
  "multicalibration": Case(
    make=lambda s: postprocessing.multicalibration(0.1 * s, bins=3, rounds=10),
    neutral=lambda: postprocessing.multicalibration(1.0),
    refused=(((1.1,), {}), ((), {"bins": 0}), ((), {"least_share": -0.1})),
    acts="output",
    num_classes=2,
  ),
}
