"""The matrix of a joint of given and true labels: a loop by hand and the counts themselves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rfjax import correction

RNG = np.random.default_rng(0)
JOINT = RNG.integers(0, 9, (4, 4)).astype(float)  # rows are given labels


def by_hand(joint):
  """P(given j | true i) by Bayes."""
  result = np.eye(len(joint))
  for true in range(len(joint)):
    total = sum(joint[given][true] for given in range(len(joint)))
    if total:
      result[true] = [joint[given][true] / total for given in range(len(joint))]
  return result


def test_is_the_share_of_each_given_label_in_a_true_one():
  for joint in (JOINT, JOINT / JOINT.sum(), JOINT * (np.arange(4) != 2)):
    found = jax.jit(correction.transition_from_joint)(jnp.asarray(joint))
    np.testing.assert_allclose(found, by_hand(joint), atol=1e-6)
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-6)
    other = correction.transition_from_joint(joint.T, rows="true")
    np.testing.assert_allclose(other, by_hand(joint), atol=1e-6)


def test_counts_of_known_labels_give_their_transition():
  transition = np.array([[0.75, 0.25, 0], [0.125, 0.875, 0], [0.5, 0, 0.5]])
  prior = np.array([0.5, 0.25, 0.25])
  joint = (prior[:, None] * transition).T * 64
  np.testing.assert_array_equal(correction.transition_from_joint(joint.astype(int)), transition)


@pytest.mark.parametrize(
  ("joint", "settings", "what"),
  [
    (np.ones((2, 3)), {}, "joint must"),
    (np.ones(4), {}, "joint must"),
    ([[1.0, -1.0], [0.0, 1.0]], {}, "joint must"),
    ([[1.0, np.nan], [0.0, 1.0]], {}, "joint must"),
    (np.eye(2), {"rows": "columns"}, "rows must"),
  ],
)
def test_bad_arguments_are_refused(joint, settings, what):
  with pytest.raises(ValueError, match=what):
    correction.transition_from_joint(joint, **settings)
