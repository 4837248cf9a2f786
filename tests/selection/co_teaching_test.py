"""Co-teaching: the other's selection exactly, and whole runs against two networks by hand."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rfjax
from rfjax import architectures, selection

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)


@functools.partial(jax.jit, static_argnames="rounding")
def keep_of(losses, keep, rate, rounding="floor"):
  """The keep of each lane of losses [lanes, rows]."""
  rows = losses.shape[1]
  data = rfjax.Batch.from_arrays(np.zeros((rows, 1), np.float32), np.zeros(rows, int))
  method = selection.co_teaching(rate, rounding=rounding)

  def lane(losses, keep):
    flow = data.fill(jnp.zeros((rows, 2))).replace(cost=losses[:, None] * jnp.ones(2), keep=keep)
    extra = {"key": KEY, "step": 0, "epoch": 0, "forward": None}
    return method.update(flow, (), None, **extra)[0].keep

  return jax.vmap(lane, axis_name="peer")(losses, keep)


@pytest.mark.parametrize("lanes", [2, 3])
@pytest.mark.parametrize("rounding", ["floor", "ceil"])
def test_each_learns_from_the_small_losses_of_the_other(lanes, rounding):
  losses = RNG.choice(np.float32([0, 0.5, 1, 2, 3, 5]), (lanes, 20))
  dropped = (np.arange(20) > 2).astype(np.float32)
  for rate in (0.0, 0.3, 0.45, 0.8):
    found = np.asarray(keep_of(losses, np.tile(dropped, (lanes, 1)), rate, rounding))
    number = {"floor": math.floor, "ceil": math.ceil}[rounding](round((1 - rate) * 17, 6))
    for lane in range(lanes):
      other = losses[(lane + 1) % lanes]
      wanted = sorted(range(3, 20), key=lambda i, other=other: (other[i], i))[:number]
      np.testing.assert_array_equal(found[lane], np.isin(np.arange(20), wanted))


def test_what_was_dropped_before_stays_dropped():
  losses = np.array([[0, 1, 2, 3], [3, 2, 1, 0]], np.float32)
  keep = np.array([[1, 0.5, 0, 1], [0, 1, 1, 1]], np.float32)
  # The first has three rows to choose one of, and so has the second.
  np.testing.assert_array_equal(keep_of(losses, keep, 0.6), [[0, 0, 0, 1], [0, 0, 0, 0]])


def noisy(rows=30, classes=3):
  rng = np.random.default_rng(4)
  x = rng.normal(size=(rows, 2))
  y = np.argmax(x @ [[1.0, -1.0, 0.0], [0.0, 1.0, 1.0]], 1)
  y = np.where(rng.random(rows) < 0.3, (y + 1) % classes, y)
  return x, y


def start(classes=3):
  """Weights of two networks."""
  rng = np.random.default_rng(5)
  return {"kernel": rng.normal(size=(2, 2, classes - 1)), "bias": np.zeros((2, classes - 1))}


def by_hand(x, y, rate_of, epochs, lr):
  """Two logistic regressions that choose for each other, on all rows at once."""
  params = [{k: v[lane].copy() for k, v in start().items()} for lane in range(2)]
  onto = np.eye(3)[y]
  for epoch in range(epochs):
    probs = []
    for p in params:
      z = np.pad(x @ p["kernel"] + p["bias"], ((0, 0), (1, 0)))
      e = np.exp(z - z.max(1, keepdims=True))
      probs.append(e / e.sum(1, keepdims=True))
    losses = [-np.log(p[np.arange(len(y)), y]) for p in probs]
    number = math.floor((1 - rate_of(epoch)) * len(y) + 1e-9)
    for lane in range(2):
      rows = np.argsort(losses[1 - lane], kind="stable")[:number]
      slope = (probs[lane] - onto)[rows][:, 1:] / number
      params[lane]["kernel"] -= lr * x[rows].T @ slope
      params[lane]["bias"] -= lr * slope.sum(0)
  return params


def test_a_run_is_that_of_two_networks_by_hand():
  x, y = noisy()
  rate = selection.ramp_up(0.4, 5)
  with jax.enable_x64(True):
    data = rfjax.Batch.from_arrays(x, y, num_classes=3)
    run = jax.jit(lambda data, params: rfjax.fit(
      architectures.logistic(3), selection.co_teaching(rate), optax.sgd(0.5), data,
      key=KEY, epochs=25, peers=2, params=params,
    ))  # fmt: skip
    state, _ = jax.device_get(run(data, start()))
  wanted = by_hand(x, y, lambda e: 0.4 * min(e / 4, 1), 25, 0.5)
  for lane in range(2):
    for name, value in wanted[lane].items():
      np.testing.assert_allclose(state.params[name][lane], value, rtol=1e-9, atol=1e-12)


def test_a_rate_of_zero_is_two_runs_of_cross_entropy():
  x, y = noisy()
  data = rfjax.Batch.from_arrays(x.astype(np.float32), y, num_classes=3)
  params = jax.tree.map(lambda v: v.astype(np.float32), start())
  settings = {"key": KEY, "epochs": 4, "batch_size": 8}
  network, tx = architectures.logistic(3), optax.adam(0.1)

  @jax.jit
  def both(data, params):
    pair = rfjax.fit(
      network, selection.co_teaching(0.0), tx, data, params=params, peers=2, **settings
    )
    alone = lambda p: rfjax.fit(network, rfjax.chain(), tx, data, params=p, **settings)
    return pair, jax.lax.map(alone, params)  # one after the other

  (pair, log), (singles, risks) = jax.device_get(both(data, params))
  close = lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6)
  jax.tree.map(close, pair.params, singles.params)
  close(log.risk, risks.risk)


def test_it_needs_peers():
  x, y = noisy()
  data = rfjax.Batch.from_arrays(x.astype(np.float32), y, num_classes=3)
  with pytest.raises(ValueError, match="co_teaching needs peers=2"):
    rfjax.fit(
      architectures.logistic(3), selection.co_teaching(0.1), optax.sgd(0.1), data,
      key=KEY, epochs=1,
    )  # fmt: skip


@pytest.mark.parametrize("rate", [1.0, -0.1, float("nan")])
def test_rates_out_of_range_are_refused(rate):
  with pytest.raises(ValueError, match="forget_rate must"):
    selection.co_teaching(rate)


def test_unknown_roundings_are_refused():
  with pytest.raises(ValueError, match="rounding must"):
    selection.co_teaching(0.5, rounding="nearest")
