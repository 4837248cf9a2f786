"""Measures against the stored figures of AIF360, on a split into group 0 and all others."""

import functools

import jax
import metric_programs
import numpy as np
import pytest

import aif360_figures
from rfjax import metrics

SEEDS = aif360_figures.SEEDS


@functools.cache
def stored():
  return aif360_figures.figures()


def several(calls, **sizes):
  """The measures of these names and settings as one program, of two classes."""
  sizes = {"num_classes": 2, **sizes}
  return metric_programs.together(
    *((getattr(metrics, name), {**options, **sizes}) for name, options in calls)
  )


def split(seed):
  """Labels, decisions, whether of group 0 or not, and weights."""
  data = aif360_figures.draw(seed)
  return data.y, data.y_pred, (data.group > 0).astype(int), data.weight


def test_the_figures_are_of_the_data_drawn_here():
  for seed in (*SEEDS, *aif360_figures.EDGES):
    data, found = aif360_figures.draw(seed), stored()[str(seed)]["labels"]
    rates = [np.average(data.y, weights=data.weight * (data.group == 0))]
    rates += [np.average(data.y, weights=data.weight * (data.group > 0))]
    np.testing.assert_allclose(np.average(data.y, weights=data.weight), found["base_rate"])
    np.testing.assert_allclose(
      rates[0] - rates[1], found["statistical_parity_difference"], atol=1e-12
    )
  assert len(np.unique(aif360_figures.draw(3).score)) < 100


PARITY = [
  ("demographic_parity_difference", {}, "statistical_parity_difference"),
  ("equal_opportunity_difference", {}, "equal_opportunity_difference"),
  ("equalized_odds_difference", {}, "equalized_odds_difference"),
  ("equalized_odds_difference", {"agg": "mean"}, "average_abs_odds_difference"),
]


@pytest.mark.parametrize(("name", "options", "theirs"), PARITY)
def test_differences_of_two_groups(name, options, theirs):
  for seed in SEEDS:
    y, y_pred, group, weight = split(seed)
    with jax.enable_x64(True):
      found = several(((n, o) for n, o, _ in PARITY), num_groups=2)(y, y_pred, group, weight=weight)
    got = found[PARITY.index((name, options, theirs))]
    np.testing.assert_allclose(got, abs(stored()[str(seed)][theirs]), atol=1e-12)


def test_the_ratio_of_two_groups():
  for seed in SEEDS:
    y, y_pred, group, weight = split(seed)
    with jax.enable_x64(True):
      (got,) = several([("disparate_impact", {})], num_groups=2)(y, y_pred, group, weight=weight)
    theirs = stored()[str(seed)]["disparate_impact"]
    np.testing.assert_allclose(got, min(theirs, 1 / theirs), atol=1e-12)


INEQUALITY = [
  ("theil_index", {}, "theil_index", None),
  ("coefficient_of_variation", {}, "coefficient_of_variation", None),
  ("generalized_entropy", {"alpha": 1.0}, "generalized_entropy_index", "1"),
  ("generalized_entropy", {"alpha": 2.0}, "generalized_entropy_index", "2"),
]


@pytest.mark.parametrize(("name", "options", "theirs", "alpha"), INEQUALITY)
def test_inequality_of_benefit(name, options, theirs, alpha):
  for seed in SEEDS:
    data, found = aif360_figures.draw(seed), stored()[str(seed)][theirs]
    with jax.enable_x64(True):
      measured = several((n, o) for n, o, *_ in INEQUALITY)(data.y, data.y_pred)
    got = measured[INEQUALITY.index((name, options, theirs, alpha))]
    np.testing.assert_allclose(got, found if alpha is None else found[alpha], atol=1e-12)


@pytest.mark.parametrize("alpha", [1.0, 2.0])
def test_inequality_between_all_groups(alpha):
  for seed in SEEDS:
    data = aif360_figures.draw(seed)
    found = stored()[str(seed)]["between_all_groups_generalized_entropy_index"][f"{alpha:g}"]
    with jax.enable_x64(True):
      run = several([("between_group_generalized_entropy", {})], num_groups=5)
      (got,) = run(data.y, data.y_pred, data.group, alpha=alpha)
    np.testing.assert_allclose(got, found, atol=1e-12)


@pytest.mark.parametrize("concentration", [1.0, 2.0])
def test_differential_fairness_of_the_labels_and_what_a_classifier_adds(concentration):
  names = (
    "smoothed_empirical_differential_fairness of the labels, each group",
    "differential_fairness_bias_amplification, each group",
  )
  for seed in SEEDS:
    data = aif360_figures.draw(seed)
    told = {"concentration": concentration, "weight": data.weight}
    measures = [("differential_fairness", {}), ("differential_fairness_bias_amplification", {})]
    with jax.enable_x64(True):
      run = several(measures, num_groups=5)
      of_labels, _ = run(data.y, data.y, data.group, **told)
      _, added = run(data.y, data.y_pred, data.group, **told)
    got = of_labels, added
    theirs = [stored()[str(seed)][name][f"{concentration:.1f}"] for name in names]
    np.testing.assert_allclose(got, theirs, atol=1e-12)


def test_consistency_of_the_labels():
  for seed in SEEDS:
    data = aif360_figures.draw(seed)
    x = np.column_stack([data.x, data.group])
    with jax.enable_x64(True):
      (got,) = several([("consistency", {"include_self": True})])(x, data.y)
    np.testing.assert_allclose(got, stored()[str(seed)]["consistency of the labels"], atol=1e-12)
