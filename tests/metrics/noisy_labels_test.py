"""Measures of noisy labels, against loops over rows, sets and scikit-learn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import metrics as sk

import rfjax
from rfjax import metrics, noise

N, C, G = 60, 4, 3


def made(seed, open_set=False):
  """A data set with padding, what was kept, labels that a method gives, and predictions."""
  rng = np.random.default_rng(seed)
  true = rng.integers(0, C + open_set, N)
  given = np.where(rng.random(N) < 0.6, np.minimum(true, C - 1), rng.integers(0, C, N))
  data = rfjax.Batch.from_arrays(
    np.zeros((N, 1)),
    given,
    np.arange(N) % G,
    num_classes=C,
    truth=rfjax.Truth(y=jnp.asarray(true, jnp.int32)),
  )
  rows = jnp.asarray(np.append(rng.permutation(N)[: N - 9], [N] * 9))
  return (
    data.take(rows),
    rng.integers(0, 2, N).astype(np.float32),
    rng.integers(-1, C, N),
    rng.integers(0, C, N),
  )


CASES = pytest.mark.parametrize("case", [made(0), made(1), made(2, open_set=True)])


def rows_of(data):
  valid = np.asarray(data.valid)
  return np.flatnonzero(valid), np.asarray(data.y), np.asarray(data.truth.y)


@CASES
def test_precision_recall_and_f1_are_scikit_learns(case):
  data, kept, _, _ = case
  i, given, true = rows_of(data)
  right = (given == true)[i]
  found = [f(kept, data) for f in (metrics.label_precision, metrics.label_recall, metrics.label_f1)]
  expected = [f(right, kept[i]) for f in (sk.precision_score, sk.recall_score, sk.f1_score)]
  np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_soft_choice_counts_by_its_share():
  data, kept, _, _ = made(3)
  half = jnp.asarray(kept) / 2
  assert metrics.label_precision(half, data) == metrics.label_precision(kept, data)
  np.testing.assert_allclose(
    metrics.label_recall(half, data), metrics.label_recall(kept, data) / 2, rtol=1e-6
  )


def test_nothing_kept_and_nothing_right_are_zero_and_finite():
  data, kept, _, _ = made(4)
  nothing = np.zeros_like(kept)
  wrong = data.replace(truth=rfjax.Truth(y=(data.y + 1) % C))
  for measure in (metrics.label_precision, metrics.label_recall, metrics.label_f1):
    assert measure(nothing, data) == 0
    assert measure(kept, wrong) == 0
  assert metrics.label_f1(nothing, wrong) == 0


@CASES
def test_correction_accuracy_is_a_loop(case):
  data, _, label, _ = case
  i, given, true = rows_of(data)
  changed = [k for k in i if label[k] >= 0 and label[k] != given[k]]
  expected = sum(label[k] == true[k] for k in changed) / len(changed)
  np.testing.assert_allclose(metrics.correction_accuracy(label, data), expected, rtol=1e-6)
  refurbished = [k for k in i if label[k] >= 0]
  expected = sum(label[k] == true[k] for k in refurbished) / len(refurbished)
  found = metrics.correction_accuracy(label, data, jnp.asarray(label >= 0))
  np.testing.assert_allclose(found, expected, rtol=1e-6)
  assert metrics.correction_accuracy(np.full(N, -1), data) == 0


@CASES
def test_memorization_rates_are_a_loop(case):
  data, _, _, predicted = case
  i, given, true = rows_of(data)
  right, wrong = (
    [k for k in i if given[k] == true[k]],
    [k for k in i if given[k] != true[k]],
  )
  expected = (
    sum(predicted[k] == given[k] for k in right) / len(right),
    sum(predicted[k] == given[k] for k in wrong) / len(wrong),
    sum(predicted[k] == true[k] for k in wrong) / len(wrong),
  )
  found = metrics.memorization_rates(jnp.asarray(predicted), data)
  np.testing.assert_allclose(found, expected, rtol=1e-6)


@CASES
def test_choices_are_counted_by_class_and_by_group(case):
  data, kept, label, _ = case
  i, given, true = rows_of(data)
  group = np.asarray(data.group)
  for codes, num in ((given, C), (group, G)):
    expected = np.zeros((6, num), int)
    for k in i:
      wrong, changed = given[k] != true[k], kept[k] > 0 and label[k] >= 0 and label[k] != given[k]
      marks = (
        1,
        wrong,
        kept[k] == 0,
        kept[k] == 0 and wrong,
        changed,
        changed and label[k] == true[k],
      )
      expected[:, codes[k]] += np.array(marks, int)
    found = metrics.choices(kept, label, data, jnp.asarray(codes), num)
    np.testing.assert_array_equal(np.stack(found), expected)


def test_the_realised_transition_is_scikit_learns_and_its_diagonal_the_rate():
  data, _, _, _ = made(5)
  i, given, true = rows_of(data)
  expected = sk.confusion_matrix(true[i], given[i], labels=range(C), normalize="true")
  found = metrics.noise_transition(data)
  np.testing.assert_allclose(found, expected, rtol=1e-6)
  shares = np.bincount(true[i], minlength=C) / len(i)
  np.testing.assert_allclose(
    1 - np.sum(shares * np.diag(found)), noise.record(data).label_rate, rtol=1e-5
  )
  only = data.replace(truth=rfjax.Truth(y=jnp.zeros(N, jnp.int32)))
  np.testing.assert_array_equal(metrics.noise_transition(only)[1:], np.eye(C)[1:])


def test_transition_error_is_relative():
  estimate, truth = np.random.default_rng(0).dirichlet(np.ones(C), (2, C))
  found = metrics.transition_error(jnp.asarray(estimate), jnp.asarray(truth))
  np.testing.assert_allclose(found, np.abs(estimate - truth).sum() / truth.sum(), rtol=1e-6)
  assert metrics.transition_error(jnp.asarray(truth), jnp.asarray(truth)) == 0


@pytest.mark.parametrize("truth", [None, rfjax.Truth(group=jnp.zeros(N, jnp.int32))])
def test_without_true_labels_it_is_refused(truth):
  data, kept, label, predicted = made(0)
  data = data.replace(truth=truth)
  for measure in (
    lambda: metrics.label_precision(kept, data),
    lambda: metrics.label_recall(kept, data),
    lambda: metrics.label_f1(kept, data),
    lambda: metrics.correction_accuracy(label, data),
    lambda: metrics.memorization_rates(predicted, data),
    lambda: metrics.choices(kept, label, data, data.y, C),
    lambda: metrics.noise_transition(data),
  ):
    with pytest.raises(ValueError, match=r"needs (the )?tru"):
      measure()


def test_all_are_compiled_and_mapped():
  data, kept, label, _ = made(6)

  @jax.jit
  @jax.vmap
  def both(kept):
    return metrics.label_f1(kept, data), metrics.choices(kept, label, data, data.y, C)

  f1, counts = both(jnp.stack([kept, 1 - kept]))
  np.testing.assert_allclose(f1[0], metrics.label_f1(kept, data), rtol=1e-6)
  np.testing.assert_array_equal(counts.dropped.sum(0), counts.rows[0])
