"""Majority vote: the loop over answers, ties, weights, padding, and the official counts."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rfjax import aggregation


def draw(seed, answers=60, items=12, workers=5, classes=3):
  rng = np.random.default_rng(seed)
  item = rng.integers(items - 1, size=answers)  # nobody answers the last one
  lists = rng.integers(classes, size=answers), rng.integers(workers, size=answers), item
  crowd = aggregation.answers(*lists, num_items=items, num_workers=workers, num_classes=classes)
  return crowd, rng.uniform(size=answers) * (rng.random(answers) > 0.2)


def shares(crowd, weight):
  """Vote shares, answer by answer."""
  votes = np.zeros((crowd.num_items, crowd.num_classes))
  fields = map(np.asarray, (crowd.item, crowd.label, weight, crowd.valid))
  for i, k, w, counts in zip(*fields, strict=True):
    if counts:
      votes[i, k] += w
  total = votes.sum(1, keepdims=True)
  return np.divide(votes, total, out=np.zeros_like(votes), where=total > 0)


@pytest.mark.parametrize("classes", [2, 4])
def test_shares_are_the_loop_over_answers(classes):
  crowd, weight = draw(classes, classes=classes)
  crowd = dataclasses.replace(crowd, valid=jnp.arange(60) % 4 > 0)
  with jax.enable_x64(True):
    weighted = aggregation.vote_shares(crowd, weight=weight)
    plain = aggregation.vote_shares(crowd)
  np.testing.assert_allclose(weighted, shares(crowd, weight), atol=1e-12)
  np.testing.assert_allclose(plain, shares(crowd, np.ones(60)), atol=1e-12)
  label = aggregation.majority(crowd, weight=weight)
  np.testing.assert_array_equal(label, shares(crowd, weight).argmax(1))
  assert label.dtype == jnp.int32 and label.shape == (12,)


def test_of_equal_shares_the_smallest_class_wins():
  crowd = aggregation.answers([[2, 1, 2, 1], [1, 0, 0, 1], [2, 2, 0, -1]], range(4))
  assert aggregation.majority(crowd).tolist() == [1, 0, 2]


def test_without_answers_shares_are_zero_and_the_label_is_the_first():
  crowd = aggregation.answers([[2, 2], [-1, -1], [1, 1]], range(2))
  assert aggregation.vote_shares(crowd)[1].tolist() == [0, 0, 0]
  assert aggregation.majority(crowd).tolist() == [2, 0, 1]
  assert aggregation.majority(crowd, weight=[1] * 4 + [0] * 2).tolist() == [2, 0, 0]


def test_padding_counts_nowhere():
  crowd, weight = draw(1)
  pad = lambda values, code: jnp.append(values, jnp.full(7, code, values.dtype))
  padded = dataclasses.replace(
    crowd,
    item=pad(crowd.item, 0),
    worker=pad(crowd.worker, 99),
    label=pad(crowd.label, 2),
    valid=pad(crowd.valid, False),
  )
  np.testing.assert_array_equal(aggregation.vote_shares(padded), aggregation.vote_shares(crowd))
  heavy = np.append(weight, np.full(7, 100.0))
  expected = aggregation.vote_shares(crowd, weight=weight)
  np.testing.assert_array_equal(aggregation.vote_shares(padded, weight=heavy), expected)


def test_the_order_of_answers_does_not_matter():
  crowd, weight = draw(2)
  order = np.random.default_rng(0).permutation(60)
  shuffled = jax.tree.map(lambda v: v[order], crowd)
  np.testing.assert_allclose(
    aggregation.vote_shares(shuffled, weight=weight[order]),
    aggregation.vote_shares(crowd, weight=weight),
    atol=1e-6,
  )


def test_whole_weights_repeat_answers():
  crowd, _ = draw(3)
  times = np.random.default_rng(3).integers(4, size=60)
  repeated = jax.tree.map(lambda v: jnp.repeat(v, times), crowd)
  expected = aggregation.vote_shares(repeated)
  np.testing.assert_allclose(aggregation.vote_shares(crowd, weight=times), expected, atol=1e-6)


def test_vmapped_weights_are_a_loop_over_bootstraps():
  crowd, _ = draw(4)
  weights = np.random.default_rng(4).multinomial(60, np.full(60, 1 / 60), size=5)
  many = jax.jit(jax.vmap(lambda w: aggregation.majority(crowd, weight=w)))(jnp.asarray(weights))
  for weight, label in zip(weights, many, strict=True):
    np.testing.assert_array_equal(label, aggregation.majority(crowd, weight=weight))
  assert (np.asarray(many) != np.asarray(many[0])).any()


@pytest.mark.parametrize(
  ("weight", "message"),
  [
    (np.ones(59), r"weight has shape \(59,\) but there are 60 answers: pass one an answer"),
    (1.0, r"weight has shape \(\)"),
    (np.append(np.ones(59), -2), "weight must be .*, got -2 .1 of 60 rows, the first at 59.: give"),
    (np.append(np.ones(59), np.nan), "weight must be finite and at least 0, got nan"),
    (np.append(np.ones(59), np.inf), "weight must be finite and at least 0, got inf"),
  ],
)
def test_bad_weights_are_refused(weight, message):
  crowd, _ = draw(5)
  for aggregate in (aggregation.majority, aggregation.mean_score, aggregation.dawid_skene):
    with pytest.raises(ValueError, match=message):
      aggregate(crowd, weight=weight)
  with pytest.raises(ValueError, match=message):
    aggregation.worker_accuracy(crowd, np.zeros(12, int), weight=weight)


def test_the_majority_of_adult(adult):
  score, worker, y = adult
  positive = (score >= 3).astype(int)
  label = np.asarray(aggregation.majority(aggregation.answers(positive, worker)))
  assert round((label == y).mean(), 6) == 0.722915
  assert round(label[y == 0].mean(), 6) == 0.380827
  assert round(1 - label[y == 1].mean(), 6) == 0.173342
  first = aggregation.answers(positive[:, :1], worker[:, :1])
  assert round((np.asarray(aggregation.majority(first)) == y).mean(), 6) == 0.632961


def test_the_majority_of_compas(compas):
  score, worker, y = compas
  positive = (score >= 3).astype(int)
  label = np.asarray(aggregation.majority(aggregation.answers(positive, worker)))
  assert round((label == y).mean(), 6) == 0.661364
  assert round(label[y == 0].mean(), 6) == 0.280702
  assert round(1 - label[y == 1].mean(), 6) == 0.400943
  first = aggregation.answers(positive[:, :1], worker[:, :1])
  assert round((np.asarray(aggregation.majority(first)) == y).mean(), 6) == 0.590909


def test_the_majority_of_bluebirds(bluebirds):
  label, worker, item, y = bluebirds
  voted = aggregation.majority(aggregation.answers(label, worker, item=item))
  assert (np.asarray(voted) == y).sum() == 82
