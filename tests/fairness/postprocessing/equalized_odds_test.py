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
DEAR = postprocessing.equalized_odds("error", false_positive_cost=3.0)


def said(seed, rows=300, groups=2):
  """A data set with decisions that are better in some groups than in others."""
  rng = np.random.default_rng(seed)
  group = np.append(np.arange(groups), rng.integers(0, groups, rows - groups))
  y = (rng.random(rows) < 0.2 + 0.5 * rng.random(groups)[group]).astype(int)
  wrong = rng.random(rows) < 0.45 * rng.random((groups, 2))[group, y]
  data = rfjax.Batch.from_arrays(np.zeros((rows, 1)), y, group, num_classes=2)
  return data.fill(4.0 * jax.nn.one_hot(np.where(wrong, 1 - y, y), 2))


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


@functools.partial(jax.jit, static_argnums=1)
def apply(data, method):
  return rfjax.transform(method, data, key=KEY)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("groups", [2, 3, 5])
def test_the_loss_is_that_of_the_linear_program(groups, seed):
  with jax.enable_x64(True):
    data = said(seed, groups=groups)
    data = data.replace(logits=data.logits.astype(jnp.float64))
    share = float(data.y.mean())
    for made, costs in ((BALANCED, (1.0, 1.0)), (DEAR, (3 * (1 - share), share))):
      f, t = np.asarray(fit(data, made).rates)
      loss = costs[0] * f + costs[1] * (1 - t)
      np.testing.assert_allclose(loss, program(data, groups, costs), atol=1e-9)


@pytest.mark.parametrize("groups", [2, 4])
def test_the_rates_come_out_equal_in_expectation_and_by_lot(groups):
  data = said(7, rows=4000, groups=groups)
  state = fit(data, BALANCED)
  fair = apply(data, BALANCED)
  before = metrics.equalized_odds_difference(data)
  assert metrics.equalized_odds_difference(fair, soft=True) < 1e-5 < 0.05 < before
  np.testing.assert_allclose(metrics.true_positive_rate(fair, soft=True), state.rates[1], rtol=1e-5)
  lots = postprocessing.equalized_odds(randomize=True)
  drawn = apply(data, lots)
  p = np.asarray(jax.nn.softmax(drawn.logits))
  assert set(np.unique(p)) <= {0.0, 1.0}
  expected = jax.nn.softmax(fair.logits)[:, 1].mean()
  np.testing.assert_allclose(p[:, 1].mean(), expected, atol=4 * 0.5 / np.sqrt(4000))
  again = apply(data, lots)
  np.testing.assert_array_equal(drawn.logits, again.logits)


def test_a_fair_classifier_is_left_alone_and_a_useless_group_makes_all_constant():
  data = rfjax.Batch.from_arrays(np.zeros((8, 1)), [0, 1] * 4, [0, 0, 0, 0, 1, 1, 1, 1])
  right = data.fill(jax.nn.one_hot(data.y, 2))
  np.testing.assert_allclose(fit(right, BALANCED).accept, [[0, 1]] * 2)
  useless = data.fill(jax.nn.one_hot(jnp.where(data.group == 1, 1, data.y), 2))
  f, t = fit(useless, BALANCED).rates
  np.testing.assert_allclose(f, t, atol=1e-6)


def test_a_group_without_both_labels_keeps_its_decisions():
  group = np.array([0, 0, 0, 0, 1, 1, 1, 1, 2, 2])
  data = rfjax.Batch.from_arrays(np.zeros((10, 1)), [0, 1, 0, 1, 0, 1, 0, 1, 0, 0], group)
  yes = jnp.array([0, 1, 1, 1, 0, 1, 0, 0, 0, 1])
  filled = data.fill(jax.nn.one_hot(yes, 2))
  state = fit(filled, BALANCED)
  np.testing.assert_array_equal(state.accept[2], [0, 1])
  alone = fit(filled.subset(jnp.arange(8)), BALANCED)
  np.testing.assert_allclose(state.accept[:2], alone.accept[:2], atol=1e-6)


def test_weights_are_rows_and_a_mixed_membership_mixes_decisions():
  data = said(2, rows=60)
  twice = data.subset(jnp.append(jnp.arange(60), jnp.arange(20)))
  heavy = data.replace(weight=jnp.where(jnp.arange(60) < 20, 2.0, 1.0))
  method = postprocessing.equalized_odds("error")
  one, other = fit(heavy, method), fit(twice, method)
  np.testing.assert_allclose(one.accept, other.accept, atol=1e-5)
  assert not np.allclose(one.accept, fit(data, method).accept, atol=1e-3)
  soft = np.array([[0.25, 0.75], [0.0, 0.0]])
  rows = rfjax.Batch.from_arrays(np.zeros((2, 1)), [0, 1], soft).fill(jnp.eye(2)[jnp.array([1, 1])])
  mixed = rfjax.transform(method, rows, key=KEY, fitted_on=heavy)
  expected = [0.25 * one.accept[0, 1] + 0.75 * one.accept[1, 1], 1.0]  # the second is missing
  np.testing.assert_allclose(jax.nn.softmax(mixed.logits)[:, 1], expected, atol=1e-6)


def test_three_classes_and_a_missing_group_are_refused():
  data = rfjax.Batch.from_arrays([[0.0]] * 3, [0, 1, 2], [0, 1, 0]).fill(jnp.zeros((3, 3)))
  with pytest.raises(ValueError, match="num_classes must be 2"):
    fit(data, BALANCED)
  data = rfjax.Batch.from_arrays([[0.0]] * 2, [0, 1]).fill(jnp.zeros((2, 2)))
  with pytest.raises(ValueError, match="equalized_odds needs group"):
    fit(data, BALANCED)
