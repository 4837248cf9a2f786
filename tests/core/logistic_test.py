"""Logistic regression against scikit-learn, its own gradient, and hard cases."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rfjax.core import logistic_regression


def problem(seed=0, rows=120, columns=3, noise=1.0, shift=0.0, scale=1.0):
  rng = np.random.default_rng(seed)
  x = scale * rng.normal(size=(rows, columns)) + shift
  score = (x - shift) @ rng.normal(size=columns) + noise * scale * rng.normal(size=rows)
  return x, (score > 0).astype(np.int32)


CASES = {
  "overlapping": (problem(), 1.0),
  "uncentred": (problem(1, shift=3.0, scale=5.0), 0.1),
  "separable": (problem(2, noise=0.0), 1e-2),
  "separable, weak penalty": (problem(3, rows=40, columns=2, noise=0.0), 1e-5),
}


def gradient(x, y, weight, l2, kernel, intercept):
  residual = weight * (1 / (1 + np.exp(-(x @ kernel + intercept))) - y)
  return np.append(residual @ x + l2 * kernel, residual.sum())


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("weighted", [False, True])
def test_equals_scikit_learn(case, weighted):
  linear_model = pytest.importorskip("sklearn.linear_model")
  (x, y), l2 = CASES[case]
  weight = np.random.default_rng(9).uniform(0, 2, len(y)) if weighted else np.ones(len(y))
  with jax.enable_x64(True):
    kernel, intercept = logistic_regression(x, y, weight=weight if weighted else None, l2=l2)
    assert kernel.dtype == np.float64
  peer = linear_model.LogisticRegression(
    C=1 / l2, solver="newton-cholesky", tol=1e-13, max_iter=1000
  ).fit(x, y, sample_weight=weight)
  np.testing.assert_allclose(kernel, peer.coef_[0], rtol=1e-8, atol=1e-10)
  np.testing.assert_allclose(intercept, peer.intercept_[0], rtol=1e-8, atol=1e-8)
  assert np.abs(gradient(x, y, weight, l2, np.asarray(kernel), float(intercept))).max() < 1e-9


@pytest.mark.parametrize("case", CASES)
def test_float32_is_close_to_float64(case):
  (x, y), l2 = CASES[case]
  x = x.astype(np.float32)
  with jax.enable_x64(True):
    exact = np.append(*logistic_regression(x.astype(np.float64), y, l2=l2))
  single = np.append(*logistic_regression(x, y, l2=l2))
  assert single.dtype == np.float32
  np.testing.assert_allclose(single, exact, atol=1e-5 * np.abs(exact).max())


def test_zero_weights_drop_rows():
  x, y = problem(4)
  weight = np.ones(len(y))
  weight[:7] = 0
  dropped = logistic_regression(x[7:], y[7:])
  x[:7] = 1e3
  weighted = logistic_regression(x, y, weight=weight)
  np.testing.assert_allclose(np.append(*weighted), np.append(*dropped), atol=1e-5)


def test_every_step_lowers_the_objective_on_separable_data():
  (x, y), l2 = CASES["separable, weak penalty"]
  sign = 2 * y - 1

  def objective(steps):
    kernel, intercept = map(np.asarray, logistic_regression(x, y, l2=l2, steps=steps))
    loss = np.logaddexp(0, -sign * (x @ kernel + intercept)).sum()
    return loss + 0.5 * l2 * kernel @ kernel

  with jax.enable_x64(True):
    values = [len(y) * np.log(2)] + [objective(steps) for steps in (1, 2, 3, 5, 8)]
  assert np.all(np.diff(values) < 0)


@pytest.mark.parametrize("l2", [1e-2, 1e-6, 1e-12])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_two_points_meet_their_closed_condition(l2, dtype):
  with jax.enable_x64(dtype is np.float64):
    x = np.array([[2.0], [4.0]], dtype)
    kernel, intercept = logistic_regression(x, np.array([0, 1]), l2=l2)
  k = float(kernel[0])
  # 2 sigmoid(-k) = l2 k by symmetry about 3, and so log(2 / (l2 k) - 1) = k.
  tolerance = 1e-10 if dtype is np.float64 else 1e-5
  assert abs(np.log(2 / (l2 * k) - 1) - k) < tolerance * k
  assert abs(float(intercept) + 3 * k) < tolerance * k


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_gives_a_large_finite_intercept(label):
  x, y = problem(5, rows=16)
  kernel, intercept = logistic_regression(x, np.full_like(y, label))
  assert np.isfinite(kernel).all() and np.isfinite(intercept)
  assert (2 * label - 1) * float(intercept) > 10


def test_no_rows_of_weight_give_zeros():
  x, y = problem(6, rows=16)
  kernel, intercept = logistic_regression(x, y, weight=np.zeros(16))
  assert not kernel.any() and intercept == 0


def test_flattens_and_takes_integers():
  x = np.arange(24).reshape(6, 2, 2) % 5
  y = np.array([0, 1, 0, 1, 1, 0])
  flat = logistic_regression(x.reshape(6, 4).astype(np.float32), y)
  np.testing.assert_array_equal(np.append(*logistic_regression(x, y)), np.append(*flat))


def test_vmapped_and_jitted_equal_single_fits():
  x, y = problem(7, rows=40)
  penalties = jnp.array([0.01, 1.0, 100.0])
  fit = lambda l2: jnp.append(*logistic_regression(x, y, l2=l2))
  single = np.stack([fit(l2) for l2 in penalties])
  np.testing.assert_allclose(jax.jit(jax.vmap(fit))(penalties), single, atol=1e-5)


@pytest.mark.parametrize("bad", [{"l2": 0.0}, {"l2": -1.0}, {"steps": 0}, {"steps": 1.5}])
def test_refuses_numbers_out_of_range(bad):
  x, y = problem(rows=8)
  with pytest.raises(ValueError, match=next(iter(bad))):
    logistic_regression(x, y, **bad)
