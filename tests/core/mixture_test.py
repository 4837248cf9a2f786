"""The mixture of two normal distributions against scikit-learn, and where it has little to fit."""

import functools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.mixture import GaussianMixture

from rfjax.core import gaussian_mixture

ROWS = 300
mixture = jax.jit(gaussian_mixture, static_argnames=("steps", "floor"))


@functools.cache
def values(seed=0, share=0.3, apart=3.0):
  """Numbers of two overlapping parts, on a scale that is not that of the standardised ones."""
  rng = np.random.default_rng(seed)
  upper = rng.random(ROWS) < share
  return 7.0 + 20.0 * np.where(upper, apart + 0.7 * rng.normal(size=ROWS), rng.normal(size=ROWS))


def peer(v, steps, floor=1e-6):
  """The same fit by scikit-learn; means and variances on the scale of `v`."""
  center, spread = v.mean(), v.std()
  scaled = ((v - center) / spread)[:, None]
  model = GaussianMixture(
    2,
    covariance_type="spherical",
    tol=0.0,
    reg_covar=floor,
    max_iter=steps,
    means_init=[scaled.min(0), scaled.max(0)],
    weights_init=[0.5, 0.5],
    precisions_init=np.full(2, 1 / np.mean(scaled**2)),
    init_params="random",
    random_state=0,
  )
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # a tolerance of zero is never met
    model.fit(scaled)
  order = np.argsort(model.means_[:, 0])
  return (
    model.weights_[order],
    model.means_[order, 0] * spread + center,
    model.covariances_[order] * spread**2,
    model.predict_proba(scaled)[:, order[1]],
  )


SAMPLES = [(0, 0.3, 3.0), (1, 0.5, 2.0), (2, 0.1, 4.0), (3, 0.8, 1.5), (4, 0.2, 0.0)]


@pytest.mark.parametrize("steps, floor", [(100, 1e-6), (1, 1e-6), (7, 1e-2)])
def test_is_the_mixture_of_scikit_learn(steps, floor):
  many = np.array([values(*sample) for sample in SAMPLES])
  with jax.enable_x64(True):
    found = jax.vmap(lambda v: mixture(v, steps=steps, floor=floor))(jnp.asarray(many))
  for i, v in enumerate(many):
    for name, wanted in zip(found._fields, peer(v, steps, floor), strict=True):
      np.testing.assert_allclose(
        getattr(found, name)[i], wanted, rtol=1e-9, atol=1e-10, err_msg=f"{name} {SAMPLES[i]}"
      )


def test_defaults_are_a_hundred_steps_and_a_floor_of_a_millionth():
  v = jnp.asarray(values())
  jax.tree.map(np.testing.assert_array_equal, mixture(v), mixture(v, steps=100, floor=1e-6))


@pytest.mark.parametrize("sample", SAMPLES[:3])
def test_single_precision_is_close_to_double(sample):
  v = values(*sample)
  found = mixture(jnp.asarray(v, jnp.float32))
  wanted = peer(v, 100)
  np.testing.assert_allclose(found.posterior, wanted[3], atol=2e-3)
  assert found.posterior.mean() == pytest.approx(wanted[3].mean(), abs=1e-4)
  np.testing.assert_allclose(found.means, wanted[1], rtol=1e-3)


def test_masked_values_do_not_count():
  v, mask = values(), np.random.default_rng(7).random(ROWS) < 0.6
  with jax.enable_x64(True):
    for elsewhere in (1e6, -1e6, 0.0):
      found = mixture(jnp.where(mask, v, elsewhere), jnp.asarray(mask))
      wanted = peer(v[mask], 100)
      for name, value in zip(found._fields[:3], wanted, strict=False):
        np.testing.assert_allclose(getattr(found, name), value, rtol=1e-9, err_msg=name)
      np.testing.assert_allclose(found.posterior[mask], wanted[3], atol=1e-10)
      assert np.isfinite(found.posterior).all()
    full = mixture(jnp.asarray(v), jnp.ones(ROWS, bool))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), full, mixture(v))


def test_a_masked_value_has_the_posterior_of_its_own_value():
  v = values().copy()
  mask = np.arange(ROWS) < ROWS - 2
  v[-2:] = v[0], v[1]
  with jax.enable_x64(True):
    posterior = mixture(jnp.asarray(v), jnp.asarray(mask)).posterior
  np.testing.assert_allclose(posterior[-2:], posterior[:2], rtol=1e-12)


@pytest.mark.parametrize("scale, shift", [(1e-3, 0.0), (1.0, 50.0), (1e4, -3.0), (-2.0, 1.0)])
def test_nothing_hangs_on_scale_and_origin(scale, shift):
  v = values()
  with jax.enable_x64(True):
    fits = mixture(jnp.asarray(v)), mixture(jnp.asarray(scale * v + shift))
  one, two = (jax.tree.map(np.asarray, fit) for fit in fits)
  turn = slice(None, None, -1 if scale < 0 else 1)
  np.testing.assert_allclose(two.weights[turn], one.weights, rtol=1e-9)
  np.testing.assert_allclose(two.means[turn], scale * one.means + shift, rtol=1e-9)
  np.testing.assert_allclose(two.variances[turn], scale**2 * one.variances, rtol=1e-9)
  upper = 1 - two.posterior if scale < 0 else two.posterior
  np.testing.assert_allclose(upper, one.posterior, atol=1e-9)


# Of 0.1 and 1 / 3 the mean in float32 is not the value itself.
@pytest.mark.parametrize("value", [0.0, 0.1, 1 / 3, -5.0, 1e6])
def test_of_equal_values_nobody_can_tell(value):
  found = mixture(jnp.full(ROWS, value, jnp.float32))
  np.testing.assert_array_equal(found.posterior, 0.5)
  np.testing.assert_allclose(found.means, value, rtol=1e-6)
  np.testing.assert_allclose(found.weights, 0.5)
  assert np.isfinite(found.variances).all() and (found.variances >= 0).all()


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_few_values_are_no_trouble(rows):
  v = jnp.asarray(values(), jnp.float32)
  found = mixture(v, jnp.arange(ROWS) < rows)
  assert all(np.isfinite(leaf).all() for leaf in found)
  np.testing.assert_allclose(found.weights, 0.5, atol=1e-6)
  if rows == 2:
    np.testing.assert_allclose(found.means, np.sort(v[:2]), rtol=1e-5)
    np.testing.assert_allclose(found.posterior[:2], v[:2] > v[:2].mean(), atol=1e-6)
  else:
    np.testing.assert_allclose(found.posterior[:rows], 0.5)


def test_an_outlier_does_not_spoil_the_numbers():
  v = values().copy()
  v[0] = 1e5
  found = mixture(jnp.asarray(v, jnp.float32))
  assert all(np.isfinite(leaf).all() for leaf in found)
  assert found.posterior[0] == 1


def test_each_step_raises_the_likelihood():
  v = values(1, 0.5, 2.0)

  def likelihood(steps):
    w, m, s, _ = (np.asarray(leaf) for leaf in mixture(jnp.asarray(v), steps=steps, floor=1e-12))
    density = w * np.exp(-((v[:, None] - m) ** 2) / (2 * s)) / np.sqrt(2 * np.pi * s)
    return np.log(density.sum(1)).sum()

  with jax.enable_x64(True):
    found = [likelihood(steps) for steps in (1, 2, 3, 7, 100)]
  assert (np.diff(found) > 0).all()


def test_products_are_taken_in_full_precision():
  # On a device of short products the moments would lose all but three digits.
  text = str(jax.make_jaxpr(gaussian_mixture)(jnp.zeros(ROWS)))
  assert text.count("dot_general") == text.count("precision=(Precision.HIGHEST")


def test_no_steps_are_refused():
  with pytest.raises(ValueError, match="steps must"):
    gaussian_mixture(jnp.zeros(3), steps=0)
