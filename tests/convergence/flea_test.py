"""FLEA against a NumPy oracle of its distances, and the manipulations that it has to find."""

import functools

import jax
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

import rfjax
from rfjax import convergence, noise

KINDS = (
  "flip_group",
  "flip_label",
  "flip_both",
  "shuffle_group",
  "copy_label_to_group",
  "copy_group_to_label",
  "resample",
  "random_anchor",
)


# ---- an oracle, one pair of sources after the other


def regression(x, t, weight):
  return LogisticRegression(C=1.0, tol=1e-12, max_iter=10_000).fit(x, t, sample_weight=weight)


def scaled(a, b):
  """Features of both, by the mean and deviation of a mixture of halves."""
  mean = (a.mean(0) + b.mean(0)) / 2
  second = ((a**2).mean(0) + (b**2).mean(0)) / 2
  return [(v - mean) / np.sqrt(second - mean**2) for v in (a, b)]


def disc(xa, ya, xb, yb):
  half = (len(ya) + len(yb)) / 2
  weight = np.repeat([half / len(ya), half / len(yb)], [len(ya), len(yb)])
  model = regression(np.r_[xa, xb], np.r_[ya, 1 - yb], weight)
  return abs((model.predict(xa) != ya).mean() - (model.predict(xb) != yb).mean())


def gap(values, z):
  return values[z == 1].mean() - values[z == 0].mean()


def disp(xa, za, xb, zb, steps):
  share = np.where(za == 1, 0.5 / za.sum(), 0.5 / (1 - za).sum())
  model = regression(xa, za, share * len(za))
  theta = np.r_[model.coef_[0], model.intercept_]
  xa, xb = np.c_[xa, np.ones(len(xa))], np.c_[xb, np.ones(len(xb))]
  sigmoid = lambda u: 1 / (1 + np.exp(-u))
  mean, square = np.zeros_like(theta), np.zeros_like(theta)
  for t in range(1, steps + 1):
    pull = (share * (sigmoid(xa @ theta) - za)) @ xa
    p = sigmoid(xb @ theta)
    slope = (p * (1 - p))[:, None] * xb
    push = np.sign(gap(p, zb)) * (slope[zb == 1].mean(0) - slope[zb == 0].mean(0))
    g = pull + push
    mean, square = 0.9 * mean + 0.1 * g, 0.999 * square + 0.001 * g**2
    theta = theta - 0.05 * (mean / (1 - 0.9**t)) / (np.sqrt(square / (1 - 0.999**t)) + 1e-8)
  accepted = [(x @ theta > 0).astype(float) for x in (xa, xb)]
  return abs(abs(gap(accepted[0], za)) - abs(gap(accepted[1], zb)))


def oracle(x, y, z, source, steps):
  size = source.max() + 1
  found = np.zeros((3, size, size))
  for i in range(size):
    for j in range(size):
      if i == j:
        continue
      a, b = source == i, source == j
      xa, xb = scaled(x[a], x[b])
      found[0, i, j] = disc(xa, y[a], xb, y[b])
      both = disp(xa, z[a], xb, z[b], steps), disp(xb, z[b], xa, z[a], steps)
      found[1, i, j] = max(both)
      found[2, i, j] = abs(z[a].mean() - z[b].mean())
  return found


def test_distances_are_those_of_an_oracle():
  rng = np.random.default_rng(3)
  rows = 150
  source = np.sort(rng.choice(3, rows, p=[0.15, 0.3, 0.55]))  # of unequal sizes
  z = rng.integers(2, size=rows)
  x = rng.normal(size=(rows, 2)) * [1, 5] + z[:, None] + source[:, None]
  y = (x[:, 0] + rng.normal(size=rows) > 1).astype(int) ^ (source == 2)
  want = oracle(x, y, z, source, 30)
  distances = jax.jit(lambda data: convergence.source_distances(data, source, steps=30))
  with jax.enable_x64(True):
    data = rfjax.Batch.from_arrays(x, y, z)
    np.testing.assert_allclose(np.stack(distances(data)), want, atol=1e-12)
    # Rows are found by their address.
    order = rng.permutation(rows)
    shuffled = data.replace(
      **{name: np.asarray(getattr(data, name))[order] for name in ("x", "y", "group", "index")}
    )
    np.testing.assert_allclose(np.stack(distances(shuffled)), want, atol=1e-12)


def test_invalid_rows_have_no_say():
  rng = np.random.default_rng(4)
  x, y, z = rng.normal(size=(60, 2)), rng.integers(2, size=60), rng.integers(2, size=60)
  source, out = np.arange(60) % 2, np.arange(60) >= 48
  data = rfjax.Batch.from_arrays(x, y, z)
  spoilt = data.replace(
    x=np.where(out[:, None], 1e3, data.x).astype(np.float32),
    y=np.where(out, 1, data.y).astype(np.int32),
    valid=~out,
  )
  without = rfjax.Batch.from_arrays(x[~out], y[~out], z[~out])

  @jax.jit
  def distances(spoilt, without):
    got = convergence.source_distances(spoilt, source, steps=5)
    return got, convergence.source_distances(without, source[~out], steps=5)

  got, want = distances(spoilt, without)
  np.testing.assert_allclose(np.stack(got), np.stack(want), atol=1e-6)


# ---- which sources are kept


@pytest.mark.parametrize("keep", [1, 2, 3, 5])
def test_kept_are_those_with_company(keep):
  rng = np.random.default_rng(keep)
  kept_sources = jax.jit(lambda matrix: convergence.kept_sources(matrix, keep))
  for _ in range(20):
    half = rng.random((5, 5))
    matrix = half + half.T
    np.fill_diagonal(matrix, 0)
    near = np.array([sorted(row)[keep - 1] for row in matrix])
    want = np.isin(np.arange(5), np.argsort(near, kind="stable")[:keep])
    np.testing.assert_array_equal(kept_sources(matrix), want)


def test_kinds_are_added_or_the_largest_counts():
  far = np.array([[0, 0.5, 0.3], [0.5, 0, 0.9], [0.3, 0.9, 0]], np.float32)
  flat = np.where(np.eye(3, dtype=bool), 0, 0.4).astype(np.float32)
  kinds = convergence.SourceDistances(far, flat, far.T)

  @jax.jit
  def kept(kinds, keep):
    return {name: convergence.kept_sources(kinds, keep, name) for name in ("sum", "max")}

  of_one = jax.jit(lambda matrix: convergence.kept_sources(matrix, 2))
  for aggregate, matrix in (("sum", 2 * far + flat), ("max", np.maximum(far, flat))):
    np.testing.assert_array_equal(kept(kinds, 2)[aggregate], of_one(matrix))


# ---- the manipulations


CASES = [*((kind, 1) for kind in KINDS), ("random_anchor", 0)]
SOURCE = np.arange(5000) % 5


@functools.cache
@jax.jit
def corrupted(seed):
  """A data set with two bad sources, for each of the cases."""
  key = jax.random.key(seed)
  clean, key = rfjax.data.zafar(key, 5000, odds=3.0), jax.random.fold_in(key, 1)
  bad = {case: noise.corrupt_sources(case[0], SOURCE, [1, 3], group=case[1]) for case in CASES}
  return {case: rfjax.transform(made, clean, key=key) for case, made in bad.items()}


@jax.jit
def valid_of(data, seed):
  key = jax.random.key(seed)
  return rfjax.transform(convergence.flea(SOURCE, steps=50), data, key=key).valid


@pytest.mark.parametrize(("kind", "group"), CASES)
def test_two_of_five_sources_are_found_out(kind, group):
  for seed in (0, 1):
    valid = np.asarray(valid_of(corrupted(seed)[kind, group], seed))
    kept = {s for s in range(5) if valid[SOURCE == s].all()}
    assert kept == {0, 2, 4}
    assert not valid[~np.isin(SOURCE, list(kept))].any()


@pytest.mark.parametrize(
  ("arguments", "settings", "message"),
  [
    (([0, 0],), {}, "source"),
    (([0, 2],), {}, "source"),
    (([0, 1], 3), {}, "keep"),
    (([0, 1],), {"aggregate": "mean"}, "aggregate"),
    (([0, 1],), {"l2": 0.0}, "l2"),
    (([0, 1],), {"steps": 0}, "steps"),
  ],
)
def test_refuses(arguments, settings, message):
  with pytest.raises(ValueError, match=message):
    convergence.flea(*arguments, **settings)


def test_refuses_other_data():
  data = rfjax.Batch.from_arrays(np.zeros((4, 1)), [0, 1, 2, 0], [0, 1, 0, 1])
  with pytest.raises(ValueError, match="two classes and two groups"):
    convergence.source_distances(data, [0, 1, 0, 1])
  with pytest.raises(ValueError, match="rows"):
    data = rfjax.Batch.from_arrays(np.zeros((10, 1)), [0, 1] * 5, [0, 1] * 5)
    convergence.source_distances(data, [0, 1])
