"""Generalized entropy against loops over rows, its limits and how it splits by groups."""

import math

import jax
import jax.numpy as jnp
import metric_programs
import numpy as np
import pytest

import rfjax
from rfjax import metrics

ALPHAS = (-1.0, 0.0, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0)


def draw(seed, classes=2, groups=3, rows=50):
  rng = np.random.default_rng(seed)
  y, said = rng.integers(classes, size=(2, rows))
  weight = rng.uniform(size=rows) * (rng.random(rows) > 0.2)
  return y, said, rng.dirichlet(np.ones(classes), rows), rng.integers(groups, size=rows), weight


def entropy(benefit, weight, alpha):
  """From the definition, row by row."""
  kept = [(b, w) for b, w in zip(benefit, weight, strict=True) if w > 0]
  total = sum(w for _, w in kept)
  mean = sum(w * b for b, w in kept) / total
  found = 0.0
  for b, w in kept:
    r = b / mean
    if alpha == 0:
      found += w * (-math.log(r) if r else math.inf)
    elif alpha == 1:
      found += w * (r * math.log(r) if r else 0)
    else:
      found += w * ((r**alpha if r or alpha > 0 else math.inf) - 1) / (alpha * (alpha - 1))
  return found / total


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("classes", [2, 3])
def test_it_is_the_loop_over_rows(classes, soft):
  y, said, probs, group, weight = draw(classes, classes)
  kept = [1] if classes == 2 else range(classes)
  p = probs if soft else np.eye(classes)[said]
  benefits = [p[:, k] - (y == k) + 1 for k in kept]
  with jax.enable_x64(True):
    y_pred = jnp.asarray(probs if soft else said)
    options = {"num_classes": classes, "weight": jnp.asarray(weight)}
    both = jax.jit(
      lambda alpha: (
        metrics.generalized_entropy(y, y_pred, alpha=alpha, **options),
        metrics.between_group_generalized_entropy(
          y, y_pred, group, num_groups=3, alpha=alpha, **options
        ),
      )
    )
    for alpha in ALPHAS:
      rows, groups = both(alpha)
      np.testing.assert_allclose(rows, max(entropy(b, weight, alpha) for b in benefits), rtol=1e-12)
      means = [
        np.array([np.average(b[group == g], weights=weight[group == g]) for g in range(3)])[group]
        for b in benefits
      ]
      expected = max(entropy(b, weight, alpha) for b in means)
      np.testing.assert_allclose(groups, expected, rtol=1e-11)
    assert np.isinf(metrics.generalized_entropy(y, y_pred, alpha=0.0, **options)) == (not soft)


def test_it_has_its_limits_in_float32():
  y, _, probs, _, weight = draw(1)
  p = jnp.asarray(probs[:, 1], jnp.float32)
  at = jax.jit(lambda alpha: metrics.generalized_entropy(y, p, weight=weight, alpha=alpha))
  benefit = np.asarray(p, float) - y + 1
  for limit in (0, 1):
    for near in (limit - 1e-3, limit - 1e-6, limit + 1e-6, limit + 1e-3):
      np.testing.assert_allclose(at(near), entropy(benefit, weight, near), rtol=2e-5)


def test_what_lies_between_and_within_groups_adds_up():
  y, _, probs, group, weight = draw(2)
  of_rows = metric_programs.program(metrics.generalized_entropy)
  of_groups = metric_programs.program(metrics.between_group_generalized_entropy, num_groups=3)
  with jax.enable_x64(True):
    for alpha in ALPHAS:
      run = lambda of, *more: of(y, probs[:, 1], *more, weight=weight, alpha=alpha)
      whole, between = run(of_rows), run(of_groups, group)
      benefit, within = probs[:, 1] - y + 1, 0.0
      for g in range(3):
        mine = weight * (group == g)
        share = np.average(benefit, weights=mine) / np.average(benefit, weights=weight)
        within += mine.sum() / weight.sum() * share**alpha * entropy(benefit, mine, alpha)
      np.testing.assert_allclose(between + within, whole, rtol=1e-11)


def test_theil_index_and_coefficient_of_variation():
  y, said, _, _, weight = draw(4)
  benefit = said - y + 1
  with jax.enable_x64(True):
    theil = metrics.theil_index(y, said, weight=weight)
    variation = metrics.coefficient_of_variation(y, said, weight=weight)
  mean = np.average(benefit, weights=weight)
  deviation = np.sqrt(np.average((benefit - mean) ** 2, weights=weight))
  np.testing.assert_allclose(theil, entropy(benefit, weight, 1), rtol=1e-12)
  np.testing.assert_allclose(variation, deviation / mean, rtol=1e-12)


def test_soft_groups_share_their_rows():
  """A row that belongs to two groups by halves is two rows of half its weight."""
  y, _, probs, group, weight = draw(5)
  p, member = probs[:, 1], np.eye(3)[group]
  member[0], member[1] = 0, [0.5, 0, 0.5]
  split = [np.append(v, v[1]) for v in (y, p, group, weight)]
  split[2][[1, -1]] = 0, 2
  split[3][0] = 0
  split[3][[1, -1]] /= 2
  with jax.enable_x64(True):
    run = metric_programs.program(metrics.between_group_generalized_entropy, num_groups=3)
    found, expected = run(y, p, member, weight=weight), run(*split[:3], weight=split[3])
  np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_equal_benefit_is_fair_with_a_flat_gradient():
  y = np.array([0, 1, 1, 0])
  run = jax.jit(lambda y, p, w: metrics.generalized_entropy(y, p, num_classes=2, weight=w))
  assert run(y, y, np.ones(4)) == run(np.ones(4, int), np.zeros(4, int), np.ones(4)) == 0
  assert run(y, 1 - y, np.zeros(4)) == 0
  both = lambda p: metrics.theil_index(y, p) + metrics.coefficient_of_variation(y, p)
  np.testing.assert_allclose(jax.jit(jax.grad(both))(y.astype(np.float32)), 0, atol=1e-6)


def test_a_batch_counts_valid_rows_alone():
  y, _, _, group, _ = draw(6, 3)
  logits = jnp.asarray(np.random.default_rng(0).normal(size=(50, 3)), jnp.float32)
  flow = rfjax.Batch.from_arrays(np.zeros((50, 1)), y, group, num_classes=3).fill(logits)
  padded, probs = flow.take(jnp.asarray([*range(50), 50, 50])), jax.nn.softmax(logits)

  def both(alpha, flow):
    return (
      metrics.generalized_entropy(flow, alpha=alpha, soft=True),
      metrics.between_group_generalized_entropy(flow, alpha=alpha, soft=True),
    )

  rows, groups = jax.jit(both)(0.0, padded)
  both_of = jax.jit(
    lambda y, p, g: (
      metrics.generalized_entropy(y, p, alpha=0.0),
      metrics.between_group_generalized_entropy(y, p, g, num_groups=3, alpha=0.0),
    )
  )
  expected = both_of(y, probs, group)
  np.testing.assert_allclose((rows, groups), expected, rtol=1e-4)
  slope = jax.jit(jax.grad(lambda z: both(0.0, padded.fill(z))[0]))(padded.logits)
  assert np.isfinite(slope).all() and slope[:50].any() and not slope[50:].any()


def test_bad_arguments_are_refused_and_empty_groups_named():
  with pytest.raises(ValueError, match=r"alpha must lie in \(-inf, inf\), got nan"):
    metrics.generalized_entropy([0, 1], [0, 1], alpha=math.nan)
  with pytest.raises(ValueError, match="alpha must be a single number"):
    metrics.between_group_generalized_entropy([0, 1], [0, 1], [0, 1], alpha=[1.0, 2.0])
  with pytest.warns(UserWarning, match="no row in group 1 counts") as caught:
    found = metrics.between_group_generalized_entropy([0, 1, 1], [1, 1, 0], [0, 0, 2])
  np.testing.assert_allclose(found, entropy([1.5, 1.5, 0], [1, 1, 1], 2), rtol=1e-6)
  assert caught[0].filename == __file__
