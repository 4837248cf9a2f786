"""SELFIE in whole runs: against SGD by hand, in lanes, with batches and answers of its own."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rfjax
from oracles import start, update
from rfjax import architectures, losses
from rfjax.core import Network
from rfjax.refurbishment import selfie

KEY = jax.random.key(0)
CLASSES, ROWS, SIZE, EPOCHS, LEARNING = 3, 12, 5, 10, 2.0
X = np.random.default_rng(7).normal(size=(ROWS, 3)).astype(np.float32)
Y = np.random.default_rng(8).integers(0, CLASSES, ROWS)
WEIGHTS = 0.3 * np.random.default_rng(9).normal(size=(3, CLASSES)).astype(np.float32)
LINEAR = architectures.from_function(lambda key, x: jnp.asarray(WEIGHTS), lambda w, x: x @ w)


def linear():
  return rfjax.Batch.from_arrays(X, Y, num_classes=CLASSES)


def training(method, network=LINEAR, **options):
  options = {"epochs": EPOCHS, "batch_size": SIZE} | options
  train = lambda key: rfjax.fit(network, method, optax.sgd(LEARNING), linear(), key=key, **options)
  return jax.jit(train)


def run(method, network=LINEAR, key=KEY, **options):
  return jax.device_get(training(method, network, **options)(key))


@pytest.mark.parametrize("given", [None, np.where(np.arange(ROWS) % 4, -1, 1)])
def test_a_run_is_sgd_by_hand(by_hand, given):
  method = rfjax.chain(
    losses.label_smoothing(0.1),
    selfie(0.4, threshold=0.3, length=3, warmup=4, refurbished=given),
  )
  state, log = run(method, observe=lambda state, view: view.order)
  card = by_hand.Card(ROWS, CLASSES, 0.4, length=3, threshold=0.3, warmup=4,
                      given=[-1] * ROWS if given is None else given)  # fmt: skip
  weights, risks = by_hand.descend(
    card, WEIGHTS.astype(float), log.observed, X.astype(float), Y, 0.1, LEARNING
  )
  found = state.method[1]
  np.testing.assert_array_equal(found.refurbished, card.labels())
  np.testing.assert_array_equal(found.history.labels, card.ring())
  np.testing.assert_array_equal(found.history.pushes, EPOCHS)
  np.testing.assert_allclose(state.params, weights, rtol=1e-4, atol=1e-5)
  np.testing.assert_allclose(log.risk, risks, rtol=1e-4)
  assert card.happened["new"] > 10 and card.happened["dropped"] > 2
  assert (card.happened["in warm-up"] > 0) == (given is not None)


@functools.cache
def plain():
  return run(rfjax.chain())


@pytest.mark.parametrize("settings", [
  {"rate": 0.0, "threshold": -1.0, "warmup": 0}, {"rate": 0.4, "threshold": 1.0, "warmup": EPOCHS}
])  # fmt: skip
def test_neither_selection_nor_threshold_is_plain_training(settings):
  (state, log), (other, wanted) = run(selfie(length=2, **settings)), plain()
  chex.assert_trees_all_close((state.params, log.risk), (other.params, wanted.risk), rtol=1e-5)
  assert (state.method.refurbished == -1).all()


def test_the_first_epoch_after_warmup_is_the_first_to_leave_rows_out():
  method = selfie(0.5, threshold=-1.0, warmup=3)

  @jax.jit
  def counted(epoch):
    data = linear().fill(jnp.asarray(X @ WEIGHTS))
    return update(method, data, start(method, data), epoch=epoch)[0].keep.sum()

  kept = [float(counted(e)) for e in range(5)]
  assert kept == [ROWS, ROWS, ROWS, ROWS / 2, ROWS / 2]


def test_many_seeds_and_rates_are_the_loop():
  method_of = functools.partial(selfie, threshold=0.3, length=2, warmup=2)
  tx, seeds = optax.sgd(1.0), np.arange(3, dtype=np.uint32)
  rates = np.array([0.0, 0.25, 0.6], np.float32)

  def train(seed, rate):
    network, key = architectures.logistic(CLASSES), jax.random.key(seed)
    state, log = rfjax.fit(network, method_of(rate), tx, linear(), key=key, epochs=6)
    return state, log.risk

  many = jax.device_get(jax.jit(jax.vmap(jax.vmap(train, (None, 0)), (0, None)))(seeds, rates))
  single = jax.jit(train)
  for s, r in np.ndindex(3, 3):
    state, risk = single(seeds[s], rates[r])
    lane = jax.tree.map(lambda v, s=s, r=r: v[s, r], many)
    chex.assert_trees_all_equal(lane[0].method, state.method)
    chex.assert_trees_all_close(
      (lane[0].params, lane[1]), (state.params, risk), rtol=1e-4, atol=1e-5
    )
  assert len(np.unique(many[1][..., -1])) > 6 and (many[0].method.refurbished >= 0).any()


def test_independent_batches_are_draws_without_repeats():
  method, data = (
    selfie(0.2, independent_batches=True),
    rfjax.Batch.from_arrays(np.zeros((7, 2)), np.arange(7) % 2),
  )
  assert method.writes == ("target", "keep", "order")

  @jax.jit
  def draw(key):
    flow = data.fill(jnp.zeros((7, 2))).replace(order=jnp.zeros((3, 3), jnp.int32))
    return method.refresh(flow, start(method, data), None, key=key, epoch=0)[0].order

  assert draw(KEY).dtype == jnp.int32
  orders = np.asarray(jax.jit(lambda: jax.vmap(draw)(jax.random.split(KEY, 1000)))())
  assert orders.shape == (1000, 3, 3) and orders.min() == 0 and orders.max() == 6
  assert all(len(set(batch)) == 3 for batch in orders.reshape(-1, 3))
  shares = np.bincount(orders.ravel(), minlength=7) / orders.size
  np.testing.assert_allclose(shares, 1 / 7, atol=0.01)
  first = np.bincount(orders[..., 0].ravel(), minlength=7) / 3000
  np.testing.assert_allclose(first, 1 / 7, atol=0.03)
  # The second batch does not know of the first one: they share 3 * 3 / 7 rows on average.
  shared = [len(set(a) & set(b)) for a, b, _ in orders]
  assert abs(np.mean(shared) - 9 / 7) < 0.08
  first, again, other = (np.asarray(draw(key)) for key in (KEY, KEY, jax.random.key(1)))
  np.testing.assert_array_equal(first, again)
  assert (first != other).any()


def test_independent_batches_are_what_a_run_is_served():
  see = lambda state, view: view.order
  method = selfie(0.2, length=3, warmup=2, independent_batches=True)
  serve = training(method, observe=see)
  orders = [np.asarray(serve(key)[1].observed) for key in (KEY, KEY, jax.random.key(1))]
  steps = -(-ROWS // SIZE)
  assert orders[0].shape == (EPOCHS, steps, SIZE) and orders[0].max() < ROWS
  assert all(len(set(batch)) == SIZE for batch in orders[0].reshape(-1, SIZE))
  passes = [len(set(epoch.ravel())) for epoch in orders[0]]
  assert min(passes) < ROWS, "every epoch saw all rows, as a permutation does"
  np.testing.assert_array_equal(orders[0], orders[1])
  assert (orders[0] != orders[2]).any() and (orders[0][0] != orders[0][1]).any()
  with pytest.raises(ValueError, match="needs batches: pass batch_size="):
    run(method, batch_size=None)


def dropped(params, x, key):
  return (x * 2 * jax.random.bernoulli(key, 0.5, x.shape)) @ params


DROPOUT = Network(
  lambda key, x: (jnp.asarray(WEIGHTS), ()),
  lambda w, stats, x, *, key, train: (dropped(w, x, key) if train else x @ w, None, stats),
)


@pytest.mark.parametrize("network, same", [(LINEAR, True), (DROPOUT, False)])
def test_asking_again_changes_something_with_dropout_only(network, same):

  def stepped(ask):
    method = selfie(0.25, length=2, warmup=0, ask_again=ask)
    step = rfjax.train_step(network, method, optax.sgd(1.0))
    before = step.init(jnp.asarray(WEIGHTS), linear(), key=KEY)
    return step.update(before, linear(), key=KEY, step=0, epoch=0)[0]

  after = jax.device_get(jax.jit(lambda: [stepped(ask) for ask in (False, True)])())
  assert np.allclose(after[0].params, after[1].params, rtol=1e-5) == same
  chex.assert_trees_all_equal(after[0].method, after[1].method)


def test_asking_again_selects_and_remembers_by_the_first_answer_and_learns_by_the_second():
  data, key = linear(), jax.random.key(4)
  method = selfie(0.5, threshold=-1.0, length=3, warmup=0, ask_again=True)
  step = rfjax.train_step(DROPOUT, method, optax.sgd(1.0))

  @jax.jit
  def everything(data):
    before = step.init(jnp.asarray(WEIGHTS), data, key=KEY)
    network_key, method_key, _ = jax.random.split(key, 3)
    said = [jax.nn.log_softmax(dropped(WEIGHTS, X, k)) for k in (network_key, method_key)]
    return step.update(before, data, key=key, step=0, epoch=0), said, method_key

  (after, metrics), (first, second), method_key = everything(data)
  first, second = np.asarray(first), np.asarray(second)
  np.testing.assert_array_equal(after.method.history.labels[:, 0], first.argmax(1))
  assert (first.argmax(1) != second.argmax(1)).any()
  loss = -first[np.arange(ROWS), Y]
  keep = np.zeros(ROWS)
  keep[np.argsort(loss, kind="stable")[: ROWS // 2]] = 1

  def risk(w):
    z = jax.nn.log_softmax(dropped(w, X, method_key))
    return -jnp.sum(keep * z[np.arange(ROWS), Y]) / keep.sum()

  value, slope = jax.jit(jax.value_and_grad(risk))(WEIGHTS)
  np.testing.assert_allclose(metrics["risk"], value, rtol=1e-5)
  np.testing.assert_allclose(after.params, WEIGHTS - slope, rtol=1e-4, atol=1e-6)


def test_asking_again_loses_no_loss_in_silence():
  with pytest.raises(ValueError, match="transform 1 of the chain"):
    rfjax.chain(losses.gce(0.7), selfie(0.2, ask_again=True))
  rfjax.chain(losses.gce(0.7), selfie(0.2))
