"""Equalized odds against a linear program over all mixing rates, and against its promise."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linprog

import rfjax
from rfjax import metrics
from rfjax.fairness import postprocessing

KEY = jax.random.key(0)
BALANCED = postprocessing.equalized_odds()
FILL, SUBSET = jax.jit(rfjax.Batch.fill), jax.jit(rfjax.Batch.subset)
DEAR = postprocessing.equalized_odds("error", false_positive_cost=3.0)


def said(seed, rows=300, groups=2):
  """A data set with decisions that are better in some groups than in others."""
  rng = np.random.default_rng(seed)
  group = np.append(np.arange(groups), rng.integers(0, groups, rows - groups))
  y = (rng.random(rows) < 0.2 + 0.5 * rng.random(groups)[group]).astype(int)
  wrong = rng.random(rows) < 0.45 * rng.random((groups, 2))[group, y]
  data = rfjax.Batch.from_arrays(np.zeros((rows, 1)), y, group, num_classes=2)
  return FILL(data, 4 * np.eye(2)[np.where(wrong, 1 - y, y)])


def program(data, groups, costs):
  """The least loss over p[g, said]: the program that names every mixing rate, solved by HiGHS."""
  y, group = np.asarray(data.y), np.asarray(data.group)
  yes = np.asarray(data.logits).argmax(1)
  rate = lambda g, label: yes[(group == g) & (y == label)].mean()
  false, true = ([rate(g, label) for g in range(groups)] for label in (0, 1))
  row = lambda g, r: np.eye(2 * groups)[2 * g] * (1 - r) + np.eye(2 * groups)[2 * g + 1] * r
  equal = [row(g, rates[g]) - row(0, rates[0]) for rates in (false, true) for g in range(1, groups)]
  objective = costs[0] * row(0, false[0]) - costs[1] * row(0, true[0])
  found = linprog(objective, A_eq=equal, b_eq=np.zeros(len(equal)), bounds=(0, 1))
  return found.fun + costs[1]


@functools.partial(jax.jit, static_argnums=1)
def fit(data, method):
  return method.init(data, key=KEY, spec=None)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("groups", [2, 3, 5])
def test_the_loss_is_that_of_the_linear_program(groups, seed):
  with jax.enable_x64(True):
    data = said(seed, groups=groups)
    assert data.logits.dtype == jnp.float64
    share = np.asarray(data.y).mean()
    for made, costs in ((BALANCED, (1.0, 1.0)), (DEAR, (3 * (1 - share), share))):
      f, t = np.asarray(fit(data, made).rates)
      loss = costs[0] * f + costs[1] * (1 - t)
      np.testing.assert_allclose(loss, program(data, groups, costs), atol=1e-9)


@pytest.mark.parametrize("groups", [2, 4])
def test_the_rates_come_out_equal_in_expectation_and_by_lot(groups):
  data = said(7, rows=4000, groups=groups)
  lots = postprocessing.equalized_odds(randomize=True)

  @jax.jit
  def run(data):
    fair, drawn = (rfjax.transform(method, data, key=KEY) for method in (BALANCED, lots))
    gaps = [metrics.equalized_odds_difference(fair, soft=True)]
    gaps.append(metrics.equalized_odds_difference(data))
    rates = (metrics.true_positive_rate(fair, soft=True), fit(data, BALANCED).rates[1])
    chances = [jax.nn.softmax(out.logits) for out in (fair, drawn)]
    return gaps, rates, chances, drawn.logits

  (after, before), (found, rates), (chance, p), drawn = jax.device_get(run(data))
  assert after < 1e-5 < 0.05 < before
  np.testing.assert_allclose(found, rates, rtol=1e-5)
  assert set(np.unique(p)) <= {0.0, 1.0}
  np.testing.assert_allclose(p[:, 1].mean(), chance[:, 1].mean(), atol=4 * 0.5 / np.sqrt(4000))
  np.testing.assert_array_equal(drawn, run(data)[3])


def test_a_fair_classifier_is_left_alone_and_a_useless_group_makes_all_constant():
  data = rfjax.Batch.from_arrays(np.zeros((8, 1)), [0, 1] * 4, [0, 0, 0, 0, 1, 1, 1, 1])
  y = np.asarray(data.y)
  right = FILL(data, np.eye(2)[y])
  np.testing.assert_allclose(fit(right, BALANCED).accept, [[0, 1]] * 2)
  useless = FILL(data, np.eye(2)[np.where(np.asarray(data.group) == 1, 1, y)])
  f, t = fit(useless, BALANCED).rates
  np.testing.assert_allclose(f, t, atol=1e-6)


def test_a_group_without_both_labels_keeps_its_decisions():
  group = np.array([0, 0, 0, 0, 1, 1, 1, 1, 2, 2])
  data = rfjax.Batch.from_arrays(np.zeros((10, 1)), [0, 1, 0, 1, 0, 1, 0, 1, 0, 0], group)
  filled = FILL(data, np.eye(2)[[0, 1, 1, 1, 0, 1, 0, 0, 0, 1]])
  state = fit(filled, BALANCED)
  np.testing.assert_array_equal(state.accept[2], [0, 1])
  alone = fit(SUBSET(filled, np.arange(8)), BALANCED)
  np.testing.assert_allclose(state.accept[:2], alone.accept[:2], atol=1e-6)


def test_weights_are_rows_and_a_mixed_membership_mixes_decisions():
  data = said(2, rows=60)
  twice = SUBSET(data, np.append(np.arange(60), np.arange(20)))
  heavy = data.replace(weight=np.where(np.arange(60) < 20, np.float32(2), np.float32(1)))
  method = postprocessing.equalized_odds("error")
  one, other, plain = jax.device_get([fit(d, method) for d in (heavy, twice, data)])
  np.testing.assert_allclose(one.accept, other.accept, atol=1e-5)
  assert not np.allclose(one.accept, plain.accept, atol=1e-3)
  soft = np.array([[0.25, 0.75], [0.0, 0.0]])
  rows = FILL(rfjax.Batch.from_arrays(np.zeros((2, 1)), [0, 1], soft), np.eye(2)[[1, 1]])
  apply = lambda rows, heavy: rfjax.transform(method, rows, key=KEY, fitted_on=heavy).probs
  mixed = jax.jit(apply)(rows, heavy)
  expected = [0.25 * one.accept[0, 1] + 0.75 * one.accept[1, 1], 1.0]  # the second is missing
  np.testing.assert_allclose(np.asarray(mixed)[:, 1], expected, atol=1e-6)


def test_three_classes_and_a_missing_group_are_refused():
  data = rfjax.Batch.from_arrays([[0.0]] * 3, [0, 1, 2], [0, 1, 0]).fill(
    np.zeros((3, 3), np.float32)
  )
  with pytest.raises(ValueError, match="num_classes must be 2"):
    fit(data, BALANCED)
  data = rfjax.Batch.from_arrays([[0.0]] * 2, [0, 1]).fill(np.zeros((2, 2), np.float32))
  with pytest.raises(ValueError, match="equalized_odds needs group"):
    fit(data, BALANCED)
