"""Networks that compute in half precision, against themselves in float32."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen

import rfjax
from rfjax import architectures, metrics
from rfjax.fairness import inprocessing

KEY = jax.random.key(0)
X = jnp.asarray(np.random.default_rng(0).normal(size=(64, 6)).astype(np.float32))


class Normed(linen.Module):
  """Batch normalisation between two layers."""

  @linen.compact
  def __call__(self, x, training=False):
    h = linen.relu(linen.Dense(16)(x))
    h = linen.BatchNorm(use_running_average=not training, momentum=0.5)(h)
    return linen.Dense(2)(h), h


NETWORKS = {
  "mlp": lambda: architectures.mlp([16], 2),
  "logistic": architectures.logistic,
  "normed": lambda: architectures.from_linen(Normed(), train_argument="training"),
}


@functools.cache
def pair(kind):
  return NETWORKS[kind](), architectures.mixed_precision(NETWORKS[kind]())


@functools.cache
def initial(kind):
  return jax.jit(lambda: pair(kind)[1].init(KEY, X))()


@functools.cache
def said(kind):
  """What both networks say, in evaluation and in training."""

  @jax.jit
  def run(variables):
    ask = lambda n, train: n.apply(*variables, X, key=KEY, train=train)
    return [[ask(network, train) for network in pair(kind)] for train in (False, True)]

  return run(initial(kind))


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("kind", NETWORKS)
def test_it_says_nearly_the_same_in_float32(kind, train):
  assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(initial(kind)))
  want, got = said(kind)[train]
  for a, b in zip(jax.tree.leaves(want), jax.tree.leaves(got), strict=True):
    assert b.dtype == jnp.float32
    np.testing.assert_allclose(a, b, atol=0.05)
  assert not np.array_equal(want[0], got[0])  # so there is something to compare


@pytest.mark.parametrize("kind", NETWORKS)
def test_products_and_their_gradients_are_in_half_precision(kind):
  _, half = pair(kind)
  params, stats = initial(kind)

  def loss(params):
    return jnp.sum(half.apply(params, stats, X, key=KEY, train=True)[0] ** 2)

  gradient = jax.grad(loss)
  assert all(g.dtype == jnp.float32 for g in jax.tree.leaves(jax.eval_shape(gradient, params)))
  text = jax.jit(gradient).lower(params).as_text()
  products = [line for line in text.splitlines() if "dot_general" in line]
  assert len(products) >= 2 and all("bf16" in line for line in products)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_not_wider_stays_as_it_is(dtype):
  network = architectures.mlp([16], 2)
  with jax.enable_x64(dtype == "float64"):
    same = architectures.mixed_precision(network, "float32")

    @jax.jit
    def both(x):
      variables = network.init(KEY, x)
      return [n.apply(*variables, x, key=KEY, train=True)[0] for n in (network, same)]

    want, got = both(np.asarray(X, dtype))
  if dtype == "float32":
    np.testing.assert_array_equal(got, want)
  assert got.dtype == jnp.float32


def test_pixels_are_divided_before():
  network = architectures.mixed_precision(architectures.logistic())

  @jax.jit
  def ask(pixels):
    _, stats = network.init(KEY, X)
    params = {"kernel": jnp.ones((6, 1)), "bias": jnp.zeros(1)}
    return network.apply(params, stats, pixels, key=KEY, train=False)[0]

  assert ask(np.full((1, 6), 255, np.uint8)).tolist() == [[0.0, 6.0]]


def test_it_trains_with_a_penalty_as_in_float32():
  data = jax.jit(lambda: rfjax.data.zafar(KEY, 200))()
  method = inprocessing.gap(0.5)

  def train(network):
    state, log = rfjax.fit(network, method, optax.adam(0.05), data, key=KEY, epochs=40)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves((state.params, log)))
    said = rfjax.predict(network, state, data)
    return metrics.accuracy(said), metrics.demographic_parity_difference(said)

  want, got = jax.jit(lambda: [train(network) for network in pair("mlp")])()
  np.testing.assert_allclose(got, want, atol=0.03)


def test_refuses():
  with pytest.raises(ValueError, match=r"dtype must be one of .*int8"):
    architectures.mixed_precision(architectures.logistic(), "int8")


def test_integers_that_are_no_pixels_stay_integers():
  table = architectures.from_linen(linen.Embed(300, 2))
  half = architectures.mixed_precision(table)

  @jax.jit
  def both(x):
    variables = half.init(KEY, x)
    return [n.apply(*variables, x, key=KEY, train=False)[0] for n in (table, half)]

  want, got = both(np.array([257, 3]))
  np.testing.assert_allclose(got, want, rtol=1e-2)
