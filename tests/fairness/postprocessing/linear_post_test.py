"""LinearPost against its linear program, solved by HiGHS, and against what it promises."""

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
TEMPERATURE = 1e-3
FILL, softmax = jax.jit(rfjax.Batch.fill), jax.jit(jax.nn.softmax)


def said(seed, rows, classes, groups, hard=False):
  """Probabilities of labels, and of groups that have other labels more often."""
  rng = np.random.default_rng(seed)
  lean = rng.normal(size=(rows, classes)) * 1.5
  group = np.asarray(softmax(lean[:, :1] * np.arange(groups) * 1.5))
  if hard:
    group = np.argmax(group + 0.5 * rng.normal(size=group.shape), axis=1)
    group[:groups] = np.arange(groups)
  data = rfjax.Batch.from_arrays(
    np.zeros((rows, 1)), rng.integers(0, classes, rows), group, num_classes=classes
  )
  return FILL(data, lean)


def conditions(data, criterion, weight):
  """Each constraint as (class, [N, G]) of gamma, and which ones there are."""
  p = np.exp(np.asarray(data.log_probs, float))
  joint = np.asarray(data.membership, float)[:, :, None] * p[:, None]
  shares = weight / weight.sum()
  divide = lambda part: part / (shares[:, None] * part).sum(0)
  classes = range(p.shape[1])
  if criterion == "demographic_parity":
    return [(y, divide(joint.sum(2))) for y in classes]
  if criterion == "equalized_odds":
    return [(y, divide(joint[:, :, k])) for y in classes for k in classes]
  return [(y, divide(joint[:, :, y])) for y in (classes if len(classes) > 2 else [1])]


def program(data, criterion, tolerance, weight):
  """The least risk of any randomised rule whose rates are within the tolerance."""
  p = np.exp(np.asarray(data.log_probs, float))
  rows, classes = p.shape
  shares = weight / weight.sum()
  constraints = conditions(data, criterion, weight)
  size = rows * classes + len(constraints)
  upper = []
  for i, (y, gamma) in enumerate(constraints):
    for j in range(gamma.shape[1]):
      row = np.zeros(size)
      row[y : rows * classes : classes] = shares * gamma[:, j]
      row[rows * classes + i] = -1
      upper += [row, -row]
  simplex = np.kron(np.eye(rows), np.ones(classes))
  found = linprog(
    np.append((shares[:, None] * (1 - p)).ravel(), np.zeros(len(constraints))),
    A_ub=np.array(upper),
    b_ub=np.full(len(upper), tolerance / 2),
    A_eq=np.pad(simplex, ((0, 0), (0, len(constraints)))),
    b_eq=np.ones(rows),
    bounds=(0, None),
  )
  return found.fun


def spread(data, criterion, weight, rule):
  """The widest spread of a rate over the groups, for a rule [N, C]."""
  shares = weight / weight.sum()
  rates = [shares * rule[:, y] @ gamma for y, gamma in conditions(data, criterion, weight)]
  return max(np.ptp(rate) for rate in rates)


def apply(
  data, fitted_on, tolerance, criterion, randomize=False, joint=None, temperature=TEMPERATURE
):
  found = applied(data, fitted_on, tolerance, criterion, randomize, joint, temperature)
  return np.asarray(found)


@functools.partial(jax.jit, static_argnums=(3, 4, 5))
def applied(data, fitted_on, tolerance, criterion, randomize, joint, temperature):
  method = postprocessing.linear_post(
    criterion, tolerance=tolerance, joint=joint, randomize=randomize, temperature=temperature
  )
  return rfjax.transform(method, data, key=KEY, fitted_on=fitted_on).logits


@pytest.mark.parametrize(
  ("criterion", "classes", "groups"),
  [
    ("demographic_parity", 2, 2),
    ("demographic_parity", 3, 3),
    ("equal_opportunity", 2, 2),
    ("equal_opportunity", 3, 3),
    ("equalized_odds", 2, 2),
    ("equalized_odds", 3, 2),
  ],
)
def test_the_rule_is_the_best_of_the_linear_program(criterion, classes, groups):
  with jax.enable_x64(True):
    data = said(1, 120, classes, groups)
    weight = np.random.default_rng(2).integers(1, 3, 120).astype(float)
    data = data.replace(weight=weight)
    for tolerance in (0.0, 0.1):
      rule = np.asarray(softmax(apply(data, data, tolerance, criterion)))
      p = np.exp(np.asarray(data.log_probs))
      risk = (weight[:, None] * (1 - p) * rule).sum() / weight.sum()
      best = program(data, criterion, tolerance, weight)
      plain = 1 - (weight * p.max(1)).sum() / weight.sum()
      assert spread(data, criterion, weight, rule) <= tolerance + 1e-9
      assert best - 1e-9 <= risk <= best + 5e-5  # of at most T log C for drawing near ties
      assert spread(data, criterion, weight, np.eye(classes)[p.argmax(1)]) > tolerance + 0.1
      assert best > plain + 0.01


def test_in_single_precision_groups_that_are_known_get_equal_rates():
  data = said(3, 500, 3, 2, hard=True)
  gap = metrics.demographic_parity_difference

  @jax.jit
  def measured(data, logits):
    fair = data.replace(logits=logits)
    return gap(data), gap(fair, soft=True), gap(fair)

  before, soft, hard = measured(data, apply(data, data, 1e-3, "demographic_parity"))
  assert soft < 2e-3 < 0.1 < before
  assert hard < 0.02  # the likeliest class of each row
  warm = functools.partial(apply, data, data, 1e-3, "demographic_parity", temperature=0.1)
  chance, lots = (np.asarray(softmax(warm(randomize=lot))) for lot in (False, True))
  assert set(np.unique(lots)) == {0.0, 1.0}
  deviation = np.sqrt((chance * (1 - chance)).sum(0))
  assert np.all(np.abs((lots - chance).sum(0)) < 4 * deviation)
  assert np.mean(lots.argmax(1) == chance.argmax(1)) > 0.6
  new = said(4, 500, 3, 2, hard=True)
  free = apply(new, data, 1.0, "demographic_parity")
  np.testing.assert_array_equal(free.argmax(1), np.asarray(new.logits).argmax(1))


def test_a_model_of_groups_and_labels_may_come_from_elsewhere():
  data = said(3, 500, 3, 2, hard=True)
  joint = lambda batch: batch.membership[:, :, None] * batch.probs[:, None]
  mine = apply(data, data, 1e-3, "demographic_parity")
  np.testing.assert_allclose(
    apply(data, data, 1e-3, "demographic_parity", joint=joint), mine, rtol=1e-3, atol=1e-2
  )
  blind = rfjax.Batch.from_arrays(np.zeros((3, 1)), [0, 1, 2]).fill(np.eye(3, dtype=np.float32))
  other = lambda batch: jnp.full((batch.num_rows, 4, 3), 1 / 12)
  assert apply(blind, blind, 0.1, "equalized_odds", joint=other).shape == (3, 3)
  with pytest.raises(ValueError, match="linear_post needs group"):
    apply(blind, blind, 0.1, "equalized_odds")
