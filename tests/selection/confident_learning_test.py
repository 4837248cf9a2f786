"""Confident learning against the cleanlab package: counts and flags are the same, one by one."""

import functools
from fractions import Fraction

import cleanlab
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cleanlab.count import compute_confident_joint, estimate_latent

import rfjax
from rfjax import architectures, selection
from rfjax.selection._confident_joint import shared_out as exactly
from rfjax.selection._elements import smallest_in_class

PEER = {  # ours, and theirs
  "noise_rate": "prune_by_noise_rate",
  "class": "prune_by_class",
  "both": "both",
  "confident_joint": "confident_learning",
  "argmax": "predicted_neq_given",
  "margin": "low_normalized_margin",
  "self_confidence": "low_self_confidence",
}
COUNTED = ("noise_rate", "class", "both")
SHAPES = [(40, 2, True), (60, 3, True), (60, 3, False), (200, 10, True)]


@pytest.fixture(autouse=True)
def stable_sorts(monkeypatch):
  """Equal scores go by row number here and there; cleanlab leaves it to an unstable sort."""
  monkeypatch.setattr(np, "argsort", functools.partial(np.argsort, kind="stable"))


def draw(seed, rows, classes):
  """Labels, and probabilities of one of three kinds: smooth, full of ties, confident."""
  rng = np.random.default_rng([seed, rows])
  kind = seed % 3
  spread = rng.dirichlet(np.full(classes, 3.0 if seed % 2 else 0.4), rows)
  y = np.array([rng.choice(classes, p=p) for p in spread])
  if seed % 4 == 3:  # a class that nobody has, and one of a single row
    y[y == classes - 1] = 0
    y[y == classes - 2] = 0
    y[rng.integers(rows)] = max(classes - 2, 1 if classes == 2 else 0)
  probs = 0.7 * spread + 0.3 * rng.dirichlet(np.ones(classes), rows)
  if kind == 1:
    probs = np.array([rng.multinomial(8, p) for p in probs / probs.sum(1, keepdims=True)]) / 8
  if kind == 2:
    probs = np.eye(classes)[rng.integers(classes, size=rows)] * 0.9 + 0.1 / classes
    wrong = rng.random(rows) < 0.7
    probs[wrong] = np.eye(classes)[y[wrong]] * 0.9 + 0.1 / classes
  return y, probs


def shared_out(counts, totals):
  """Rows of counts scaled to totals and rounded, by fractions; and whether nothing was tied."""
  result, clear = np.zeros_like(counts), True
  for i, row in enumerate(counts):
    exact = [Fraction(int(c) * int(totals[i]), int(row.sum())) for c in row]
    rounded = [round(v) for v in exact]
    left = [v - r for v, r in zip(exact, rounded, strict=True)]
    missing = int(totals[i]) - sum(rounded)
    order = sorted(range(len(row)), key=lambda j: left[j])
    order = order[::-1] if missing > 0 else order
    for j in order[: abs(missing)]:
      rounded[j] += 1 if missing > 0 else -1
    result[i] = rounded
    clear &= Fraction(1, 2) not in map(abs, left)
    if missing:
      clear &= left[order[abs(missing) - 1]] != left[order[abs(missing)]]
  return result, clear


@jax.jit
def ours(y, probs, mask, frac_noise, min_examples, remove):
  """All that is counted and flagged, in one compiled function."""
  settings = {"frac_noise": frac_noise, "min_examples": min_examples}
  flags = {
    p: selection.label_issues(y, probs, prune=p, mask=mask, **(settings if p in COUNTED else {}))
    for p in PEER
  }
  flags["remove"] = selection.label_issues(y, probs, prune="class", num_to_remove=remove, mask=mask)
  joints = [selection.confident_joint(y, probs, calibrate=c, mask=mask) for c in (False, True)]
  return joints, flags


def theirs(y, probs, prune, **settings):
  return cleanlab.filter.find_label_issues(y, probs, filter_by=PEER[prune], n_jobs=1, **settings)


@pytest.mark.filterwarnings("ignore:May not flag all label issues")
@pytest.mark.parametrize("rows, classes, x64", SHAPES)
def test_counts_and_flags_are_those_of_cleanlab(rows, classes, x64):
  found, clearly = np.zeros(len(PEER), int), 0
  seeds = range(24) if x64 else range(1, 24, 3)  # in float32 those whose sums are exact
  for seed in seeds:
    y, probs = draw(seed, rows, classes)
    frac_noise, min_examples = (1.0, 0.5, 1.0, 0.25, 1.0)[seed % 5], (1, 0, 3, 7)[seed // 2 % 4]
    rng = np.random.default_rng(seed)
    remove, mask = rng.integers(0, 5, classes), rng.random(rows) < (1.0, 0.7)[seed // 3 % 2]
    mask[np.unique(y, return_index=True)[1]] = True  # cleanlab wants two labels
    with jax.enable_x64(x64):
      arguments = jnp.asarray(y, jnp.int32), jnp.asarray(probs), mask, frac_noise, min_examples
      (raw, joint), flags = jax.tree.map(np.asarray, ours(*arguments, remove))
    assert not any(np.any(marks[~mask]) for marks in flags.values())
    flags, y, probs = {p: marks[mask] for p, marks in flags.items()}, y[mask], probs[mask]
    np.testing.assert_array_equal(raw, compute_confident_joint(y, probs, calibrate=False))
    wanted, clear = shared_out(raw, np.bincount(y, minlength=classes))
    np.testing.assert_array_equal(joint, wanted)
    clearly += clear
    if clear:
      np.testing.assert_array_equal(joint, compute_confident_joint(y, probs))
    for i, prune in enumerate(PEER):
      settings = {}
      if prune in COUNTED:
        settings = {"frac_noise": frac_noise, "min_examples_per_class": min_examples}
        settings |= {} if clear else {"confident_joint": joint}
      expected = theirs(y, probs, prune, **settings)
      np.testing.assert_array_equal(flags[prune], expected, err_msg=f"{prune} {seed}")
      found[i] += expected.sum()
    np.testing.assert_array_equal(flags["remove"], _removed(y, probs, remove))
  assert clearly >= len(seeds) / 4
  assert (found > (20 if x64 else 5)).all(), found


def _removed(y, probs, remove):
  """As many rows of each class as told, those of the smallest probability of their label."""
  flags = np.zeros(len(y), bool)
  for k, number in enumerate(remove):
    rows = np.flatnonzero(y == k)
    if len(rows) > 1:
      flags[rows[np.argsort(probs[rows, k])[:number]]] = True
  probs = probs.copy()
  probs[np.arange(len(y)), y] += 1e-6
  return flags & (probs.argmax(1) != y)


@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value")
def test_removal_by_number_is_that_of_cleanlab():
  y, probs = draw(0, 60, 3)
  remove = np.array([3, 0, 4])
  expected = theirs(y, probs, "class", num_to_remove_per_class=remove)
  np.testing.assert_array_equal(_removed(y, probs, remove), expected)
  assert expected.sum() > 3


def test_the_only_row_of_a_class_is_never_pruned_by_counts():
  y, joint = np.array([0, 0, 0, 1]), np.array([[2, 1], [1, 0]])
  probs = np.array([[0.9, 0.1], [0.3, 0.7], [0.2, 0.8], [0.6, 0.4]])
  kinds = ("noise_rate", "class")
  flags = jax.jit(
    lambda: [selection.label_issues(y, probs, prune=p, joint=joint, min_examples=0) for p in kinds]
  )()
  for prune, found in zip(kinds, jax.device_get(flags), strict=True):
    expected = theirs(y, probs, prune, confident_joint=joint, min_examples_per_class=0)
    np.testing.assert_array_equal(found, expected)
    assert found.any() and not found[3]


def test_thresholds_may_be_given():
  y, probs = draw(3, 60, 3)
  thresholds = np.array([0.2, 0.5, 0.35])
  found = jax.jit(
    lambda: selection.confident_joint(y, probs, thresholds=thresholds, calibrate=False)
  )()
  expected = compute_confident_joint(y, probs, thresholds=thresholds, calibrate=False)
  np.testing.assert_array_equal(found, expected)
  assert (expected != compute_confident_joint(y, probs, calibrate=False)).any()


def test_large_counts_are_shared_out_exactly():
  """c n overflows int32, and has more digits than float32."""
  counts = np.array([[1_000_003, 499_979, 7], [1, 3, 2], [0, 1, 0]])
  totals = np.array([1_999_993, 100_000_007, 0])
  exact, _ = shared_out(counts, totals)
  np.testing.assert_array_equal(exactly(jnp.asarray(counts), jnp.asarray(totals)), exact)


@pytest.mark.parametrize("x64", [False, True])
def test_the_smallest_of_each_class_are_those_of_a_sort(x64):
  """With ties, both zeros, rows that do not count, and numbers from none to more than there are."""
  rows, classes = 300, 4
  mark = jax.jit(smallest_in_class)
  for seed in range(12):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=rows) * 10.0 ** rng.integers(-9, 9, rows)
    if seed % 3:
      values = np.round(rng.normal(size=rows) * seed)
    values *= rng.choice([-1, 1], rows)  # makes -0.0 as well
    y, mask = rng.integers(0, classes - seed % 2, rows), rng.random(rows) < 0.8
    number = rng.permutation([0, rng.integers(1, 30), rng.integers(1, 60), rows])
    with jax.enable_x64(x64):
      values = jnp.asarray(values)
      arguments = jnp.asarray(number, jnp.int32), jnp.asarray(y, jnp.int32), jnp.asarray(mask)
      found, values = np.asarray(mark(values, *arguments)), np.asarray(values)
    expected = np.zeros(rows, bool)
    for k in range(classes):
      of_class = np.flatnonzero(mask & (y == k))
      expected[of_class[np.argsort(values[of_class], kind="stable")[: number[k]]]] = True
    np.testing.assert_array_equal(found, expected)


def test_a_run_of_many_is_the_single_run():
  y, probs = zip(*(draw(seed, 40, 2) for seed in range(3)), strict=True)
  y, probs = np.stack(y), np.stack(probs)
  fracs = np.array([1.0, 0.5, 0.0], np.float32)
  flags = jax.jit(lambda y, p, f: selection.label_issues(y, p, frac_noise=f))
  together = np.asarray(jax.vmap(flags)(y, probs, fracs))
  for i in range(3):
    np.testing.assert_array_equal(together[i], flags(y[i], probs[i], fracs[i]))
  assert together.sum(1)[0] > 0 and together.sum(1)[2] == 0


@functools.cache
def problem(rows=60):
  rng = np.random.default_rng(5)
  truth = rng.integers(3, size=rows)
  x = np.eye(3)[truth] * 3 + rng.normal(size=(rows, 3))
  y = np.where(rng.random(rows) < 0.25, (truth + 1) % 3, truth)
  truth = rfjax.Truth(y=truth.astype(np.int32))
  return rfjax.Batch.from_arrays(x.astype(np.float32), y, truth=truth)


def said():
  """Probabilities of the rows, from their features."""
  e = np.exp(2 * np.asarray(problem().x))
  return e / e.sum(1, keepdims=True)


def test_the_transform_keeps_all_but_the_issues_in_data_and_in_training():
  data, probs = problem(), said()
  method = selection.confident_learning(probs, prune="class")

  @jax.jit
  def everything(data):
    issues = selection.label_issues(data.y, probs, prune="class")
    cleaned = rfjax.transform(method, data, key=jax.random.key(0))
    batch = data.take(np.array([7, 60, 3, 11])).fill(jnp.zeros((4, 3)))
    state = method.init(data, key=None, spec=None)
    return issues, cleaned, *method.update(batch, state, ())

  issues, cleaned, out, same = everything(data)
  issues = np.asarray(issues)
  assert 0 < np.sum(issues) < 30
  np.testing.assert_array_equal(cleaned.keep, ~issues)
  assert cleaned.weight is None and method.writes == ("keep",)
  np.testing.assert_array_equal(out.keep, np.array([1, 0, 1, 1]) * ~issues[[7, 0, 3, 11]])
  np.testing.assert_array_equal(same.issues, issues)


def test_reweighting_is_by_the_noise_of_the_class():
  data, probs = problem(), said()
  method = selection.confident_learning(probs, reweight=True)
  out, joint = jax.jit(
    lambda data: (
      rfjax.transform(method, data, key=jax.random.key(0)),
      selection.confident_joint(data.y, probs),
    )
  )(data)
  _, noise, _ = estimate_latent(np.asarray(joint), np.asarray(data.y))
  np.testing.assert_allclose(out.weight, 1 / np.diag(noise)[np.asarray(data.y)], rtol=1e-5)
  assert method.writes == ("keep", "weight") and np.ptp(out.weight) > 0


ROWS, FOLDS, FIT = 45, 4, {"epochs": 8, "batch_size": 10}


def cross_fit(data, key=None, **settings):
  key = jax.random.key(3) if key is None else key
  network, tx = architectures.logistic(3), optax.adam(0.3)
  return selection.out_of_sample(network, rfjax.chain(), tx, data, key=key, **FIT, **settings)


# Two at a time; folds by labels would change with a label.
crossed = jax.jit(functools.partial(cross_fit, folds=FOLDS, stratified=False, lanes=2))


@jax.jit
def dealt(key, data):
  """Folds by labels and at random."""
  return [selection.deal_folds(key, data, FOLDS, stratified=s) for s in (True, False)]


def test_probabilities_are_of_networks_that_never_saw_the_row():
  """A row's label moves nothing of its own probabilities, but those of others."""
  data = problem(ROWS)
  y = np.array(data.y)
  y[4] = (y[4] + 1) % 3
  before, after = jax.device_get((crossed(data), crossed(data.replace(y=jnp.asarray(y)))))
  np.testing.assert_allclose(before.sum(1), 1, rtol=1e-5)
  np.testing.assert_array_equal(before[4], after[4])
  same = np.all(before == after, 1)
  assert same.sum() in (ROWS // FOLDS, ROWS // FOLDS + 1)  # those of its own fold


def test_each_fold_is_a_fit_on_the_others():
  data, key = problem(ROWS), jax.random.key(3)
  found, fold = (
    np.asarray(crossed(data)),
    np.asarray(dealt(jax.random.fold_in(key, FOLDS), data)[1]),
  )
  network, tx = architectures.logistic(3), optax.adam(0.3)
  most = ROWS - ROWS // FOLDS

  @jax.jit
  def one(rows, i):
    train = data.subset(rows)
    state, _ = rfjax.fit(network, rfjax.chain(), tx, train, key=jax.random.fold_in(key, i), **FIT)
    return rfjax.predict(network, state, data).probs

  for i in range(FOLDS):
    rows = np.flatnonzero(fold != i)
    wanted = np.asarray(one(np.append(rows, np.full(most - len(rows), ROWS)), i))
    np.testing.assert_allclose(found[fold == i], wanted[fold == i], rtol=1e-4, atol=1e-6)


def test_folds_are_even_and_spread_each_label():
  data = problem(ROWS)
  y = np.asarray(data.y)
  by_label, at_random = jax.device_get(dealt(jax.random.key(1), data))
  for fold in (by_label, at_random):
    assert sorted(np.bincount(fold)) == [11, 11, 11, 12]
  spread = lambda fold: [np.ptp(np.bincount(fold[y == k], minlength=FOLDS)) for k in range(3)]
  assert max(spread(by_label)) <= 1 < max(spread(at_random))
  assert np.any(by_label != dealt(jax.random.key(2), data)[0])


def test_found_issues_are_mostly_wrong_labels():
  data = problem(ROWS)
  probs = crossed(data)
  flags, rate = jax.device_get(
    jax.jit(
      lambda: (
        selection.label_issues(data.y, probs),
        selection.rate_from_confident_joint(selection.confident_joint(data.y, probs)),
      )
    )()
  )
  wrong = np.asarray(data.y) != np.asarray(data.truth.y)
  assert np.mean(wrong[flags]) > 0.6 and np.mean(flags[wrong]) > 0.6
  np.testing.assert_allclose(rate, wrong.mean(), atol=0.1)


PROBS = np.full((4, 2), 0.5)


@pytest.mark.parametrize(
  "call, name",
  [
    (lambda: selection.label_issues([0, 1, 1, 2], PROBS), "y"),
    (lambda: selection.label_issues([0, 1, 1], PROBS), "probs"),
    (lambda: selection.label_issues([0, 1, 1, 0], 3 * PROBS), "probs"),
    (lambda: selection.label_issues([0, 1, 1, 0], PROBS, prune="all"), "prune"),
    (lambda: selection.label_issues([0, 1, 1, 0], PROBS, frac_noise=1.5), "frac_noise"),
    (lambda: selection.label_issues([0, 1, 1, 0], PROBS, min_examples=-1), "min_examples"),
    (lambda: selection.label_issues([0, 1, 1, 0], PROBS, num_to_remove=[1, 1]), "num_to_remove"),
    (lambda: selection.label_issues([0, 1, 1, 0], PROBS, joint=np.eye(3)), "joint"),
    (lambda: selection.confident_joint([0, 1, 1, 0], PROBS, thresholds=[1.0]), "thresholds"),
    (lambda: selection.confident_joint([0, 1, 1, 0], PROBS, mask=np.ones(3)), "mask"),
    (lambda: selection.confident_learning(PROBS, prune="all"), "prune"),
    (lambda: selection.confident_learning(PROBS[0]), "probs"),
    (lambda: cross_fit(problem(ROWS), folds=1), "folds"),
    (lambda: cross_fit(problem(ROWS), folds=46), "folds"),
  ],
)
def test_bad_arguments_are_refused(call, name):
  with pytest.raises(ValueError, match=f"{name} must"):
    call()


def test_too_few_folds_are_refused_by_name():
  data = rfjax.Batch.from_arrays([[0.0]] * 3, [0, 1, 0])
  for folds in (0, 4):
    with pytest.raises(ValueError, match="folds must"):
      selection.deal_folds(jax.random.key(0), data, folds)
