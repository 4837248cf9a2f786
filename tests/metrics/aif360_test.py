"""Measures against the stored figures of AIF360, on a split into group 0 and all others."""

import functools

import jax
import numpy as np
import pytest

import aif360_figures
from rfjax import metrics

SEEDS = aif360_figures.SEEDS


@functools.cache
def stored():
  return aif360_figures.figures()


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
      got = getattr(metrics, name)(y, y_pred, group, weight=weight, **options)
    np.testing.assert_allclose(got, abs(stored()[str(seed)][theirs]), atol=1e-12)


def test_the_ratio_of_two_groups():
  for seed in SEEDS:
    y, y_pred, group, weight = split(seed)
    with jax.enable_x64(True):
      got = metrics.disparate_impact(y, y_pred, group, weight=weight)
    theirs = stored()[str(seed)]["disparate_impact"]
    np.testing.assert_allclose(got, min(theirs, 1 / theirs), atol=1e-12)
