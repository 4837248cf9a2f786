"""Random perturbation against a loop over its candidates, and its promise never to be worse."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rfjax
from rfjax import architectures
from rfjax.fairness import postprocessing

KEY = jax.random.key(3)
NETWORK = architectures.mlp([6])
COUNT = 24


def world(seed, rows=200):
  """Rows whose label and group hang together, and a network that is neither good nor fair."""
  rng = np.random.default_rng(seed)
  group = rng.integers(0, 2, rows)
  y = (rng.random(rows) < 0.1 + 0.3 * group).astype(int)
  x = np.stack([y + rng.normal(size=rows), group + 0.5 * rng.normal(size=rows)], axis=1)
  data = rfjax.Batch.from_arrays(x, y, group)
  return start(jax.random.key(seed), data.x), data


@jax.jit
def start(key, x):
  params, stats = NETWORK.init(key, x)
  params = jax.tree.map(lambda leaf: leaf + 0.3, params)
  return rfjax.core.TrainState(params, stats, (), ())


@functools.partial(jax.jit, static_argnames="candidates")
def tune(state, data, scale, bound, candidates=COUNT):
  return postprocessing.random_perturbation(
    NETWORK, state, data, key=KEY, candidates=candidates, scale=scale, bound=bound
  )


@jax.jit
def outcome(state, data):
  """Balanced accuracy, and the difference between the selection rates of the groups."""
  said = rfjax.predict(NETWORK, state, data).logits.argmax(1)
  share = lambda rows: jnp.sum(said * rows) / jnp.sum(rows)
  accuracy = (share(data.y == 1) + 1 - share(data.y == 0)) / 2
  return accuracy, jnp.abs(share(data.group == 1) - share(data.group == 0))


@jax.jit
def candidate(state, scale, number):
  """The network times normal noise, drawn leaf by leaf; candidate 0 has none."""
  leaves, tree = jax.tree.flatten(state.params)
  keys = jax.random.split(jax.random.fold_in(KEY, number), len(leaves))
  noise = [jax.random.normal(k, leaf.shape) for k, leaf in zip(keys, leaves, strict=True)]
  factor = lambda n: 1 + jnp.where(number == 0, 0, scale) * n
  moved = [leaf * factor(n) for leaf, n in zip(leaves, noise, strict=True)]
  return state._replace(params=jax.tree.unflatten(tree, moved))


@pytest.mark.parametrize(("scale", "bound"), [(0.5, 0.1), (0.1, 0.0), (0.0, 0.05), (0.5, 1.0)])
def test_the_choice_is_that_of_a_loop(scale, bound):
  state, data = world(0)
  best, value = None, -np.inf
  for i in range(COUNT):
    trial = candidate(state, scale, i)
    accuracy, gap = map(float, outcome(trial, data))
    now = accuracy if gap <= bound else -gap
    best, value = (trial, now) if now > value else (best, value)
  found = tune(state, data, scale, bound)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), found.params, best.params)
  if scale == 0:
    jax.tree.map(np.testing.assert_array_equal, found.params, state.params)
  if bound == 0.1:
    assert value > 0.4  # some candidate is fair, while the network is not
    assert outcome(state, data)[1] > 0.1 >= outcome(found, data)[1]


@pytest.mark.parametrize("seed", range(4))
def test_it_is_never_worse_than_the_network(seed):
  state, data = world(seed)
  before, after = outcome(state, data), outcome(tune(state, data, 0.5, 0.05), data)
  if before[1] <= 0.05:
    assert after[1] <= 0.05 and after[0] >= before[0]
  else:
    assert after[1] <= before[1]


def test_weights_are_rows_repeated():
  state, data = world(0)
  same = np.asarray(data.group) == np.asarray(data.y)
  weight = np.random.default_rng(5).integers(0, 4, 200) * np.where(same, 1, 3)
  again = jax.jit(rfjax.Batch.take)(data, np.repeat(np.arange(200), weight))
  sets = (data.replace(weight=np.float32(weight)), again, data)
  weighted, repeated, plain = (jax.device_get(tune(state, d, 0.5, 0.1).params) for d in sets)
  jax.tree.map(np.testing.assert_array_equal, weighted, repeated)
  assert any(jax.tree.leaves(jax.tree.map(lambda a, b: (a != b).any(), plain, weighted)))


def test_runs_side_by_side_are_single_runs_and_all_else_of_the_state_stays():
  (one, data), (two, _) = world(1), world(2)
  both = jax.tree.map(lambda *leaves: np.stack(leaves), one, two)
  together = jax.jit(jax.vmap(lambda state: tune(state, data, 0.5, 0.05)))(both)
  together, single = jax.device_get((together, tune(two, data, 0.5, 0.05)))
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a[1], b, rtol=1e-5), together.params, single.params
  )
  assert single.method == () and single.opt == ()
  alone = tune(one, data, 0.5, 0.05, candidates=1)
  jax.tree.map(np.testing.assert_array_equal, alone.params, one.params)


@pytest.mark.parametrize(
  ("wrong", "match"),
  [
    ({"candidates": 0}, "candidates must be an integer of at least 1"),
    ({"scale": -1.0}, "scale must lie in"),
    ({"bound": 2.0}, "bound must lie in"),
    ({"statistics": "kindness"}, "statistics must be one of"),
  ],
)
def test_values_out_of_range_are_refused(wrong, match):
  state, data = world(1)
  with pytest.raises(ValueError, match=match):
    postprocessing.random_perturbation(NETWORK, state, data, key=KEY, **wrong)
