"""Transforms and their combinators: order, keys, several writers, branches, strengths."""

import itertools
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rfjax
from rfjax.core import Batch, Transform, identity

KEY = jax.random.key(0)
WHEN = {"step": 0, "epoch": 0}
LOGITS = np.random.default_rng(0).normal(size=(4, 2)).astype(np.float32)


@pytest.fixture(scope="module")
def batch():
  return Batch.from_arrays(np.zeros((4, 1)), [0, 1, 1, 0]).fill(jnp.asarray(LOGITS))


def update(t, flow, state=None, **when):
  """One update, from the initial state unless a state is given; without a network."""
  state = t.init(flow, key=KEY, spec=None) if state is None else state
  return t.update(flow, state, None, key=KEY, forward=None, **(WHEN | when))


def refresh(t, flow, state=None, **when):
  state = t.init(flow, key=KEY, spec=None) if state is None else state
  return t.refresh(flow, state, None, key=KEY, forward=None, **(WHEN | when))


def maps(name, function, **options):
  return rfjax.stateless(
    lambda b, **_: b.replace(**{name: function(getattr(b, name))}), writes=(name,), **options
  )


def writer(*names):
  return rfjax.stateless(lambda b, **_: b, writes=names)


counter = Transform(
  init=lambda data, **_: jnp.zeros((), jnp.int32),
  update=lambda b, s, p=None, **_: (b.replace(weight=0.5 * b.weight), s + 1),
  refresh=lambda d, s, p=None, **_: (d, s + 10),
)
keys = Transform(
  init=lambda data, *, key, **_: jax.random.key_data(key),
  update=lambda b, s, p=None, *, key, **_: (b, jax.random.key_data(key)),
  refresh=lambda b, s, p=None, *, key, **_: (b, jax.random.key_data(key)),
)


LOST = {
  "a second loss": [("loss",), ("loss",)],
  "logits after log_probs": [("log_probs",), ("logits",)],
  "logits after a selection": [("keep",), ("logits",)],
  "a loss after a selection": [("loss",), ("keep",), ("loss",)],
  "a loss after a reweighting": [("weight",), ("loss",)],
  "a loss over a corrected cost": [("cost",), ("loss",)],
  "a cost corrected after a selection": [("keep",), ("cost",)],
  "log_probs after a reweighting": [("weight",), ("log_probs",)],
  "log_probs after the loss": [("loss",), ("log_probs",)],
  "log_probs after a cost": [("cost",), ("log_probs",)],
}


@pytest.mark.parametrize("case", LOST)
def test_chain_refuses_an_order_that_would_lose_something(case):
  *first, last = (writer(*names) for names in LOST[case])
  with pytest.raises(ValueError, match=f"transform {len(first)} of the chain .*(put|keep)"):
    rfjax.chain(*first, last)
  with pytest.raises(ValueError, match="transform 1 of the chain"):
    rfjax.chain(rfjax.chain(*first), rfjax.when(lambda step, epoch: epoch > 1, last))


def test_chain_allows_the_reading_order_and_repeated_maps():
  order = ("log_probs", "loss", "cost", "target", "keep", "weight", "penalty")
  twice = [(n,) for n in order for _ in range(1 if n == "loss" else 2)]
  assert rfjax.chain(*(writer(*names) for names in twice)).writes == order
  assert rfjax.chain(writer("loss", "keep"), writer("keep", "weight")).writes[0] == "loss"
  assert rfjax.chain(writer("keep"), writer("target")).writes == ("keep", "target")


def test_several_writers_of_one_field(batch):
  double = lambda v: 2 * v
  method = rfjax.chain(
    maps("log_probs", double),
    maps("log_probs", lambda v: v - 1),
    maps("cost", lambda v: v**2),
    maps("cost", double),
    maps("target", lambda v: 0 * v),
    maps("target", lambda v: jnp.full_like(v, 0.5)),
    maps("keep", lambda v: v * jnp.array([1.0, 1, 1, 0])),
    maps("keep", lambda v: v * jnp.array([0.0, 1, 1, 1])),
    maps("weight", lambda v: 3 * v),
    maps("weight", double),
    maps("penalty", lambda v: v + 1),
    maps("penalty", lambda v: v + 0.5),
  )
  new, _ = update(method, batch)
  logits = LOGITS.astype(np.float64)
  log_probs = 2 * (logits - np.log(np.exp(logits).sum(1, keepdims=True))) - 1
  loss = (2 * log_probs**2).mean(1)
  np.testing.assert_allclose(new.objective, 6 * loss[1:3].sum() / 2 + 1.5, rtol=1e-5)


def test_empty_chain_and_default_transform_do_nothing(batch):
  for t in (rfjax.chain(), Transform(), identity):
    assert update(t, batch)[0] is batch and refresh(t, batch)[0] is batch


@pytest.mark.parametrize("act", ["init", "update", "refresh"])
def test_every_link_has_a_key_of_its_own(batch, act):
  method = rfjax.chain(keys, rfjax.chain(keys, keys), keys)
  state = method.init(batch, key=KEY, spec=None)
  if act != "init":
    call = lambda key: getattr(method, act)(batch, state, None, key=key, forward=None, **WHEN)[1]
    state = call(KEY)
    jax.tree.map(np.testing.assert_array_equal, jax.jit(call)(KEY), state)
  seen = [*map(tuple, jax.tree.leaves(jax.tree.map(np.asarray, state)))]
  assert len({tuple(map(int, k)) for k in seen}) == 4


def test_pointwise_acts_in_both_and_stateless_in_update_only(batch):
  square = lambda b, **_: b.replace(cost=b.cost**2)
  for t, in_refresh in ((rfjax.pointwise(square), 2), (rfjax.stateless(square), 1)):
    np.testing.assert_allclose(update(t, batch)[0].cost, batch.cost**2)
    np.testing.assert_allclose(refresh(t, batch)[0].cost, batch.cost**in_refresh)


@pytest.mark.parametrize("name", ["target", "keep", "weight", "penalty"])
def test_pointwise_refuses_what_would_act_twice(name):
  with pytest.raises(ValueError, match=f"{name} .*use stateless"):
    rfjax.pointwise(lambda b, **_: b, writes=(name,))


def test_unknown_arguments_are_ignored(batch):
  methods = rfjax.chain(rfjax.scaled(0.5, counter), rfjax.when(lambda s, e: True, identity))
  assert update(methods, batch, later="extension")[1][0] == 1
  assert refresh(methods, batch, later="extension")[1][0] == 10
  assert methods.init(batch, key=KEY, spec=None, later="extension")[0] == 0


def test_when_moves_the_active_state_only(batch):
  t = rfjax.when(lambda step, epoch: step >= 5, counter, otherwise=rfjax.chain(counter, counter))
  flow, state = update(t, batch, step=5)
  assert jax.tree.map(int, state) == (1, (0, 0))
  np.testing.assert_allclose(flow.weight, 0.5)
  flow, state = update(t, batch, state, step=4)
  assert jax.tree.map(int, state) == (1, (1, 1))
  np.testing.assert_allclose(flow.weight, 0.25)


def test_when_chooses_in_refresh_too(batch):
  t = rfjax.when(lambda step, epoch: epoch < 2, counter)
  assert [int(refresh(t, batch, epoch=e)[1][0]) for e in (1, 2)] == [10, 0]


@pytest.mark.parametrize("act", ["update", "refresh"])
def test_when_is_a_real_branch_under_vmap_unless_it_reads_the_lane(batch, act):
  t = rfjax.when(lambda step, epoch: step + epoch > 3, counter)
  state = t.init(batch, key=KEY, spec=None)

  def run(logits, when):
    when = {"step": when, "epoch": when}
    flow = batch.replace(logits=logits)
    return getattr(t, act)(flow, state, None, key=KEY, forward=None, **when)[1]

  many = jnp.stack([batch.logits] * 3)
  trace = lambda axes, when: str(jax.make_jaxpr(jax.vmap(run, axes))(many, when))
  shared, own = trace((0, None), 2), trace((0, 0), jnp.arange(3))
  assert "cond[" in shared and "select_n" not in shared
  assert "cond[" not in own and "select_n" in own


def writes_order(*order):
  return Transform(refresh=lambda d, s, p=None, **_: (d.replace(order=jnp.array(order)), s))


def test_when_aligns_the_orders_of_both_branches(batch):
  a, b = writes_order([0, 1, 2]), writes_order([3, 2], [1, 0])
  t = rfjax.when(lambda step, epoch: epoch > 0, a, otherwise=b)
  np.testing.assert_array_equal(refresh(t, batch, epoch=1)[0].order, [[0, 1, 2], [4, 4, 4]])
  np.testing.assert_array_equal(refresh(t, batch, epoch=0)[0].order, [[3, 2, 4], [1, 0, 4]])


def test_when_aligns_a_sampler_with_the_default_order(batch):
  data = batch.replace(order=jnp.array([[0, 1, 2], [3, 4, 4]]))
  t = rfjax.when(lambda step, epoch: epoch > 0, writes_order([0, 1], [2, 3], [0, 3]))
  np.testing.assert_array_equal(refresh(t, data)[0].order, [[0, 1, 2], [3, 4, 4], [4, 4, 4]])


everything = rfjax.stateless(
  lambda b, **_: b.replace(
    cost=b.cost**2,
    target=1 - b.target,
    keep=b.keep * jnp.array([1.0, 0, 1, 0]),
    weight=3 * b.weight,
    penalty=b.penalty + 2,
  )
)


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("as_schedule", [False, True])
def test_scaled_mixes_every_field(batch, strength, as_schedule):
  schedule = (lambda step: strength * step / 10) if as_schedule else strength
  new, _ = update(rfjax.scaled(schedule, everything), batch, step=10)
  full, _ = update(everything, batch)
  for name in ("cost", "target", "keep", "weight", "penalty"):
    old, end = (np.asarray(getattr(b, name), np.float64) for b in (batch, full))
    np.testing.assert_allclose(getattr(new, name), old + strength * (end - old), rtol=1e-6)


def test_scaled_follows_an_optax_schedule_and_takes_traced_strengths(batch):
  ramp = rfjax.scaled(optax.linear_schedule(0.0, 1.0, 4), everything)
  seen = [float(update(ramp, batch, step=s)[0].weight[0]) for s in (0, 1, 4, 9)]
  np.testing.assert_allclose(seen, [1, 1.5, 3, 3])
  weight = jax.vmap(lambda s: update(rfjax.scaled(s, everything), batch)[0].weight[0])
  np.testing.assert_allclose(weight(jnp.array([0.0, 0.5, 1.0])), [1, 2, 3])


def test_scaled_moves_the_state_and_keeps_init(batch):
  _, state = update(rfjax.scaled(0.0, counter), batch)
  assert state == 1 and refresh(rfjax.scaled(0.0, counter), batch)[1] == 10


def test_scaled_refuses_what_it_cannot_mix():
  with pytest.raises(ValueError, match="log_probs: give the correction itself a strength"):
    rfjax.scaled(0.5, writer("log_probs"))
  with pytest.raises(ValueError, match="schedule must lie in"):
    rfjax.scaled(float("nan"), everything)


def test_scaled_refuses_a_selection_of_epochs(batch):
  """It would drop rows by half for the epoch, and by half again in each step."""
  dropping = rfjax.Transform(
    refresh=lambda flow, state, *_, **__: (flow.replace(keep=0 * flow.keep), state)
  )
  with pytest.raises(ValueError, match="cannot mix keep: give the transform itself a strength"):
    refresh(rfjax.scaled(0.5, dropping), batch)


def test_transform_fits_on_one_set_and_acts_on_another(batch):
  shift = Transform(
    init=lambda data, **_: data.x.mean(),
    update=lambda b, s, p=None, **_: (b.replace(x=b.x - s), s),
  )
  data, other = batch.replace(x=jnp.full((4, 1), 3.0)), batch.replace(x=jnp.full((4, 1), 1.0))
  np.testing.assert_array_equal(rfjax.transform(shift, data, key=KEY).x, 0)
  np.testing.assert_array_equal(rfjax.transform(shift, data, key=KEY, fitted_on=other).x, 2)


def test_transform_gives_init_and_update_keys_of_their_own(batch):
  record = keys._replace(
    update=lambda b, s, p=None, *, key, **_: (b.replace(x=(s, jax.random.key_data(key))), s)
  )
  seen = [KEY, jax.random.key(1)]
  found = [k for key in seen for k in rfjax.transform(record, batch, key=key).x]
  found += [jax.random.key_data(key) for key in seen]
  assert all((a != b).any() for a, b in itertools.combinations(found, 2))


def test_transform_draws_by_the_fields_that_are_written(batch):
  found = {}
  for writes in (("y",), ("group",), ("y", "group"), ()):
    t = Transform(
      update=lambda b, s, p=None, *, key, **_: (b.replace(x=jax.random.key_data(key)), s),
      writes=writes,
    )
    found[writes] = rfjax.transform(t, batch, key=KEY).x
    again = rfjax.transform(t._replace(init=counter.init), batch, key=KEY).x
    np.testing.assert_array_equal(again, found[writes])
  assert all((a != b).any() for a, b in itertools.combinations(found.values(), 2))
  # The same ones in every process and version.
  tag = zlib.crc32(b"y,group")
  key = jax.random.fold_in(jax.random.fold_in(KEY, 0x64617461), tag)
  expected = jax.random.key_data(jax.random.split(key)[1])
  np.testing.assert_array_equal(found["y", "group"], expected)
