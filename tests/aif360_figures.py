"""Figures of AIF360 0.6.1 on data of our own seeds, stored beside this file.

AIF360 needs NumPy 1 and so an environment of its own; there, this file run as a script writes
`aif360_figures.json` anew. Tests `draw` the same data and compare with `figures()`. AIF360 takes
group 0 as unprivileged and all others as privileged; where it looks at each group, a name says so.
"""

import json
import pathlib
import warnings
from typing import Any, NamedTuple

import numpy as np

STORED = pathlib.Path(__file__).with_suffix(".json")
SEEDS = range(10)  # 2 to 5 groups, no empty cell
EDGES = range(100, 106)  # few rows of 2 groups: cells are empty, rates 0, nobody selected


class Data(NamedTuple):
  """Rows of a data set.

  Attributes:
    y: labels, int [N].
    y_pred: decisions, int [N].
    score: probabilities of class 1 in steps of .01, hence with ties; unrelated to y_pred.
    group: codes, int [N], of 2 + seed % 4 groups.
    control: strata, int [N] in [0, 3).
    weight: [N], in [.1, 2).
    x: features [N, 3].
  """

  y: np.ndarray
  y_pred: np.ndarray
  score: np.ndarray
  group: np.ndarray
  control: np.ndarray
  weight: np.ndarray
  x: np.ndarray


def draw(seed: int) -> Data:
  """The data of a seed, by NumPy's frozen generator: the same of every version."""
  rng = np.random.RandomState(seed)
  rows, groups = (8, 2) if seed in EDGES else (200, 2 + seed % 4)
  group, control = rng.randint(groups, size=rows), rng.randint(3, size=rows)
  group[:2] = 0, 1
  y = (rng.uniform(size=rows) < 0.35 + 0.1 * group).astype(int)
  y_pred = (rng.uniform(size=rows) < 0.15 + 0.35 * y + 0.08 * group + 0.05 * control).astype(int)
  score = np.round(np.clip(rng.normal(0.35 + 0.25 * y + 0.03 * group, 0.2), 0, 1), 2)
  weight, x = rng.uniform(0.1, 2, size=rows), rng.normal(size=(rows, 3))
  if seed == 101:
    y_pred[:] = 0
  if seed == 102:
    y_pred[:] = group == 0
  if seed == 103:
    y[:] = group == 1
  if seed == 104:
    y[:] = 0
  if seed == 105:
    y_pred[:] = group == 1
  return Data(y, y_pred, score, group, control, weight, x)


def figures() -> dict[str, Any]:
  """What is stored: the versions, and by seed the figures by the name AIF360 gives them."""
  return json.loads(STORED.read_text())


_OF_DECISIONS = (
  *("statistical_parity_difference", "disparate_impact"),
  *("equal_opportunity_difference", "equalized_odds_difference"),
  *("average_odds_difference", "average_abs_odds_difference"),
  *("false_positive_rate_difference", "false_negative_rate_difference"),
  *("false_positive_rate_ratio", "false_negative_rate_ratio"),
  *("false_omission_rate_difference", "false_discovery_rate_difference"),
  *("false_omission_rate_ratio", "false_discovery_rate_ratio"),
  "average_predictive_value_difference",
  *("error_rate_difference", "error_rate_ratio"),
  *("theil_index", "coefficient_of_variation"),
  *("between_group_theil_index", "between_group_coefficient_of_variation"),
  *("between_all_groups_theil_index", "between_all_groups_coefficient_of_variation"),
)
_ENTROPIES = (
  "generalized_entropy_index",
  "between_group_generalized_entropy_index",
  "between_all_groups_generalized_entropy_index",
)
_REJECT = {"low_class_thresh": 0.01, "high_class_thresh": 0.99} | {
  "num_class_thresh": 20,
  "num_ROC_margin": 10,
}


def _data_sets(data: Data) -> tuple[Any, Any]:
  """The labels, and the predictions, as AIF360 wants them."""
  import pandas as pd
  from aif360.datasets import BinaryLabelDataset

  frame = pd.DataFrame({f"x{k}": data.x[:, k] for k in range(data.x.shape[1])})
  frame = frame.assign(group=data.group.astype(float), y=data.y, weight=data.weight)
  given = BinaryLabelDataset(
    df=frame,
    label_names=["y"],
    protected_attribute_names=["group"],
    instance_weights_name="weight",
    unprivileged_protected_attributes=[[0.0]],
    privileged_protected_attributes=[sorted({float(g) for g in data.group} - {0.0})],
  )
  predicted = given.copy(deepcopy=True)
  predicted.labels = data.y_pred[:, None].astype(float)
  predicted.scores = data.score[:, None]
  return given, predicted


def _of_measures(data: Data, groups: dict[str, Any]) -> dict[str, Any]:
  import pandas as pd
  from aif360.metrics import BinaryLabelDatasetMetric, ClassificationMetric
  from aif360.sklearn import metrics as sk

  given, predicted = _data_sets(data)
  metric = ClassificationMetric(given, predicted, **groups)
  found = {name: getattr(metric, name)() for name in _OF_DECISIONS}
  for name in _ENTROPIES:
    found[name] = {str(alpha): getattr(metric, name)(alpha=alpha) for alpha in (0, 1, 2)}
  labels = BinaryLabelDatasetMetric(given, **groups)
  found["labels"] = {
    name: getattr(labels, name)()
    for name in ("base_rate", "statistical_parity_difference", "disparate_impact")
  }
  concentrations = (1.0, 2.0)
  found["smoothed_empirical_differential_fairness of the labels, each group"] = {
    str(c): metric.smoothed_empirical_differential_fairness(c) for c in concentrations
  }
  found["differential_fairness_bias_amplification, each group"] = {
    str(c): metric.differential_fairness_bias_amplification(c) for c in concentrations
  }
  found["consistency of the labels"] = float(np.ravel(metric.consistency(n_neighbors=5))[0])
  index = pd.MultiIndex.from_arrays([data.group], names=["group"])
  y = pd.Series(data.y, index=index)
  if data.y_pred.any():
    found["conditional_demographic_disparity, each group as a stratum"] = (
      sk.conditional_demographic_disparity(y, data.y_pred, sample_weight=data.weight)
    )
  return found


def _of_methods(data: Data, groups: dict[str, Any]) -> dict[str, Any]:
  from aif360.algorithms import postprocessing as post
  from aif360.algorithms.preprocessing import Reweighing

  unweighted = data._replace(weight=np.ones(len(data.y)))
  given, predicted = _data_sets(data)
  plain, plain_predicted = _data_sets(unweighted)
  factors = Reweighing(**groups).fit(given)
  names = ("w_p_fav", "w_p_unfav", "w_up_fav", "w_up_unfav")
  found: dict[str, Any] = {"reweighing": {name: getattr(factors, name) for name in names}}
  found["calibrated_equalized_odds"] = {}
  for cost in ("fnr", "fpr", "weighted"):
    fitted = post.CalibratedEqOddsPostprocessing(**groups, cost_constraint=cost, seed=0)
    fitted.fit(given, predicted)
    found["calibrated_equalized_odds"][cost] = {
      "priv_mix_rate": fitted.priv_mix_rate,
      "unpriv_mix_rate": fitted.unpriv_mix_rate,
    }
  # Its equalities ignore weights, so the odds would not be equal of weighted rows.
  odds = post.EqOddsPostprocessing(**groups, seed=0).fit(plain, plain_predicted).model_params
  keep = ("sp2p", "sn2p", "op2p", "on2p")  # s: privileged, o: unprivileged; P(1 | decision 1 or 0)
  found["equalized_odds without weights"] = {
    **dict(zip(keep, odds.x, strict=True)),
    "objective": odds.fun,
  }
  found["reject_option"] = {}
  for name in (
    "Statistical parity difference",
    "Average odds difference",
    "Equal opportunity difference",
  ):
    fitted = post.RejectOptionClassification(
      **groups, **_REJECT, metric_name=name, metric_lb=-0.05, metric_ub=0.05
    ).fit(given, predicted)
    found["reject_option"][name] = {
      "threshold": fitted.classification_threshold,
      "margin": fitted.ROC_margin,
    }
  return found


def _numbers(found: Any) -> Any:
  if isinstance(found, dict):
    return {name: _numbers(value) for name, value in found.items()}
  return float(found)


def main() -> None:
  """Writes the figures anew; needs an environment with aif360==0.6.1 and numpy<2."""
  import importlib.metadata

  warnings.simplefilter("ignore")
  names = ("aif360", "numpy", "scipy", "scikit-learn", "pandas")
  stored: dict[str, Any] = {
    "versions": {name: importlib.metadata.version(name) for name in names},
    "settings": {"reject_option": {**_REJECT, "metric_lb": -0.05, "metric_ub": 0.05}},
  }
  for seed in (*SEEDS, *EDGES):
    data = draw(seed)
    groups = {
      "unprivileged_groups": [{"group": 0.0}],
      "privileged_groups": [{"group": float(g)} for g in range(1, int(data.group.max()) + 1)],
    }
    found = _of_measures(data, groups)
    if seed in SEEDS:
      found |= _of_methods(data, groups)
    stored[str(seed)] = _numbers(found)
  STORED.write_text(json.dumps(stored, indent=1) + "\n")


if __name__ == "__main__":
  main()
