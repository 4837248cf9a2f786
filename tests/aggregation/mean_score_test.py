"""Mean score: NumPy's mean, means right at a threshold, and the official counts."""

import jax
import numpy as np
import pytest

from rfjax import aggregation

SCORES = np.array([1.0, 2.0, 3.0, 4.0])


def draw(seed, items=10, columns=6):
  rng = np.random.default_rng(seed)
  label = rng.integers(4, size=(items, columns))
  label[rng.random(label.shape) < 0.3] = -1
  label[3] = -1
  label[0, 0] = 3
  return label, aggregation.answers(label, range(columns))


@pytest.mark.parametrize("scores", [SCORES, np.array([-2.5, 0.0, 7.0, 0.1])])
def test_it_is_the_mean_of_the_scores(scores):
  label, crowd = draw(0)
  weight = np.random.default_rng(1).uniform(size=label.size)
  with jax.enable_x64(True):
    plain = np.asarray(aggregation.mean_score(crowd, scores=scores))
    weighted = np.asarray(aggregation.mean_score(crowd, scores=scores, weight=weight))
  assert plain.shape == (10,)
  for row, mean, other, w in zip(label, plain, weighted, weight.reshape(label.shape), strict=True):
    given = row >= 0
    if given.any():
      np.testing.assert_allclose(mean, scores[row[given]].mean(), atol=1e-12)
      np.testing.assert_allclose(
        other, np.average(scores[row[given]], weights=w[given]), atol=1e-12
      )
    else:
      assert mean == other == 0


def test_scores_are_the_codes_unless_given():
  _, crowd = draw(2)
  expected = aggregation.mean_score(crowd, scores=range(4))
  np.testing.assert_array_equal(aggregation.mean_score(crowd), expected)
  shifted = aggregation.mean_score(crowd, scores=SCORES)
  np.testing.assert_allclose(shifted - expected, crowd.answered, atol=1e-6)


def test_of_two_classes_it_is_the_share_of_the_second():
  crowd = aggregation.answers([[0, 1, 1], [1, 0, 0]], range(3))
  np.testing.assert_array_equal(aggregation.mean_score(crowd), aggregation.vote_shares(crowd)[:, 1])


def test_a_mean_right_at_the_threshold_is_not_above_it():
  label = [[0, 3] * i + [1, 2] * j for i in range(8) for j in range(8)][1:]
  crowd = aggregation.answers([row + [-1] * (28 - len(row)) for row in label], range(28))
  assert (np.asarray(aggregation.mean_score(crowd, scores=SCORES)) == 2.5).all()


def test_traced_scores_are_a_loop():
  _, crowd = draw(4)
  scores = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
  run = jax.jit(jax.vmap(lambda v: aggregation.mean_score(crowd, scores=v)))
  for row, mean in zip(scores, run(scores), strict=True):
    np.testing.assert_allclose(mean, aggregation.mean_score(crowd, scores=row), rtol=1e-6)


@pytest.mark.parametrize(
  ("scores", "message"),
  [
    ([1, 2, 3], r"scores has shape \(3,\) but there are 4 classes: pass one a class"),
    (2.5, r"scores has shape \(\)"),
    ([1, 2, 3, float("nan")], "scores must be finite, got .*nan"),
    ([1, 2, 3, float("inf")], "scores must be finite, got .*inf"),
  ],
)
def test_bad_scores_are_refused(scores, message):
  with pytest.raises(ValueError, match=message):
    aggregation.mean_score(draw(5)[1], scores=scores)


def accuracy(crowd):
  score, worker, y = crowd
  mean = aggregation.mean_score(aggregation.answers(score - 1, worker), scores=SCORES)
  np.testing.assert_allclose(mean, score.mean(1), rtol=1e-6)
  return round(float(((mean > 2.5) == y).mean()), 6)


def test_the_mean_score_of_adult(adult):
  assert accuracy(adult) == 0.725542


def test_the_mean_score_of_compas(compas):
  assert accuracy(compas) == 0.679545
