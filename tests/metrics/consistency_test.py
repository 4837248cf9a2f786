"""Consistency against loops over all pairs, scikit-learn's neighbours, and ties."""

import jax
import jax.numpy as jnp
import metric_programs
import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

import rfjax
from rfjax import metrics


def by_loop(x, probs, weight, k, include_self):
  """Each row's k nearest rows with weight, equally near ones by row number."""
  total = 0.0
  for i in range(len(x)):
    near = sorted(
      (sum((x[i] - x[j]) ** 2), j)
      for j in range(len(x))
      if weight[j] > 0 and (include_self or j != i)
    )[:k]
    mean = np.mean([probs[j] for _, j in near], axis=0)
    total += weight[i] * abs(probs[i] - mean).sum() / 2
  return 1 - total / weight.sum()


def draw(seed, rows=40, classes=3):
  """Features with many ties: whole numbers, exact in any type."""
  rng = np.random.default_rng(seed)
  weight = rng.uniform(0.5, 1, rows) * (rng.random(rows) > 0.2)
  return (
    rng.integers(3, size=(rows, 3)).astype(float),
    rng.dirichlet(np.ones(classes), rows),
    weight,
  )


@pytest.mark.parametrize("include_self", [False, True])
@pytest.mark.parametrize("k", [1, 5])
def test_it_is_the_loop_over_pairs(k, include_self):
  x, probs, weight = draw(k)
  with jax.enable_x64(True):
    options = {"neighbors": k, "include_self": include_self, "num_classes": 3}
    run = lambda said, **more: metric_programs.program(metrics.consistency, **options, **more)(
      x, said, weight=weight
    )
    found = run(probs, block=7)
    np.testing.assert_allclose(found, by_loop(x, probs, weight, k, include_self), rtol=1e-12)
    hard = run(probs.argmax(1))
    hot = np.eye(3)[probs.argmax(1)]
    np.testing.assert_allclose(hard, by_loop(x, hot, weight, k, include_self), rtol=1e-12)


@pytest.mark.parametrize("include_self", [False, True])
def test_neighbours_are_scikit_learns(include_self):
  rng = np.random.default_rng(8)
  x, said = rng.normal(size=(90, 4)), rng.integers(2, size=90)
  search = NearestNeighbors(n_neighbors=5).fit(x)
  near = search.kneighbors(x if include_self else None, return_distance=False)
  expected = 1 - np.mean(abs(said - said[near].mean(1)))
  run = metric_programs.program(metrics.consistency, include_self=include_self, num_classes=2)
  found = run(x, said)
  np.testing.assert_allclose(found, expected, rtol=1e-6)
  np.testing.assert_allclose(run(x, said * 1.0), found)


def test_rows_beyond_those_that_count_are_no_neighbours():
  x, said = np.array([[0.0], [1.0], [5.0], [5.0]]), [0, 1, 1, 0]
  weight = [1, 1, 0, 0]
  with jax.enable_x64(True):
    assert metrics.consistency(x, said, weight=weight, neighbors=9) == 0
    assert metrics.consistency(x, said, weight=weight, neighbors=9, include_self=True) == 0.5
    assert metrics.consistency(x, said, weight=[1, 0, 0, 0]) == 1
    assert metrics.consistency(x, said, weight=[0, 0, 0, 0]) == 1


def test_a_permuted_and_padded_batch_has_the_same_neighbours():
  x, probs, _ = draw(3)
  flow = rfjax.Batch.from_arrays(x, probs.argmax(1)).fill(jnp.log(jnp.asarray(probs, jnp.float32)))
  order = np.random.default_rng(0).permutation(40)
  padded = flow.take(jnp.asarray([40, *order, 40]))
  run = jax.jit(lambda flow: metrics.consistency(flow, soft=True))
  np.testing.assert_allclose(run(flow), by_loop(x, probs, np.ones(40), 5, False), rtol=1e-5)
  np.testing.assert_allclose(run(padded), run(flow), rtol=1e-6)
  slope = jax.jit(jax.grad(lambda z: run(padded.fill(z))))(padded.logits)
  assert np.isfinite(slope).all() and slope.any() and not slope[0].any() and not slope[-1].any()


@pytest.mark.parametrize(
  ("arguments", "options", "message"),
  [
    (([[0.0], [np.nan]], [0, 1]), {}, "x must be finite, .*: impute"),
    (([0.0, 1.0], [0, 1]), {}, r"x must have a row and a column, got shape \(2,\): pass x"),
    (([[0.0], [1.0]], [0, 1, 1]), {}, "y_pred has 3 rows but"),
    (([[0.0], [1.0]],), {}, "y_pred is None: pass y_pred="),
    (([[0.0], [1.0]], [0, 1]), {"neighbors": 0}, "neighbors must be an integer of at least 1"),
    (([[0.0], [1.0]], [0, 1]), {"block": 0}, "block must be an integer of at least 1"),
  ],
)
def test_bad_arguments_are_refused(arguments, options, message):
  with pytest.raises(ValueError, match=message):
    metrics.consistency(*arguments, **options)


def test_what_jit_cannot_see_is_asked_for():
  with pytest.raises(ValueError, match="consistency needs num_classes"):
    jax.jit(metrics.consistency)(np.zeros((2, 1)), np.zeros(2, int))
