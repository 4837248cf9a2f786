"""The convolutional network against NumPy float64, and its two forms against each other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rfjax import architectures
from rfjax.architectures._cnn import max_pool

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 5, 6, 2)).astype(np.float32)
NETWORKS = {form: architectures.cnn([3, 4], 5, 3, form=form) for form in ("patches", "direct")}
PARAMS = NETWORKS["direct"].init(KEY, X)[0]


def convolve(layer, x):
  kernel = np.asarray(layer["kernel"], np.float64).reshape(3, 3, x.shape[3], -1)
  padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
  out = np.zeros((*x.shape[:3], kernel.shape[3])) + np.asarray(layer["bias"], np.float64)
  for i, j in np.ndindex(x.shape[1:3]):
    out[:, i, j] += np.einsum("bhwc,hwcd->bd", padded[:, i : i + 3, j : j + 3], kernel)
  return out


def pool(x):
  height, width = x.shape[1] // 2, x.shape[2] // 2
  out = np.zeros((x.shape[0], height, width, x.shape[3]))
  for i, j in np.ndindex(height, width):
    out[:, i, j] = x[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].max((1, 2))
  return out


def forward(params, x):
  h = x.astype(np.float64)
  for layer in params["convs"]:
    h = pool(np.maximum(0, convolve(layer, h)))
  dense, head = (jax.tree.map(np.float64, params[name]) for name in ("dense", "head"))
  features = np.maximum(0, h.reshape(len(h), -1) @ dense["kernel"] + dense["bias"])
  return features @ head["kernel"] + head["bias"], features


@pytest.fixture(scope="module")
def said():
  """What each form says, and the gradient of the squared logits."""

  def loss(params, form):
    logits, features, stats = NETWORKS[form].apply(params, (), X, key=None, train=True)
    return jnp.sum(logits**2), (logits, features, stats)

  both = jax.jit(jax.grad(loss, has_aux=True), static_argnums=1)
  return {form: both(PARAMS, form) for form in NETWORKS}


@pytest.mark.parametrize("form", NETWORKS)
def test_the_network_is_the_formula(said, form):
  logits, features, stats = said[form][1]
  expected = forward(PARAMS, X)
  np.testing.assert_allclose(logits, expected[0], rtol=1e-5, atol=1e-5)
  np.testing.assert_allclose(features, expected[1], rtol=1e-5, atol=1e-5)
  assert logits.shape == (2, 3) and stats == ()


def test_both_forms_have_the_same_gradient(said):
  gradients = [said[form][0] for form in NETWORKS]
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), *gradients)
  assert min(np.abs(g).max() for g in jax.tree.leaves(gradients[0])) > 0


@pytest.mark.parametrize("form", NETWORKS)
def test_many_pictures_are_told_what_few_are(form):
  many = RNG.normal(size=(259, 5, 6, 2)).astype(np.float32)
  say = jax.jit(
    lambda x, train: NETWORKS[form].apply(PARAMS, (), x, key=None, train=train)[0], static_argnums=1
  )
  few = np.concatenate([say(many[i : i + 7], True) for i in range(0, 259, 7)])
  for train in (True, False):
    np.testing.assert_allclose(say(many, train), few, rtol=1e-5, atol=1e-5)


def program(form):
  network = architectures.cnn([3, 4], 5, 3, form=form)
  return str(jax.make_jaxpr(lambda x: network.apply(PARAMS, (), x, key=None, train=True)[0])(X))


def test_patches_lower_to_no_convolution():
  assert "conv_general_dilated" not in program("patches")
  assert "conv_general_dilated" in program("direct")


def test_max_pool_leaves_out_an_odd_edge():
  np.testing.assert_allclose(max_pool(X), pool(X))
  assert max_pool(X).shape == (2, 2, 3, 2)


def test_pixels_are_scaled_and_a_missing_channel_is_added():
  network = NETWORKS["patches"]
  pixels = RNG.integers(0, 256, (2, 4, 4), np.uint8)
  params, _ = network.init(KEY, pixels)
  as_floats = (pixels / 255.0).astype(np.float32)[..., None]
  logits = [network.apply(params, (), x, key=None, train=False)[0] for x in (pixels, as_floats)]
  np.testing.assert_allclose(*logits, rtol=1e-5)
  assert params["convs"][0]["kernel"].shape == (9, 3) and np.abs(logits[0]).max() > 0


def test_auto_chooses_patches_on_cpu():
  assert program("auto") == program("patches")


def test_images_too_small_for_the_poolings_are_refused():
  with pytest.raises(ValueError, match="3 x 8 are too small for 2 poolings"):
    architectures.cnn([3, 4]).init(KEY, np.zeros((1, 3, 8, 1)))


BAD = {
  "num_classes": 1,
  "hidden": 0,
  "form": "fast",
  "channels": [4, 0],
}


@pytest.mark.parametrize("name", BAD)
def test_bad_settings_are_refused(name):
  with pytest.raises(ValueError, match=rf"{name} must .*got"):
    architectures.cnn(**{name: BAD[name]})


def test_no_convolution_at_all_is_refused():
  with pytest.raises(ValueError, match="channels"):
    architectures.cnn([]).init(KEY, X)
