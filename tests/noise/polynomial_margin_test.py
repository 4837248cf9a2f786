"""Polynomial-margin noise: frequencies against the curves, both scalings, what is refused."""

import functools
import itertools

import host
import jax
import numpy as np
import pytest

import rfjax
from rfjax import noise

KEY = jax.random.key(0)
ROWS = 200_000


@functools.cache
def example(rows=ROWS, seed=0):
  """Margins all over [0, 1], and labels that say nothing."""
  rng = np.random.default_rng(seed)
  probs = rng.dirichlet([0.4, 0.4, 0.4], rows)
  y = rng.integers(0, 3, rows)
  return host.batch(np.zeros((rows, 1), np.float32), y), probs.astype(np.float32)


def top(probs):
  order = np.argsort(-probs, axis=1, kind="stable")
  first, second = order[:, 0], order[:, 1]
  rows = np.arange(len(probs))
  return first, second, probs[rows, first].astype(float) - probs[rows, second]


def curve(kind, g):
  if kind == 1:
    return 0.5 - 0.5 * g * g
  if kind == 2:
    return 1 - g * g * g
  return 1 - g / 3 - g * g / 3 - g * g * g / 3


def chance(kind, scaling, scale, g):
  if scaling == "paper":
    return np.clip(scale * curve(kind, g), 0, 1)
  return np.clip(1 - (1 - curve(kind, g)) / scale, 0, 1)


def run(clean, probs, **settings):
  return rfjax.transform(noise.polynomial_margin(probs, **settings), clean, key=KEY)


SCALINGS, SCALES = ["paper", "code"], [0.6, 1.0, 1.43, 3.4]
CASES = list(itertools.product([1, 2, 3], SCALINGS, SCALES))
SURE = [("code", 1.43, 0.3007), ("code", 3.4, 0.7059), ("paper", 3.4, 0.0), ("code", 1.0, 0.0)]


def labels(probs, cases):
  """Noisy labels of each kind, scaling and scale, by one program."""
  names = "kind", "scaling", "scale"
  one = lambda clean, case: run(clean, probs, **dict(zip(names, case, strict=True))).y
  return host.run(lambda clean: {case: one(clean, case) for case in cases}, example()[0])


@functools.cache
def given():
  return labels(example()[1], CASES)


@functools.cache
def sure():
  cases = [(kind, *case[:2]) for kind in (2, 3) for case in SURE]
  return labels(np.tile(np.float32([0, 1, 0]), (ROWS, 1)), cases)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("kind", [1, 2, 3])
def test_the_second_label_has_the_curves_frequency(kind, scaling, scale):
  first, second, g = top(example()[1])
  y = given()[kind, scaling, scale]
  assert ((y == first) | (y == second)).all()
  p = chance(kind, scaling, scale, g)
  for low in np.arange(0, 1, 0.05):
    part = (g >= low) & (g < low + 0.05)
    error = 5 * np.sqrt((p[part] * (1 - p[part])).sum())
    assert abs((y == second)[part].sum() - p[part].sum()) <= error + 1e-9


@pytest.mark.parametrize(("scaling", "scale", "expected"), SURE)
@pytest.mark.parametrize("kind", [2, 3])
def test_the_published_code_has_a_floor_where_the_network_is_sure(kind, scaling, scale, expected):
  second = float((sure()[kind, scaling, scale] != 1).mean())
  assert abs(second - expected) <= 5 * np.sqrt(expected * (1 - expected) / ROWS) + 5e-5


def test_the_given_label_is_kept_as_the_true_one_and_plays_no_other_part():
  clean, probs = example(500)
  flip = noise.polynomial_margin(probs)
  noisy, other = host.transform(flip, clean, clean.replace(y=0 * clean.y), key=KEY)
  np.testing.assert_array_equal(noisy.truth.y, clean.y)
  np.testing.assert_array_equal(other.y, noisy.y)
  (twice,) = host.transform(rfjax.chain(flip, flip), clean, key=KEY)
  np.testing.assert_array_equal(twice.truth.y, clean.y)


@pytest.mark.parametrize("scaling", ["paper", "code"])
def test_a_larger_scale_gives_the_second_label_to_the_same_rows_and_some_more(scaling):
  clean, probs = example(2000)
  first, _, _ = top(probs)
  known, scales = host.on_device(clean), np.float32([0.5, 1.0, 1.43, 3.4])
  t = lambda scale, p: noise.polynomial_margin(p, kind=3, scale=scale, scaling=scaling)
  one = lambda scale, p: rfjax.transform(t(scale, p), known, key=KEY).y
  loop = lambda: [one(float(scale), probs) for scale in scales]
  both = lambda many, p: (jax.vmap(one, (0, None))(many, p), loop())
  y, singles = host.run(both, scales, probs)
  np.testing.assert_array_equal(y, singles)
  for low, high in itertools.pairwise(y != first):
    assert (high | ~low).all() and high.sum() > low.sum()


def test_equal_probabilities_have_the_smaller_label_first():
  clean = host.batch(np.zeros((50, 1)), [2] * 50)
  flip = noise.polynomial_margin(np.full((50, 3), 1 / 3), kind=2)
  y = host.transform(flip, clean, key=KEY)[0].y
  assert (y == 1).all()


def test_rows_find_their_probabilities_by_index_and_take_their_noise_along():
  clean, probs = example(300)
  order = np.random.default_rng(3).permutation(300)
  taken = host.take(clean, order, np.full(40, 300))
  noisy, moved = host.transform(noise.polynomial_margin(probs, kind=2), clean, taken, key=KEY)
  np.testing.assert_array_equal(moved.y[:300], noisy.y[order])
  np.testing.assert_array_equal(moved.y[300:], 0)


@pytest.mark.parametrize(
  ("settings", "message"),
  [
    ({"kind": 4}, "kind must be one of 1, 2, 3, got 4"),
    ({"kind": "I"}, "kind must be one of 1, 2, 3, got 'I'"),
    ({"scaling": "github"}, "scaling must be one of 'paper', 'code', got 'github'"),
    ({"scale": 0.0}, r"scale must lie in \(0, inf\)"),
    ({"scale": float("nan")}, r"scale must lie in \(0, inf\)"),
    ({"scale": "a"}, "scale must be a number"),
  ],
)
def test_values_out_of_range_are_refused(settings, message):
  with pytest.raises(ValueError, match=message):
    noise.polynomial_margin([[0.5, 0.5]], **settings)


def test_rows_without_probabilities_keep_their_labels_in_compiled_code():
  clean, _ = example(300)
  wrong = clean.replace(y=np.full(300, 2, np.int32))
  certain = np.tile(np.float32([1, 0, 0]), (200, 1))
  inside = jax.jit(lambda batch: run(batch, certain, kind=2).y)
  np.testing.assert_array_equal(inside(wrong), [0] * 200 + [2] * 100)


def test_a_table_that_does_not_fit_is_refused():
  clean, probs = example(10)
  with pytest.raises(ValueError, match="not logits"):
    noise.polynomial_margin([[3.0, -1.0]])
  with pytest.raises(ValueError, match="probs has 9 rows"):
    host.refuse(run, clean, probs[:9])
  with pytest.raises(ValueError, match="probs is of 2 classes"):
    host.refuse(run, clean, np.full((10, 2), 0.5))
