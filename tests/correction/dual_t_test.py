"""The dual-T estimator: a loop by hand, its two exact limits, and empty predicted classes."""

import jax
import numpy as np
import pytest

from rfjax import correction

estimate = jax.jit(correction.dual_t, static_argnames="percentile")
anchors = jax.jit(correction.anchor_transition, static_argnames="percentile")

RNG = np.random.default_rng(0)
T = np.array([[0.7, 0.2, 0.1], [0.05, 0.8, 0.15], [0.3, 0.1, 0.6]])


def by_hand(probs, y, percentile=97, mask=None):
  """Both factors by loops, and their product over the mass that has a predicted class."""
  rows = np.arange(len(y)) if mask is None else np.flatnonzero(mask)
  classes = probs.shape[1]
  club, spade = np.zeros((2, classes, classes))
  for i in range(classes):
    column = probs[rows, i]
    above = 0 if percentile == 100 else len(rows) - np.ceil(percentile * (len(rows) - 1) / 100)
    value = sorted(column)[::-1][min(int(above), len(rows) - 1)]
    club[i] = probs[next(r for r in rows if probs[r, i] == value)]
  for r in rows:
    spade[np.argmax(probs[r]), y[r]] += 1
  for via in range(classes):
    if spade[via].sum():
      spade[via] /= spade[via].sum()
  product = np.zeros((classes, classes))
  for i in range(classes):
    for j in range(classes):
      product[i, j] = sum(club[i, via] * spade[via, j] for via in range(classes))
  sums = product.sum(1)
  return np.stack([product[i] / sums[i] if sums[i] else np.eye(classes)[i] for i in range(classes)])


def sample(clean, transition=T, rng=RNG):
  return (rng.random(len(clean))[:, None] > transition[clean].cumsum(1)).sum(1)


def test_follows_the_loop_by_hand():
  traced = jax.jit(lambda p, y, q, m: correction.dual_t(p, y, percentile=q, mask=m))
  probs, y = RNG.dirichlet(np.ones(4), 60), RNG.integers(0, 4, 60)
  for mask in (np.ones(60, bool), RNG.random(60) < 0.5):
    for q in (50, 97, 100):
      found = traced(probs.astype(np.float32), y, q, mask)
      np.testing.assert_allclose(found, by_hand(probs, y, q, mask), atol=1e-6)
  found = estimate(probs, y)
  np.testing.assert_allclose(found, by_hand(probs, y), atol=1e-6)
  np.testing.assert_allclose(np.asarray(found).sum(1), 1, atol=1e-6)


def test_a_perfect_classifier_leaves_the_counts_of_labels():
  clean = np.arange(300) % 3
  y = sample(clean)
  counts = np.zeros((3, 3))
  np.add.at(counts, (clean, y), 1)
  found = estimate(np.eye(3)[clean], y)
  np.testing.assert_allclose(found, counts / 100, atol=1e-6)


def test_a_network_that_memorised_the_labels_leaves_the_anchors():
  y = np.arange(60) % 3
  probs = 0.9 * np.eye(3)[y] + 0.1 * RNG.dirichlet(np.ones(3), 60)
  found = estimate(probs, y, percentile=90)
  np.testing.assert_allclose(found, anchors(probs, percentile=90), atol=1e-6)


def test_overconfident_anchors_are_the_case_that_it_is_made_for():
  """Where a network says its class too surely, anchors find hardly any noise, and counts do."""
  clean = RNG.integers(0, 3, 6000)
  probs = 0.97 * np.eye(3)[clean] + 0.03 * RNG.dirichlet(np.ones(3), 6000)
  error = lambda found: np.abs(np.asarray(found) - T).sum() / T.sum()
  assert error(anchors(probs)) > 0.4
  assert error(estimate(probs, sample(clean))) < 0.08


def test_a_class_that_is_never_predicted_gets_no_mass():
  probs = np.array([[0.6, 0.3, 0.1], [0.1, 0.3, 0.6], [0.4, 0.35, 0.25], [0.2, 0.2, 0.6]])
  y = np.array([0, 2, 1, 1])
  found = np.asarray(estimate(probs, y, percentile=100))
  np.testing.assert_allclose(found, by_hand(probs, y, 100), atol=1e-6)
  np.testing.assert_allclose(np.asarray(found).sum(1), 1, atol=1e-6)
  spade = np.array([[0.5, 0.5, 0], [0, 0, 0], [0, 0.5, 0.5]])
  np.testing.assert_allclose(
    np.asarray(found)[0], (0.6 * spade[0] + 0.1 * spade[2]) / 0.7, atol=1e-6
  )


@pytest.mark.parametrize(
  ("arguments", "settings", "what"),
  [
    ((np.ones(3), [0, 1, 2]), {}, "probs must"),
    ((np.eye(3), [0, 1]), {}, "y must"),
    ((np.eye(3), [0, 1, 2]), {"mask": np.ones(2, bool)}, "mask must"),
    ((np.eye(3), [0, 1, 2]), {"percentile": 101}, "percentile must"),
  ],
)
def test_bad_arguments_are_refused(arguments, settings, what):
  with pytest.raises(ValueError, match=what):
    jax.eval_shape(lambda: correction.dual_t(*arguments, **settings))


def test_labels_out_of_range_are_refused_where_they_count():
  probs, y, counts = np.full((3, 2), 0.5), [0, 1, 7], np.array([True, True, False])
  with pytest.raises(ValueError, match=r"y must lie in \[0, 2\), got 7"):
    jax.eval_shape(lambda: correction.dual_t(probs, y))
  assert np.isfinite(jax.jit(lambda: correction.dual_t(probs, y, mask=counts))()).all()
