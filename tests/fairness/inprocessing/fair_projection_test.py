"""The fair projection: feasible, optimal, and what its gradient teaches.

The projection is read off the gradient: of KL(h || p) by a logit it is p - h.
"""

import jax
import numpy as np
import pytest
from scipy import optimize
from scipy.special import softmax

import rfjax
from rfjax.fairness import inprocessing

KEY = jax.random.key(0)
FILL = jax.jit(rfjax.Batch.fill)
ROWS, KNOWN = 40, 38  # the first rows have no group
# Numerator and denominator of a row, at its label and the probability of the class.
PARTS = {
  "selection_rate": lambda y, p: (p, 1 + 0 * p),
  "true_positive_rate": lambda y, p: (y * p, y + 0 * p),
  "precision": lambda y, p: (y * p, p),
  "false_omission_rate": lambda y, p: (y * (1 - p), 1 - p),
  "false_negatives_per_false_positive": lambda y, p: (y * (1 - p), (1 - y) * p),
  "accuracy": lambda y, p: (y * p + (1 - y) * (1 - p), 1 + 0 * p),
}


def filled(seed=0, soft=False, missing=False, scale=1.5):
  rng = np.random.default_rng(seed)
  y, code = rng.integers(2, size=ROWS), np.arange(ROWS) % 3
  if missing:
    y[code == 1] = 0
  member = np.eye(3)[code]
  if soft:
    member = rng.dirichlet(np.ones(3), size=ROWS)
  member[:2] = 0
  data = rfjax.Batch.from_arrays(np.zeros((ROWS, 1)), y, member, num_classes=2)
  shift = np.array([0.5, 0.0, -0.8])[code][:, None] * np.array([0, 1])
  return FILL(data, scale * rng.normal(size=(ROWS, 2)) + shift)


@pytest.fixture(autouse=True)
def float64():
  with jax.enable_x64(True):
    yield


@pytest.fixture(scope="module", params=PARTS)
def sloped(request):
  method = inprocessing.fair_projection(0.5, request.param)

  def value(logits, flow):
    extra = {"key": KEY, "step": 0, "epoch": 0, "forward": None}
    return method.update(flow.fill(logits), (), None, **extra)[0].penalty

  return request.param, jax.jit(jax.value_and_grad(value))


def look(sloped, flow):
  """Labels, memberships, scores, the projection, and the penalty at strength 1."""
  value, gradient = jax.device_get(sloped(flow.logits, flow))
  p = softmax(flow.logits, axis=1)[:, 1]
  h = p - np.asarray(gradient[:, 1]) / 0.5 * KNOWN
  np.testing.assert_allclose(gradient[:, 0], -gradient[:, 1], atol=1e-14)
  return np.asarray(flow.y), np.asarray(flow.group, np.float64), p, h, value / 0.5


def divergence(h, p):
  return np.sum(h * np.log(h / p) + (1 - h) * np.log((1 - h) / (1 - p)))


@pytest.mark.parametrize("soft", [False, True])
def test_the_projection_is_fair_and_nearest(sloped, soft):
  statistic, slope = sloped
  y, member, p, h, value = look(slope, filled(1, soft))
  assert (h > 0).all() and (h < 1).all() and np.abs(h - p).max() > 0.01
  np.testing.assert_allclose(h[:2], p[:2], atol=1e-12)  # rows without a group stay
  np.testing.assert_allclose(value, divergence(h, p) / KNOWN, rtol=1e-9)
  known = member.sum(1)
  top, bottom = PARTS[statistic](y, p)
  target = known @ top / (known @ bottom)
  top, bottom = PARTS[statistic](y, h)
  np.testing.assert_allclose((member.T @ top) / (member.T @ bottom), target, rtol=1e-8)
  # Nearest: the gradient of the divergence is a combination of those of the constraints.
  ones, zeros = (np.stack(PARTS[statistic](y, v + 0 * p)) for v in (1, 0))
  constraints = member * ((ones - zeros)[0] - target * (ones - zeros)[1])[:, None]
  moved = np.log(h / (1 - h)) - np.log(p / (1 - p))
  multipliers = np.linalg.lstsq(constraints, moved, rcond=None)[0]
  np.testing.assert_allclose(constraints @ multipliers, moved, atol=1e-7)


def test_it_is_the_optimum_of_slsqp(sloped):
  statistic, slope = sloped
  y, member, p, h, value = look(slope, filled(2))
  known = member.sum(1)
  top, bottom = PARTS[statistic](y, p)
  target = known @ top / (known @ bottom)

  def unmet(h):
    top, bottom = PARTS[statistic](y, h)
    return member.T @ (top - target * bottom)

  found = optimize.minimize(
    lambda h: divergence(h, p),
    p,
    jac=lambda h: np.log(h / (1 - h)) - np.log(p / (1 - p)),
    constraints={"type": "eq", "fun": unmet},
    bounds=[(1e-9, 1 - 1e-9)] * ROWS,
    method="SLSQP",
    options={"ftol": 1e-13, "maxiter": 300},
  )
  np.testing.assert_allclose(KNOWN * value, found.fun, rtol=1e-6)
  np.testing.assert_allclose(h, found.x, atol=1e-4)


def test_the_slope_is_that_of_the_divergence_from_a_fixed_projection(sloped):
  _, slope = sloped
  flow = filled(3)
  h = look(slope, flow)[3]
  gradient = np.asarray(slope(flow.logits, flow)[1])
  way = np.random.default_rng(0).normal(size=(ROWS, 2))
  at = lambda t: divergence(h, softmax(flow.logits + t * way, axis=1)[:, 1])
  numeric = 0.5 * (at(1e-6) - at(-1e-6)) / 2e-6 / KNOWN
  np.testing.assert_allclose(np.sum(gradient * way), numeric, rtol=1e-6)


def test_edges_are_finite_and_ask_nothing_of_padding(sloped):
  _, slope = sloped
  second = np.tile([0.0, 1.0, 0.0], (ROWS, 1))
  alone = filled(7).replace(group=second)
  lone_class = jax.jit(lambda flow: flow.replace(y=0 * flow.y))
  for flow in (
    filled(4, missing=True),
    filled(5, scale=60.0),
    lone_class(filled(6)),
    alone,
  ):
    for size in (1.0, 100.0):
      padded = flow.replace(valid=np.arange(ROWS) < ROWS - 3)
      value, gradient = jax.device_get(slope(size * np.asarray(flow.logits), padded))
      assert np.isfinite(value) and value > -1e-9 and np.isfinite(gradient).all()
      assert (gradient[-3:] == 0).all()
  np.testing.assert_allclose(slope(alone.logits, alone)[0], 0, atol=1e-12)


def test_of_three_classes_each_is_a_coin():
  rng = np.random.default_rng(8)
  y, code = np.arange(30) % 3, np.arange(30) // 3 % 2
  data = rfjax.Batch.from_arrays(np.zeros((30, 1)), y, code, num_classes=3)
  logits = rng.normal(size=(30, 3))
  method = inprocessing.fair_projection(1.0)
  update = jax.jit(lambda data, logits: method.update(data.fill(logits), (), None)[0].penalty)
  p = softmax(logits, axis=1)
  coins = 0.0
  for k in range(3):
    two = rfjax.Batch.from_arrays(np.zeros((30, 1)), y == k, code, num_classes=2)
    coins += float(update(two, np.log(np.stack([1 - p[:, k], p[:, k]], axis=1))))
  np.testing.assert_allclose(update(data, logits), coins, rtol=1e-9)
