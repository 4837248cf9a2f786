"""Distances between distributions of scores, against scipy and loops over thresholds."""

import itertools

import jax
import jax.numpy as jnp
import metric_programs
import numpy as np
import pytest
from scipy.special import logit
from scipy.stats import gaussian_kde, ks_2samp, wasserstein_distance

import rfjax
from rfjax import metrics

MEASURES = (metrics.ks_distance, metrics.abcc, metrics.abpc)


def draw(seed, groups=3, rows=70, digits=1):
  """Scores with ties, by groups, of which the weights of some rows are 0."""
  rng = np.random.default_rng(seed)
  group = rng.integers(groups, size=rows)
  scores = np.round(rng.beta(1 + group, 2), digits)
  return scores, group, rng.uniform(size=rows) * (rng.random(rows) > 0.2)


def ks(a, b, v, w):
  share = lambda x, w, t: w[x <= t].sum() / w.sum()
  return max(abs(share(a, v, t) - share(b, w, t)) for t in (*a, *b))


def abpc(a, b, v, w, points=1000):
  grid = np.linspace(0, 1, points)
  densities = [gaussian_kde(x, "scott", weights=w)(grid) for x, w in ((a, v), (b, w))]
  return np.trapezoid(abs(densities[0] - densities[1]), grid)


ORACLES = {"ks_distance": ks, "abcc": wasserstein_distance, "abpc": abpc}


def compiled(measure, groups):
  run = metric_programs.program(measure, num_groups=groups)
  return lambda y, s, g, w: run(y, s, g, weight=w)


NAMED = pytest.mark.parametrize("measure", MEASURES, ids=lambda m: m.__name__)


@NAMED
def test_it_is_scipys_of_the_two_groups_furthest_apart(measure):
  scores, group, weight = draw(0)
  parts = [(scores[k], weight[k]) for k in ((group == g) & (weight > 0) for g in range(3))]
  of = ORACLES[measure.__name__]
  expected = [of(a, b, v, w) for (a, v), (b, w) in itertools.combinations(parts, 2)]
  y = np.zeros(70, int)
  with jax.enable_x64(True):
    run = compiled(measure, 3)
    np.testing.assert_allclose(run(y, scores, group, weight), max(expected), rtol=1e-10)
    one_pair = run(y, scores, group, weight * (group > 0))
    np.testing.assert_allclose(one_pair, expected[-1], rtol=1e-10)


def test_the_largest_over_classes_and_soft_groups():
  rng = np.random.default_rng(1)
  probs, group, weight = rng.dirichlet(np.ones(3), 50), rng.integers(2, size=50), np.ones(50)
  split = [np.append(v, v[:1], axis=0) for v in (probs, group, weight)]
  split[1][[0, -1]], split[2][[0, -1]] = (0, 1), 0.5
  member = np.eye(2)[group]
  member[0] = 0.5
  for measure in MEASURES:
    with jax.enable_x64(True):
      run, y = compiled(measure, 2), np.zeros(51, int)
      whole = run(y, *split)
      of_class = [run(y, split[0][:, k], *split[1:]) for k in range(3)]
      soft = run(y[1:], probs, member, np.ones(50))
    np.testing.assert_allclose(whole, max(of_class), rtol=1e-12)
    if measure is not metrics.abpc:  # whose bandwidth counts a split row as two
      np.testing.assert_allclose(soft, whole, rtol=1e-12)


def test_unweighted_distance_is_scipys_statistic():
  scores, group, _ = draw(2, groups=2)
  expected = ks_2samp(scores[group == 0], scores[group == 1]).statistic
  run = metric_programs.program(metrics.ks_distance, num_groups=2)
  np.testing.assert_allclose(run(group, scores, group), expected, rtol=1e-6)


def test_it_is_the_parity_difference_of_thresholds():
  scores, group, _ = draw(3, groups=2)
  y, grid = np.zeros(70, int), np.arange(-0.05, 1, 0.1)
  of = metric_programs.program(metrics.demographic_parity_difference, num_groups=2, num_classes=2)
  gaps = [float(of(y, (scores > t).astype(int), group)) for t in grid]
  largest, area = metric_programs.together(
    *((measure, {"num_groups": 2}) for measure in (metrics.ks_distance, metrics.abcc))
  )(y, scores, group)
  np.testing.assert_allclose(largest, max(gaps), rtol=1e-6)
  np.testing.assert_allclose(area, 0.1 * sum(gaps[1:]), rtol=1e-5)


@NAMED
def test_a_padded_batch_empty_groups_and_equal_scores(measure):
  scores, group, _ = draw(4, groups=2)
  logits = np.stack([np.zeros(70), logit(np.clip(scores, 0.01, 0.99))], 1).astype(np.float32)
  flow = rfjax.Batch.from_arrays(np.zeros((70, 1)), group, group).fill(jnp.asarray(logits))
  padded = flow.take(jnp.asarray([70, *range(70), 70]))
  run = compiled(measure, 2)
  plain = run(group, np.clip(scores, 0.01, 0.99).astype(np.float32), group, np.ones(70))
  np.testing.assert_allclose(jax.jit(measure)(padded), plain, rtol=1e-4)
  with pytest.warns(UserWarning, match="no row in group 1 counts") as caught:
    found = measure([0] * 4, [0.1, 0.2, 0.2, 0.1], [0, 0, 2, 2])
  assert caught[0].filename == __file__
  np.testing.assert_allclose(found, 0, atol=1e-6)
  of = lambda *rest: float(run(np.zeros(4, int), *map(np.asarray, rest), np.ones(4)))
  assert of([0.5] * 4, [0, 0, 1, 1]) == of([0.1, 0.2, 0.3, 0.4], [0] * 4) == 0
  far = of([0.25, 0.25, 0.75, 0.75], [0, 0, 1, 1])
  assert far == pytest.approx(
    {"ks_distance": 1, "abcc": 0.5, "abpc": 2}[measure.__name__], rel=1e-3
  )


def test_bad_points_are_refused():
  with pytest.raises(ValueError, match="points must be an integer of at least 2"):
    metrics.abpc([0, 1], [0.1, 0.2], [0, 1], points=1)
