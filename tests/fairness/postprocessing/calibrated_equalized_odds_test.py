"""Calibrated equalized odds against AIF360's figures, a loop in NumPy, and its promise."""

import functools

import jax
import numpy as np
import pytest

import rfjax
from rfjax.fairness import postprocessing

KEY = jax.random.key(0)
FILL = jax.jit(rfjax.Batch.fill)
COSTS = ("false_negative_rate", "false_positive_rate", "weighted")

# Mix rates of AIF360 0.6.1 for COSTS, of the unprivileged group 0 and of the privileged group 1.
AIF360 = [
  ((0, 11.963642254031875), (1.3542685570063522, 0), (0, 0.9767902562424547)),
  ((0, 2.885632009371667), (1.5211565033014596, 0), (0, 0.17146251811103969)),
  ((0, 4.024436771865365), (1.445308173492475, 0), (0.12178303370177529, 0)),
  ((0, 3.8429201612881148), (1.731465565673052, 0), (0.428479571185778, 0)),
]


def of_aif360(seed, rows=400):
  """The data that AIF360 was given."""
  draw = np.random.default_rng(seed).random((rows, 3))
  group = (draw[:, 0] < 0.4).astype(int)
  p = (0.15 + 0.25 * group) + (0.7 - 0.2 * seed * group / 4) * draw[:, 1] ** 1.5
  p = np.clip(p, 0.01, 0.99)
  return filled(p ** (1 + 0.5 * (1 - group)), draw[:, 2] < p, group)


def filled(score, y, group, weight=None):
  data = rfjax.Batch.from_arrays(np.zeros((len(y), 1)), y.astype(int), group)
  if weight is not None:
    data = data.replace(weight=weight)
  return FILL(data, np.stack([np.log1p(-score), np.log(score)], axis=1))


def calibrated(seed, rows=600, groups=3):
  """Scores that are the probabilities of the labels, sharper in some groups than in others.

  Each row has a mirror image, so that constants cost all groups as much and mixing can do it.
  """
  rng = np.random.default_rng(seed)
  group = rng.integers(0, groups, rows // 2)
  spread = np.linspace(0.3, 1.0, groups)[group]
  score = 0.5 + 0.48 * spread * (2 * rng.random(rows // 2) - 1)
  y = (rng.random(rows // 2) < score).astype(int)
  return np.append(score, 1 - score), np.append(y, 1 - y), np.append(group, group)


def oracle(score, y, group, weight, cost):
  """Group by group and row by row: the share that is needed, the base rate, and the cost."""
  costs, trivial, base = [], [], []
  for g in range(group.max() + 1):
    rows = [i for i in range(len(y)) if group[i] == g]
    mean = lambda values, label, rows=rows: (
      sum(weight[i] * values(i) for i in rows if y[i] == label)
      / sum(weight[i] for i in rows if y[i] == label)
    )
    share = sum(weight[i] * y[i] for i in rows) / sum(weight[i] for i in rows)
    factor = {"weighted": (1 - share, share), COSTS[0]: (0, 1), COSTS[1]: (1, 0)}[cost]
    costs.append(
      factor[0] * mean(lambda i: score[i], 0) + factor[1] * mean(lambda i: 1 - score[i], 1)
    )
    trivial.append(factor[0] * share + factor[1] * (1 - share))
    base.append(share)
  needed = [
    0 if c == max(costs) else (max(costs) - c) / (t - c)
    for c, t in zip(costs, trivial, strict=True)
  ]
  return np.array(needed), np.array(base), np.array(costs)


@functools.partial(jax.jit, static_argnums=1)
def fit(data, cost):
  return postprocessing.calibrated_equalized_odds(cost).init(data, key=KEY, spec=None)


@functools.partial(jax.jit, static_argnums=(1, 2))
def apply(data, cost, randomize=False, fitted_on=None):
  method = postprocessing.calibrated_equalized_odds(cost, randomize=randomize)
  return rfjax.transform(method, data, key=KEY, fitted_on=fitted_on)


@pytest.mark.parametrize("seed", range(4))
def test_the_shares_are_those_of_aif360(seed):
  with jax.enable_x64(True):
    data = of_aif360(seed)
    for cost, expected in zip(COSTS, AIF360[seed], strict=True):
      state = fit(data, cost)
      np.testing.assert_allclose(state.needed, expected, rtol=1e-10, atol=1e-10)
      np.testing.assert_array_equal(state.mix, np.clip(state.needed, 0, 1))
      assert state.feasible == (max(expected) <= 1)


@pytest.mark.parametrize("cost", COSTS)
def test_the_shares_are_those_of_a_loop_for_three_groups_and_weights(cost):
  score, y, group = calibrated(0)
  weight = np.random.default_rng(1).integers(0, 3, len(y)).astype(float)
  with jax.enable_x64(True):
    state = fit(filled(score, y, group, weight), cost)
    needed, base, costs = oracle(score, y, group, weight, cost)
    np.testing.assert_allclose(state.needed, needed, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(state.base_rate, base, rtol=1e-12)
    np.testing.assert_allclose(state.cost, costs, rtol=1e-12)


@pytest.mark.parametrize("cost", COSTS)
def test_costs_come_out_equal_and_the_mean_score_stays(cost):
  score, y, group = calibrated(2)
  data = filled(score, y, group)
  before, fair = jax.device_get((fit(data, cost), apply(data, cost)))
  assert before.feasible and np.ptp(before.cost) > 0.05
  after = np.exp(fair.log_probs)[:, 1]
  _, base, costs = oracle(after, y, group, np.ones(len(y)), cost)
  np.testing.assert_allclose(costs, np.max(before.cost), atol=1e-5)
  for g in range(3):  # a share of the scores becomes the share of positives
    mix, mine = before.mix[g], group == g
    expected = (1 - mix) * score[mine].mean() + mix * base[g]
    np.testing.assert_allclose(after[mine].mean(), expected, atol=1e-5)


def test_lots_replace_the_share_and_leave_the_other_logits_as_they_are():
  data = filled(*calibrated(3, rows=3000))
  state, drawn = jax.device_get((fit(data, "weighted"), apply(data, "weighted", True)))
  same = np.all(np.asarray(drawn.logits) == np.asarray(data.logits), axis=1)
  base = np.asarray(state.base_rate)[data.group]
  np.testing.assert_allclose(np.exp(drawn.log_probs)[~same, 1], base[~same], rtol=1e-5)
  for g in range(3):
    mine = np.asarray(data.group) == g
    np.testing.assert_allclose(1 - same[mine].mean(), state.mix[g], atol=2 / np.sqrt(mine.sum()))
  rows = np.array([7, 3])
  alone = apply(jax.jit(rfjax.Batch.take)(data, rows), "weighted", True, data)
  np.testing.assert_allclose(alone.logits, np.asarray(drawn.logits)[rows], rtol=1e-6)


def test_what_no_mixing_reaches_is_said_and_missing_rows_keep_their_scores():
  score = np.array([0.9, 0.1, 0.8, 0.2, 0.3, 0.9, 0.4, 0.8, 0.5, 0.5])
  y = np.array([1, 0, 1, 0, 1, 0, 1, 0, 1, 1])
  group = np.array([0, 0, 0, 0, 1, 1, 1, 1, 2, 2])
  state = jax.device_get(fit(filled(score, y, group), "false_positive_rate"))
  assert not state.feasible and state.needed[0] > 1
  np.testing.assert_array_equal(state.mix, [1, 0, 0])
  soft = np.array([[0.25, 0.75], [0.0, 0.0]])
  fitted = filled(score[:8], y[:8], group[:8])
  rows = filled(np.array([0.9, 0.9]), np.array([0, 1]), soft)
  mixed = apply(rows, "false_positive_rate", False, fitted)
  np.testing.assert_allclose(
    np.exp(mixed.log_probs)[:, 1], [0.25 * 0.5 + 0.75 * 0.9, 0.9], rtol=1e-5
  )


def test_three_classes_are_refused():
  data = rfjax.Batch.from_arrays([[0.0]] * 3, [0, 1, 2], [0, 1, 0]).fill(
    np.zeros((3, 3), np.float32)
  )
  with pytest.raises(ValueError, match="num_classes must be 2 for calibrated_equalized_odds"):
    fit(data, "weighted")
