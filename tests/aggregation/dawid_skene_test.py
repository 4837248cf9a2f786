"""Dawid and Skene's EM: a float64 loop over answers, what EM promises, limits, real crowds."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rfjax import aggregation

ITEMS, WORKERS, CLASSES, ANSWERS = 15, 6, 3, 120
compiled = jax.jit(aggregation.dawid_skene, static_argnames="steps")


def fit(crowd, steps=7, smoothing=0.0, weight=None, x64=False):
  """One compiled function a number of steps and shape; returns NumPy arrays."""
  weight = np.ones(crowd.label.shape) if weight is None else weight
  with jax.enable_x64(x64):
    weight, smoothing = jnp.asarray(weight, float), jnp.asarray(smoothing, float)
    got = compiled(crowd, steps=steps, smoothing=smoothing, weight=weight)
  return jax.tree.map(np.asarray, got)


def simulate(seed, items, workers, classes, good=0.6):
  """A full table of answers by workers who err as the model says, with all that it hides."""
  rng = np.random.default_rng(seed)
  prior = rng.dirichlet(np.full(classes, 20.0))
  confusion = good * np.eye(classes) + (1 - good) * rng.dirichlet(
    np.ones(classes), (workers, classes)
  )
  y = rng.choice(classes, p=prior, size=items)
  bounds = confusion[:, y].cumsum(-1)
  table = (rng.random((workers, items, 1)) > bounds).sum(-1).T
  return table, y, prior, confusion


def draw(seed=0):
  """Answers in any order, some of them repeated, not valid or of no weight."""
  rng = np.random.default_rng(seed)
  table = simulate(seed, ITEMS, WORKERS, CLASSES, good=0.4)[0]
  item = rng.integers(ITEMS - 1, size=ANSWERS)  # nobody answers the last one
  worker = rng.integers(WORKERS - 1, size=ANSWERS)  # who never answers
  sizes = {"num_items": ITEMS, "num_workers": WORKERS, "num_classes": CLASSES}
  crowd = aggregation.answers(table[item, worker], worker, item=item, **sizes)
  valid = jnp.asarray(rng.random(ANSWERS) > 0.2)
  weight = rng.uniform(0.5, 2, size=ANSWERS) * (rng.random(ANSWERS) > 0.1)
  return dataclasses.replace(crowd, valid=valid), weight


def share(counts):
  return counts / counts.sum() if counts.sum() > 0 else np.full(len(counts), 1 / len(counts))


def joint(crowd, weight, prior, confusion):
  """Probability of the answers to each item and each true label, as products, answer by answer."""
  result = np.tile(prior, (crowd.num_items, 1))
  fields = (crowd.item, crowd.worker, crowd.label, crowd.valid)
  for i, w, k, valid, amount in zip(*map(np.asarray, fields), weight, strict=True):
    if valid:
      result[i] *= confusion[w, :, k] ** amount
  return result


def em(crowd, weight, steps, smoothing=0.0):
  """The formulas in float64, without logarithms, answer by answer."""
  classes = crowd.num_classes
  fields = (crowd.item, crowd.worker, crowd.label, crowd.valid)
  answers = list(zip(*(np.asarray(v).tolist() for v in fields), weight, strict=True))
  answers = [answer for answer in answers if answer[3] and answer[4] > 0]
  votes = np.zeros((crowd.num_items, classes))
  for i, _, k, _, amount in answers:
    votes[i, k] += amount
  answered = votes.sum(1) > 0
  probs = np.array([share(row) for row in votes])
  history = []
  for _ in range(steps):
    counts = np.full((crowd.num_workers, classes, classes), smoothing)
    for i, w, k, _, amount in answers:
      counts[w, :, k] += amount * probs[i]
    confusion = np.array([[share(row) for row in worker] for worker in counts])
    prior = share(probs[answered].sum(0))
    both = joint(crowd, weight, prior, confusion)
    probs = both / both.sum(1, keepdims=True)
    history.append(np.log(both[answered].sum(1)).sum())
  return aggregation.DawidSkene(probs, probs.argmax(1), confusion, prior, np.array(history))


def close(got, expected, **tolerance):
  for name, one, two in zip(expected._fields, got, expected, strict=True):
    np.testing.assert_allclose(one, two, err_msg=name, **tolerance)


@pytest.mark.parametrize("steps", [1, 2, 7, 30])
@pytest.mark.parametrize(("weighted", "smoothing"), [(False, 0.0), (True, 0.0), (True, 0.3)])
def test_it_is_the_loop_over_answers(steps, weighted, smoothing):
  crowd, weight = draw()
  weight = weight if weighted else np.ones(ANSWERS)
  expected = em(crowd, weight, steps, smoothing)
  got = fit(crowd, steps, smoothing, weight, x64=True)
  close(got, expected, rtol=1e-10, atol=1e-10)
  single = fit(crowd, steps, smoothing, weight)
  close(single, expected, rtol=1e-5, atol=1e-5)
  assert single.label.dtype == np.int32 and single.probs.dtype == np.float32


def test_arguments_have_these_defaults():
  crowd, _ = draw()
  with jax.enable_x64(True):
    close(aggregation.dawid_skene(crowd), em(crowd, np.ones(ANSWERS), 100), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("smoothing", [0.0, 0.5])
def test_no_step_lowers_the_likelihood(seed, smoothing):
  crowd, weight = draw(seed)
  fitted = [fit(crowd, steps, smoothing, weight, x64=True) for steps in (1, 2, 7, 30)]
  penalties = [np.log(np.maximum(f.confusion, 1e-300)).sum() for f in fitted]
  penalised = [f.log_likelihood[-1] + smoothing * p for f, p in zip(fitted, penalties, strict=True)]
  if smoothing == 0:
    assert (np.diff(fitted[-1].log_likelihood) >= -1e-10).all()
    assert fitted[-1].log_likelihood[-1] > fitted[-1].log_likelihood[0] + 0.1
  assert (np.diff(penalised) > 0).all()


def test_probabilities_and_likelihood_are_those_of_prior_and_confusion():
  crowd, weight = draw(1)
  got = fit(crowd, weight=weight, x64=True)
  both = joint(crowd, weight, got.prior, got.confusion)
  np.testing.assert_allclose(got.probs, both / both.sum(1, keepdims=True), atol=1e-12)
  np.testing.assert_allclose(got.log_likelihood[-1], np.log(both.sum(1)).sum(), atol=1e-10)
  np.testing.assert_allclose(got.confusion.sum(-1), 1, atol=1e-12)


def test_who_says_nothing_and_what_is_not_answered():
  crowd, weight = draw(2)
  got = fit(crowd, weight=weight)
  np.testing.assert_allclose(got.probs[-1], got.prior, atol=1e-6)
  np.testing.assert_allclose(got.confusion[-1], 1 / 3, atol=1e-7)
  fewer = dataclasses.replace(crowd, num_items=ITEMS - 1, num_workers=WORKERS - 1)
  without = fit(fewer, weight=weight)
  close(
    got._replace(probs=got.probs[:-1], label=got.label[:-1], confusion=got.confusion[:-1]),
    without,
    atol=1e-6,
  )


def test_with_no_answer_at_all_nothing_is_known():
  crowd, _ = draw(2)
  got = fit(crowd, weight=np.zeros(ANSWERS))
  for values in (got.probs, got.confusion, got.prior):
    np.testing.assert_allclose(values, 1 / 3, atol=1e-7)
  assert (got.log_likelihood == 0).all()


def test_a_single_worker_is_believed():
  label = np.array([0, 2, 1, 1, 0, 1])
  with jax.enable_x64(True):
    got = aggregation.dawid_skene(aggregation.answers(label[:, None], ["ann"]), steps=5)
    got = jax.tree.map(np.asarray, got)
  np.testing.assert_array_equal(got.probs, np.eye(3)[label])
  np.testing.assert_array_equal(got.confusion, np.eye(3)[None])
  np.testing.assert_allclose(got.prior, [2 / 6, 3 / 6, 1 / 6])
  expected = 2 * np.log(2 / 6) + 3 * np.log(3 / 6) + np.log(1 / 6)
  np.testing.assert_allclose(got.log_likelihood, expected, atol=1e-12)


def test_a_worker_who_lies_always_is_read_backwards():
  y = np.random.default_rng(0).integers(2, size=40)
  table = np.stack([y, y, y, 1 - y, 1 - y], 1)
  got = aggregation.dawid_skene(aggregation.answers(table, range(5)), steps=20)
  np.testing.assert_array_equal(got.label, y)
  np.testing.assert_allclose(got.confusion[:3], np.broadcast_to(np.eye(2), (3, 2, 2)), atol=1e-6)
  np.testing.assert_allclose(
    got.confusion[3:], np.broadcast_to(1 - np.eye(2), (2, 2, 2)), atol=1e-6
  )


def test_the_model_is_recovered():
  table, y, prior, confusion = simulate(3, 4000, 9, 3, good=0.45)
  got = fit(aggregation.answers(table, range(9)), steps=60)
  size = np.bincount(y, minlength=3)[:, None]
  # Labels that are guessed carry less than known ones: 1.5 times the binomial standard error.
  error = 1.5 * np.sqrt(confusion * (1 - confusion) / size)
  assert np.abs(got.confusion - confusion).max() < 5 * error.max()
  assert np.abs(got.prior - prior).max() < 5 * np.sqrt(0.25 / 4000)
  both = joint(aggregation.answers(table, range(9)), np.ones(table.size), prior, confusion)
  best = (both.argmax(1) == y).mean()
  found = (got.label == y).mean()
  assert abs(found - best) < 0.01
  # The posterior says how often it is right.
  np.testing.assert_allclose(got.probs.max(1).mean(), found, atol=0.02)


def test_names_of_classes_items_and_workers_do_not_matter():
  crowd, weight = draw(4)
  rng = np.random.default_rng(0)
  items, workers, classes = (rng.permutation(n) for n in (ITEMS, WORKERS, CLASSES))
  order = rng.permutation(ANSWERS)
  renamed = dataclasses.replace(
    crowd,
    item=jnp.asarray(items, jnp.int32)[crowd.item],
    worker=jnp.asarray(workers, jnp.int32)[crowd.worker],
    label=jnp.asarray(classes, jnp.int32)[crowd.label],
  )
  renamed = jax.tree.map(lambda v: v[order], renamed)
  one = fit(crowd, weight=weight, x64=True)
  two = fit(renamed, weight=weight[order], x64=True)
  np.testing.assert_allclose(two.probs[items][:, classes], one.probs, atol=1e-10)
  np.testing.assert_allclose(two.prior[classes], one.prior, atol=1e-10)
  confusion = two.confusion[workers][:, classes][:, :, classes]
  np.testing.assert_allclose(confusion, one.confusion, atol=1e-10)
  np.testing.assert_allclose(two.log_likelihood, one.log_likelihood, atol=1e-10)


def test_whole_weights_repeat_answers():
  crowd, _ = draw(5)
  times = np.random.default_rng(5).integers(3, size=ANSWERS)
  repeated = jax.tree.map(lambda v: jnp.repeat(v, times), crowd)
  close(fit(crowd, weight=times, x64=True), fit(repeated, x64=True), atol=1e-10)


def test_padding_counts_nowhere():
  crowd, weight = draw(6)
  got = fit(crowd, weight=weight)
  fewer = jax.tree.map(lambda v: v[np.flatnonzero(crowd.valid)], crowd)
  close(fit(fewer, weight=weight[np.asarray(crowd.valid)]), got, atol=1e-5)
  wild = dataclasses.replace(
    crowd,
    worker=jnp.where(crowd.valid, crowd.worker, 99),
    label=jnp.where(crowd.valid, crowd.label, 1),
  )
  close(fit(wild, weight=weight), got, atol=0)


def test_vmapped_weights_and_smoothing_are_a_loop():
  crowd, _ = draw(7)
  rng = np.random.default_rng(7)
  weights = rng.multinomial(ANSWERS, np.full(ANSWERS, 1 / ANSWERS), size=4).astype(np.float32)
  smoothing = jnp.array([0.0, 0.01, 0.3, 2.0])
  run = functools.partial(aggregation.dawid_skene, steps=7)
  many = jax.jit(jax.vmap(lambda s, w: run(crowd, smoothing=s, weight=w)))(smoothing, weights)
  for i in range(4):
    one = fit(crowd, 7, smoothing[i], weights[i])
    close(jax.tree.map(lambda v, i=i: v[i], many), one, atol=1e-5, rtol=1e-5)


def test_thousands_of_answers_do_not_underflow():
  rng = np.random.default_rng(8)
  y = np.array([0, 1, 0, 1])
  table = np.where(rng.random((4, 5000)) < 0.6, y[:, None], 1 - y[:, None])
  crowd = aggregation.answers(table, rng.integers(20, size=(4, 5000)), num_workers=20)
  got = fit(crowd)
  assert all(np.isfinite(v).all() for v in got)
  np.testing.assert_allclose(got.probs.sum(1), 1, atol=1e-6)
  np.testing.assert_array_equal(got.label, y)
  assert got.log_likelihood[-1] < -1e4


def test_thousands_of_undecided_answers_leave_a_distribution():
  crowd = aggregation.answers([[0, 1] * 2500], np.zeros((1, 5000), int))
  np.testing.assert_allclose(fit(crowd).probs, [[0.5, 0.5]], atol=1e-6)
  exact = fit(crowd, x64=True)
  np.testing.assert_allclose(exact.log_likelihood, -5000 * np.log(2), rtol=1e-12)


def test_workers_filtered_out_leave_their_items_to_the_prior():
  crowd, _ = draw(9)
  agreement = aggregation.worker_accuracy(crowd, aggregation.majority(crowd)).accuracy
  best = aggregation.filter_workers(crowd, agreement, least=float(agreement.max()))
  got = fit(best)
  assert not best.answered.all()
  alone = got.probs[~np.asarray(best.answered)]
  np.testing.assert_allclose(alone, np.broadcast_to(got.prior, alone.shape), atol=1e-6)


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"steps": 0}, "steps must be an integer of at least 1, got 0"),
    ({"steps": 2.5}, "steps must be an integer"),
    ({"smoothing": -0.1}, r"smoothing must lie in \[0, inf\), got -0.1"),
    ({"smoothing": float("inf")}, "smoothing must lie"),
    ({"smoothing": float("nan")}, "smoothing must lie"),
    ({"smoothing": "a"}, "smoothing must be a number"),
  ],
)
def test_numbers_out_of_range_are_refused(options, message):
  with pytest.raises(ValueError, match=message):
    aggregation.dawid_skene(draw()[0], **options)


# As many labels are right by crowd-kit 1.4.2 after as many steps, whose posteriors are these within
# the 1e-10 below which it clips probabilities.


def right(crowd, y, steps):
  got = fit(crowd, steps, x64=True)
  assert (np.diff(got.log_likelihood) >= -1e-9).all()
  return int((got.label == y).sum())


def binary(table):
  score, worker, y = table
  return aggregation.answers((score >= 3).astype(int), worker), y


def test_adult_is_hardly_better_than_its_majority(adult):
  crowd, y = binary(adult)
  assert right(crowd, y, steps=100) == 2230  # and 2202 by majority


def test_compas_is_hardly_better_than_its_majority(compas):
  crowd, y = binary(compas)
  assert right(crowd, y, steps=100) == 295  # and 291 by majority


def test_bluebirds_are_told_far_better_than_by_majority(bluebirds):
  label, worker, item, y = bluebirds
  crowd = aggregation.answers(label, worker, item=item)
  assert right(crowd, y, steps=100) == 97  # and 82 by majority
