"""Dense networks against NumPy float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rfjax import architectures

KEY = jax.random.key(0)
X = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)


def ask(network, x, change=lambda params: params, **options):
  """Initial parameters, changed, and what the network says with them, compiled as one."""

  @jax.jit
  def run(x):
    params, stats = network.init(KEY, x)
    params = change(params)
    return params, network.apply(params, stats, x, **options)

  return run(x)


double = lambda tree: jax.tree.map(lambda v: np.asarray(v, np.float64), tree)


@pytest.mark.parametrize("classes", [2, 4])
def test_logistic_has_one_column_less_than_classes(classes):
  network = architectures.logistic(classes)
  shapes = {"kernel": (3, classes - 1), "bias": (classes - 1,)}
  assert jax.tree.map(jnp.shape, jax.eval_shape(network.init, KEY, X)[0]) == shapes
  change = lambda params: params | {"bias": jnp.arange(1.0, classes)}
  params, (logits, features, stats) = ask(network, X, change, key=KEY, train=True)
  exact = double(params)
  expected = np.concatenate([np.zeros((5, 1)), X @ exact["kernel"] + exact["bias"]], 1)
  np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-6)
  assert features is None and stats == ()


def test_logistic_starts_at_the_scale_asked_for():
  wide = np.zeros((1, 10_000))
  start = lambda scale, x: architectures.logistic(init_scale=scale).init(KEY, x)[0]["kernel"]
  kernel, none = jax.jit(lambda: (start(0.5, wide), start(0.0, X)))()
  np.testing.assert_allclose(np.asarray(kernel).std(), 0.5, rtol=0.05)
  assert not np.asarray(none).any()


def test_mlp_is_the_formula():
  network = architectures.mlp([6, 4], num_classes=3)
  change = lambda params: jax.tree.map(lambda v: v + 0.1, params)
  params, (logits, features, _) = ask(network, X, change, key=KEY, train=False)
  h = X.astype(np.float64)
  for layer in double(params)[:-1]:
    h = np.maximum(0, h @ layer["kernel"] + layer["bias"])
  last = double(params)[-1]
  np.testing.assert_allclose(features, h, rtol=1e-5)
  np.testing.assert_allclose(logits, h @ last["kernel"] + last["bias"], rtol=1e-5)


def test_mlp_starts_as_he_says_with_keys_of_their_own():
  start = jax.jit(architectures.mlp([100, 100]).init)
  params, _ = jax.device_get(start(KEY, np.zeros((1, 100))))
  for layer in params:
    np.testing.assert_allclose(layer["kernel"].std(), np.sqrt(2 / 100), rtol=0.1)
    assert not layer["bias"].any()
  assert (params[0]["kernel"] != params[1]["kernel"]).all()


def test_mlp_without_hidden_layers_is_linear():
  network = architectures.mlp([], num_classes=3)
  params, (logits, features, _) = ask(network, X, key=None, train=True)
  np.testing.assert_allclose(logits, X @ double(params)[0]["kernel"], rtol=1e-5, atol=1e-6)
  np.testing.assert_array_equal(features, X)


@pytest.mark.parametrize("make", [architectures.logistic, lambda: architectures.mlp([4])])
def test_images_are_flattened_and_bytes_divided_by_255(make):
  images = np.arange(2 * 2 * 3, dtype=np.uint8).reshape(2, 2, 3) + 240
  network = make()

  @jax.jit
  def both(*inputs):
    variables = network.init(KEY, inputs[0])
    return [network.apply(*variables, x, key=None, train=True)[0] for x in inputs]

  divided = images.reshape(2, 6).astype(np.float32) / 255
  np.testing.assert_allclose(*both(images, divided), rtol=1e-6)


def test_integers_stay_as_they_are():
  counts = np.array([[300, -2], [7, 0]], np.int32)
  network = architectures.mlp([4])

  @jax.jit
  def both(*inputs):
    variables = network.init(KEY, inputs[0])
    return [network.apply(*variables, x, key=None, train=True)[0] for x in inputs]

  np.testing.assert_array_equal(*both(counts, counts.astype(np.float32)))


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
  plain = architectures.mlp([2000], num_classes=2)
  variables = jax.jit(network.init)(KEY, X)
  without = lambda n, key, train: n.apply(*variables, X, key=key, train=train)[1]
  calm, other = jax.device_get(
    jax.jit(lambda: (without(network, None, False), without(plain, KEY, True)))()
  )
  np.testing.assert_array_equal(calm, other)
  dropped = jax.jit(lambda key: without(network, key, True))
  for seed in (1, 2):
    seen = np.asarray(dropped(jax.random.key(seed)))
    loud = (seen != 0)[calm > 0]
    np.testing.assert_allclose(loud.mean(), 0.7, atol=0.03)
    np.testing.assert_allclose(seen[seen != 0], (calm / 0.7)[seen != 0], rtol=1e-6)
  np.testing.assert_array_equal(seen, dropped(jax.random.key(2)))


def test_the_share_of_dropout_may_be_traced_and_is_checked():
  @jax.jit
  def both(share):
    plain, network = architectures.mlp([50]), architectures.mlp([50], dropout=share)
    variables = plain.init(KEY, X)
    return [n.apply(*variables, X, key=KEY, train=True)[1] for n in (network, plain)]

  features = lambda share: np.asarray(both(share)[0])
  np.testing.assert_allclose(features(0.0), both(0.0)[1], rtol=1e-5, atol=1e-6)
  assert (features(0.9) != 0).sum() < (features(0.1) != 0).sum()
  with pytest.raises(ValueError, match="dropout must lie in"):
    architectures.mlp([5], dropout=1.0)
