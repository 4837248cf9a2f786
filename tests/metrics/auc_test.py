"""AUC by group and across groups, against loops over pairs and scikit-learn; areas of curves."""

import functools
import itertools

import jax
import jax.numpy as jnp
import metric_programs
import numpy as np
import pytest
from scipy.special import logit
from sklearn.metrics import roc_auc_score, roc_curve

import rfjax
from rfjax import metrics


def draw(seed, groups=3, rows=80, classes=2):
  """Labels, scores with ties, groups, and weights of which some are 0."""
  rng = np.random.default_rng(seed)
  y, group = rng.integers(classes, size=rows), rng.integers(groups, size=rows)
  scores = np.round(rng.beta(1 + 2 * y, 2 + group), 1)
  return y, scores, group, rng.uniform(size=rows) * (rng.random(rows) > 0.2)


def xauc(y, scores, mass, k=1):
  """Ranked and all pairs [2, G, G], pair by pair."""
  found = np.zeros((2, mass.shape[1], mass.shape[1]))
  for i, j in itertools.product(np.flatnonzero(y == k), np.flatnonzero(y != k)):
    pair = np.outer(mass[i], mass[j])
    found += [pair * ((scores[i] > scores[j]) + (scores[i] == scores[j]) / 2), pair]
  return found


@functools.cache
def compiled(groups, *measures):
  run = metric_programs.together(*((measure, {"num_groups": groups}) for measure in measures))
  return lambda y, s, g, w: run(y, s, g, weight=w)


def test_it_is_the_loop_over_pairs_and_scikit_learn():
  y, scores, group, weight = draw(0)
  mass = weight[:, None] * np.eye(3)[group]
  hits, size = xauc(y, scores, mass)
  with jax.enable_x64(True):
    run = compiled(3, metrics.group_xauc, metrics.auc_parity_difference)
    found, apart = run(y, scores, group, weight)
    value = np.asarray(found.value)
  np.testing.assert_allclose(found.hits, hits, rtol=1e-12)
  np.testing.assert_allclose(found.size, size, rtol=1e-12)
  own = [
    roc_auc_score(y[k], scores[k], sample_weight=weight[k]) for k in (group == g for g in range(3))
  ]
  np.testing.assert_allclose(np.diagonal(value), own, rtol=1e-12)
  np.testing.assert_allclose(apart, max(own) - min(own), rtol=1e-12)


def test_soft_groups_and_three_classes():
  rng = np.random.default_rng(1)
  y, probs = rng.integers(3, size=40), np.round(rng.dirichlet(np.ones(3), 40), 1)
  member, weight = rng.dirichlet(np.ones(2), 40), rng.uniform(size=40)
  member[:3] = 0
  with jax.enable_x64(True):
    run = compiled(2, metrics.group_xauc, metrics.auc_parity_difference, metrics.abroca)
    found, apart, areas = run(y, probs, member, weight)
    first = compiled(2, metrics.abroca)
    of_class = [first((y == k).astype(int), probs[:, k], member, weight)[0] for k in range(3)]
  assert found.size.shape == (2, 2, 3)
  gaps = []
  for k in range(3):
    hits, size = xauc(y, probs[:, k], weight[:, None] * member, k)
    np.testing.assert_allclose(found.hits[..., k], hits, rtol=1e-12)
    gaps.append(abs(np.diff(np.diagonal(hits / size)))[0])
  np.testing.assert_allclose(apart, max(gaps), rtol=1e-10)
  np.testing.assert_allclose(areas, max(of_class), rtol=1e-12)


def test_abroca_is_the_area_between_scikit_learns_curves():
  y, scores, group, weight = draw(2)
  grid = (np.arange(200_000) + 0.5) / 200_000
  curves = []
  for g in range(3):
    k = (group == g) & (weight > 0)
    fpr, tpr, _ = roc_curve(y[k], scores[k], sample_weight=weight[k], drop_intermediate=False)
    curves.append(np.interp(grid, fpr, tpr))
  areas = [np.mean(abs(a - b)) for a, b in itertools.combinations(curves, 2)]
  both = compiled(3, metrics.auc_parity_difference, metrics.abroca)
  run = lambda *arrays: both(*arrays)[1]
  # The midpoint rule errs by less than a step of the grid at each of some 60 corners.
  np.testing.assert_allclose(run(y, scores, group, weight), max(areas), atol=2e-6)
  last = run(y, scores, group, weight * (group > 0))
  np.testing.assert_allclose(last, areas[-1], atol=2e-6)


def test_curves_that_cross_by_hand():
  """One is 1/2 throughout, one the diagonal: areas alike, two triangles apart."""
  y = np.array([1, 0, 1, 0, 1, 0])
  scores = np.array([0.9, 0.5, 0.1, 0.5, 0.5, 0.5])
  group = np.array([0, 0, 0, 0, 1, 1])
  assert float(metrics.auc_parity_difference(y, scores, group)) == 0
  np.testing.assert_allclose(metrics.abroca(y, scores, group), 0.25, rtol=1e-6)


def test_abroca_bounds_the_difference_of_areas():
  for seed in range(3):
    arrays = draw(seed, groups=2)
    least, area = compiled(3, metrics.auc_parity_difference, metrics.abroca)(*arrays)
    assert least <= area + 1e-6


def test_a_padded_batch_and_empty_groups():
  y, scores, group, _ = draw(3)
  scores = np.clip(scores, 0.01, 0.99).astype(np.float32)
  # Rounded, so that ties survive the softmax.
  logits = np.stack([np.zeros(80), logit(scores)], 1).round(3).astype(np.float32)
  flow = rfjax.Batch.from_arrays(np.zeros((80, 1)), y, group).fill(jnp.asarray(logits))
  padded = flow.take(jnp.asarray([80, *range(80), 80]))
  both = (metrics.auc_parity_difference, metrics.abroca)
  plain = compiled(3, *both)(y, scores, group, np.ones(80))
  found = metric_programs.together(*((measure, {}) for measure in both))(padded)
  np.testing.assert_allclose(found, plain, rtol=1e-4)
  message = "no pair of a row of class 1 and one of another in group 1 counts"
  arrays = [1, 0, 1, 1, 0, 1], [0.9, 0.1, 0.3, 0.2, 0.9, 0.9], [0, 0, 1, 1, 2, 2]
  for measure in (metrics.group_xauc, metrics.auc_parity_difference):
    with pytest.warns(UserWarning, match=message) as caught:
      found = measure(*arrays)
    assert caught[0].filename == __file__
  (areas,) = compiled(3, metrics.abroca)(*map(np.asarray, arrays), np.ones(6))
  np.testing.assert_allclose((found, areas), 0.5)
  alone = [np.asarray(v[:3]) for v in arrays[:2]], np.zeros(3, int)
  alone = metric_programs.program(metrics.group_xauc, num_groups=1)(*alone[0], alone[1])
  assert alone.valid.tolist() == [[True]]


def test_bad_arguments_are_refused():
  with pytest.raises(ValueError, match="y_pred must lie in"):
    metrics.abroca([0, 1], [0.1, 7.0], [0, 1])
