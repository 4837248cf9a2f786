"""Learning curves against planted ones and SciPy's bounded least squares."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import curve_fit

from rfjax.fairness import preprocessing

SIZES = np.geomspace(100, 20000, 8)


@functools.partial(jax.jit, static_argnames="offset")
def fit(size, loss, weight=None, offset=False):
  return preprocessing.learning_curve(size, loss, weight=weight, offset=offset)


def double(*arrays, **settings):
  with jax.enable_x64(True):
    return jax.tree.map(np.asarray, fit(*(jnp.asarray(a, jnp.float64) for a in arrays), **settings))


def planted(rng, curves=6, offset=False):
  b, a = rng.uniform(0.5, 8, curves), rng.uniform(0.1, 1.2, curves)
  c = rng.uniform(0.05, 0.3, curves) * offset
  return b, a, c, b[:, None] * SIZES ** -a[:, None] + c[:, None]


@pytest.mark.parametrize("offset", [False, True])
def test_planted_curves_are_recovered(offset):
  b, a, c, loss = planted(np.random.default_rng(0), offset=offset)
  size = np.broadcast_to(SIZES, loss.shape)
  found = double(size, loss, offset=offset)
  np.testing.assert_allclose(found.scale, b, rtol=1e-6)
  np.testing.assert_allclose(found.exponent, a, rtol=1e-6)
  np.testing.assert_allclose(found.offset, c, rtol=1e-6, atol=1e-12)
  single = fit(np.float32(size), np.float32(loss), offset=offset)
  np.testing.assert_allclose(single.at(SIZES[:, None]).T, loss, rtol=1e-4)
  beyond = single.at(100000)
  np.testing.assert_allclose(beyond, b * 1e5**-a + c, rtol=0.02 if offset else 1e-3)


@pytest.mark.parametrize("offset", [False, True])
def test_noisy_losses_give_scipys_least_squares(offset):
  rng = np.random.default_rng(1)
  *_, loss = planted(rng, offset=offset)
  loss = np.abs(loss * (1 + 0.05 * rng.normal(size=loss.shape)))
  found = double(np.broadcast_to(SIZES, loss.shape), loss, offset=offset)
  curve = (lambda n, b, a, c: b * n**-a + c) if offset else (lambda n, b, a: b * n**-a)
  sum_of = lambda value, y: np.sum(SIZES * (value - y) ** 2)
  for i, y in enumerate(loss):
    start = (1.0, 0.5, 0.05)[: 2 + offset]
    theirs, _ = curve_fit(
      curve, SIZES, y, start, SIZES**-0.5, bounds=(0, np.inf), maxfev=5000, xtol=1e-12, ftol=1e-12
    )
    ours = (found.scale[i], found.exponent[i], found.offset[i])[: 2 + offset]
    assert sum_of(curve(SIZES, *ours), y) <= sum_of(curve(SIZES, *theirs), y) * (1 + 1e-9)
    if not offset:
      np.testing.assert_allclose(ours, theirs, rtol=1e-5)


def test_weights_and_sizes_of_nothing():
  rng = np.random.default_rng(2)
  *_, loss = planted(rng, 2)
  loss = loss * (1 + 0.1 * rng.normal(size=loss.shape))
  size, weight = np.broadcast_to(SIZES, loss.shape), rng.uniform(0.5, 2, loss.shape)
  weight[:, 3] = 0
  found = double(size, loss, weight)
  for i in range(2):
    theirs, _ = curve_fit(
      lambda n, b, a: b * n**-a,
      *(v[i][weight[i] > 0] for v in (size, loss)),
      (1.0, 0.5),
      weight[i][weight[i] > 0] ** -0.5,
      bounds=(0, np.inf),
      xtol=1e-12,
      ftol=1e-12,
    )
    np.testing.assert_allclose([found.scale[i], found.exponent[i]], theirs, rtol=1e-5)
  absent, anything = size.copy(), loss.copy()
  absent[:, 3], anything[:, 3] = 0, 50
  again = double(absent, anything, weight)
  for one, two in zip(found, again, strict=True):
    np.testing.assert_allclose(one, two, rtol=1e-8)


def test_an_offset_that_would_be_negative_is_left_out():
  *_, loss = planted(np.random.default_rng(3))
  loss = loss - 0.5 * loss[:, -1:]  # as if the offset were half of the last loss, below 0
  size = np.broadcast_to(SIZES, loss.shape)
  free, plain = double(size, loss, offset=True), double(size, loss)
  np.testing.assert_array_equal(free.offset, 0)
  np.testing.assert_allclose(free.exponent, plain.exponent, rtol=1e-6)
  np.testing.assert_allclose(free.scale, plain.scale, rtol=1e-5)


def test_a_loss_that_does_not_fall_is_flat_and_nothing_is_known_of_nothing():
  loss = np.array([np.linspace(0.3, 0.5, 8), np.full(8, 0.4), np.zeros(8), np.ones(8)])
  size = np.tile(SIZES, (4, 1))
  size[3] = 0
  found = double(size, loss)
  np.testing.assert_allclose(found.exponent, 0, atol=1e-7)
  mean = np.average(loss[0], weights=SIZES)
  np.testing.assert_allclose(found.scale, [mean, 0.4, 0, 0], rtol=1e-6)
  with_offset = double(size, loss, offset=True)
  assert all(np.isfinite(leaf).all() for leaf in with_offset)
  np.testing.assert_allclose(with_offset.at(1000)[:3], [mean, 0.4, 0], rtol=1e-5)


def test_what_is_no_curve_is_refused():
  with pytest.raises(ValueError, match="size must lie in"):
    preprocessing.learning_curve([-1.0, 2.0], [0.1, 0.2])
  with pytest.raises(ValueError, match="loss must lie in"):
    preprocessing.learning_curve([1.0, 2.0], [0.1, -0.2])
  with pytest.raises(ValueError, match="must have one shape"):
    preprocessing.learning_curve([1.0, 2.0], [0.1, 0.2, 0.3])
  with pytest.raises(ValueError, match="steps must be"):
    preprocessing.learning_curve([1.0, 2.0], [0.1, 0.2], steps=0)
