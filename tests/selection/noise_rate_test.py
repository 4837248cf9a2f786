"""Estimates of the noise rate: a mixture by hand, the authors' scan, and shares of a matrix."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rfjax
from rfjax import selection

areas = jax.jit(selection.rate_from_areas)
agreement = jax.jit(selection.rate_from_agreement, static_argnums=1)


def mixture_share(values, steps=100, floor=1e-6):
  """The mean posterior of the upper of two normal distributions, by loops of EM."""
  v = (values - values.mean()) / values.std()
  weights, means, variances = [0.5, 0.5], [v.min(), v.max()], [1.0, 1.0]

  def posterior():
    found = np.zeros((len(v), 2))
    for i, x in enumerate(v):
      for k in range(2):
        exponent = -0.5 * (x - means[k]) ** 2 / variances[k]
        found[i, k] = weights[k] * np.exp(exponent) / np.sqrt(variances[k])
    return found / found.sum(1, keepdims=True)

  for _ in range(steps):
    gamma = posterior()
    for k in range(2):
      weights[k] = gamma[:, k].mean()
      means[k] = np.average(v, weights=gamma[:, k])
      variances[k] = np.average((v - means[k]) ** 2, weights=gamma[:, k]) + floor
  return posterior()[:, int(np.argmax(means))].mean()


@pytest.mark.parametrize("rate", [0.2, 0.5])
def test_areas_give_the_share_of_the_upper_distribution(rate):
  rng = np.random.default_rng(int(10 * rate))
  wrong = rng.random(60) < rate
  area = np.where(wrong, rng.normal(30.0, 4.0, 60), rng.normal(12.0, 3.0, 60))
  with jax.enable_x64(True):
    found = areas(area)
  np.testing.assert_allclose(found, mixture_share(area), rtol=1e-9)
  np.testing.assert_allclose(found, wrong.mean(), atol=0.05)


def test_areas_of_masked_rows_count_for_nothing():
  rng = np.random.default_rng(3)
  area = rng.normal(size=40).astype(np.float32) + np.float32(8) * (np.arange(40) % 3 == 0)
  mask = rng.random(40) < 0.7
  found = areas(area, mask)
  np.testing.assert_allclose(found, mixture_share(area[mask].astype(float)), rtol=1e-4)
  moved = np.where(mask, area, np.float32(1e6))
  assert float(areas(moved, mask)) == float(found)
  assert float(areas(area, np.zeros(40, bool))) == 0


def scan(accuracy, classes, step=0.001):
  """The search of the authors: the first of the steps that explains the agreement."""
  rate = step
  while (1 - rate) ** 2 + rate**2 / (classes - 1) > accuracy and rate < 1:
    rate += step
  return rate


@pytest.mark.parametrize("classes", [2, 3, 10, 100])
def test_agreement_is_the_scan_of_the_authors(classes):
  accuracies = np.linspace(1 / classes + 1e-3, 0.998, 50)
  found = agreement(accuracies.astype(np.float32), classes)
  np.testing.assert_allclose(found, [scan(a, classes) for a in accuracies], atol=1.01e-3)


@pytest.mark.parametrize("classes", [2, 10])
def test_agreement_solves_the_quadratic(classes):
  rates = np.linspace(0, 1 - 1 / classes, 20)
  accuracy = (1 - rates) ** 2 + rates**2 / (classes - 1)
  with jax.enable_x64(True):
    found = np.asarray(agreement(accuracy, classes))
  np.testing.assert_allclose(found, rates, atol=1e-7)
  np.testing.assert_allclose(found[:-2], rates[:-2], rtol=1e-12, atol=1e-15)


def test_agreement_by_chance_or_less_is_the_largest_rate():
  for accuracy in (0.2, 0.1, 0.0):
    np.testing.assert_allclose(selection.rate_from_agreement(accuracy, 5), 0.8, rtol=1e-6)
  assert selection.rate_from_agreement(1.0, 5) == 0


def test_the_share_off_the_diagonal():
  joint = np.array([[40, 5, 5], [0, 25, 5], [10, 0, 10]])
  assert selection.rate_from_confident_joint(jnp.asarray(joint)) == 0.25
  np.testing.assert_allclose(selection.rate_from_confident_joint(joint / 100), 0.25)
  assert selection.rate_from_confident_joint(jnp.zeros((3, 3), jnp.int32)) == 0


def test_estimates_are_traced_in_one_run():
  def all_three(area, accuracy, joint):
    return (
      selection.rate_from_areas(area),
      selection.rate_from_agreement(accuracy, 3),
      selection.rate_from_confident_joint(joint),
    )

  rng = np.random.default_rng(0)
  data = rng.normal(size=(4, 20)), np.linspace(0.4, 1, 4), np.ones((4, 3, 3))
  data = [leaf.astype(np.float32) for leaf in data]
  many = jax.device_get(jax.jit(jax.vmap(all_three))(*data))
  one = jax.jit(all_three)(*(leaf[2] for leaf in data))
  np.testing.assert_allclose([leaf[2] for leaf in many], one, rtol=1e-5)


def test_morph_estimates_by_areas():
  """The state of MORPH after a refresh holds the estimate from its own areas."""
  rng = np.random.default_rng(1)
  data = rfjax.Batch.from_arrays(rng.normal(size=(30, 2)), np.arange(30) % 3)
  method = selection.morph(length=2)
  area = (rng.normal(size=30) + 6 * (np.arange(30) % 4 == 0)).astype(np.float32)

  @jax.jit
  def both(area):
    state = method.init(data, key=None, spec=None)._replace(area=area)
    _, new = method.refresh(data, state, epoch=1)
    return new.noise_rate, selection.rate_from_areas(area)

  np.testing.assert_allclose(*both(area), rtol=1e-6)


@pytest.mark.parametrize(
  "call, name",
  [
    (lambda: selection.rate_from_agreement(1.5, 3), "accuracy"),
    (lambda: selection.rate_from_agreement(0.5, 1), "num_classes"),
    (lambda: selection.rate_from_areas(np.ones((2, 2))), "area"),
    (lambda: selection.rate_from_areas(np.ones(3), np.ones(2, bool)), "mask"),
    (lambda: selection.rate_from_confident_joint([[1, 2]]), "joint"),
    (lambda: selection.rate_from_confident_joint([[1, -2], [0, 1]]), "joint"),
  ],
)
def test_bad_arguments_are_refused(call, name):
  with pytest.raises(ValueError, match=f"{name} must"):
    call()


def test_areas_may_be_a_list():
  values = [1.0, 1.2, 0.8, 5.0]
  found = jax.jit(lambda: selection.rate_from_areas(values))()
  np.testing.assert_allclose(found, areas(np.array(values, np.float32)))
