"""Reject option against AIF360's figures, and a loop over every threshold, margin and row."""

import functools

import jax
import numpy as np
import pytest

import rfjax
from rfjax.fairness import postprocessing

KEY = jax.random.key(0)
FILL = jax.jit(rfjax.Batch.fill)
PARITY, OPPORTUNITY = "selection_rate", "true_positive_rate"
ODDS = ("true_positive_rate", "false_positive_rate")

# Threshold and margin of AIF360 0.6.1 on 20 thresholds and 10 margins, within 0.05 of equality, and
# where no candidate comes to a difference of 0.95.
AIF360 = [
  (0, PARITY, 0.5773684210526315, 0.23479532163742695, 0.37105263157894736),
  (0, ODDS, 0.5773684210526315, 0.14087719298245616, 0.37105263157894736),
  (0, OPPORTUNITY, 0.4226315789473684, 0.18783625730994152, 0.6805263157894736),
  (1, PARITY, 0.5257894736842105, 0.1580701754385965, 0.4226315789473684),
  (1, ODDS, 0.37105263157894736, 0.16491228070175437, 0.37105263157894736),
  (1, OPPORTUNITY, 0.37105263157894736, 0.16491228070175437, 0.47421052631578947),
]


def filled(score, y, group, weight=None):
  data = rfjax.Batch.from_arrays(np.zeros((len(y), 1)), np.asarray(y, int), group)
  if weight is not None:
    data = data.replace(weight=weight)
  return FILL(data, np.stack([np.log1p(-score), np.log(score)], axis=1))


def scores(seed, rows=400):
  """The data that AIF360 was given."""
  draw = np.random.default_rng(seed).random((rows, 3))
  group = (draw[:, 0] < 0.4).astype(int)
  p = (0.15 + 0.25 * group) + (0.7 - 0.2 * seed * group / 4) * draw[:, 1] ** 1.5
  p = np.clip(p, 0.01, 0.99)
  return p ** (1 + 0.5 * (1 - group)), (draw[:, 2] < p).astype(int), group


def decide(score, t, m, favoured):
  """Kamiran's rule, row by row."""
  if t - m < score <= t + m:
    return int(favoured)
  return int(score > t)


def oracle(score, y, favoured, weight, grid, lower, upper):
  """Every candidate (t, m, difference in selection, balanced accuracy), in order."""
  found = []
  for t in np.linspace(0.01, 0.99, grid[0]):
    for m in np.linspace(0, min(t, 1 - t), grid[1]):
      said = [decide(s, t, m, f) for s, f in zip(score, favoured, strict=True)]
      share = lambda rows: sum(weight[i] * said[i] for i in rows) / sum(weight[i] for i in rows)
      of = lambda test: share([i for i in range(len(y)) if test(i)])
      apart = of(lambda i: favoured[i]) - of(lambda i: not favoured[i])
      found.append((t, m, apart, (of(lambda i: y[i] == 1) + 1 - of(lambda i: y[i] == 0)) / 2))
  beyond = [max(lower - c[2], c[2] - upper, 0) for c in found]
  least = min(beyond)
  return max((c for c, b in zip(found, beyond, strict=True) if b == least), key=lambda c: c[3])


@functools.partial(jax.jit, static_argnames=("statistics", "infeasible", "grid", "privileged"))
def fit(
  data, lower, upper, statistics=PARITY, infeasible="closest", grid=(20, 10), privileged=(1,)
):
  method = make(lower, upper, statistics, infeasible, grid, privileged)
  return method.init(data, key=KEY, spec=None)


@functools.partial(jax.jit, static_argnums=1)
def apply(data, method, fitted_on=None):
  return rfjax.transform(method, data, key=KEY, fitted_on=fitted_on)


def make(lower, upper, statistics=PARITY, infeasible="closest", grid=(20, 10), privileged=(1,)):
  return postprocessing.reject_option(
    privileged,
    statistics,
    lower=lower,
    upper=upper,
    infeasible=infeasible,
    thresholds=grid[0],
    margins=grid[1],
  )


@pytest.mark.parametrize(("seed", "statistics", "threshold", "margin", "lowest"), AIF360)
def test_the_choice_is_that_of_aif360(seed, statistics, threshold, margin, lowest):
  with jax.enable_x64(True):
    data = filled(*scores(seed))
    state = fit(data, -0.05, 0.05, statistics)
    np.testing.assert_allclose([state.threshold, state.margin], [threshold, margin], atol=1e-12)
    assert state.feasible and abs(state.difference) <= 0.05
    state = fit(data, 0.95, 0.99, statistics, "lowest")
    np.testing.assert_allclose([state.threshold, state.margin], [lowest, 0], atol=1e-12)
    assert not state.feasible


@pytest.mark.parametrize(("lower", "upper"), [(-0.1, 0.1), (-1.0, -0.9)])
def test_the_choice_is_that_of_a_loop_for_three_groups_and_weights(lower, upper):
  rng = np.random.default_rng(5)
  group, weight = rng.integers(0, 3, 60), rng.integers(1, 4, 60).astype(float)
  score = np.clip(rng.random(60) * 0.6 + 0.15 * group, 0.01, 0.99)
  y = (rng.random(60) < score).astype(int)
  with jax.enable_x64(True):
    data = filled(score, y, group, weight)
    state = jax.device_get(fit(data, lower, upper, grid=(7, 5), privileged=(1, 2)))
    expected = oracle(score, y, group == 0, weight, (7, 5), lower, upper)
    found = (state.threshold, state.margin, state.difference, state.accuracy)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert state.feasible == (upper > 0)
    fair = apply(data, make(lower, upper, grid=(7, 5), privileged=(1, 2)))
    said = [decide(s, *expected[:2], g == 0) for s, g in zip(score, group, strict=True)]
    np.testing.assert_allclose(np.exp(fair.log_probs)[:, 1], said, atol=1e-6)


def test_a_mixed_membership_mixes_decisions_and_missing_rows_meet_the_threshold():
  data = filled(*scores(0))
  state = fit(data, -0.05, 0.05)
  soft = np.array([[0.25, 0.75], [0.0, 0.0], [0.0, 0.0]])
  inside = float(state.threshold) + np.array([0.0, 1e-3, -1e-3])  # in the band, where groups differ
  rows = filled(inside, [0, 1, 0], soft)
  mixed = apply(rows, make(-0.05, 0.05), data)
  np.testing.assert_allclose(np.exp(mixed.log_probs)[:, 1], [0.25, 1, 0], atol=1e-6)


def test_groups_that_are_not_there_are_refused():
  data = filled(*scores(0))
  with pytest.raises(ValueError, match="privileged must be groups of the data"):
    fit(data, -0.05, 0.05, privileged=(2,))
  with pytest.raises(ValueError, match="privileged must leave a group"):
    fit(data, -0.05, 0.05, privileged=(0, 1))


def test_bounds_that_nothing_can_meet_are_refused():
  with pytest.raises(ValueError, match=r"lower must be at most upper, got 0\.1 and -0\.1"):
    postprocessing.reject_option(1, lower=0.1, upper=-0.1)
  assert make(0.0, 0.0)  # equality may be asked for


def test_a_score_at_the_threshold_is_rejected():
  data = rfjax.Batch.from_arrays(np.zeros((4, 1)), [1, 1, 0, 0], [0, 1, 0, 1])
  data = FILL(data, np.array([[0.0, 0.0], [0.0, 0.0], [1.0, 0.0], [1.0, 0.0]]))
  method = postprocessing.reject_option(1, lowest=0.5, highest=0.5, thresholds=1, margins=1)
  assert jax.jit(lambda data: method.init(data, key=KEY, spec=None).accuracy)(data) == 0.5
  assert not np.asarray(apply(data, method).logits).argmax(1).any()
