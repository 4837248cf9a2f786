"""The mean prediction of each trusted class: a loop by hand, and exactness in its limits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rfjax import correction

RNG = np.random.default_rng(0)
T = np.array([[0.7, 0.2, 0.1], [0.05, 0.8, 0.15], [0.3, 0.1, 0.6]])


def by_hand(probs, y, mask):
  result = np.eye(probs.shape[1])
  for i in range(probs.shape[1]):
    chosen = [probs[n] for n in range(len(y)) if y[n] == i and mask[n]]
    if chosen:
      result[i] = np.mean(chosen, axis=0)
  return result


def test_follows_the_loop_by_hand():
  estimate = jax.jit(correction.gold_transition)
  for classes in (2, 3, 5):
    probs = RNG.dirichlet(np.ones(classes), 17)
    for mask in (np.ones(17, bool), RNG.random(17) < 0.4, np.zeros(17, bool)):
      y = RNG.integers(0, classes, 17)
      found = estimate(jnp.asarray(probs, jnp.float32), y, mask)
      np.testing.assert_allclose(found, by_hand(probs, y, mask), atol=1e-6)
      np.testing.assert_allclose(found.sum(1), 1, atol=1e-6)
    np.testing.assert_allclose(
      correction.gold_transition(probs, y), by_hand(probs, y, np.ones(17)), atol=1e-6
    )


def test_a_class_without_rows_has_the_row_of_the_identity():
  found = correction.gold_transition([[0.5, 0.25, 0.25], [0.0, 0.0, 1.0]], [0, 0])
  np.testing.assert_array_equal(found, [[0.25, 0.125, 0.625], [0, 1, 0], [0, 0, 1]])


def test_the_true_noisy_posterior_of_pure_rows_gives_the_matrix():
  y = RNG.integers(0, 3, 200)
  with jax.enable_x64(True):
    np.testing.assert_allclose(correction.gold_transition(T[y], y), T, rtol=1e-13)


def test_of_many_rows_with_a_doubtful_class_the_mean_is_that_of_the_posterior():
  """P(given j | true i) = E[eta_j p_i] / E[p_i], over all rows with their true probabilities."""
  clean = RNG.dirichlet(np.ones(3), 20000)
  y = (RNG.random(20000)[:, None] > clean.cumsum(1)).sum(1)
  found = correction.gold_transition(clean @ T, y)
  exact = clean.T @ clean @ T / clean.sum(0)[:, None]
  np.testing.assert_allclose(found, exact, atol=0.01)


@pytest.mark.parametrize(
  ("arguments", "what"),
  [
    ((np.ones(3), [0, 1, 2]), "probs must"),
    ((np.eye(3), [0, 1]), "y must"),
    ((np.eye(3), [0, 1, 2], np.ones(2, bool)), "mask must"),
  ],
)
def test_bad_arguments_are_refused(arguments, what):
  with pytest.raises(ValueError, match=what):
    correction.gold_transition(*arguments)


def test_labels_out_of_range_are_refused_where_they_count():
  probs, y = np.full((3, 2), 0.5), [0, 1, 7]
  with pytest.raises(ValueError, match=r"y must lie in \[0, 2\), got 7"):
    correction.gold_transition(probs, y)
  assert np.isfinite(correction.gold_transition(probs, y, mask=np.array([True, True, False]))).all()
