"""The anchor-point estimator: a loop by hand, exact recovery, and a table trained on samples."""

import fractions
import math

import jax
import numpy as np
import optax
import pytest

import rfjax
from rfjax import architectures, correction

estimate = jax.jit(correction.anchor_transition, static_argnames=("percentile", "normalize"))

RNG = np.random.default_rng(0)
T = np.array([[0.7, 0.2, 0.1], [0.05, 0.8, 0.15], [0.3, 0.1, 0.6]])


def by_hand(probs, percentile, mask=None, normalize=True):
  rows = np.arange(len(probs)) if mask is None else np.flatnonzero(mask)
  result = np.zeros((probs.shape[1],) * 2)
  for i in range(probs.shape[1]):
    column = probs[rows, i]
    above = len(rows) - math.ceil(fractions.Fraction(str(percentile)) / 100 * (len(rows) - 1))
    value = sorted(column)[::-1][min(0 if percentile == 100 else above, len(rows) - 1)]
    best = next(r for r in rows if probs[r, i] == value)
    result[i] = probs[best] / (probs[best].sum() if normalize else 1)
  return result


def posterior(rows, transition=T, sharpness=2.0, rng=RNG):
  """Noisy posteriors of rows whose clean posterior is a random one."""
  clean = np.exp(sharpness * rng.normal(size=(rows, len(transition))))
  return clean / clean.sum(1, keepdims=True) @ transition


def test_follows_the_loop_by_hand_also_traced_and_masked():
  traced = jax.jit(lambda p, q, m: correction.anchor_transition(p, percentile=q, mask=m))
  for rows in (6, 101):
    probs = posterior(rows)
    for mask in (np.ones(rows, bool), RNG.random(rows) < 0.6):
      for q in (0, 30, 50, 90, 95, 97, 99, 99.5, 100):
        found = traced(probs.astype(np.float32), q, mask)
        expected = by_hand(probs, q, mask)
        np.testing.assert_allclose(found, expected, atol=1e-6, err_msg=f"{rows} {q}")
  for q in (97, 100):
    found = estimate(probs, percentile=q, mask=mask)
    np.testing.assert_allclose(found, by_hand(probs, q, mask), atol=1e-6)


def test_the_place_is_that_of_numpy_s_higher_percentile():
  probs = posterior(101)
  bounds = np.percentile(probs, 97, axis=0, method="higher")
  assert all(np.sort(probs[:, i])[97] == bounds[i] for i in range(3))
  expected = [probs[np.argmax(np.where(probs[:, i] < bounds[i], probs[:, i], 0))] for i in range(3)]
  np.testing.assert_allclose(estimate(probs), expected, atol=1e-6)


def test_true_anchors_give_the_matrix_itself():
  probs = np.concatenate([posterior(50), T, posterior(50)]).astype(np.float32)
  found = estimate(probs, percentile=100)
  np.testing.assert_allclose(found, T, atol=1e-7)
  with jax.enable_x64(True):
    exact = estimate(np.concatenate([posterior(9), T]), percentile=100)
    np.testing.assert_allclose(exact, T, rtol=1e-15)


def test_outliers_above_the_percentile_are_passed_over():
  outliers = np.eye(3)[RNG.integers(0, 3, 4)]
  probs = np.concatenate([posterior(400), outliers])
  misled = estimate(probs, percentile=100)
  robust = estimate(probs, percentile=97)
  assert np.abs(np.asarray(misled) - T).sum() > 2 * np.abs(np.asarray(robust) - T).sum()


def authors(probs, keepdims, copy):
  """What the authors' code computes, from its description: filter in place, divide by row sums."""
  probs, result = probs.copy(), np.zeros((3, 3))
  for i in range(3):
    column = probs[:, i].copy() if copy else probs[:, i]
    column[column >= np.percentile(probs[:, i], 97, method="higher")] = 0
    result[i] = probs[np.argmax(column)]
  return result / result.sum(1, keepdims=keepdims)


def test_two_traps_of_the_authors_code_are_not_repeated():
  skewed = np.array([[0.4, 0.3, 0.3], [0.48, 0.51, 0.01], [0.49, 0.01, 0.5]])
  probs = posterior(200, skewed, 4.0, np.random.default_rng(1))
  plain = authors(probs, True, True)
  overwritten, columns = authors(probs, True, False), authors(probs, False, False)
  assert np.abs(overwritten - plain).max() > 0.05  # later classes read zeros of earlier ones
  assert np.abs(columns.sum(1) - 1).max() > 0.05  # divided along the wrong axis
  found = estimate(probs)
  np.testing.assert_allclose(found, plain, atol=1e-6)
  np.testing.assert_allclose(np.asarray(found).sum(1), 1, atol=1e-6)


def test_rows_are_normalised_unless_asked_not_to():
  scores = posterior(20) * RNG.uniform(0.5, 2.0, (20, 1))
  for normalize in (True, False):
    found = estimate(scores, percentile=80, normalize=normalize)
    np.testing.assert_allclose(found, by_hand(scores, 80, None, normalize), atol=1e-6)
  zeros = estimate(np.zeros((4, 3)))
  np.testing.assert_array_equal(zeros, np.eye(3))


def test_equal_values_are_discarded_by_their_number():
  """Half the rows of each class are saturated, far more than 3 percent, and still are anchors."""
  clean = np.arange(60) % 3
  probs = np.where((np.arange(60) < 30)[:, None], np.eye(3)[clean], np.eye(3)[clean] @ T)
  np.testing.assert_array_equal(estimate(probs), np.eye(3))
  few = estimate(probs, percentile=50)
  np.testing.assert_allclose(few, by_hand(probs, 50), atol=1e-6)
  same = np.tile([0.2, 0.5, 0.3], (8, 1))
  np.testing.assert_allclose(estimate(same), same[:3], atol=1e-6)


def test_few_rows_and_none():
  probs = posterior(5)
  one = estimate(probs, mask=np.arange(5) == 3)
  np.testing.assert_allclose(one, probs[[3, 3, 3]], atol=1e-6)
  none = estimate(probs, mask=np.zeros(5, bool))
  np.testing.assert_array_equal(none, np.eye(3))


def test_a_table_trained_on_samples_finds_the_matrix():
  """Of 12 cells with pure classes and 4000 samples each; the relative error is about 2 percent."""
  rng, cells, samples = np.random.default_rng(2), 12, 4000
  clean = np.repeat(np.arange(cells) % 3, samples)
  y = (rng.random(clean.size)[:, None] > T[clean].cumsum(1)).sum(1)
  counts = np.zeros((cells, 3))
  np.add.at(counts, (np.repeat(np.arange(cells), samples), y), 1)
  # One row for each cell and label, weighted by how often it came.
  data = rfjax.Batch.from_arrays(np.repeat(np.eye(cells), 3, 0), np.tile(np.arange(3), cells))
  data = data.replace(weight=(counts.ravel() / samples * 3).astype(np.float32))
  network = architectures.logistic(3)

  @jax.jit
  def said(data):
    settings = {"key": jax.random.key(0), "epochs": 300}
    state, _ = rfjax.fit(network, rfjax.chain(), optax.adam(0.1), data, **settings)
    return rfjax.predict(network, state, data).probs

  probs = np.asarray(said(data))
  np.testing.assert_allclose(probs[::3], counts / samples, atol=1e-3)
  found = estimate(probs, percentile=100)
  assert np.abs(np.asarray(found) - T).sum() / T.sum() < 0.05


@pytest.mark.parametrize(
  ("probs", "settings", "what"),
  [
    (np.eye(3), {"percentile": -1}, "percentile must"),
    (np.eye(3), {"percentile": 101}, "percentile must"),
    (np.ones(3), {}, "probs must"),
    (np.ones((4, 1)), {}, "probs must"),
    (np.eye(3), {"mask": np.ones(2, bool)}, "mask must"),
  ],
)
def test_bad_arguments_are_refused(probs, settings, what):
  with pytest.raises(ValueError, match=what):
    correction.anchor_transition(probs, **settings)
