"""Asymmetric noise: the named maps by their class names, frequencies, counts, what is refused."""

import functools
import itertools
import os
import pathlib

import host
import jax
import numpy as np
import pytest

import rfjax
from rfjax import noise

KEY = jax.random.key(0)
DIGITS = [str(i) for i in range(10)]
CIFAR10 = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
FASHION = [
  *("T-shirt", "trouser", "pullover", "dress", "coat"),
  *("sandal", "shirt", "sneaker", "bag", "ankle boot"),
]
MISTAKES = {
  "mnist": (DIGITS, "7>1 2>7 3>8 5>6 6>5"),
  "cifar10": (CIFAR10, "truck>automobile bird>airplane cat>dog dog>cat deer>horse"),
  "fashion_mnist": (
    FASHION,
    "T-shirt>shirt shirt>T-shirt pullover>coat coat>pullover sandal>sneaker",
  ),
}
# Of CIFAR-100, in alphabetical order: beaver, dolphin, otter, seal, whale; baby, boy, girl, man,
# woman; maple, oak, palm, pine and willow tree.
SUPERCLASSES = [[4, 30, 55, 72, 95], [2, 11, 35, 46, 98], [47, 52, 56, 59, 96]]


@functools.cache
def dataset(rows, classes, seed=0):
  y = np.random.default_rng(seed).integers(0, classes, rows)
  return host.batch(np.zeros((rows, 1), np.float32), y, num_classes=classes)


@functools.cache
def _goal(mapping, classes):
  return host.run(lambda: noise.asymmetric_matrix(1.0, mapping, classes)).argmax(1)


def goal(mapping, classes):
  """The label that each is taken for."""
  return _goal(mapping if isinstance(mapping, str) else tuple(mapping), classes)


def assert_frequencies(noisy, expected):
  counts = np.zeros(expected.shape)
  np.add.at(counts, (np.asarray(noisy.truth.y), np.asarray(noisy.y)), 1)
  totals = counts.sum(1, keepdims=True)
  error = 5 * np.sqrt(expected * (1 - expected) / totals)
  assert (np.abs(counts / totals - expected) <= error + 1e-12).all()


@pytest.mark.parametrize("name", MISTAKES)
def test_a_named_map_makes_its_mistakes(name):
  names, mistakes = MISTAKES[name]
  expected = np.arange(10)
  for mistake in mistakes.split():
    start, end = map(names.index, mistake.split(">"))
    expected[start] = end
  np.testing.assert_array_equal(goal(name, 10), expected)


def test_cifar100_cycles_within_known_superclasses():
  to = goal("cifar100", 100)
  for members in SUPERCLASSES:
    np.testing.assert_array_equal(to[members], members[1:] + members[:1])


@pytest.mark.parametrize("name", ["cifar100", "cifar100_blocks"])
def test_cifar100_has_twenty_cycles_of_five(name):
  to = goal(name, 100)
  walk = np.stack(
    list(itertools.accumulate(range(4), lambda at, _: to[at], initial=np.arange(100)))
  )
  assert (np.sort(walk, axis=0)[1:] > np.sort(walk, axis=0)[:-1]).all()
  np.testing.assert_array_equal(to[walk[-1]], np.arange(100))
  assert len({tuple(cycle) for cycle in np.sort(walk, axis=0).T}) == 20
  assert (to < np.arange(100)).sum() == 20


def test_cifar100_blocks_are_five_labels_in_a_row():
  y = np.arange(100)
  np.testing.assert_array_equal(goal("cifar100_blocks", 100), y // 5 * 5 + (y + 1) % 5)


@pytest.mark.skipif(not os.environ.get("RFJAX_DATA_DIR"), reason="RFJAX_DATA_DIR is not set")
def test_cifar100_superclasses_are_those_of_cifar100n():
  file = pathlib.Path(os.environ["RFJAX_DATA_DIR"]) / "cifar_n" / "cifar100n_labels.npz"
  if not file.exists():
    pytest.skip(f"{file.name} is not there")
  with np.load(file) as labels:
    fine, coarse = labels["clean_label"], labels["clean_coarse_label"]
  superclass = np.full(100, -1)
  superclass[fine] = coarse
  np.testing.assert_array_equal(superclass[fine], coarse)
  for y in range(100):
    members = np.flatnonzero(superclass == superclass[y])
    later = members[members > y]
    assert goal("cifar100", 100)[y] == (later[0] if later.size else members[0])


CASES = [
  (0.4, "cifar10", 10),
  (0.2, "mnist", 10),
  (0.3, "fashion_mnist", 10),
  (0.3, "cifar100", 100),
  (0.3, "cifar100_blocks", 100),
  (1.0, [(0, 3), (3, 0), (1, 0)], 4),
  (0.0, [(0, 3)], 4),
]


@functools.cache
def noisy_of(classes):
  """Matrices and noisy data by rate and mapping, of all cases with so many classes."""

  def one(clean, rate, mapping):
    matrix = noise.asymmetric_matrix(rate, mapping, classes)
    return matrix, rfjax.transform(noise.asymmetric(rate, mapping), clean, key=KEY)

  cases = [case[:2] for case in CASES if case[2] == classes]
  run = lambda clean: {str(case): one(clean, *case) for case in cases}
  return host.run(run, dataset(200_000, classes))


@pytest.mark.parametrize(("rate", "mapping", "classes"), CASES)
def test_frequencies_are_the_matrix(rate, mapping, classes):
  expected = (1 - rate) * np.eye(classes) + rate * np.eye(classes)[goal(mapping, classes)]
  matrix, noisy = noisy_of(classes)[str((rate, mapping))]
  np.testing.assert_allclose(matrix, expected, atol=1e-7)
  assert_frequencies(noisy, expected)


def test_half_of_the_rate_is_wrong_in_balanced_cifar10():
  balanced = host.batch(np.zeros((100_000, 1)), np.arange(100_000) % 10)
  flip = noise.asymmetric(0.4, "cifar10")
  run = lambda clean: rfjax.noise.record(rfjax.transform(flip, clean, key=KEY)).label_rate
  wrong = float(host.run(run, balanced))
  assert abs(wrong - 0.2) < 5 * np.sqrt(0.4 * 0.6 * 50_000) / 100_000


def test_the_noise_is_that_of_its_matrix():
  def run(clean):
    by_matrix = rfjax.noise.class_conditional(noise.asymmetric_matrix(0.3, "mnist", 10))
    flips = noise.asymmetric(0.3, "mnist"), by_matrix
    return [rfjax.transform(t, clean, key=KEY).y for t in flips]

  one, two = host.run(run, dataset(5000, 10))
  np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("rate", [0.0, 0.29, 1.0])
def test_an_exact_count_is_of_the_rows_of_all_classes(rate):
  clean = dataset(1000, 10)
  everywhere = rfjax.noise.symmetric(rate, exact_count=True)
  flip, known = noise.asymmetric(rate, "cifar10", exact_count=True), host.on_device(clean)
  run = lambda key: [rfjax.transform(t, known, key=key).y for t in (everywhere, flip)]
  moved, noisy = host.run(run, KEY)
  struck = moved != clean.y
  assert struck.sum() == round(1000 * rate)
  y = np.asarray(clean.y)
  np.testing.assert_array_equal(noisy, np.where(struck, goal("cifar10", 10)[y], y))


@pytest.mark.parametrize("exact_count", [False, True])
def test_a_higher_rate_strikes_the_same_rows_and_some_more(exact_count):
  clean = dataset(2000, 10)
  known, rates = host.on_device(clean), np.linspace(0, 1, 6, dtype=np.float32)
  make = lambda rate: noise.asymmetric(rate, "mnist", exact_count=exact_count)
  run = lambda rate: rfjax.transform(make(rate), known, key=KEY).y
  y, loop = host.run(lambda many: (jax.vmap(run)(many), [run(float(r)) for r in rates]), rates)
  struck = y != np.asarray(clean.y)
  for low, high in itertools.pairwise(struck):
    assert (high | ~low).all() and high.sum() > low.sum()
  np.testing.assert_array_equal(y, loop)


def test_rows_take_their_noise_along():
  clean, flip = dataset(300, 10), noise.asymmetric(0.5, "mnist")
  order = np.random.default_rng(3).permutation(300)
  taken = host.take(clean, order, np.full(40, 300))
  noisy, moved = host.transform(flip, clean, taken, key=KEY)
  np.testing.assert_array_equal(moved.y[:300], noisy.y[order])
  np.testing.assert_array_equal(moved.y[300:], taken.y[300:])


def test_padding_rows_keep_their_labels():
  clean = host.batch(np.zeros((3, 1)), [1, 1, 1], num_classes=3)
  padded = host.take(clean, [0, 3, 2, 3])
  (noisy,) = host.transform(noise.asymmetric(1.0, [(0, 2), (1, 0)]), padded, key=KEY)
  assert noisy.y.tolist() == [0, 0, 0, 0]


def test_the_first_truth_stays():
  clean = dataset(300, 3)
  turn = noise.asymmetric(1.0, [(0, 1), (1, 2), (2, 0)])
  (twice,) = host.transform(rfjax.chain(turn, turn), clean, key=KEY)
  np.testing.assert_array_equal(twice.truth.y, clean.y)
  np.testing.assert_array_equal(twice.y, (clean.y + 2) % 3)


@pytest.mark.parametrize(
  ("mapping", "message"),
  [
    ("cifar_10", "unknown mapping 'cifar_10': did you mean 'cifar10'"),
    ("imagenet", "choose one of cifar10, cifar100, cifar100_blocks, fashion_mnist, mnist"),
    ([(0, 1), (2, 1), (0, 2)], "sends label 0 to more than one: use class_conditional"),
    ([(0, 1), (1, 1)], "sends label 1 to itself"),
    ([(0, -1)], "a label of mapping must be an integer of at least 0, got -1"),
    ([(0.5, 1)], r"a label of mapping must be an integer of at least 0, got 0.5"),
    ([(0, 1, 2)], r"pairs of labels, got \(0, 1, 2\)"),
    ({0: 1}, r"pairs of labels, got 0"),
    (3, r"mapping must be a name or \(from, to\) pairs of labels, got 3"),
  ],
)
def test_a_bad_mapping_is_refused(mapping, message):
  with pytest.raises(ValueError, match=message):
    noise.asymmetric(0.1, mapping)
  with pytest.raises(ValueError, match=message):
    noise.asymmetric_matrix(0.1, mapping, 3)


def test_a_mapping_that_can_be_read_once_is_kept():
  clean = dataset(300, 3)
  swap = noise.asymmetric(1.0, zip([0, 2], [2, 0], strict=True))
  expected = np.array([2, 1, 0])[np.asarray(clean.y)]
  for noisy in host.transform(swap, clean, clean, key=KEY):
    np.testing.assert_array_equal(noisy.y, expected)


def test_other_classes_than_the_mapping_has_are_refused():
  with pytest.raises(ValueError, match="'cifar10' is of 10 classes, got num_classes 3"):
    host.refuse(rfjax.transform, noise.asymmetric(0.1, "cifar10"), dataset(10, 3), key=KEY)
  with pytest.raises(ValueError, match=r"labels in \[0, 3\), got \(3, 0\)"):
    host.refuse(rfjax.transform, noise.asymmetric(0.1, [(0, 1), (3, 0)]), dataset(10, 3), key=KEY)
  with pytest.raises(ValueError, match=r"labels in \[0, 3\), got \(0, 3\)"):
    noise.asymmetric_matrix(0.1, [(0, 3)], 3)


@pytest.mark.parametrize("rate", [-0.1, 1.5, float("nan"), "a"])
def test_a_rate_out_of_range_is_refused(rate):
  with pytest.raises(ValueError, match="rate must"):
    noise.asymmetric(rate, "mnist")
  with pytest.raises(ValueError, match="rate must"):
    noise.asymmetric_matrix(rate, "mnist", 10)
