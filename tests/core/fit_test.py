"""Whole runs against a NumPy oracle, and what they promise about epochs, views and peers."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rfjax
from rfjax import architectures
from rfjax.core import Batch, Transform, Truth, fit, predict, random_order

KEY, RATE, N, SIZE = jax.random.key(7), 0.3, 7, 3
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, 2)).astype(np.float32)
Y = np.array([0, 1, 1, 0, 1, 0, 1])
NETWORK, PLAIN = architectures.logistic(), rfjax.chain()
START = {"kernel": jnp.array([[0.4], [-0.3]]), "bias": jnp.array([0.1])}


@pytest.fixture(scope="module")
def data():
  return Batch.from_arrays(X, Y, truth=Truth(jnp.asarray(1 - Y)))


def run(data, method=PLAIN, tx=None, *, epochs=2, batch_size=SIZE, **options):
  options = {"key": KEY, "params": START, "batch_size": batch_size} | options
  return fit(NETWORK, method, tx or optax.sgd(RATE), data, epochs=epochs, **options)


def look(data):
  return {name: getattr(data, name) for name in ("log_probs", "cost", "order", "keep")}


# A method that only watches: the epoch of every step, the first step and the view of every refresh.
watch = Transform(
  init=lambda d, **_: {
    "epoch_of": jnp.full(9, -1),
    "first_of": jnp.full(2, -1),
    "view": look(d.fill(jnp.zeros((N, 2))).replace(order=jnp.zeros((3, SIZE), jnp.int32))),
  },
  update=lambda b, s, p=None, *, step, epoch, **_: (
    b,
    s | {"epoch_of": s["epoch_of"].at[step].set(epoch)},
  ),
  refresh=lambda d, s, p=None, *, step, epoch, **_: (
    d,
    s | {"first_of": s["first_of"].at[epoch].set(step), "view": look(d)},
  ),
)


@pytest.fixture(scope="module")
def plain(data):
  """A watched run, with the order and the parameters of every epoch."""
  return run(
    data, watch, observe=lambda state, view: (view.order, state.params, view.logits is None)
  )


@pytest.fixture(scope="module")
def two(data):
  """Two peers that do not look at each other, from inits of their own."""
  seen = lambda state, view: (view.order, state.params)
  return run(data, keyed, peers=2, params=None, observe=seen)


keyed = Transform(
  init=lambda data, *, key, **_: jax.random.bits(key),
  update=lambda b, s, p=None, *, key, **_: (b, s ^ jax.random.bits(key)),
)


def gradient(kernel, bias, x, y):
  residual = 1 / (1 + np.exp(-(x @ kernel[:, 0] + bias))) - y
  return (x.T @ residual)[:, None] / len(y), residual.mean(keepdims=True)


def oracle(epochs, x=X, y=Y):
  """SGD on logistic regression, batch by batch, in float64; empty slots are left out."""
  kernel, bias = (np.asarray(START[name], np.float64) for name in ("kernel", "bias"))
  risks = []
  for order in epochs:
    losses = []
    for rows in np.asarray(order):
      rows = rows[rows < N]
      margin = x[rows] @ kernel[:, 0] + bias
      losses.append(np.logaddexp(0, np.where(y[rows] == 1, -margin, margin)).mean())
      by_kernel, by_bias = gradient(kernel, bias, x[rows].astype(np.float64), y[rows])
      kernel, bias = kernel - RATE * by_kernel, bias - RATE * by_bias
    risks.append(np.mean(losses))
  return {"kernel": kernel, "bias": bias}, risks


def agrees_with_oracle(result, orders, **data):
  (state, log), (params, risks) = result, oracle(orders, **data)
  chex.assert_trees_all_close(state.params, params, rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(log.risk, risks, rtol=1e-5)


def test_random_order_is_a_permutation_and_padding():
  order = np.asarray(random_order(KEY, N, SIZE))
  assert order.shape == (3, SIZE) and order.dtype == np.int32
  np.testing.assert_array_equal(np.sort(order.ravel()), [0, 1, 2, 3, 4, 5, 6, N, N])
  np.testing.assert_array_equal(order.ravel()[N:], N)
  assert random_order(KEY, 6, 3).shape == (2, 3)


def test_minibatch_sgd_equals_numpy(plain):
  orders = plain[1].observed[0]
  assert (orders[0] != orders[1]).any()
  agrees_with_oracle(plain, orders)


def test_full_batch_equals_numpy(data):
  agrees_with_oracle(run(data, batch_size=None, epochs=3), [[np.arange(N)]] * 3)


def test_a_sampler_with_a_schedule_leaves_the_default_order_to_the_other_epochs(data, plain):
  mine = jnp.array([[0, 0, 1], [N, 2, N], [6, 5, 4]])
  sampler = Transform(refresh=lambda d, s, p=None, **_: (d.replace(order=mine), s))
  late = rfjax.when(lambda step, epoch: epoch >= 2, rfjax.when(lambda *_: True, sampler))
  train = lambda d: run(d, late, epochs=3, observe=lambda state, view: view.order)[1].observed
  orders = train(data)
  np.testing.assert_array_equal(orders[:2], plain[1].observed[0][:2])
  np.testing.assert_array_equal(orders[2], mine)
  program = jax.jit(train).lower(data).compile().as_text()
  sorts = [line for line in program.splitlines() if " sort(" in line]
  assert sorts and all("cond/branch" in line for line in sorts)


def test_an_order_written_by_refresh_is_served_for_its_epoch(data, plain):
  mine = jnp.array([[0, 0, 1], [N, 2, N], [6, 5, 4]])
  sampler = Transform(
    refresh=lambda d, s, p=None, *, epoch, **_: (
      d.replace(order=jnp.where(epoch == 1, mine, d.order)),
      s,
    )
  )
  result = run(data, sampler, epochs=3, observe=lambda state, view: view.order)
  orders = result[1].observed
  np.testing.assert_array_equal(orders[0], plain[1].observed[0][0])
  np.testing.assert_array_equal(orders[1], mine)
  assert sorted(orders[2].ravel().tolist()) == [*range(N), N, N]
  agrees_with_oracle(result, orders)


def test_a_sampler_may_serve_other_shapes_and_empty_batches(data):
  def served(*order):
    refresh = lambda d, s, p=None, **_: (d.replace(order=jnp.array(order)), s)
    return run(data, Transform(refresh=refresh, writes=("order",)), optax.adam(0.1), epochs=1)[0]

  some = served([0, 1, 2, 3])
  chex.assert_trees_all_close(served([N, N, N, N], [0, 1, 2, 3], [N, N, N, N]), some)
  assert (some.params["bias"] != START["bias"]).all()


def test_refresh_sees_the_networks_opinion_and_the_default_order(data, plain):
  view, (order, params, _) = plain[0].method["view"], plain[1].observed
  logits, _, _ = NETWORK.apply(jax.tree.map(lambda p: p[0], params), (), data.x)
  np.testing.assert_allclose(view["log_probs"], jax.nn.log_softmax(logits), rtol=1e-5)
  np.testing.assert_array_equal(view["cost"], -view["log_probs"])
  np.testing.assert_array_equal(view["order"], order[1])
  np.testing.assert_array_equal(view["keep"], 1)


def test_steps_and_epochs_are_counted(plain):
  np.testing.assert_array_equal(plain[0].method["epoch_of"], [0, 0, 0, 1, 1, 1, -1, -1, -1])
  np.testing.assert_array_equal(plain[0].method["first_of"], [0, 3])


def test_observe_sees_the_state_after_each_epoch(plain):
  orders, params, drained = plain[1].observed
  chex.assert_trees_all_equal(jax.tree.map(lambda p: p[-1], params), plain[0].params)
  first = jax.tree.map(lambda p: p[0], params)
  chex.assert_trees_all_close(first, oracle(orders[:1])[0], rtol=1e-5, atol=1e-6)
  assert drained.all() and plain[1].penalty.shape == (2,)


def test_neither_the_truth_nor_watching_changes_anything(data, plain):
  state, log = run(data.replace(truth=None))
  chex.assert_trees_all_close((state.params, log.risk), (plain[0].params, plain[1].risk), rtol=1e-6)


def refilled(data):
  return data.fill(NETWORK.apply(START, (), data.x)[0])


def columns(d):
  keep, target = d.keep * (d.index % 2), 0.7 * d.target + 0.1
  return d.replace(weight=0.5 * d.weight, keep=keep, target=target)


def examples(d):
  return d.replace(x=2 * d.x, y=1 - d.y)


@pytest.mark.parametrize("change", [columns, examples])
def test_what_refresh_writes_reaches_the_steps_and_does_not_compound(data, change):
  method = Transform(refresh=lambda d, s, p=None, **_: (change(d), s))
  names = ("x", "y", "weight", "keep", "target")
  observe = lambda state, view: {n: getattr(view, n) for n in names if getattr(view, n) is not None}
  _, log = run(data, method, optax.sgd(0.0), batch_size=None, observe=observe)
  expected = change(refilled(data)) if change is columns else refilled(change(data))
  for name, seen in log.observed.items():
    np.testing.assert_array_equal(seen, jnp.stack([getattr(expected, name)] * 2))
  np.testing.assert_allclose(log.risk, [expected.risk] * 2, rtol=1e-5)
  assert abs(log.risk[0] - refilled(data).risk) > 0.01


@pytest.mark.parametrize("batch_size", [None, N])
def test_what_the_data_set_says_reaches_the_steps(data, batch_size):
  new = columns(refilled(data))
  own = data.replace(weight=new.weight, keep=new.keep, target=new.target)
  _, log = run(own, PLAIN, optax.sgd(0.0), epochs=1, batch_size=batch_size)
  np.testing.assert_allclose(log.risk[0], new.risk, rtol=1e-5)


def test_no_epochs_return_the_start(data):
  state, log = run(data, epochs=0)
  chex.assert_trees_all_equal(state.params, START)
  assert log.risk.shape == (0,)


def test_peers_share_batches_and_differ_in_init_and_keys(two):
  state, log = two
  order, params = log.observed
  np.testing.assert_array_equal(order[0], order[1])
  assert params["kernel"].shape == (2, 2, 2, 1)
  assert (state.params["kernel"][0] != state.params["kernel"][1]).all()
  assert state.method[0] != state.method[1] and log.risk.shape == (2, 2)


def test_the_first_of_two_strangers_is_the_single_run(data, two):
  state, log = run(data, keyed, params=None)
  first = jax.tree.map(lambda v: v[0], (two[0], two[1].risk))
  chex.assert_trees_all_close(first, (state, log.risk), rtol=1e-5, atol=1e-7)


def test_peers_start_from_the_parameters_given(data):
  both = jax.tree.map(lambda p: jnp.stack([p, -p]), START)
  state, _ = run(data, epochs=0, peers=2, params=both)
  chex.assert_trees_all_equal(state.params, both)


def test_predict_speaks_for_the_network_and_the_first_peer(data, plain, two):
  expected = X @ np.asarray(plain[0].params["kernel"][:, 0]) + plain[0].params["bias"]
  said = predict(NETWORK, plain[0], data)
  np.testing.assert_allclose(said.margin[:, 0], expected, rtol=1e-5)
  np.testing.assert_allclose(said.log_probs, jax.nn.log_softmax(said.logits))
  first = jax.tree.map(lambda v: v[0], two[0])
  np.testing.assert_array_equal(
    predict(NETWORK, two[0], data).logits, predict(NETWORK, first, data).logits
  )


BAD = {
  "epochs": [-1, 2.5, "3", None],
  "batch_size": [0, N + 1, 2.5],
  "peers": [0, 1.5],
}


@pytest.mark.parametrize("name, value", [(n, v) for n, values in BAD.items() for v in values])
def test_bad_counts_are_refused(data, name, value):
  with pytest.raises(ValueError, match=rf"{name} must be .*got {value!r}"):
    run(data, **{name: value})


def test_the_order_of_rows_in_a_full_batch_does_not_matter(data):
  rows = jnp.array([3, 6, 0, 2, 5, 1, 4])
  runs = [run(d, batch_size=None)[0].params for d in (data, data.subset(rows))]
  chex.assert_trees_all_close(*runs, rtol=1e-5)


def test_a_vmapped_run_is_the_single_run_and_keeps_its_branches(data):
  square = Transform(update=lambda b, s, p=None, **_: (b.replace(cost=b.cost**2), s))
  method = rfjax.when(lambda step, epoch: step % 2 == 0, square)
  start = lambda seed: jax.tree.map(lambda p: p + 0.1 * seed, START)
  train = lambda seed: run(data, method, params=start(seed), batch_size=None)[0].params
  many = jax.jit(jax.vmap(train)).lower(jnp.arange(3)).compile()
  assert "conditional(" in many.as_text()
  third = jax.tree.map(lambda v: v[2], many(jnp.arange(3)))
  chex.assert_trees_all_close(third, train(2), rtol=1e-5, atol=1e-6)


def test_one_key_for_noise_and_run_draws_independent_numbers():
  rows = 200
  draw = lambda b, *, key, **_: b.replace(
    x=jnp.stack([jax.random.uniform(k, (rows,)) for k in (key, *jax.random.split(key))], 1)
  )
  data = Batch.from_arrays(np.zeros((rows, 2)), np.arange(rows) % 2)
  _, log = run(data, tx=optax.sgd(0.0), batch_size=50, observe=lambda state, view: view.order)
  for noise in (rfjax.stateless(draw), rfjax.chain(rfjax.stateless(draw))):
    drawn = np.asarray(rfjax.transform(noise, data, key=KEY).x)
    for order in np.asarray(log.observed):
      correlation = np.corrcoef(drawn[order.ravel()].T, np.arange(rows))[-1, :-1]
      assert np.abs(correlation).max() < 0.3
