"""LAFTR against loops over rows, numerical derivatives, and the total variation distance."""

import functools

import jax
import numpy as np
import optax
import pytest

import rfjax
from rfjax.fairness import inprocessing

KEY = jax.random.key(0)
ROWS, WIDTH = 30, 3
FILL = jax.jit(rfjax.Batch.fill)
CRITERIA = ("demographic_parity", "equalized_odds", "equal_opportunity")


@functools.cache
def make_data(groups=2, classes=2):
  rng = np.random.default_rng(0)
  group = rng.choice(groups, ROWS, p=[0.7, *[0.3 / (groups - 1)] * (groups - 1)])
  y = rng.integers(0, classes, ROWS)
  data = rfjax.Batch.from_arrays(
    rng.normal(size=(ROWS, 2)), y, group, num_classes=classes, num_groups=groups
  )
  return FILL(data, np.zeros((ROWS, classes)), rng.normal(size=(ROWS, WIDTH)))


def start(made, data):
  return made.init(data, key=KEY, spec=rfjax.core.Spec(data.logits, data.features))


def unfair(kernel, bias, data, rows, criterion):
  """L_A of a linear adversary for some rows of a data set, row by row."""
  y, group = np.asarray(data.y), np.asarray(data.group)
  z = np.asarray(data.features, np.float64)
  total = 0.0
  for i in rows:
    seen = z[i]
    if criterion == "equalized_odds":
      seen = np.append(seen, [y[i] == k for k in range(1, data.num_classes)])
    scores = np.append(0.0, seen @ kernel + bias)
    miss = 1 - np.exp(scores[group[i]]) / np.exp(scores).sum()
    same = group == group[i]
    if criterion != "demographic_parity":
      same = same & (y == y[i])
    if criterion != "equal_opportunity" or y[i] == 1:
      total += miss * ROWS / same.sum()
  return total / len(rows)


@pytest.mark.parametrize(
  ("criterion", "groups", "classes"),
  [(CRITERIA[0], 2, 2), (CRITERIA[1], 3, 3), (CRITERIA[2], 2, 2)],
)
def test_the_loss_and_a_step_of_the_adversary(criterion, groups, classes):
  data = make_data(groups, classes)
  made = inprocessing.laftr(0.7, criterion, hidden=(), tx=optax.sgd(0.5))
  rows = np.arange(4, 20)

  @jax.jit
  def run(data):
    state = start(made, data)
    batch = data.take(np.append(rows, [ROWS, ROWS]))  # with padding
    batch = batch.fill(batch.logits, data.features[batch.index])
    return state, *made.update(batch, state)

  state, out, after = jax.device_get(run(data))
  (layer,), (moved,) = state.adversary.params, after.adversary.params
  kernel, bias = (np.asarray(layer[k], np.float64) for k in ("kernel", "bias"))
  of = lambda kernel, bias: unfair(kernel, bias, data, rows, criterion)
  np.testing.assert_allclose(out.penalty, -0.7 * of(kernel, bias), rtol=1e-5)
  slope = np.zeros_like(kernel)
  for i in np.ndindex(kernel.shape):
    h = np.zeros_like(kernel)
    h[i] = 1e-6
    slope[i] = (of(kernel + h, bias) - of(kernel - h, bias)) / 2e-6
  np.testing.assert_allclose(moved["kernel"], kernel - 0.5 * slope, atol=1e-5)
  assert np.abs(slope).max() > 1e-3


@pytest.mark.parametrize("criterion", CRITERIA)
def test_the_best_adversary_finds_the_total_variation(criterion):
  rng = np.random.default_rng(2)
  group, y = rng.integers(0, 2, 400), rng.integers(0, 2, 400)
  z = np.where(rng.random(400) < 0.4 + 0.3 * y, group, rng.integers(0, 4, 400))
  data = rfjax.Batch.from_arrays(np.zeros((400, 1)), y, group)
  data = FILL(data, np.zeros((400, 2)), np.eye(8)[4 * y + z])
  made = inprocessing.laftr(1.0, criterion, hidden=(), tx=optax.adam(0.3), steps=400)

  def at_best(data):
    _, state = made.update(data, start(made, data))
    return -made.update(data, state)[0].penalty

  def variation(rows):
    shares = [np.bincount((4 * y + z)[rows & (group == g)], minlength=8) for g in (0, 1)]
    return np.abs(np.subtract(*(s / s.sum() for s in shares))).sum() / 2

  everything = np.ones(400, bool)
  subsets = {
    "demographic_parity": [everything],
    "equalized_odds": [y == 0, y == 1],
    "equal_opportunity": [y == 1],
  }[criterion]
  expected = sum(1 - variation(rows) for rows in subsets)
  np.testing.assert_allclose(jax.jit(at_best)(data), expected, atol=2e-3)
  # So a rule on z, here the one that is said by z's own group shares, cannot be further apart.
  rule = (z == 1) | (z == 2)
  for rows in subsets:
    gap = abs(np.subtract(*(rule[rows & (group == g)].mean() for g in (0, 1))))
    assert gap <= variation(rows) + 1e-12


def test_the_decoder_learns_by_least_squares():
  data = make_data()
  made = inprocessing.laftr(0.0, reconstruction=2.0, tx=optax.adam(0.1), steps=500)

  def error(data):
    _, state = made.update(data, start(made, data))
    return made.update(data, state)[0].penalty / 2

  z = np.column_stack([data.features, data.group, np.ones(ROWS)])
  fitted = z @ np.linalg.lstsq(z, np.asarray(data.x), rcond=None)[0]
  found = jax.jit(error)(data)
  np.testing.assert_allclose(found, np.mean((np.asarray(data.x) - fitted) ** 2), rtol=1e-3)


def test_rows_without_a_group_count_for_the_decoder_only():
  data = make_data()
  member = np.eye(2, dtype=np.float32)[data.group]
  member[:6] = 0
  missing = data.replace(group=member)
  made = inprocessing.laftr(1.0, reconstruction=1.0)
  state = jax.jit(lambda data: start(made, data))(data)
  slope = jax.jit(jax.grad(lambda z, flow, b: made.update(flow.replace(features=z), b)[0].penalty))
  only = state._replace(decoder=jax.tree.map(np.zeros_like, state.decoder))
  none, some = (np.asarray(slope(missing.features, missing, s))[:6] for s in (only, state))
  assert (none == 0).all()
  assert (some != 0).all()


def test_what_is_wrong_is_refused():
  data = make_data()
  with pytest.raises(ValueError, match="laftr needs features"):
    inprocessing.laftr(1.0).init(data, key=KEY, spec=None)
  with pytest.raises(ValueError, match="laftr needs group"):
    start(inprocessing.laftr(1.0), data.replace(group=None))
