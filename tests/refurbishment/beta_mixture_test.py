"""The mixture of two beta distributions against NumPy, and its posterior's shape."""

import jax
import numpy as np
import pytest
from scipy import stats

from rfjax import refurbishment

RNG = np.random.default_rng(0)


fit = jax.jit(refurbishment.beta_mixture, static_argnames="steps")


def draws(count=400, lower=(2.0, 9.0), upper=(6.0, 3.0), share=0.35, rng=RNG):
  high = rng.random(count) < share
  values = [rng.beta(a, b, count) for a, b in (lower, upper)]
  return np.where(high, values[1], values[0]), high


def reference(values, steps):
  """EM by moments, from the paper's start, in loops of NumPy and SciPy."""
  x = np.clip(values, 1e-4, 1 - 1e-4)
  a, b, w = [1.0, 2.0], [2.0, 1.0], [0.5, 0.5]
  for _ in range(steps):
    r = [np.maximum(w[k] * stats.beta.pdf(x, a[k], b[k]), 1e-12) for k in range(2)]
    total = r[0] + r[1]
    for k in range(2):
      r[k] = r[k] / total
      mean = (r[k] * x).sum() / r[k].sum()
      variance = (r[k] * (x - mean) ** 2).sum() / r[k].sum()
      a[k] = mean * (mean * (1 - mean) / variance - 1)
      b[k] = a[k] * (1 - mean) / mean
      w[k] = r[k].sum() / len(x)
  return np.array(w), np.array(a), np.array(b)


def density(values, fitted):
  w, a, b = fitted
  return [w[k] * stats.beta.pdf(values, a[k], b[k]) for k in range(2)]


@pytest.mark.parametrize("steps", [1, 3, 10])
def test_the_fit_is_that_of_the_loops(steps):
  for seed in range(3):
    values, _ = draws(rng=np.random.default_rng(seed))
    with jax.enable_x64(True):
      found = fit(values, steps=steps)
    wanted = reference(values, steps)
    assert wanted[1][0] / wanted[2][0] < wanted[1][1] / wanted[2][1]
    for one, two in zip((found.weights, found.alphas, found.betas), wanted, strict=True):
      np.testing.assert_allclose(one, two, rtol=1e-9)
    short = fit(values.astype(np.float32), steps=steps)
    np.testing.assert_allclose(short.alphas, wanted[1], rtol=2e-3)
    np.testing.assert_allclose(short.weights, wanted[0], rtol=2e-3)


def test_the_posterior_is_bayes_and_stays_at_its_maximum():
  values = draws(lower=(1.5, 4.0), upper=(20.0, 10.0), share=0.5)[0]
  fitted = reference(values, 10)
  grid = np.linspace(0.0005, 0.9995, 4001)
  low, high = density(grid, fitted)
  ratio = high / (low + high)
  top = ratio.argmax()
  assert 0 < top < len(grid) - 1 and ratio[-1] < 0.9 * ratio[top]  # it would fall again
  ratio[top:] = ratio[top]
  bottom = ratio[:top].argmin()
  assert bottom == 0

  @jax.jit
  def curves(values, grid):
    found = refurbishment.beta_mixture(values)
    posteriors = [refurbishment.beta_posterior(found, at) for at in (grid, values)]
    return found.posterior, *posteriors

  with jax.enable_x64(True):
    posterior, curve, at_values = jax.device_get(curves(values, grid))
  np.testing.assert_allclose(curve, ratio, atol=1e-6)
  np.testing.assert_allclose(posterior, at_values, rtol=1e-12)
  assert (np.diff(curve) >= -1e-12).all()


def test_the_table_of_the_authors_is_a_coarse_form_of_it():
  values = draws()[0]
  fitted = reference(values, 10)
  grid = np.linspace(1e-12, 1 - 1e-12, 100)
  low, high = density(grid, fitted)
  table = high / (low + high + 1e-12)
  table[table.argmax() :] = table.max()
  looked_up = table[np.minimum((100 * values).astype(int), 99)]
  found = np.asarray(fit(values.astype(np.float32), steps=10).posterior)
  assert np.abs(found - looked_up).max() < 0.06 and np.abs(found - looked_up).mean() < 0.01


def test_no_posterior_ever_falls():
  shapes = [
    ((2.0, 9.0), (6.0, 3.0)),  # a maximum inside
    ((2.0, 5.0), (0.5, 0.4)),  # a minimum inside
    ((2.0, 5.0), (3.0, 2.0)),  # neither
    ((3.0, 3.0), (3.0, 3.0)),  # one and the same
  ]
  grid, posterior = np.linspace(0.001, 0.999, 500), jax.jit(refurbishment.beta_posterior)
  grid = grid.astype(np.float32)
  for lower, upper in shapes:
    a, b = np.array([lower, upper], np.float32).T
    mixture = refurbishment.BetaMixture(np.array([0.6, 0.4], np.float32), a, b, grid)
    curve = np.asarray(posterior(mixture, grid))
    assert (np.diff(curve) >= -1e-6).all() and (curve >= 0).all() and (curve <= 1).all()
    raw = [w * stats.beta.pdf(grid, *s) for w, s in ((0.6, lower), (0.4, upper))]
    raw = raw[1] / (raw[0] + raw[1])
    rising = np.gradient(raw) > 0
    np.testing.assert_allclose(curve[rising], raw[rising], atol=1e-4)


def test_it_finds_the_distributions_it_was_drawn_from():
  rng = np.random.default_rng(3)
  values, high = draws(20_000, rng=rng)
  found = fit(values.astype(np.float32), steps=200)
  np.testing.assert_allclose(found.weights, [0.65, 0.35], atol=0.03)
  np.testing.assert_allclose(found.alphas, [2.0, 6.0], rtol=0.15)
  np.testing.assert_allclose(found.betas, [9.0, 3.0], rtol=0.15)
  assert ((np.asarray(found.posterior) > 0.5) == high).mean() > 0.95


def test_rows_outside_the_mask_do_not_count_but_have_a_posterior():
  values, _ = draws(60)
  mask = RNG.random(60) < 0.6

  @jax.jit
  def both(values, mask):
    some = refurbishment.beta_mixture(values, mask)
    return some, refurbishment.beta_posterior(some, values)

  some, every = both(values.astype(np.float32), mask)
  other, _ = both(np.where(mask, values, 0.77).astype(np.float32), mask)
  w, a, _ = reference(values[mask], 10)
  np.testing.assert_allclose(some.weights, w, rtol=1e-3)
  np.testing.assert_allclose(some.alphas, a, rtol=1e-3)
  np.testing.assert_array_equal(some.betas, other.betas)
  np.testing.assert_allclose(some.posterior, every, rtol=1e-5)


def test_degenerate_values_give_finite_fits():
  fit = jax.jit(jax.vmap(refurbishment.beta_mixture))
  values = np.stack([
    np.full(8, 0.5), np.full(8, 0.0), np.full(8, 1.0), np.arange(8) % 2, np.arange(8) / 7,
    np.r_[np.zeros(7), 1.0], np.r_[np.full(7, 0.25), 0.25001],
  ])  # fmt: skip
  mask = np.ones(values.shape, bool)
  masks = np.concatenate([mask, np.zeros_like(mask), np.arange(8) == 2 & mask])
  found = jax.device_get(fit(np.tile(values, (3, 1)).astype(np.float32), masks))
  for leaf in found:
    assert np.isfinite(leaf).all()
  np.testing.assert_allclose(found.weights.sum(1), 1, rtol=1e-5)
  assert (found.alphas > 0).all() and (found.betas > 0).all()


def test_a_value_far_from_both_counts_for_both():
  rng = np.random.default_rng(4)
  values = np.r_[0.3 + 0.01 * rng.normal(size=4000), 0.5 + 0.01 * rng.normal(size=4000), 0.97]
  weights, alphas, betas = reference(values, 10)
  densities = density(values[-1:], (weights, alphas, betas))
  assert max(densities)[0] < 1e-12
  with jax.enable_x64(True):
    found = fit(values)
  np.testing.assert_allclose(found.alphas, alphas, rtol=1e-6)  # jax's betaln is no better from 8 on


@pytest.mark.parametrize("steps", [0, 1.5])
def test_steps_out_of_range_are_refused(steps):
  with pytest.raises(ValueError, match="steps must"):
    refurbishment.beta_mixture(np.array([0.1, 0.2]), steps=steps)
