"""Individual fairness against all pairs, and a linear model whose slope is known."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rfjax
from rfjax import metrics

KEY = jax.random.key(0)


def draw(seed, rows=12):
  rng = np.random.default_rng(seed)
  weight = rng.uniform(0.2, 1, rows) ** 4 * (np.arange(rows) % 4 > 0)
  return rng.normal(size=(rows, 2)) / 4, rng.dirichlet(np.ones(3), rows), weight


def all_pairs(x, probs, weight, slope):
  """The violation of each pair of different rows that count, and its weight."""
  found = []
  for i, j in itertools.permutations(np.flatnonzero(weight), 2):
    excess = abs(probs[i] - probs[j]).sum() / 2 - slope * np.sqrt(((x[i] - x[j]) ** 2).sum())
    found.append((max(excess, 0), weight[i] * weight[j]))
  return np.array(found).T


def test_many_draws_are_all_pairs():
  x, probs, weight = draw(0)
  run = jax.jit(
    lambda slope, agg: metrics.lipschitz_violation(
      x, probs, weight=weight, key=KEY, lipschitz=slope, agg=agg, pairs=20_000
    ),
    static_argnums=1,
  )
  for slope in (0.0, 0.5, 1.0):
    excess, share = all_pairs(x, probs, weight, slope)
    np.testing.assert_allclose(run(slope, "worst_case"), excess.max(), atol=1e-6)
    mean = np.average(excess, weights=share)
    error = np.sqrt(np.average((excess - mean) ** 2, weights=share) / 20_000)
    assert abs(run(slope, "mean") - mean) < 4 * error


def test_a_linear_model_keeps_the_norm_of_its_slope_and_nothing_less():
  rng = np.random.default_rng(1)
  slope = np.array([0.3, 0.4])
  x = rng.uniform(-0.5, 0.5, size=(40, 2))
  x[1] = x[0] + slope / 2  # along the slope, where the bound is sharp
  said = 0.5 + x @ slope
  of = jax.jit(
    lambda limit: metrics.lipschitz_violation(x, said, key=KEY, lipschitz=limit, pairs=20_000)
  )
  assert float(of(0.5 + 1e-6)) == 0
  least = 0.01 * 0.25  # of the two rows along the slope, 1/4 apart
  worst = all_pairs(x, np.stack([1 - said, said], 1), np.ones(40), 0.49)[0].max()
  assert float(of(0.49)) == pytest.approx(worst, abs=1e-6) and worst >= least * (1 - 1e-9)


def test_the_distance_is_a_choice():
  x, said = np.array([[0.0, 7.0], [1.0, 9.0], [3.0, 7.0]]), [0.0, 1.0, 1.0]
  first = lambda a, b: abs(a[0] - b[0])
  found = metrics.lipschitz_violation(x, said, key=KEY, lipschitz=0.25, distance=first)
  assert float(found) == 0.75
  assert float(metrics.lipschitz_violation(x, [0, 1, 1], key=KEY, lipschitz=0.25)) == pytest.approx(
    1 - 0.25 * np.sqrt(5)
  )


def test_a_permuted_and_padded_batch_draws_the_same_pairs():
  x, probs, _ = draw(2)
  logits = jnp.log(jnp.asarray(probs, jnp.float32))
  flow = rfjax.Batch.from_arrays(x, probs.argmax(1)).fill(logits)
  order = np.random.default_rng(0).permutation(12)
  padded = flow.take(jnp.asarray([12, *order, 12]))
  run = jax.jit(lambda flow: metrics.lipschitz_violation(flow, key=KEY, agg="mean", pairs=9))
  assert run(padded) == pytest.approx(float(run(flow)), rel=1e-6)
  assert run(padded) > 0
  slope = jax.jit(jax.grad(lambda z: run(padded.fill(z))))(padded.logits)
  assert np.isfinite(slope).all() and slope.any() and not slope[0].any() and not slope[-1].any()
  by_x = jax.grad(lambda x: metrics.lipschitz_violation(x, [0.0, 1.0], key=KEY, agg="mean"))
  assert np.isfinite(jax.jit(by_x)(jnp.zeros((2, 1)))).all()


def test_one_row_violates_nothing():
  x, said = np.zeros((3, 1)), [0, 1, 0]
  assert float(metrics.lipschitz_violation(x, said, key=KEY, weight=[0, 1, 0])) == 0
  assert float(metrics.lipschitz_violation(x, said, key=KEY, weight=[0, 0, 0])) == 0
  assert float(metrics.lipschitz_violation(x, said, key=KEY, weight=[0, 1, 1])) == 1


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"agg": "sum"}, "agg must be one of 'worst_case', 'mean', got 'sum'"),
    ({"lipschitz": -1.0}, r"lipschitz must lie in \[0, inf\), got -1"),
    ({"pairs": 0}, "pairs must be an integer of at least 1"),
    ({"weight": [1]}, "weight has 1 rows but"),
  ],
)
def test_bad_arguments_are_refused(options, message):
  with pytest.raises(ValueError, match=message):
    metrics.lipschitz_violation([[0.0], [1.0]], [0, 1], key=KEY, **options)
