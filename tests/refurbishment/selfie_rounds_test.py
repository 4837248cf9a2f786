"""SELFIE with restarts against a loop of runs, and against NumPy."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rfjax
from rfjax import architectures, losses, refurbishment
from rfjax.core import count
from rfjax.refurbishment import _selfie_rounds, selfie, selfie_rounds

KEY = jax.random.key(5)
ROWS, CLASSES, EPOCHS, SIZE, LEARNING = 12, 3, 6, 5, 2.0
RNG = np.random.default_rng(11)
X, Y = RNG.normal(size=(ROWS, 3)).astype(np.float32), RNG.integers(0, CLASSES, ROWS)
SETTINGS = {"threshold": 0.05, "length": 4, "warmup": 4}
NETWORK, TX = architectures.mlp([4], CLASSES), optax.sgd(LEARNING)
SMOOTH = losses.label_smoothing(0.1)


@pytest.fixture(autouse=True)
def double():
  """In float64, since lanes and single runs round differently, and the steps are long."""
  with jax.enable_x64(True):
    yield


def dataset():
  return rfjax.Batch.from_arrays(X, Y, num_classes=CLASSES)


def train(key, rate, restarts=2, network=NETWORK, **options):
  options = {"epochs": EPOCHS, "batch_size": SIZE, "before": SMOOTH} | SETTINGS | options
  return selfie_rounds(network, TX, dataset(), rate=rate, key=key, restarts=restarts, **options)


@functools.cache
def one_run():
  """A run of one round, with its labels and rate traced."""

  @jax.jit
  def run(key, rate, labels):
    method = rfjax.chain(SMOOTH, selfie(rate, refurbished=labels, **SETTINGS))
    return rfjax.fit(NETWORK, method, TX, dataset(), key=key, epochs=EPOCHS, batch_size=SIZE)

  return run


def loop(key, rate, count, labels=None, update=True):
  """Runs one after the other; returns the last state, the logs and the rates."""
  labels = np.full(ROWS, -1) if labels is None else labels
  rate, logs, rates = np.float32(rate), [], []
  for i in range(count):
    rates.append(rate)
    own = key if i == 0 else jax.random.fold_in(key, i)
    state, log = jax.device_get(one_run()(own, rate, np.asarray(labels, np.int8)))
    labels = state.method[1].refurbished
    logs.append(log)
    if update:
      rate = np.minimum(rate, np.float32(1 - np.sum(labels != -1) / ROWS))
  return state, jax.tree.map(lambda *v: np.stack(v), *logs), rates


def same(found, wanted):
  chex.assert_trees_all_equal(found[0].method, (*wanted[0].method, ()))  # nothing behind it
  chex.assert_trees_all_close(
    (found[0].params, found[1]), (wanted[0].params, wanted[1]), rtol=1e-5, atol=1e-6
  )


NONE, SOME = (-1,) * ROWS, (2, -1, -1, 0, -1, 1, -1, -1, -1, 0, -1, -1)
LANES = [(0.0, NONE), (0.3, NONE), (0.3, SOME), (0.8, NONE), (0.8, SOME)]


@functools.cache
def three():
  """Three rounds of several rates and labels, compiled once, as lanes."""
  run = lambda rate, given: train(KEY, rate, refurbished=given)
  rates, given = zip(*LANES, strict=True)
  return jax.device_get(jax.jit(jax.vmap(run))(np.array(rates), np.array(given)))


@pytest.mark.parametrize("lane", range(len(LANES)))
def test_is_a_loop_of_runs(lane):
  rate, given = LANES[lane]
  found = jax.tree.map(lambda v: v[lane], three())
  *wanted, rates = loop(KEY, rate, 3, labels=given)
  same(found, wanted)
  assert found[1].risk.shape == (3, EPOCHS)
  assert (np.array(found[0].method[1].refurbished)[np.array(given) >= 0] >= 0).all()
  if LANES[lane] == (0.8, NONE):
    assert rates[2] < rates[1] < rates[0], "the rate never fell"
    kept = loop(KEY, rate, 3, labels=given, update=False)
    assert not np.allclose(found[1].risk[1:], kept[1].risk[1:], rtol=1e-3)
    np.testing.assert_allclose(found[1].risk[0], kept[1].risk[0], rtol=1e-5)


def test_without_restarts_it_is_the_run_itself():
  state, log = jax.device_get(jax.jit(lambda: train(KEY, 0.3, 0))())
  wanted, other = one_run()(KEY, np.float32(0.3), np.full(ROWS, -1, np.int8))
  same((state, jax.tree.map(lambda v: v[0], log)), (wanted, other))
  assert log.risk.shape == (1, EPOCHS)


WEIGHTS = 0.3 * RNG.normal(size=(3, CLASSES)).astype(np.float32)
LINEAR = architectures.from_function(lambda key, x: jnp.asarray(WEIGHTS), lambda w, x: x @ w)


@pytest.mark.parametrize("phantom", [False, True])
def test_is_sgd_by_hand(by_hand, phantom):
  options = {"phantom_votes": phantom, "observe": lambda state, view: view.order}
  state, log = jax.jit(lambda: train(KEY, 0.75, 2, LINEAR, **options))()
  rate, labels = 0.75, [-1] * ROWS
  for i in range(3):
    card = by_hand.Card(ROWS, CLASSES, rate, given=labels, phantom=phantom, **SETTINGS)
    weights, risks = by_hand.descend(
      card, WEIGHTS.astype(float), log.observed[i], X.astype(float), Y, 0.1, LEARNING
    )
    np.testing.assert_allclose(log.risk[i], risks, rtol=1e-4)
    labels = card.labels()
    rate = min(rate, 1 - sum(label != -1 for label in labels) / ROWS)
  assert rate < 0.75 and card.happened["in warm-up"] > 5
  np.testing.assert_array_equal(state.method[1].refurbished, labels)
  np.testing.assert_array_equal(state.method[1].history.labels, card.ring())
  np.testing.assert_array_equal(state.method[1].history.pushes, EPOCHS)
  np.testing.assert_allclose(state.params, weights, rtol=1e-4, atol=1e-5)


def test_rows_that_are_not_there_do_not_count():
  """Of a data set with padding the share is that of its real rows."""
  padded = jax.jit(lambda d: d.take(np.append(np.arange(ROWS), np.full(20, ROWS))))(dataset())
  options = {"restarts": 1, "epochs": 5, "threshold": 0.05, "length": 3, "warmup": 3}
  options["observe"] = lambda state, view: jnp.sum(state.method[1].refurbished != -1)
  run = jax.jit(lambda data: selfie_rounds(LINEAR, TX, data, rate=0.9, key=KEY, **options))
  (state, log), (other, wanted) = jax.device_get((run(padded), run(dataset())))
  assert 1 < wanted.observed[0, -1] < ROWS
  np.testing.assert_array_equal(log.observed, wanted.observed)
  np.testing.assert_allclose(log.risk, wanted.risk, rtol=1e-4, atol=1e-6)
  np.testing.assert_allclose(state.params, other.params, rtol=1e-4, atol=1e-5)


BAD = [
  ({"rate": 1.0}, "rate must"),
  ({"rate": -0.1}, "rate must"),
  ({"restarts": -1}, "restarts must"),
  ({"restarts": 1.5}, "restarts must"),
  ({"length": 0}, "length must"),
  ({"warmup": -1}, "warmup must"),
  ({"threshold": "a"}, "threshold must"),
  ({"refurbished": np.zeros(ROWS - 1, int)}, "refurbished must have one label a row"),
  ({"refurbished": np.full(ROWS, CLASSES)}, "refurbished must lie in"),
  ({"refurbished": np.full(ROWS, -2)}, "refurbished must lie in"),
  ({"refurbished": np.full(ROWS, 256)}, "refurbished must lie in"),
]


@pytest.mark.parametrize("bad, message", BAD)
def test_bad_settings_are_refused_before_anything_is_trained(bad, message, monkeypatch):
  def trained(*_, **__):
    raise AssertionError("trained with bad settings")

  monkeypatch.setattr(_selfie_rounds, "fit", trained)
  settings = {"rate": 0.2} | bad
  with pytest.raises(ValueError, match=message):
    train(KEY, **settings)


def test_unknown_settings_are_refused():
  with pytest.raises(TypeError, match="epsilon"):
    train(KEY, 0.2, epsilon=0.05)


def test_the_orders_of_the_rounds_differ():
  see = lambda state, view: view.order
  options = {"observe": see, "independent_batches": True, "epochs": 2}
  orders = np.asarray(jax.jit(lambda: train(KEY, 0.2, 2, LINEAR, **options)[1].observed)())
  assert orders.shape == (3, 2, 3, SIZE)
  assert len(np.unique(orders.reshape(6, -1), axis=0)) == 6
  assert refurbishment.selfie_rounds is selfie_rounds


@pytest.mark.parametrize("rows", [25, 50, 100])
def test_the_rate_of_the_next_round_counts_every_row_in_float32(rows):
  data = rfjax.Batch.from_arrays(
    np.zeros((rows, 1), np.float32), np.zeros(rows, int), num_classes=2
  )
  order = np.random.default_rng(0).permutation(rows)

  @jax.jit
  @jax.vmap
  def kept(settled):
    some = data.take(jnp.asarray(order))
    labels = jnp.where(jnp.arange(rows) < settled, 0, -1)
    rate = _selfie_rounds._unsettled(labels, some).astype(jnp.float32)
    return rows - count(rate, some.valid)

  with jax.enable_x64(False):
    found = kept(np.arange(rows + 1)).tolist()
  assert found == list(range(rows + 1))
