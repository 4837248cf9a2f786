"""One training step against gradients of a loss written by hand."""

import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rfjax
from rfjax import architectures
from rfjax.core import Batch, Network, Transform, from_function, train_step

KEY, WHEN = jax.random.key(0), {"step": 3, "epoch": 1}
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(6, 2)).astype(np.float32), np.array([0, 1, 1, 0, 1, 0])
KEEP, WEIGHT = np.array([1, 0, 1, 0.5, 1, 0]), RNG.uniform(size=6)
NETWORK = architectures.logistic()

columns = rfjax.stateless(
  lambda b, **_: b.replace(
    keep=b.keep * jnp.asarray(KEEP, jnp.float32).at[b.index].get(mode="fill", fill_value=0),
    weight=b.weight * jnp.asarray(WEIGHT, jnp.float32).at[b.index].get(mode="fill", fill_value=7),
    penalty=b.penalty + 0.3 * b.mean(b.margin[:, 0] ** 2),
  ),
  writes=("keep", "weight", "penalty"),
)
squares = rfjax.stateless(
  lambda b, **_: b.replace(penalty=b.penalty + b.mean(b.margin[:, 0] ** 2)), writes=("penalty",)
)


@pytest.fixture(scope="module")
def data():
  return Batch.from_arrays(X, Y, group=[0, 1, 0, 1, 0, 1])


@pytest.fixture(scope="module")
def params(data):
  return {"kernel": jnp.array([[0.4], [-0.3]]), "bias": jnp.array([0.1])}


def risk_by_hand(params):
  margin = X @ params["kernel"][:, 0] + params["bias"]
  loss = jnp.logaddexp(0.0, jnp.where(Y == 1, -margin, margin))
  return jnp.sum(KEEP * WEIGHT * loss) / KEEP.sum()


def penalty_by_hand(params):
  return 0.3 * jnp.mean((X @ params["kernel"][:, 0] + params["bias"]) ** 2)


def close(a, b, rtol=1e-5, atol=1e-6):
  chex.assert_trees_all_close(a, b, rtol=rtol, atol=atol)


def run(method, tx, data, params, steps=1, **options):
  """The state after some steps on one batch, and the last metrics."""
  step = train_step(NETWORK, method, tx, **options)
  state = step.init(params, data, key=KEY)
  update = step.update
  for i in range(steps):
    state, metrics = update(state, data, key=jax.random.fold_in(KEY, i), step=i, epoch=0)
  return state, metrics


def spy(seen):
  """An optax link that writes down what the step passes on."""

  def update(updates, state, params=None, **extra):
    seen.update(extra, updates=updates)
    return updates, state

  return optax.GradientTransformationExtraArgs(lambda params: (), update)


@pytest.fixture(scope="module")
def spied(data, params):
  seen = {}
  step = train_step(NETWORK, columns, optax.chain(spy(seen), optax.sgd(1.0)))
  state, metrics = step.update(step.init(params, data, key=KEY), data, key=KEY, **WHEN)
  return seen, state, metrics


def test_the_step_descends_risk_plus_penalty(spied, params):
  _, state, metrics = spied
  gradient = jax.grad(lambda p: risk_by_hand(p) + penalty_by_hand(p))(params)
  close(state.params, jax.tree.map(jnp.subtract, params, gradient))
  close(metrics, {"risk": risk_by_hand(params), "penalty": penalty_by_hand(params)})


def test_grad_of_is_linear_in_risk_and_penalty(spied, params):
  grad_of, updates = spied[0]["grad_of"], spied[0]["updates"]
  by_risk, by_penalty = jax.grad(risk_by_hand)(params), jax.grad(penalty_by_hand)(params)
  close(grad_of(), by_risk)
  close(grad_of(risk=0.0, penalty=1.0), by_penalty)
  close(grad_of(2.0, -3.0), jax.tree.map(lambda a, b: 2 * a - 3 * b, by_risk, by_penalty))
  close(grad_of(1.0, 1.0), updates)


def test_optax_links_get_the_extra_arguments(spied, data, params):
  seen, _, metrics = spied
  close(seen["value"], metrics["risk"] + metrics["penalty"])
  assert (seen["step"], seen["epoch"], seen["batch"]) == (3, 1, data)
  np.testing.assert_allclose(
    seen["forward"](params, data).margin[:, 0], X @ [0.4, -0.3] + 0.1, 1e-4
  )
  assert jnp.issubdtype(seen["key"].dtype, jax.dtypes.prng_key)


def test_an_optax_link_that_reads_the_value_works(data, params):
  tx = optax.chain(optax.sgd(0.5), optax.contrib.reduce_on_plateau(patience=1, accumulation_size=1))
  state, _ = run(rfjax.chain(), tx, data, params, steps=2)
  assert state.opt[1].avg_value < np.inf and state.opt[1].best_value < np.inf


def test_padding_rows_change_nothing(spied, data, params):
  padded = data.take(jnp.array([0, 1, 2, 3, 4, 5, 6, 6, 6]))
  step = train_step(NETWORK, columns, optax.sgd(1.0))
  state, _ = jax.jit(step.update)(step.init(params, data, key=KEY), padded, key=KEY, **WHEN)
  close(state.params, spied[1].params)


def test_a_second_forward_is_differentiable(data, params):
  def twice(b, s, p, *, forward, **_):
    other = forward(p, b.replace(x=2 * b.x))
    return b.replace(penalty=b.penalty + other.mean(other.margin[:, 0] ** 2)), s

  state, _ = run(Transform(update=twice), optax.sgd(1.0), data, params)
  margin = lambda p, x: x @ p["kernel"][:, 0] + p["bias"]
  sign = 1 - 2 * Y
  loss = lambda p: jnp.mean(jnp.logaddexp(0.0, sign * margin(p, X)) + margin(p, 2 * X) ** 2)
  close(state.params, jax.tree.map(jnp.subtract, params, jax.grad(loss)(params)))


def dropped(params, x, key):
  """What a network of dropout says, by hand."""
  kept = 2 * jax.random.bernoulli(key, 0.5, x.shape)
  return NETWORK.apply(params, (), x * kept)[0]


DROPOUT = Network(
  NETWORK.init,
  lambda params, stats, x, *, key, train: (
    dropped(params, x, key) if train else NETWORK.apply(params, (), x)[0],
    None,
    stats,
  ),
)
OTHER = jax.random.key(9)


def test_a_second_forward_has_the_same_dropout_and_with_a_key_that_of_the_key(data, params):
  def ask(b, s, p, *, key, forward, **_):
    says = {"first": b, "same": forward(p, b), "method": forward(p, b, key=key)}
    says |= {"other": forward(p, b, key=OTHER), "none": forward(p, b, key=None)}
    return b, {name: flow.logits for name, flow in says.items()}

  def quiet(d, s, p, *, key, forward, **_):
    return d, s | {"first": d.logits, "same": forward(p, d), "other": forward(p, d, key=OTHER)}

  step = train_step(DROPOUT, Transform(update=ask, refresh=quiet), optax.sgd(1.0))
  state = step.init(params, data, key=KEY)
  said = jax.jit(step.update)(state, data, key=KEY, **WHEN)[0].method
  network_key, method_key, _ = jax.random.split(KEY, 3)
  for name in ("first", "same", "none"):
    close(said[name], dropped(params, X, network_key))
  close(said["method"], dropped(params, X, method_key))
  close(said["other"], dropped(params, X, OTHER))
  for one, two in itertools.combinations(("first", "method", "other"), 2):
    assert np.any(said[one] != said[two])
  evaluated = step.refresh(state._replace(method={}), data, key=KEY, epoch=0)[1].method
  close(evaluated["other"].logits, NETWORK.apply(params, (), X)[0])
  close(evaluated["same"].logits, evaluated["first"])


def test_a_forward_with_a_key_is_differentiable_and_sees_the_fields_of_its_batch(data, params):
  def twice(b, s, p, *, forward, **_):
    other = forward(p, b.replace(x=2 * b.x, weight=3 * b.weight), key=OTHER)
    return b.replace(cost=other.cost, weight=other.weight), s

  step = train_step(DROPOUT, Transform(update=twice), optax.sgd(1.0))
  state, metrics = jax.jit(step.update)(step.init(params, data, key=KEY), data, key=KEY, **WHEN)

  def loss(p):
    log_probs = jax.nn.log_softmax(dropped(p, 2 * X, OTHER))
    return -3 * jnp.mean(log_probs[jnp.arange(6), Y])

  close(metrics["risk"], loss(params))
  close(state.params, jax.tree.map(jnp.subtract, params, jax.grad(loss)(params)))


def test_optax_links_may_ask_with_a_key_too(data, params):
  seen = {}
  step = train_step(DROPOUT, rfjax.chain(), optax.chain(spy(seen), optax.sgd(1.0)))
  step.update(step.init(params, data, key=KEY), data, key=KEY, **WHEN)
  network_key, *_ = jax.random.split(KEY, 3)
  close(seen["forward"](params, data).logits, dropped(params, X, network_key))
  close(seen["forward"](params, data, key=OTHER).logits, dropped(params, X, OTHER))


def test_add_penalty_equals_the_loss_side_form(data, params):
  tx = optax.adam(0.1)
  inside, _ = run(squares, tx, data, params, steps=3)
  outside, metrics = run(
    rfjax.chain(), optax.chain(rfjax.add_penalty(squares), tx), data, params, steps=3
  )
  close(inside.params, outside.params, atol=1e-6, rtol=1e-6)
  assert metrics["penalty"] == 0


def test_add_penalty_of_half_the_squared_norm_is_weight_decay(data, params):
  def norm(b, s, p, **_):
    return b.replace(penalty=b.penalty + 0.05 * optax.tree.norm(p, squared=True)), s

  mine = optax.chain(rfjax.add_penalty(Transform(update=norm)), optax.adam(0.1))
  twin = optax.chain(optax.add_decayed_weights(0.1), optax.adam(0.1))
  states = [run(rfjax.chain(), tx, data, params, steps=3)[0].params for tx in (mine, twin)]
  close(*states)


growing = Transform(
  init=lambda data, **_: jnp.asarray(float(data.num_rows)),
  update=lambda b, s, p=None, **_: (b.replace(penalty=s * b.mean(b.margin[:, 0])), s + 1),
)


def test_add_penalty_keeps_a_state(data, params):
  tx = optax.chain(rfjax.add_penalty(growing, data, key=KEY), optax.sgd(0.1))
  twin = rfjax.chain(growing)
  state, _ = run(rfjax.chain(), tx, data, params, steps=3)
  assert state.opt[0] == 9
  close(state.params, run(twin, optax.sgd(0.1), data, params, steps=3)[0].params)


def test_add_penalty_says_what_it_misses(data, params):
  with pytest.raises(ValueError, match="needs data= and key="):
    rfjax.add_penalty(growing)
  tx = rfjax.add_penalty(squares)
  with pytest.raises(ValueError, match="needs params, batch= and forward="):
    tx.update(params, tx.init(params), params)


def test_add_penalty_takes_combinations_without_a_state(data, params):
  late = rfjax.when(lambda step, epoch: step >= 0, rfjax.chain(squares, rfjax.scaled(1.0, squares)))
  tx = optax.chain(rfjax.add_penalty(late), optax.sgd(0.1))
  twin = run(rfjax.chain(squares, squares), optax.sgd(0.1), data, params)[0]
  close(run(rfjax.chain(), tx, data, params)[0].params, twin.params)


def empty_batch_after_a_step(data, params, **options):
  step = train_step(NETWORK, growing, optax.adam(0.1), **options)
  state, _ = step.update(step.init(params, data, key=KEY), data, key=KEY, **WHEN)
  after, _ = jax.jit(step.update)(state, data.take(jnp.array([6, 6])), key=KEY, **WHEN)
  return state, after


def test_skip_empty_leaves_everything_where_it_was(data, params):
  state, after = empty_batch_after_a_step(data, params, skip_empty=True)
  chex.assert_trees_all_equal(state, after)


def test_without_skip_empty_adam_moves_on(data, params):
  state, after = empty_batch_after_a_step(data, params)
  assert after.method == state.method + 1 and after.opt[0].count == 2
  assert np.all(after.params["kernel"] != state.params["kernel"])


def test_skip_empty_lets_other_batches_pass(data, params):
  some = data.take(jnp.array([6, 2]))
  states = [run(columns, optax.adam(0.1), some, params, skip_empty=skip)[0] for skip in (0, 1)]
  chex.assert_trees_all_equal(*states)
  assert np.any(states[0].params["kernel"] != params["kernel"])


def test_the_state_keeps_structure_and_types(data, params):
  integers = Transform(
    init=lambda data, *, key, **_: {"n": jnp.zeros((), jnp.int8), "key": key},
    update=lambda b, s, p=None, **_: (b, s | {"n": s["n"] + 1}),
  )
  method = rfjax.chain(columns, rfjax.when(lambda step, epoch: step > 0, integers), growing)
  first = train_step(NETWORK, method, optax.adam(0.1)).init(params, data, key=KEY)
  state, _ = run(method, optax.adam(0.1), data, params, steps=2, skip_empty=True)
  chex.assert_trees_all_equal_shapes_and_dtypes(state, first)


def test_init_tells_the_method_the_shapes(data, params):
  method = Transform(init=lambda data, *, spec, **_: spec)
  wide = architectures.mlp([5])
  state = train_step(wide, method, optax.sgd(0.1)).init(wide.init(KEY, X)[0], data, key=KEY)
  assert (state.method.logits.shape, state.method.features.shape) == ((6, 2), (6, 5))
  assert train_step(NETWORK, method, optax.sgd(0.1)).init(params, data, key=KEY).method[1] is None


@pytest.mark.parametrize("width", [1, 3])
def test_init_refuses_logits_of_another_number_of_classes(data, width):
  network = from_function(lambda key, x: jnp.zeros((2, width)), lambda params, x: x @ params)
  with pytest.raises(ValueError, match=rf"{width}.*num_classes|num_classes.*{width}"):
    train_step(network, rfjax.chain(), optax.sgd(0.1)).init(jnp.zeros((2, width)), data, key=KEY)


def test_a_penalty_may_be_of_higher_precision_than_the_logits(data, params):
  low = from_function(
    lambda key, x: None, lambda p, x: NETWORK.apply(p, (), x)[0].astype(jnp.bfloat16)
  )
  fair = rfjax.stateless(
    lambda b, **_: b.replace(penalty=b.penalty + jnp.sum((b.membership.T @ b.margin) ** 2))
  )
  step = train_step(low, fair, optax.sgd(0.1))
  state, _ = jax.jit(step.update)(step.init(params, data, key=KEY), data, key=KEY, **WHEN)
  assert state.params["kernel"].dtype == jnp.float32
