"""Dense networks against NumPy float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rfjax import architectures

KEY = jax.random.key(0)
X = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
double = lambda tree: jax.tree.map(lambda v: np.asarray(v, np.float64), tree)


@pytest.mark.parametrize("classes", [2, 4])
def test_logistic_has_one_column_less_than_classes(classes):
  network = architectures.logistic(classes)
  params, stats = network.init(KEY, X)
  assert jax.tree.map(jnp.shape, params) == {"kernel": (3, classes - 1), "bias": (classes - 1,)}
  params["bias"] = jnp.arange(1.0, classes)
  logits, features, _ = network.apply(params, stats, X, key=KEY, train=True)
  exact = double(params)
  expected = np.concatenate([np.zeros((5, 1)), X @ exact["kernel"] + exact["bias"]], 1)
  np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-6)
  assert features is None and stats == ()


def test_logistic_starts_at_the_scale_asked_for():
  wide = np.zeros((1, 10_000))
  params, _ = architectures.logistic(init_scale=0.5).init(KEY, wide)
  np.testing.assert_allclose(params["kernel"].std(), 0.5, rtol=0.05)
  assert not architectures.logistic(init_scale=0.0).init(KEY, X)[0]["kernel"].any()


def test_mlp_is_the_formula():
  network = architectures.mlp([6, 4], num_classes=3)
  params, stats = network.init(KEY, X)
  params = jax.tree.map(lambda v: v + 0.1, params)
  logits, features, _ = network.apply(params, stats, X, key=KEY, train=False)
  h = X.astype(np.float64)
  for layer in double(params)[:-1]:
    h = np.maximum(0, h @ layer["kernel"] + layer["bias"])
  last = double(params)[-1]
  np.testing.assert_allclose(features, h, rtol=1e-5)
  np.testing.assert_allclose(logits, h @ last["kernel"] + last["bias"], rtol=1e-5)


def test_mlp_starts_as_he_says_with_keys_of_their_own():
  params, _ = architectures.mlp([100, 100]).init(KEY, np.zeros((1, 100)))
  for layer in params:
    np.testing.assert_allclose(layer["kernel"].std(), np.sqrt(2 / 100), rtol=0.1)
    assert not layer["bias"].any()
  assert (params[0]["kernel"] != params[1]["kernel"]).all()


def test_mlp_without_hidden_layers_is_linear():
  network = architectures.mlp([], num_classes=3)
  params, stats = network.init(KEY, X)
  logits, features, _ = network.apply(params, stats, X, key=None, train=True)
  np.testing.assert_allclose(logits, X @ double(params)[0]["kernel"], rtol=1e-5, atol=1e-6)
  np.testing.assert_array_equal(features, X)


@pytest.mark.parametrize("make", [architectures.logistic, lambda: architectures.mlp([4])])
def test_images_are_flattened_and_bytes_divided_by_255(make):
  images = np.arange(2 * 2 * 3, dtype=np.uint8).reshape(2, 2, 3) + 240
  network = make()
  params, stats = network.init(KEY, images)
  both = [
    network.apply(params, stats, x, key=None, train=True)[0]
    for x in (images, images.reshape(2, 6).astype(np.float32) / 255)
  ]
  np.testing.assert_allclose(*both, rtol=1e-6)


def test_integers_stay_as_they_are():
  counts = np.array([[300, -2], [7, 0]], np.int32)
  network = architectures.mlp([4])
  params, stats = network.init(KEY, counts)
  both = [
    network.apply(params, stats, x, key=None, train=True)[0]
    for x in (counts, counts.astype(np.float32))
  ]
  np.testing.assert_array_equal(*both)


@pytest.mark.parametrize(
  "make",
  [
    lambda: architectures.logistic(1),
    lambda: architectures.logistic(2.0),
    lambda: architectures.logistic(init_scale=-0.1),
    lambda: architectures.logistic(init_scale=float("nan")),
    lambda: architectures.mlp([4], num_classes=1),
    lambda: architectures.mlp([4, 0]),
    lambda: architectures.mlp([4.5]),
  ],
)
def test_bad_sizes_are_refused(make):
  with pytest.raises(ValueError, match=r"(num_classes|init_scale|hidden) must .*got"):
    make()


def test_dropout_silences_units_in_training_and_keeps_the_mean():
  network = architectures.mlp([2000], num_classes=2, dropout=0.3)
  params, stats = network.init(KEY, X)
  calm = network.apply(params, stats, X, key=None, train=False)[1]
  plain = architectures.mlp([2000], num_classes=2)
  np.testing.assert_array_equal(calm, plain.apply(params, stats, X, key=KEY, train=True)[1])
  for seed in (1, 2):
    seen = network.apply(params, stats, X, key=jax.random.key(seed), train=True)[1]
    loud = np.asarray(seen != 0)[calm > 0]
    np.testing.assert_allclose(loud.mean(), 0.7, atol=0.03)
    np.testing.assert_allclose(seen[seen != 0], (calm / 0.7)[seen != 0], rtol=1e-6)
  again = network.apply(params, stats, X, key=jax.random.key(2), train=True)[1]
  np.testing.assert_array_equal(seen, again)


def test_the_share_of_dropout_may_be_traced_and_is_checked():
  params, stats = architectures.mlp([50]).init(KEY, X)

  @jax.jit
  def features(share):
    return architectures.mlp([50], dropout=share).apply(params, stats, X, key=KEY, train=True)[1]

  np.testing.assert_allclose(
    features(0.0),
    architectures.mlp([50]).apply(params, stats, X, key=KEY, train=True)[1],
    rtol=1e-5,
    atol=1e-6,
  )
  assert (features(0.9) != 0).sum() < (features(0.1) != 0).sum()
  with pytest.raises(ValueError, match="dropout must lie in"):
    architectures.mlp([5], dropout=1.0)
