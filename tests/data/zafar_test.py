"""Zafar et al.'s generator: moments, attribute probabilities, transformations of JAX."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rfjax
from rfjax import data

ROWS = 20_001
MEANS = np.array([[2.0, 2.0], [-2.0, -2.0]])
COVARIANCES = np.array([[[5.0, 1.0], [1.0, 5.0]], [[10.0, 1.0], [1.0, 3.0]]])


@pytest.fixture(scope="module")
def draw():
  return jax.jit(data.zafar, static_argnums=1)


def probability(points, angle, odds, means=MEANS):
  cos, sin = np.cos(angle), np.sin(angle)
  rotated = points @ np.array([[cos, -sin], [sin, cos]])
  density = []
  for mean, covariance in zip(means, COVARIANCES, strict=True):
    d = rotated - mean
    square = (d @ np.linalg.inv(covariance) * d).sum(1)
    density.append(np.exp(-square / 2) / np.sqrt(np.linalg.det(covariance)))
  return odds * density[0] / (odds * density[0] + density[1])


def test_shapes_and_fields(draw):
  batch = draw(jax.random.key(0), ROWS)
  assert isinstance(batch, rfjax.Batch)
  assert batch.x.shape == (ROWS, 3) and batch.x.dtype == jnp.float32
  assert batch.y.dtype == batch.group.dtype == batch.index.dtype == jnp.int32
  assert (batch.num_classes, batch.num_groups) == (2, 2)
  np.testing.assert_array_equal(batch.x[:, 2], batch.group)
  np.testing.assert_array_equal(batch.truth.y, batch.y)
  np.testing.assert_array_equal(batch.index, np.arange(ROWS))
  assert batch.valid.all()


def test_classes_are_balanced_and_shuffled(draw):
  y = np.asarray(draw(jax.random.key(1), ROWS).y)
  assert y.sum() == ROWS // 2
  # Successive labels agree as often as a random order makes them.
  assert abs((y[1:] == y[:-1]).mean() - 0.5) < 4 * 0.5 / np.sqrt(ROWS)


@pytest.mark.parametrize("label", [0, 1])
def test_class_moments(draw, label):
  batch = draw(jax.random.key(2), ROWS)
  points = np.asarray(batch.x, float)[np.asarray(batch.y) == label, :2]
  mean, covariance = MEANS[1 - label], COVARIANCES[1 - label]
  error = np.sqrt(np.diag(covariance) / len(points))
  assert (np.abs(points.mean(0) - mean) < 4 * error).all()
  variances = np.diag(covariance)
  error = np.sqrt((np.outer(variances, variances) + covariance**2) / len(points))
  assert (np.abs(np.cov(points.T) - covariance) < 4 * error).all()


@pytest.mark.parametrize(
  ("angle", "odds", "means"),
  [(np.pi / 4, 1.0, MEANS), (np.pi / 5, 7.0, MEANS / 2), (0.0, 0.3, MEANS)],
)
def test_attribute_has_the_probability_of_the_formula(draw, angle, odds, means):
  batch = draw(jax.random.key(3), ROWS, angle=angle, odds=odds, means=means)
  z = np.asarray(batch.group)
  p = probability(np.asarray(batch.x, float)[:, :2], angle, odds, means)
  bins = np.digitize(p, np.linspace(0, 1, 11)[1:-1])
  for b in range(10):
    inside = bins == b
    error = np.sqrt((p * (1 - p))[inside].sum()) / inside.sum()
    assert abs(z[inside].mean() - p[inside].mean()) < 4 * error


def test_angles_and_odds_share_their_draws_under_vmap(draw):
  key = jax.random.key(4)
  odds = jnp.array([0.1, 1.0, 10.0])
  many = jax.vmap(lambda o: draw(key, 200, odds=o))(odds)
  for i, o in enumerate(odds):
    one = draw(key, 200, odds=o)
    np.testing.assert_array_equal(many.group[i], one.group)
    np.testing.assert_allclose(many.x[i], one.x, atol=1e-6)
  sizes = many.group.sum(1)
  assert sizes[0] < sizes[1] < sizes[2]


def test_keys_give_other_rows(draw):
  one, two = (draw(jax.random.key(seed), 200) for seed in (0, 1))
  assert (one.x[:, :2] != two.x[:, :2]).mean() > 0.99


@pytest.mark.parametrize(
  "bad",
  [
    {"num_rows": 0},
    {"odds": 0.0},
    {"means": ((1.0, 1.0),)},
    {"covariances": np.eye(2)},
    {"covariances": np.stack([np.eye(2), -np.eye(2)])},
    {"covariances": np.array([[[1.0, 0.5], [0.0, 1.0]], np.eye(2)])},
  ],
)
def test_refuses_values_out_of_range(bad):
  with pytest.raises(ValueError, match=next(iter(bad))):
    data.zafar(jax.random.key(0), **({"num_rows": 4} | bad))
