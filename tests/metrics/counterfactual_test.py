"""Counterfactual fairness in causal models whose effects are known in closed form."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rfjax
from rfjax import metrics

# x1 = a1 g + u1, x2 = a2 g + b x1 + u2: the group acts on x2 directly and through x1.
A1, A2, B = 0.8, -0.3, 1.5
SLOPE = np.array([0.2, 0.4])


def made(seed, rows=200, groups=2):
  rng = np.random.default_rng(seed)
  group = rng.integers(groups, size=rows)
  u = rng.normal(size=(rows, 2))
  x1 = A1 * group + u[:, 0]
  return np.stack([x1, A2 * group + B * x1 + u[:, 1]], 1), group, rng.uniform(size=rows)


def linear_model(x, group, other):
  """Abduction, action and prediction."""
  u1 = x[:, 0] - A1 * group
  u2 = x[:, 1] - A2 * group - B * x[:, 0]
  x1 = A1 * other + u1
  return jnp.stack([x1, A2 * other + B * x1 + u2], 1)


def measure(x, group, weight=None, predict=lambda x: x @ SLOPE, model=linear_model, **options):
  return metrics.counterfactual_unfairness(
    predict, x, group, counterfactual=model, weight=weight, **options
  )


def test_a_linear_model_changes_by_its_total_effect():
  effect = SLOPE[0] * A1 + SLOPE[1] * (A2 + B * A1)
  x, group, weight = made(0)
  both = lambda x: jnp.stack([x @ SLOPE, 1 - x @ SLOPE], 1)
  residual = lambda x: x[:, 1] - B * x[:, 0]

  @jax.jit
  def measured(x, group, weight):
    of = lambda *more, **options: measure(x, group, *more, num_groups=2, **options)
    return of(), of(weight), of(predict=both), of(predict=residual)

  with jax.enable_x64(True):
    *total, direct = measured(x, group, weight)
  np.testing.assert_allclose(total, [abs(effect)] * 3, rtol=1e-12)
  np.testing.assert_allclose(direct, abs(A2), rtol=1e-12)


def test_three_groups_by_mean_and_worst():
  x, group, weight = made(1, groups=3)
  effect = abs(SLOPE[0] * A1 + SLOPE[1] * (A2 + B * A1))
  steps = np.array([[abs(a - b) for b in range(3)] for a in range(3)])[group]
  with jax.enable_x64(True):
    mean = measure(x, group, weight)
    worst = measure(x, group, weight, agg="worst_case")
  np.testing.assert_allclose(
    mean, effect * np.average(steps.sum(1) / 2, weights=weight), rtol=1e-12
  )
  np.testing.assert_allclose(worst, effect * np.average(steps.max(1), weights=weight), rtol=1e-12)


def test_an_effect_that_differs_by_individual_has_its_folded_mean():
  """x = (a + b g) u + c g changes by b u + c, a normal number of either sign."""
  a, b, c, rows = 1.0, 0.7, 0.4, 40_000
  rng = np.random.default_rng(2)
  group, u = rng.integers(2, size=rows), rng.normal(size=rows)
  x = ((a + b * group) * u + c * group)[:, None]

  def model(x, group, other):
    noise = (x[:, 0] - c * group) / (a + b * group)
    return ((a + b * other) * noise + c * other)[:, None]

  z = c / b
  expected = b * math.sqrt(2 / math.pi) * math.exp(-(z**2) / 2) + c * math.erf(z / math.sqrt(2))
  deviation = math.sqrt(b**2 + c**2 - expected**2)
  found = measure(x, group, predict=lambda x: x[:, 0], model=model)
  assert abs(found - expected) < 4 * deviation / math.sqrt(rows)


def test_flipping_a_column_misses_what_the_column_caused():
  x, group, _ = made(3)
  wide = np.concatenate([group[:, None], x], 1)
  blind = lambda x: x[:, 1:] @ SLOPE
  flip = metrics.flip_column(0)
  assert float(measure(wide, group, predict=blind, model=flip)) == 0
  causal = lambda x, g, to: jnp.concatenate(
    [jnp.full((len(x), 1), to), linear_model(x[:, 1:], g, to)], 1
  )
  assert measure(wide, group, predict=blind, model=causal) > 0.5
  reads = lambda x: 0.3 * x[:, 0]
  np.testing.assert_allclose(measure(wide, group, predict=reads, model=flip), 0.3, rtol=1e-5)
  far = metrics.flip_column(0, [0.0, 2.0])
  share = np.mean(np.where(group == 0, 0.6, 0.3))
  np.testing.assert_allclose(measure(wide, group, predict=reads, model=far), share, rtol=1e-5)


def test_a_padded_batch_and_gradients():
  x, group, _ = made(4, rows=20)
  data = rfjax.Batch.from_arrays(x, group % 2, group).take(jnp.asarray([20, *range(20), 20]))
  predict = lambda slope: lambda x: jax.nn.sigmoid(x @ slope)
  of = lambda slope, *data: metrics.counterfactual_unfairness(
    predict(slope), *data, counterfactual=linear_model
  )
  expected = jax.jit(lambda x: of(jnp.asarray(SLOPE, jnp.float32), x, group))(x)
  value, slope = jax.jit(jax.value_and_grad(of))(jnp.asarray(SLOPE, jnp.float32), data)
  np.testing.assert_allclose(value, expected, rtol=1e-5)
  assert np.isfinite(slope).all() and slope.any()
  undefined = lambda x, g, to: jnp.where(x == 0, jnp.nan, linear_model(x, g, to))
  padded = metrics.counterfactual_unfairness(
    predict(SLOPE), data, counterfactual=undefined, weight=np.ones(22)
  )
  np.testing.assert_allclose(padded, expected, rtol=1e-5)
  assert float(measure(x, np.zeros(20, int))) == 0


@pytest.mark.parametrize(
  ("arguments", "options", "message"),
  [
    ((np.zeros((2, 1)), [0, 1]), {"agg": "sum"}, "agg must be one of 'worst_case', 'mean'"),
    ((np.zeros((2, 1)), np.eye(2)), {}, r"group must hold integers \[N\]"),
    ((np.zeros((2, 1)), None), {}, "group is None: pass group="),
    ((np.zeros((2, 1)), [0, 2]), {"num_groups": 2}, r"group must lie in \[0, 2\), got 2"),
    ((np.zeros((2, 1)), [0, 1]), {"predict": lambda x: x.sum()}, r"predict must .*shape \(\)"),
    ((np.zeros((2, 1)), [0, 1]), {"weight": [-1, 1]}, "weight must be finite and at least 0"),
  ],
)
def test_bad_arguments_are_refused(arguments, options, message):
  shift = lambda x, g, to: x + to
  with pytest.raises(ValueError, match=message):
    measure(*arguments, **{"model": shift, "predict": lambda x: x[:, 0]} | options)
  with pytest.raises(ValueError, match="column must be an integer of at least 0"):
    metrics.flip_column(-1)


def test_flipping_what_is_not_there_does_not_look_fair():
  x, group, _ = made(5)
  with pytest.raises(ValueError, match="column must be one of the 2 columns of x, got 5"):
    measure(x, group, model=metrics.flip_column(5))
  assert np.isnan(measure(x, group, model=metrics.flip_column(0, [1.0])))
