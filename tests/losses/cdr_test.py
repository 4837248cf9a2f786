"""CDR: critical entries of the kernels against brute force, alone and in front of an optimizer."""

import functools
import math
from fractions import Fraction

import host
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rfjax
from rfjax import architectures, losses

KEY = jax.random.key(0)


def trees(seed=0, integers=False):
  """Parameters and gradients: two dense layers, a convolution of four axes, and vectors."""
  rng = np.random.default_rng(seed)
  shapes = {
    "first": {"kernel": (4, 3), "bias": (3,)},
    "conv": {"kernel": (2, 1, 2, 3), "scale": (3,)},
    "last": [(3, 2), (2,), ()],
  }
  is_shape = lambda v: isinstance(v, tuple)
  draw = (lambda s: rng.integers(-3, 4, s)) if integers else (lambda s: rng.normal(size=s))
  make = lambda: jax.tree.map(lambda s: np.float32(draw(s)), shapes, is_leaf=is_shape)
  return make(), make()


def oracle(params, gradient, rate, scale=True):
  """The new gradient, by a sort of all entries of the kernels."""
  flat, structure = jax.tree.flatten(params)
  flat = [np.asarray(v, np.float32) for v in flat]
  grads = [np.asarray(v, np.float32) for v in jax.tree.leaves(gradient)]
  # Bits as the library has them: the products are rounded to float32 once.
  score = [np.abs(p * g) for p, g in zip(flat, grads, strict=True)]
  pool = np.sort(np.concatenate([s.ravel() for s in score if s.ndim >= 2]))[::-1]
  kept = math.floor((1 - Fraction(str(rate))) * pool.size)
  threshold = pool[kept - 1] if kept else np.inf
  factor = 1 - rate if scale else 1.0
  new = [
    np.where(s >= threshold, factor * g, 0) if s.ndim >= 2 else g
    for s, g in zip(score, grads, strict=True)
  ]
  return jax.tree.unflatten(structure, new), kept


def apply(tx, params, gradient, **extra):
  return tx.update(gradient, tx.init(params), params, **extra)[0]


@functools.cache
def _compiled(rate, scale):
  return jax.jit(functools.partial(apply, losses.cdr(rate, scale=scale)))


def cdr(rate, params, gradient, scale=True):
  """The new gradient for a Python rate, as one program."""
  return jax.device_get(_compiled(rate, scale)(params, gradient))


RATES = [0.1, 0.2, 0.25, 0.3, 0.5, 0.7, 0.8, 0.9]


@functools.cache
def pruned():
  """The new gradients for each rate, scaled and not."""
  one = lambda *trees, rate, scale: apply(losses.cdr(rate, scale=scale), *trees)
  settings = [(rate, scale) for rate in RATES for scale in (True, False)]
  run = lambda *trees: {(r, s): one(*trees, rate=r, scale=s) for r, s in settings}
  return host.run(run, *trees())


def close(one, two, **tolerance):
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **tolerance), one, two)


def nonzero(tree):
  return sum(int((np.asarray(v) != 0).sum()) for v in jax.tree.leaves(tree) if v.ndim >= 2)


@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("rate", RATES)
def test_the_largest_products_of_all_kernels_together_are_kept(rate, scale):
  params, gradient = trees()
  found = pruned()[rate, scale]
  expected, kept = oracle(params, gradient, rate, scale)
  close(found, expected, rtol=1e-6)
  assert nonzero(found) == kept and 0 < kept < 30
  for name in ("bias",):
    np.testing.assert_array_equal(found["first"][name], gradient["first"][name])
  close(found["last"][1:], gradient["last"][1:], rtol=0)


@pytest.mark.parametrize("size", [5, 10, 20, 40, 50, 100])
@pytest.mark.parametrize("percent", [5, 10, 20, 30, 40, 45, 60, 70, 80, 90, 95])
def test_the_count_is_the_whole_part(size, percent):
  values = np.arange(1.0, size + 1)[None]
  kept = size * (100 - percent) // 100
  found = _count(percent / 100, values)
  assert found == kept


@jax.jit
def _count(rate, values):
  return jnp.sum(apply(losses.cdr(rate), values, values) != 0)


def test_the_count_of_a_python_rate_is_the_whole_part():
  pairs = (10, 0.9), (10, 0.7), (100, 0.71), (50, 0.42)
  values = lambda size: jnp.arange(1.0, size + 1)[None]
  count = lambda size, rate: jnp.sum(apply(losses.cdr(rate), *[values(size)] * 2) != 0)
  found = host.run(lambda: [count(*pair) for pair in pairs])
  for (size, rate), number in zip(pairs, found, strict=True):
    assert number == math.floor((1 - Fraction(str(rate))) * size)


def test_ties_at_the_threshold_are_all_kept():
  params = {"a": np.ones((2, 3), np.float32), "b": np.float32([[2, -1]])}
  gradient = {"a": np.float32([[1, -2, 1], [3, 0, 2]]), "b": np.float32([[-1, 5]])}
  # Products 1 2 1 3 0 2 and 2 5; the fourth largest is 2, and three entries share it.
  found = cdr(0.5, params, gradient, scale=False)
  np.testing.assert_array_equal(found["a"], [[0, -2, 0], [3, 0, 2]])
  np.testing.assert_array_equal(found["b"], [[-1, 5]])
  params, gradient = trees(integers=True)
  rates = 0.1, 0.3, 0.5, 0.75
  run = lambda *trees: [apply(losses.cdr(rate), *trees) for rate in rates]
  for rate, found in zip(rates, host.run(run, params, gradient), strict=True):
    close(found, oracle(params, gradient, rate)[0], rtol=1e-6)


def test_rate_zero_is_the_identity():
  params, gradient = trees(integers=True)
  assert any(
    (p * g == 0).any() for p, g in zip(*map(jax.tree.leaves, (params, gradient)), strict=True)
  )
  for scale in (True, False):
    close(cdr(0.0, params, gradient, scale), gradient, rtol=0)
  small = lambda tree: jax.tree.map(lambda v: np.float32(1e-30) * v, tree)
  tiny = small(gradient)  # their products vanish
  close(cdr(0.0, small(params), tiny), tiny, rtol=0)
  close(jax.jit(lambda r: apply(losses.cdr(r), params, gradient))(0.0), gradient, rtol=0)


def test_a_gradient_that_is_no_number_is_not_hidden():
  params, gradient = np.ones((2, 2), np.float32), np.float32([[np.nan, 1], [2, 3]])
  for rate in (0.0, 0.5):
    assert np.isnan(cdr(rate, {"kernel": params}, {"kernel": gradient})["kernel"][0, 0])


def test_a_rate_that_keeps_nothing_leaves_the_vectors():
  params, gradient = trees()
  found = cdr(0.99, params, gradient)
  assert nonzero(found) == 0
  np.testing.assert_array_equal(found["first"]["bias"], gradient["first"]["bias"])


def test_a_network_without_kernels_is_refused():
  params, gradient = {"bias": np.ones(3)}, {"bias": np.arange(3.0)}
  with pytest.raises(ValueError, match="no kernel"):
    host.refuse(apply, losses.cdr(0.5), params, gradient)


def test_traced_rates_are_the_loop():
  params, gradient = trees()
  run = lambda rate: apply(losses.cdr(rate), params, gradient)
  rates = [0.0, 0.2, 0.5, 0.9]
  both = lambda many: (jax.vmap(run)(many), [run(rate) for rate in rates])
  many, loop = host.run(both, np.float32(rates))
  for i, (rate, one) in enumerate(zip(rates, loop, strict=True)):
    close(jax.tree.map(lambda v, i=i: v[i], many), one, rtol=1e-6)
    close(one, oracle(params, gradient, rate)[0], rtol=1e-6)


def test_runs_of_their_own_parameters_are_pruned_by_themselves():
  pairs = [trees(seed) for seed in range(3)]
  params, gradient = (
    jax.tree.map(lambda *v: np.stack(v), *side) for side in zip(*pairs, strict=True)
  )
  many = host.run(jax.vmap(lambda p, g: apply(losses.cdr(0.4), p, g)), params, gradient)
  for i, pair in enumerate(pairs):
    close(jax.tree.map(lambda v, i=i: v[i], many), oracle(*pair, 0.4)[0], rtol=1e-6)


def test_weight_decay_behind_it_still_acts_on_what_is_frozen():
  params, gradient = trees()
  tx = optax.chain(losses.cdr(0.6), optax.add_decayed_weights(0.1), optax.sgd(0.5))
  found = host.run(functools.partial(apply, tx), params, gradient)
  masked, _ = oracle(params, gradient, 0.6)
  expected = jax.tree.map(lambda g, p: -0.5 * (g + 0.1 * np.asarray(p)), masked, params)
  close(found, expected, rtol=1e-5, atol=1e-8)
  frozen = np.asarray(masked["first"]["kernel"]) == 0
  assert frozen.any() and (np.asarray(found["first"]["kernel"])[frozen] != 0).all()


def test_unknown_arguments_are_ignored_and_types_and_state_kept():
  params, gradient = trees()
  tx = losses.cdr(0.5)
  assert isinstance(tx, optax.GradientTransformationExtraArgs)
  half = jax.tree.map(lambda v: v.astype(np.float16), (params, gradient))

  def run(params, gradient, half):
    state = tx.init(params)
    extra = {"value": 1.0, "epoch": 3, "later": "extension"}
    return state, *tx.update(gradient, state, params, **extra), apply(tx, *half)

  state, found, after, short = host.run(run, params, gradient, half)
  jax.tree.map(np.testing.assert_array_equal, after, state)
  assert jax.tree.structure(after) == jax.tree.structure(state)
  for tree, kind in ((found, jnp.float32), (short, jnp.float16)):
    assert {v.dtype for v in jax.tree.leaves(tree)} == {jnp.dtype(kind)}
  traced = jax.eval_shape(lambda rate: apply(losses.cdr(rate), *half), 0.5)
  assert {v.dtype for v in jax.tree.leaves(traced)} == {jnp.dtype(jnp.float16)}


def test_needs_the_parameters():
  params, gradient = trees()
  with pytest.raises(ValueError, match="needs params"):
    host.refuse(losses.cdr(0.5).update, gradient, losses.cdr(0.5).init(params), None)


@pytest.mark.parametrize("batch_size", [None, 4])
def test_trains_as_the_loop_by_hand(batch_size):
  rng, rows, classes, rate = np.random.default_rng(3), 12, 3, 0.5
  x, y = rng.normal(size=(rows, 4)), rng.integers(0, classes, rows)
  kernel, bias, expected = rng.normal(size=(4, 2)), np.array([0.1, -0.3]), []
  start = {"kernel": kernel, "bias": bias}
  sampler = rfjax.Transform(
    refresh=lambda d, s, p=None, **_: (d.replace(order=jnp.arange(rows).reshape(-1, 4)), s)
  )
  blocks = [np.arange(rows)] if batch_size is None else np.arange(rows).reshape(-1, 4)
  masks = set()
  for _ in range(8):
    for block in blocks:
      z = np.pad(x[block] @ kernel + bias, ((0, 0), (1, 0)))
      p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
      slope = (p - np.eye(classes)[y[block]])[:, 1:] / len(block)
      dk, db = x[block].T @ slope, slope.sum(0)
      score = np.abs(kernel * dk)
      kept = score >= np.sort(score, axis=None)[::-1][3]
      masks.add(tuple(kept.ravel()))
      kernel = kernel - 0.8 * (0.5 * dk * kept + 0.01 * kernel)
      bias = bias - 0.8 * (db + 0.01 * bias)
    expected.append((kernel, bias))
  assert len(masks) > 3
  with jax.enable_x64(True):
    method = rfjax.chain() if batch_size is None else rfjax.chain(sampler)
    tx = optax.chain(losses.cdr(rate), optax.add_decayed_weights(0.01), optax.sgd(0.8))
    data = host.batch(x, y, num_classes=classes)
    _, log = rfjax.fit(
      architectures.logistic(classes), method, tx, data, key=KEY, epochs=8,
      params=start, observe=lambda state, view: state.params,
    )  # fmt: skip
  seen = jax.device_get(log.observed)
  for epoch, (kernel, bias) in enumerate(expected):
    np.testing.assert_allclose(seen["kernel"][epoch], kernel, rtol=0, atol=1e-12)
    np.testing.assert_allclose(seen["bias"][epoch], bias, rtol=0, atol=1e-12)


def test_a_sweep_over_rates_of_whole_runs():
  rng = np.random.default_rng(4)
  data = host.batch(rng.normal(size=(8, 3)), np.arange(8) % 2)
  network = architectures.mlp([4], 2)

  def run(rate):
    tx = optax.chain(losses.cdr(rate), optax.sgd(0.2))
    known = host.on_device(data)
    return rfjax.fit(network, rfjax.chain(), tx, known, key=KEY, epochs=3)[0].params

  rates = [0.0, 0.5]
  many = host.run(jax.vmap(run), np.float32(rates))
  plain = rfjax.fit(network, rfjax.chain(), optax.sgd(0.2), data, key=KEY, epochs=3)[0].params
  close(jax.tree.map(lambda v: v[0], many), plain, rtol=1e-5, atol=1e-7)
  close(jax.tree.map(lambda v: v[1], many), run(0.5), rtol=1e-5, atol=1e-7)
  assert np.abs(many[0]["kernel"][0] - many[0]["kernel"][1]).max() > 1e-3


@pytest.mark.parametrize("rate", [-0.1, 1.0, 1.5, float("nan"), "a"])
def test_a_rate_out_of_range_is_refused(rate):
  with pytest.raises(ValueError, match="rate must"):
    losses.cdr(rate)
