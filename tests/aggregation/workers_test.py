"""Workers: accuracies against loops, filters against fewer rows, and the official counts."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rfjax import aggregation

ITEMS, WORKERS, CLASSES, ANSWERS = 12, 6, 3, 70


def draw(seed):
  rng = np.random.default_rng(seed)
  label = rng.integers(CLASSES, size=ANSWERS)
  worker = rng.integers(WORKERS - 1, size=ANSWERS)  # the last one never answers
  item = rng.integers(ITEMS, size=ANSWERS)
  sizes = {"num_items": ITEMS, "num_workers": WORKERS, "num_classes": CLASSES}
  crowd = aggregation.answers(label, worker, item=item, **sizes)
  return dataclasses.replace(crowd, valid=jnp.asarray(rng.random(ANSWERS) > 0.2)), rng


def loop(crowd, probs, weight):
  """Accuracy and count of each worker, answer by answer."""
  right, count = np.zeros(WORKERS), np.zeros(WORKERS)
  fields = (crowd.item, crowd.worker, crowd.label, crowd.valid)
  for i, w, k, valid, amount in zip(*map(np.asarray, fields), weight, strict=True):
    if valid:
      right[w] += amount * probs[i, k]
      count[w] += amount * probs[i].sum()
  return np.divide(right, count, out=np.zeros(WORKERS), where=count > 0), count


@pytest.mark.parametrize("weighted", [False, True])
def test_accuracy_is_the_loop_over_answers(weighted):
  crowd, rng = draw(0)
  y = rng.integers(CLASSES, size=ITEMS)
  weight = rng.uniform(size=ANSWERS) if weighted else np.ones(ANSWERS)
  with jax.enable_x64(True):
    got = aggregation.worker_accuracy(crowd, y, weight=weight if weighted else None)
  got = jax.tree.map(np.asarray, got)
  accuracy, count = loop(crowd, np.eye(CLASSES)[y], weight)
  np.testing.assert_allclose(got.accuracy, accuracy, atol=1e-12)
  np.testing.assert_allclose(got.count, count, atol=1e-12)
  assert got.accuracy[-1] == got.count[-1] == 0 and (count[:-1] > 0).all()


def test_probable_labels_count_in_parts_and_unknown_ones_not_at_all():
  crowd, rng = draw(1)
  probs = rng.dirichlet(np.ones(CLASSES), size=ITEMS)
  probs[::3] = 0
  with jax.enable_x64(True):
    got = jax.tree.map(np.asarray, aggregation.worker_accuracy(crowd, probs))
  accuracy, count = loop(crowd, probs, np.ones(ANSWERS))
  np.testing.assert_allclose(got.accuracy, accuracy, atol=1e-12)
  np.testing.assert_allclose(got.count, count, atol=1e-12)
  whole = aggregation.worker_accuracy(crowd, np.zeros(ITEMS, int)).count
  assert (got.count[:-1] < whole[:-1]).any()


def test_labels_are_their_one_hot_rows():
  crowd, rng = draw(2)
  y = rng.integers(CLASSES, size=ITEMS)
  hard = aggregation.worker_accuracy(crowd, y)
  soft = aggregation.worker_accuracy(crowd, np.eye(CLASSES)[y])
  jax.tree.map(np.testing.assert_array_equal, hard, soft)


def test_agreement_with_the_crowd_takes_its_labels():
  crowd, _ = draw(3)
  voted = aggregation.majority(crowd)
  inside = jax.jit(lambda c: aggregation.worker_accuracy(c, aggregation.majority(c)))(crowd)
  expected, _ = loop(crowd, np.eye(CLASSES)[np.asarray(voted)], np.ones(ANSWERS))
  np.testing.assert_allclose(inside.accuracy, expected, atol=1e-6)
  probs = aggregation.dawid_skene(crowd, steps=3).probs
  expected, _ = loop(crowd, np.asarray(probs), np.ones(ANSWERS))
  np.testing.assert_allclose(
    aggregation.worker_accuracy(crowd, probs).accuracy, expected, atol=1e-6
  )


def test_a_filter_leaves_the_answers_of_good_workers():
  crowd, _ = draw(4)
  accuracy = np.array([0.1, 0.65, 0.9, 0.65 - 1e-3, 0.2, 0.0], np.float32)
  kept = aggregation.filter_workers(crowd, accuracy, least=0.65)
  expected = np.asarray(crowd.valid) & np.isin(crowd.worker, [1, 2])
  np.testing.assert_array_equal(kept.valid, expected)
  assert expected.any() and kept.num_workers == WORKERS
  for name in ("item", "worker", "label"):
    np.testing.assert_array_equal(getattr(kept, name), getattr(crowd, name))
  fewer = jax.tree.map(lambda v: v[np.flatnonzero(expected)], crowd)
  np.testing.assert_array_equal(aggregation.vote_shares(kept), aggregation.vote_shares(fewer))


def test_traced_thresholds_are_a_loop():
  crowd, rng = draw(5)
  accuracy = aggregation.worker_accuracy(crowd, rng.integers(CLASSES, size=ITEMS)).accuracy
  least = jnp.array([0.0, 0.3, 0.4, 1.0])
  run = lambda t: aggregation.filter_workers(crowd, accuracy, least=t).valid
  many = jax.jit(jax.vmap(run))(least)
  for threshold, valid in zip(least.tolist(), many, strict=True):
    np.testing.assert_array_equal(valid, run(threshold))
  np.testing.assert_array_equal(many[0], crowd.valid)
  assert len({int(v.sum()) for v in many}) == 4


CROWD, _ = draw(6)


@pytest.mark.parametrize(
  ("truth", "message"),
  [
    (np.zeros(11, int), r"truth has shape \(11,\) but there are 12 items of 3 classes: pass"),
    (np.zeros((12, 2)), r"truth has shape \(12, 2\) but"),
    (np.full(12, 3), r"truth must lie in \[0, 3\), got 3 .*: remap"),
    (np.full(12, -1), r"truth must lie in \[0, 3\), got -1"),
    (np.full(12, 0.5), "truth must hold integers, got dtype float64"),
    (np.ones((12, 3)), r"truth must hold probabilities .* got \[1.0, 1.0, 1.0\] .*: normalise"),
    (np.array([[0.5, -0.5, 1.0]] * 12), "truth must hold probabilities"),
    (np.full((12, 3), np.nan), "truth must hold probabilities"),
  ],
)
def test_bad_truth_is_refused(truth, message):
  with pytest.raises(ValueError, match=message):
    aggregation.worker_accuracy(CROWD, truth)


@pytest.mark.parametrize("least", [-0.1, 1.5, float("nan"), "a"])
def test_a_threshold_out_of_range_is_refused(least):
  with pytest.raises(ValueError, match="least must"):
    aggregation.filter_workers(CROWD, np.ones(WORKERS), least=least)


def test_accuracies_of_another_shape_are_refused():
  with pytest.raises(ValueError, match=r"accuracy has shape \(5,\) but there are 6 workers: pass"):
    aggregation.filter_workers(CROWD, np.ones(5), least=0.5)
  whole = aggregation.worker_accuracy(CROWD, np.zeros(ITEMS, int))
  with pytest.raises(ValueError, match=r"pass one a worker, such as worker_accuracy.*\.accuracy"):
    aggregation.filter_workers(CROWD, whole, least=0.5)


@pytest.mark.parametrize(
  ("bad", "message"),
  [
    (65.0, r"accuracy must lie in \[0, 1\], got 65 \(1 of 6 rows, the first at 2\): pass shares"),
    (-0.1, "accuracy must lie in .* got -0.1"),
    (np.nan, "accuracy must lie in .* got nan"),
    ("a", "accuracy must hold numbers"),
  ],
)
def test_accuracies_out_of_range_are_refused(bad, message):
  accuracy = [0.5, 1.0, bad, 0.0, 1 + 1e-7, 0.2]
  with pytest.raises(ValueError, match=message):
    aggregation.filter_workers(CROWD, accuracy, least=0.5)


def judge(crowd, least):
  """Workers of a table of scores, and the majority among the good ones."""
  score, worker, y = crowd
  answers = aggregation.answers((score >= 3).astype(int), worker)
  workers = aggregation.worker_accuracy(answers, y)
  good = aggregation.filter_workers(answers, workers.accuracy, least=least)
  right = np.asarray(aggregation.majority(good) == y)[np.asarray(good.answered)]
  accuracy, count = (np.asarray(v, float) for v in workers)
  return accuracy, round(np.average(accuracy, weights=count), 6), right


def test_the_workers_of_adult(adult):
  accuracy, mean, right = judge(adult, least=0.65)
  assert len(accuracy) == 655
  assert [round(f(accuracy), 3) for f in (np.min, np.median, np.max)] == [0.233, 0.633, 0.900]
  assert mean == 0.632335
  assert (len(right), round(right.mean(), 3)) == (3046, 0.762)


def test_the_workers_of_compas(compas):
  accuracy, mean, right = judge(compas, least=0.65)
  assert (len(accuracy), mean) == (141, 0.616529)
  assert (len(right), round(right.mean(), 3)) == (410, 0.720)


def test_a_filter_by_one_kind_of_answers_holds_for_another(compas):
  score, worker, y = compas
  binary = aggregation.answers((score >= 3).astype(int), worker)
  accuracy = aggregation.worker_accuracy(binary, y).accuracy
  ordinal = aggregation.filter_workers(aggregation.answers(score - 1, worker), accuracy, least=0.65)
  expected = aggregation.filter_workers(binary, accuracy, least=0.65).valid
  np.testing.assert_array_equal(ordinal.valid, expected)


def test_the_workers_of_bluebirds(bluebirds):
  label, worker, item, y = bluebirds
  crowd = aggregation.answers(label, worker, item=item)
  workers = aggregation.worker_accuracy(crowd, y)
  assert (workers.count == 108).all()
  assert round(float(workers.accuracy.mean()), 6) == 0.635565
