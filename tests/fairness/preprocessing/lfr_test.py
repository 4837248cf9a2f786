"""Fair representations against AIF360's objective in NumPy, L-BFGS-B, and planted features."""

import functools

import jax
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from scipy.optimize import minimize
from scipy.spatial.distance import cdist
from scipy.special import softmax

import rfjax
from rfjax.fairness import preprocessing
from rfjax.fairness.preprocessing import _lfr

KEY, ROWS, NUMBER, WEIGHTS = jax.random.key(0), 60, 4, (0.01, 1.0, 50.0)


def table(seed, groups=2, classes=2):
  """A feature of the group, one of the label, and one of neither."""
  rng = np.random.default_rng(seed)
  group = np.append(np.arange(groups), rng.integers(0, groups, ROWS - groups))
  y = np.append(np.arange(classes), rng.integers(0, classes, ROWS - classes))
  x = rng.normal(size=(ROWS, 3)) * [0.5, 0.7, 1.0]
  x += np.stack([2.0 * group, 1.5 * y, 0 * y], axis=1)
  return x - x.mean(0), y, group


def data_of(x, y, group):
  data = rfjax.Batch.from_arrays(x, y, group)
  return data.replace(weight=np.ones(len(y), np.float32))


START = jax.jit(_lfr.start, static_argnums=1)
TAKE = jax.jit(rfjax.Batch.take)


def aif360(parameters, x, y, group, weights):
  """Zemel's loss as AIF360 has it: unsquared distances, and errors of both groups added."""
  w, v = parameters[:NUMBER], parameters[NUMBER:].reshape(NUMBER, -1)
  shares = [softmax(-cdist(x[group == g], v), axis=1) for g in range(2)]
  error = sum(np.mean((m @ v - x[group == g]) ** 2) for g, m in enumerate(shares))
  said = np.concatenate([m @ w for m in shares])
  given = np.concatenate([y[group == g] for g in range(2)])
  entropy = -np.mean(given * np.log(said) + (1 - given) * np.log(1 - said))
  apart = np.mean(np.abs(shares[0].mean(0) - shares[1].mean(0)))
  return weights[0] * error + weights[1] * entropy + weights[2] * apart


def value_and_grad(state, data, distance="euclidean"):
  return sloped(state, data, distance)


@functools.partial(jax.jit, static_argnums=2)
def sloped(state, data, distance):
  return jax.value_and_grad(_lfr.objective)(state, data, WEIGHTS, distance)


def learn(data, fairness, steps=1000, output="features"):
  return jax.device_get(learned(data, fairness, steps, output))


@functools.partial(jax.jit, static_argnums=(2, 3))
def learned(data, fairness, steps, output):
  method = preprocessing.lfr(
    NUMBER, reconstruction=0.01, fairness=fairness, output=output, steps=steps
  )
  state = method.init(data, key=KEY, spec=None)
  return method.update(data, state)[0].x, state


def test_the_objective_is_aif360s():
  with jax.enable_x64(True):
    x, y, group = table(0)
    rng = np.random.default_rng(1)
    for _ in range(5):
      w, v = rng.random(NUMBER), rng.normal(size=(NUMBER, 3))
      wanted = aif360(np.append(w, v), x, y, group, WEIGHTS)
      state = _lfr.LFRState(v, np.log(np.stack([1 - w, w], axis=1)))
      np.testing.assert_allclose(value_and_grad(state, data_of(x, y, group))[0], wanted, rtol=1e-10)


def test_several_groups_and_labels_weights_and_squares_are_those_of_a_loop():
  with jax.enable_x64(True):
    x, y, group = table(2, 3, 3)
    rng = np.random.default_rng(3)
    weight, soft = rng.uniform(0, 2, ROWS).astype(np.float32), np.eye(3)[group]
    soft[:4], weight[4:8] = 0, 0
    v, logits = rng.normal(size=(NUMBER, 3)), rng.normal(size=(NUMBER, 3))
    far = ((x[:, None] - v) ** 2).sum(2)
    shares = softmax(-far, axis=1)
    of = lambda values, g: np.average(values, axis=0, weights=weight * soft[:, g])
    error = sum(of(((shares @ v - x) ** 2).mean(1), g) for g in range(3))
    said = (shares @ softmax(logits, axis=1))[np.arange(ROWS), y]
    apart = np.ptp([of(shares, g) for g in range(3)], axis=0).mean()
    wanted = 0.01 * error - np.average(np.log(said), weights=weight) + 50 * apart
    data = rfjax.Batch.from_arrays(x, y, soft).replace(weight=weight)
    got, _ = value_and_grad(_lfr.LFRState(v, logits), data, "squared")
    np.testing.assert_allclose(got, wanted, rtol=1e-6)


def test_the_gradient_is_finite_where_a_prototype_is_a_row_and_a_group_may_be_empty():
  x, y, group = table(4)
  data = data_of(x.astype(np.float32), y, np.eye(3)[group])
  state = START(data, NUMBER, KEY)
  assert all((x.astype(np.float32) == v).all(1).any() for v in np.asarray(state.prototypes))
  value, gradient = value_and_grad(state, data)
  two = value_and_grad(state, data_of(x.astype(np.float32), y, group))[0]
  np.testing.assert_allclose(value, two, rtol=1e-6)
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


def test_it_ends_no_higher_than_l_bfgs_from_the_same_start():
  x, y, group = table(5)
  single = data_of(x.astype(np.float32), y, group)
  _, state = learn(single, 50.0)
  with jax.enable_x64(True):
    data = data_of(x, y, group)
    first, back = ravel_pytree(jax.tree.map(np.float64, START(single, NUMBER, KEY)))
    loss = jax.jit(
      jax.value_and_grad(lambda v: _lfr.objective(back(v), data, WEIGHTS, "euclidean"))
    )
    found = minimize(loss, first, jac=True, method="L-BFGS-B", options={"maxiter": 500})
    ended = loss(ravel_pytree(jax.tree.map(np.float64, state))[0])[0]
    assert ended <= found.fun + 1e-3 and ended < 0.1 * loss(first)[0], (ended, found.fun)


def test_the_label_stays_and_the_group_goes():
  x, y, group = table(6)
  data = data_of(x.astype(np.float32), y, group)
  told = lambda values, of: abs(np.corrcoef(np.asarray(values).T, of)[-1, :-1]).max()
  fair, _ = learn(data, 50.0)
  assert fair.shape == x.shape
  assert told(x, group) > 0.8 and told(fair, group) < 0.2 and told(fair, y) > 0.6
  unfair, _ = learn(data, 0.0)
  assert told(unfair, group) > told(fair, group)


def test_shares_are_a_representation_too_and_other_rows_need_no_group():
  x, y, group = table(7)
  data = data_of(x.astype(np.float32), y, group)
  shares, state = learn(data, 5.0, steps=50, output="shares")
  features, again = learn(data, 5.0, steps=50)
  np.testing.assert_allclose(state.prototypes, again.prototypes, rtol=1e-4, atol=1e-5)
  np.testing.assert_allclose(shares.sum(1), 1, rtol=1e-5)
  np.testing.assert_allclose(shares @ state.prototypes, features, rtol=1e-3, atol=1e-4)
  method = preprocessing.lfr(NUMBER)
  bare = rfjax.Batch.from_arrays(x.astype(np.float32), y)
  made = jax.jit(lambda data, state: method.update(data, state)[0].x)(bare, again)
  np.testing.assert_allclose(made, features, rtol=1e-5, atol=1e-6)


def test_padding_has_no_influence():
  x, y, group = table(8)
  x = x.astype(np.float32)
  rows = data_of(x, y, group)
  padded = TAKE(rows, np.append(np.arange(ROWS - 5), [ROWS] * 5))
  alone = TAKE(rows, np.arange(ROWS - 5))
  one, two = (learn(data, 50.0, steps=50)[1] for data in (padded, alone))
  np.testing.assert_allclose(one.prototypes, two.prototypes, rtol=1e-3, atol=1e-4)


def test_what_cannot_be_fitted_is_refused():
  x, y, group = table(0)
  with pytest.raises(ValueError, match="lfr needs group"):
    preprocessing.lfr().init(rfjax.Batch.from_arrays(x, y), key=KEY)
  with pytest.raises(ValueError, match="prototypes must be at most the 60 rows"):
    preprocessing.lfr(61).init(data_of(x, y, group), key=KEY)
