"""Networks of flax modules against the modules themselves, in training and in evaluation."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen, nnx

import rfjax
from rfjax.core import Batch, fit, from_function, from_linen, from_nnx, predict, train_step

KEY, OTHER = jax.random.key(0), jax.random.key(1)
X = jnp.asarray(np.random.default_rng(0).normal(2.0, 3.0, size=(6, 4)).astype(np.float32))


class Linen(linen.Module):
  """Batch normalisation and dropout, with features."""

  @linen.compact
  def __call__(self, x, training=False):
    h = linen.BatchNorm(use_running_average=not training, momentum=0.5)(x)
    h = linen.Dropout(0.5, deterministic=not training)(h)
    return linen.Dense(3)(h), h


class Nnx(nnx.Module):
  """The same as an nnx module."""

  def __init__(self, rngs):
    self.norm = nnx.BatchNorm(4, momentum=0.5, rngs=rngs)
    self.drop = nnx.Dropout(0.5, rngs=rngs)
    self.dense = nnx.Linear(4, 3, rngs=rngs)

  def __call__(self, x):
    h = self.drop(self.norm(x))
    return self.dense(h), h


@pytest.fixture(scope="module", params=["linen", "nnx"])
def made(request):
  """A network and its initial parameters and statistics."""
  linen_network = from_linen(Linen(), train_argument="training")
  network = linen_network if request.param == "linen" else from_nnx(Nnx)
  return network, *network.init(KEY, X)


def call(made, key, train, stats=None):
  network, params, first = made
  return network.apply(params, first if stats is None else stats, X, key=key, train=train)


def moments(stats):
  """The running mean and variance, in this order, in both libraries."""
  return [np.asarray(leaf) for leaf in jax.tree.leaves(stats)]


def test_parameters_and_statistics_are_apart(made):
  _, params, stats = made
  assert sorted(v.shape for v in jax.tree.leaves(params)) == [(3,), (4,), (4,), (4, 3)]
  assert [m.tolist() for m in moments(stats)] == [[0.0] * 4, [1.0] * 4]


def test_evaluation_is_deterministic_and_keeps_the_statistics(made):
  logits, features, stats = call(made, KEY, False)
  chex.assert_trees_all_equal(call(made, OTHER, False), (logits, features, stats))
  chex.assert_trees_all_equal(stats, made[2])
  np.testing.assert_allclose(features, X / np.sqrt(1 + 1e-5), rtol=1e-5)
  assert logits.shape == (6, 3)


def test_training_moves_the_statistics_by_the_batch(made):
  _, _, stats = call(made, KEY, True)
  chex.assert_trees_all_equal_shapes_and_dtypes(stats, made[2])
  np.testing.assert_allclose(moments(stats)[0], 0.5 * X.mean(0), rtol=1e-5)
  np.testing.assert_allclose(moments(stats)[1], 0.5 + 0.5 * X.var(0), rtol=1e-5)
  moved = call(made, KEY, False, stats)[1]
  assert np.abs(moved - X).max() > 0.1


def test_dropout_differs_between_keys_and_only_between_keys(made):
  first, same, other = (call(made, key, True)[1] for key in (KEY, KEY, OTHER))
  np.testing.assert_array_equal(first, same)
  normal = (X - X.mean(0)) / np.sqrt(X.var(0) + 1e-5)
  for dropped in (first, other):
    np.testing.assert_allclose(dropped, np.where(dropped == 0, 0, 2 * normal), rtol=1e-4, atol=1e-4)
  assert 0 < np.sum(first == 0) < first.size and ((first == 0) != (other == 0)).any()


def test_a_run_trains_with_them_and_predict_evaluates(made):
  network, params, stats = made
  data = Batch.from_arrays(X, [0, 1, 2, 0, 1, 2])
  before = rfjax.core.Transform(
    init=lambda d, **_: jnp.zeros((6, 3)), refresh=lambda d, s, p=None, **_: (d, d.logits)
  )
  run = lambda **options: fit(network, before, optax.sgd(0.0), data, key=KEY, epochs=2, **options)
  state, _ = run(params=params)
  mean = moments(state.stats)[0]
  np.testing.assert_allclose(mean, 0.75 * X.mean(0), rtol=1e-4)
  after_one = jax.tree.unflatten(jax.tree.structure(stats), [0.5 * X.mean(0), 0.5 + 0.5 * X.var(0)])
  expected = network.apply(params, after_one, X, key=OTHER, train=False)[0]
  np.testing.assert_allclose(state.method, expected, rtol=1e-4, atol=1e-5)
  expected = network.apply(params, state.stats, X, key=OTHER, train=False)[0]
  np.testing.assert_array_equal(predict(network, state, data).logits, expected)


def test_linen_equals_the_module():
  module = linen.Dense(3)
  network = from_linen(module)
  params, stats = network.init(KEY, X)
  chex.assert_trees_all_equal(params, module.init(KEY, X)["params"])
  for train in (True, False):
    logits, features, stats = network.apply(params, stats, X, key=KEY, train=train)
    np.testing.assert_array_equal(logits, module.apply({"params": params}, X))
    assert features is None and not jax.tree.leaves(stats)


def test_nnx_equals_the_module():
  build = lambda rngs: nnx.Linear(4, 3, rngs=rngs)
  network = from_nnx(build)
  params, stats = network.init(KEY, X)
  logits, features, _ = network.apply(params, stats, X, key=KEY, train=False)
  np.testing.assert_array_equal(logits, build(nnx.Rngs(KEY))(X))
  other = network.init(OTHER, X)[0]
  assert features is None and (jax.tree.leaves(params)[1] != jax.tree.leaves(other)[1]).all()


def test_functions_are_taken_as_they_are():
  init = lambda key, x: jax.random.normal(key, (x.shape[1], 3))
  for apply, features in ((lambda p, x: x @ p, None), (lambda p, x: (x @ p, x), X)):
    network = from_function(init, apply)
    params, stats = network.init(KEY, X)
    logits, found, after = network.apply(params, stats, X, key=KEY, train=True)
    np.testing.assert_array_equal(logits, X @ init(KEY, X))
    assert found is features and after == stats == ()


@pytest.mark.parametrize("library", ["linen", "nnx"])
def test_a_network_without_statistics_needs_none(library):
  dense = from_linen(linen.Dense(2)), from_nnx(lambda rngs: nnx.Linear(4, 2, rngs=rngs))
  network = dense[library == "nnx"]
  data = Batch.from_arrays(X, [0, 1] * 3)
  state = train_step(network, rfjax.chain(), optax.sgd(0.1)).init(
    network.init(KEY, X)[0], data, key=KEY
  )
  assert not jax.tree.leaves(state.stats)
