"""Equal opportunity against a linear program over all mixing rates, and against its promise."""

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
FILL, SUBSET = jax.jit(rfjax.Batch.fill), jax.jit(rfjax.Batch.subset)
BALANCED = postprocessing.equal_opportunity()
DEAR = postprocessing.equal_opportunity("error", false_positive_cost=3.0)


def said(seed, rows=300, groups=2):
  """A data set with decisions that are better in some groups than in others, or upside down."""
  rng = np.random.default_rng(seed)
  sizes = np.arange(1, groups + 1) / np.arange(1, groups + 1).sum()
  group = np.append(np.arange(groups), rng.choice(groups, rows - groups, p=sizes))
  y = (rng.random(rows) < 0.2 + 0.5 * rng.random(groups)[group]).astype(int)
  wrong = rng.random(rows) < 0.65 * rng.random((groups, 2))[group, y]
  data = rfjax.Batch.from_arrays(np.zeros((rows, 1)), y, group, num_classes=2)
  return FILL(data, 4 * np.eye(2)[np.where(wrong, 1 - y, y)])


def program(data, groups, costs, balanced):
  """The least loss over p[g, said]: the program that names every mixing rate, solved by HiGHS."""
  y, group = np.asarray(data.y), np.asarray(data.group)
  yes = np.asarray(data.logits).argmax(1)
  rate = lambda g, label: yes[(group == g) & (y == label)].mean()
  row = lambda g, r: np.eye(2 * groups)[2 * g] * (1 - r) + np.eye(2 * groups)[2 * g + 1] * r
  equal = [row(g, rate(g, 1)) - row(0, rate(0, 1)) for g in range(1, groups)]
  share = lambda g, label: ((group == g) & (balanced | (y == label))).mean()
  objective = sum(
    costs[0] * share(g, 0) * row(g, rate(g, 0)) - costs[1] * share(g, 1) * row(g, rate(g, 1))
    for g in range(groups)
  )
  found = linprog(objective, A_eq=equal, b_eq=np.zeros(len(equal)), bounds=(0, 1))
  return found.fun + costs[1] * sum(share(g, 1) for g in range(groups))


@functools.partial(jax.jit, static_argnums=1)
def fit(data, method):
  return method.init(data, key=KEY, spec=None)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("groups", [2, 3, 5])
def test_the_loss_is_that_of_the_linear_program(groups, seed):
  with jax.enable_x64(True):
    data = said(seed, groups=groups)
    assert data.logits.dtype == jnp.float64
    size = np.bincount(data.group) / 300
    positive = np.bincount(data.group, weights=data.y) / 300
    for made, costs, balanced in ((BALANCED, (1.0, 1.0), True), (DEAR, (3.0, 1.0), False)):
      f, t = np.asarray(fit(data, made).rates).T
      np.testing.assert_array_equal(t, t[0])
      shares = (size, size) if balanced else (size - positive, positive)
      loss = (costs[0] * shares[0] * f + costs[1] * shares[1] * (1 - t)).sum()
      np.testing.assert_allclose(loss, program(data, groups, costs, balanced), atol=1e-9)


def test_rates_come_out_in_expectation_and_by_lot():
  data = said(3, rows=4000, groups=3)
  names = ("false_positive_rate", "true_positive_rate")
  methods = (BALANCED, postprocessing.equal_opportunity(randomize=True))

  @jax.jit
  def run(data):
    fair, drawn = (rfjax.transform(method, data, key=KEY) for method in methods)
    gaps = [metrics.equal_opportunity_difference(fair, soft=True)]
    gaps.append(metrics.equal_opportunity_difference(data))
    reached = [metrics.group_rates(name, fair, soft=True).value[:, 0] for name in names]
    chances = [jax.nn.softmax(out.logits) for out in (fair, drawn)]
    return gaps, reached, fit(data, BALANCED).rates, chances

  (after, before), reached, rates, (chance, p) = jax.device_get(run(data))
  assert after < 1e-5 < 0.05 < before
  for rate, found in enumerate(reached):
    np.testing.assert_allclose(found, rates[:, rate], atol=1e-5)
  assert set(np.unique(p)) <= {0.0, 1.0}
  np.testing.assert_allclose(p[:, 1].mean(), chance[:, 1].mean(), atol=4 * 0.5 / np.sqrt(4000))


def test_a_right_classifier_is_left_alone_and_an_inverted_one_is_turned():
  data = rfjax.Batch.from_arrays(np.zeros((8, 1)), [0, 1] * 4, [0, 0, 0, 0, 1, 1, 1, 1])
  y = np.asarray(data.y)
  right = FILL(data, np.eye(2)[y])
  np.testing.assert_array_equal(fit(right, BALANCED).accept, [[0, 1]] * 2)
  turned = FILL(data, np.eye(2)[np.where(np.asarray(data.group) == 1, 1 - y, y)])
  np.testing.assert_array_equal(fit(turned, BALANCED).accept, [[0, 1], [1, 0]])


def test_a_group_without_both_labels_keeps_its_decisions_and_weights_are_rows():
  group = np.array([0, 0, 0, 0, 1, 1, 1, 1, 2, 2])
  data = rfjax.Batch.from_arrays(np.zeros((10, 1)), [0, 1, 0, 1, 0, 1, 0, 1, 1, 1], group)
  filled = FILL(data, np.eye(2)[[0, 1, 1, 1, 0, 1, 0, 0, 0, 1]])
  state = jax.device_get(fit(filled.replace(weight=np.float32([1] * 8 + [50] * 2)), DEAR))
  np.testing.assert_array_equal(state.accept[2], [0, 1])
  alone = fit(SUBSET(filled, np.arange(8)), DEAR)
  np.testing.assert_allclose(state.accept[:2], alone.accept[:2], atol=1e-6)
  rows = np.append(np.arange(10), [1, 1, 6])
  heavy = filled.replace(weight=np.float32([1, 3, 1, 1, 1, 1, 2, 1, 1, 1]))
  np.testing.assert_allclose(
    fit(heavy, DEAR).rates, fit(SUBSET(filled, rows), DEAR).rates, atol=1e-6
  )


def test_three_classes_are_refused():
  data = rfjax.Batch.from_arrays([[0.0]] * 3, [0, 1, 2], [0, 1, 0]).fill(
    np.zeros((3, 3), np.float32)
  )
  with pytest.raises(ValueError, match="num_classes must be 2 for equal_opportunity"):
    fit(data, BALANCED)
