"""The last layer against scikit-learn's logistic regression on balanced rows, and its promise."""

import functools

import jax
import numpy as np
import optax
import pytest
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression

import rfjax
from rfjax import architectures
from rfjax.fairness import postprocessing

KEY = jax.random.key(0)


def network(classes):
  return architectures.mlp([5], classes)


def world(seed, classes, rows=240, weighted=True):
  """Rows in which the group tells the label more easily than x does, and is often wrong."""
  rng = np.random.default_rng(seed)
  y = rng.integers(0, classes, rows)
  group = np.where(rng.random(rows) < 0.85, y, rng.integers(0, classes, rows))
  x = np.stack([y + 1.2 * rng.normal(size=rows), group + 0.1 * rng.normal(size=rows)], axis=1)
  soft = np.eye(classes)[group]
  if weighted:
    soft[::11] = 0  # missing
  data = rfjax.Batch.from_arrays(x, y, soft, num_classes=classes)
  weight = rng.integers(1, 3, rows) if weighted else np.ones(rows)
  return data.replace(weight=weight.astype(data.x.dtype))


@functools.partial(jax.jit, static_argnums=0)
def start(classes, data):
  params, stats = network(classes).init(jax.random.key(1), data.x)
  return rfjax.core.TrainState(params, stats, (), ())


@functools.partial(jax.jit, static_argnums=0)
def predict(classes, state, data):
  return rfjax.predict(network(classes), state, data)


def refit(state, data, classes, l2=1e-2):
  return refitted(state, data, classes, l2)


@functools.partial(jax.jit, static_argnums=2)
def refitted(state, data, classes, l2):
  return postprocessing.last_layer(network(classes), state, data, l2=l2)


def balanced(data):
  """Weights that give each group and label as much, counted in a loop."""
  weight = np.zeros(data.num_rows)
  for g in range(data.num_groups):
    for y in range(data.num_classes):
      cell = np.flatnonzero((np.asarray(data.group)[:, g] == 1) & (np.asarray(data.y) == y))
      if len(cell):
        weight[cell] = np.asarray(data.weight)[cell] / np.asarray(data.weight)[cell].sum()
  return weight / weight.sum()


@pytest.mark.parametrize("classes", [2, 3])
def test_the_layer_is_that_of_scikit_learn(classes):
  with jax.enable_x64(True):
    data = world(0, classes)
    state = start(classes, data)
    said = predict(classes, state, data)
    for l2 in (1e-1, 1e-3):
      # Of two classes scikit-learn has one kernel, the difference of ours.
      strength = (2 if classes == 2 else 1) / l2
      model = LogisticRegression(C=strength, tol=1e-10, max_iter=10000)
      model.fit(np.asarray(said.features), np.asarray(data.y), sample_weight=balanced(data))
      found = refit(state, data, classes, l2)
      tuned = predict(classes, found, data)
      expected = model.predict_proba(np.asarray(said.features))
      np.testing.assert_allclose(softmax(tuned.logits, axis=1), expected, atol=2e-5)
    jax.tree.map(np.testing.assert_array_equal, found.params[:-1], state.params[:-1])
    np.testing.assert_allclose(np.asarray(found.params[-1]["kernel"]).sum(1), 0, atol=1e-9)


def test_the_worst_group_of_a_network_that_learned_the_group_is_served_better():
  train, held_out, test = (world(seed, 2, weighted=False) for seed in (1, 2, 3))
  fit = jax.jit(
    lambda data: rfjax.fit(network(2), rfjax.chain(), optax.adam(0.03), data, key=KEY, epochs=200)
  )
  state, _ = fit(train)
  tuned = refit(state, held_out, 2)

  def worst(state):
    y = np.asarray(test.y)
    right = np.asarray(predict(2, state, test).logits).argmax(1) == y
    cell = 2 * np.asarray(test.group).argmax(1) + y
    return min(float(right[cell == c].mean()) for c in range(4))

  assert worst(tuned) > worst(state) + 0.1
  assert tuned.opt is not None and jax.tree.structure(tuned) == jax.tree.structure(state)


def test_another_layer_is_pointed_at_and_others_are_refused():
  data = world(0, 3)
  params = start(3, data).params
  named = rfjax.core.Network(
    lambda key, x: ({"head": params[-1], "body": params[:-1]}, ()),
    lambda p, stats, x, **extra: network(3).apply([*p["body"], p["head"]], stats, x, **extra),
  )
  state = rfjax.core.TrainState(named.init(KEY, data.x)[0], (), (), ())
  refit = lambda state, data, **more: postprocessing.last_layer(named, state, data, **more)
  found = jax.jit(functools.partial(refit, layer=lambda p: p["head"], steps=5))(state, data)
  assert found.params["head"]["kernel"].shape == (5, 3)
  assert not np.allclose(found.params["head"]["kernel"], params[-1]["kernel"])
  with pytest.raises(ValueError, match="layer must give a kernel of shape"):
    refit(state, data, layer=lambda p: p["body"][0])
  with pytest.raises(ValueError, match="l2 must lie in"):
    refit(state, data, layer=lambda p: p["head"], l2=0.0)
  plain = architectures.logistic(3)
  with pytest.raises(ValueError, match="last_layer needs features"):
    jax.eval_shape(
      lambda data: postprocessing.last_layer(
        plain, state._replace(params=plain.init(KEY, data.x)[0]), data
      ),
      data,
    )
