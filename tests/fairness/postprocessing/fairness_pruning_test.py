"""Fairness pruning against slopes row by row, and against its limits."""

import functools

import jax
import numpy as np
import pytest

import rfjax
from rfjax import architectures
from rfjax.fairness import postprocessing

NETWORK = architectures.mlp([4], 3)
INIT = jax.jit(NETWORK.init)


def world(rows=70):
  rng = np.random.default_rng(0)
  x, y = rng.normal(size=(rows, 3)), rng.integers(0, 3, rows)
  soft = np.eye(3)[rng.integers(0, 3, rows)]
  soft[::9], soft[1::9] = 0, [0.5, 0.5, 0]  # missing, and of two groups
  data = rfjax.Batch.from_arrays(x, y, soft, num_classes=3)
  data = data.replace(weight=rng.choice([1.0, 30.0], rows).astype(np.float32))
  params, stats = INIT(jax.random.key(1), data.x)
  return rfjax.core.TrainState(params, stats, (), ()), data


def prune(state, data, share, beta=0.5, privileged=(0,)):
  return pruned(state, data, share, beta, privileged)


@functools.partial(jax.jit, static_argnums=4)
def pruned(state, data, share, beta, privileged):
  return postprocessing.fairness_pruning(
    NETWORK, state, data, privileged, share=share, beta=beta
  ).params


def flat(params):
  return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(params)])


def saliency(state, data, beta, privileged):
  """0.5 theta^2 (h_others - beta h_privileged), of mean squared slopes, row by row."""

  def loss(params, x, y):
    return -jax.nn.log_softmax(NETWORK.apply(params, (), x, key=None, train=False)[0])[0, y]

  slope = jax.jit(jax.grad(loss))
  x, y, weight = (np.asarray(v) for v in (data.x, data.y, data.weight))
  member, total, size = np.asarray(data.group, float), 0.0, np.zeros(2)
  for i in range(data.num_rows):
    g = flat(slope(state.params, x[i : i + 1], y[i]))
    mine = member[i, list(privileged)].sum()
    part = np.array([member[i].sum() - mine, mine]) * float(weight[i])
    total, size = total + part[:, None] * np.asarray(g, float) ** 2, size + part
  others, favoured = total / size[:, None]
  theta = np.asarray(flat(state.params), float)
  return 0.5 * theta**2 * (others - beta * favoured), theta


@pytest.mark.parametrize(("share", "beta", "privileged"), [(0.35, 0.5, (0,)), (0.6, 0.0, (1, 2))])
def test_the_least_salient_parameters_are_zero(share, beta, privileged):
  state, data = world()
  found, theta = saliency(state, data, beta, privileged)
  assert (found < 0).any() == (beta > 0)
  number = int(np.floor(share * len(theta) + 1e-9))
  expected = theta.copy()
  expected[np.argsort(found, kind="stable")[:number]] = 0
  left = flat(prune(state, data, share, beta, privileged))
  np.testing.assert_allclose(left, expected, rtol=1e-6)


def test_no_share_is_the_network_all_of_it_is_nothing_and_padding_has_no_say():
  state, data = world()
  jax.tree.map(np.testing.assert_array_equal, prune(state, data, 0.0), state.params)
  assert not flat(prune(state, data, 1.0)).any()
  padded = jax.device_get(jax.jit(rfjax.Batch.take)(data, np.append(np.arange(70), [70] * 9)))
  wild = np.arange(79) >= 70
  x, weight = np.where(wild[:, None], 50, padded.x), np.where(wild, 1, padded.weight)
  padded = padded.replace(x=np.float32(x), weight=np.float32(weight))
  jax.tree.map(np.testing.assert_array_equal, prune(state, padded, 0.4), prune(state, data, 0.4))


def test_shares_vary_side_by_side():
  state, data = world()
  both = jax.jit(jax.vmap(lambda share: prune(state, data, share)))(np.float32([0.1, 0.5]))
  both, one = jax.device_get((both, prune(state, data, 0.5)))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a[1], b, rtol=1e-6), both, one)


@pytest.mark.parametrize(
  ("privileged", "wrong", "match"),
  [
    (0, {"share": 1.1}, "share must lie in"),
    (0, {"beta": -0.1}, "beta must lie in"),
    (3, {}, "privileged must be groups of the data"),
    ((0, 1, 2), {}, "privileged must leave a group"),
  ],
)
def test_values_out_of_range_are_refused(privileged, wrong, match):
  state, data = world()
  with pytest.raises(ValueError, match=match):
    postprocessing.fairness_pruning(NETWORK, state, data, privileged, **wrong)
