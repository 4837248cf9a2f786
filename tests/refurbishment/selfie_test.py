"""SELFIE against dictionaries and lists, its limits, and what it asks the network."""

import collections
import functools
import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rfjax
from oracles import start, update
from rfjax import losses, refurbishment
from rfjax.core import History
from rfjax.refurbishment import SelfieState, selfie

KEY = jax.random.key(0)
STEPS, EPOCH, WARMUP = 50, 5, 2  # steps, those of an epoch, and epochs of warm-up
N, B = 8, 10


def filled(data, labels, cost=None):
  """A data set of which the network says these labels."""
  flow = data.fill(3.0 * jax.nn.one_hot(jnp.asarray(labels), data.num_classes))
  return flow if cost is None else flow.replace(cost=jnp.asarray(cost, jnp.float32))


def dataset(classes, rows=N, seed=0):
  rng = np.random.default_rng(seed)
  y = rng.integers(0, classes, rows)
  return rfjax.Batch.from_arrays(rng.normal(size=(rows, 2)), y, num_classes=classes)


def story(classes, doubt, seed=1):
  """Padded batches of predictions that mostly agree, and change their mind on the way."""
  rng = np.random.default_rng(seed)
  rows = np.full((STEPS, B), N)
  first, second = rng.integers(0, classes, (2, N))
  turn = rng.integers(15, 45, N)
  said = rng.integers(0, classes, (STEPS, B))
  for t in range(STEPS):
    real = rng.integers(N // 2, N + 1)
    places = rng.choice(B, real, replace=False)
    rows[t, places] = rng.choice(N, real, replace=False)
    for b in places:
      i = rows[t, b]
      if rng.random() > doubt:
        said[t, b] = first[i] if t < turn[i] else second[i]
  flows = {
    "rows": rows,
    "said": said,
    "cost": rng.integers(0, 6, (STEPS, B, classes)) / 4,  # with ties
    "target": rng.dirichlet(np.ones(classes), (STEPS, B)).astype(np.float32),
    "keep": np.where(np.arange(STEPS)[:, None] < 20, 1, rng.choice([0, 0.5, 1], (STEPS, B))),
  }
  return flows, rng.permuted(np.append(rng.integers(0, classes, 3), [-1] * (N - 3)))


LANES = [
  (0.25, 0.05), (0.4, 0.0), (0.45, 0.6), (0.0, 1.0), (0.9, 0.05), (0.4, -1.0), (0.3, 0.9)
]  # fmt: skip


def tell(flows, method_of, data):
  """What the update makes of a story, in a lane for each rate and threshold, [lanes, STEPS]."""

  def lane(rate, threshold):
    method = method_of(rate, threshold)

    def step(state, at):
      t, flow = at
      batch = data.take(flow["rows"])
      batch = filled(batch.replace(target=flow["target"], keep=flow["keep"] * batch.valid),
                     flow["said"], flow["cost"])  # fmt: skip
      out, state = update(method, batch, state, epoch=t // EPOCH)
      return state, (out.target, out.keep, state)

    return jax.lax.scan(step, start(method, data), (jnp.arange(STEPS), flows))[1]

  flows = {name: v.astype(np.float32 if v.dtype == float else v.dtype) for name, v in flows.items()}
  return jax.device_get(jax.jit(jax.vmap(lane))(*np.array(LANES, np.float32).T))


def agrees(card, found, flows, y):
  """Every step of one lane is that of the oracle, exactly."""
  target, keep, state = found
  for t in range(STEPS):
    index, before = flows["rows"][t], flows["keep"][t] * (flows["rows"][t] < N)
    own = [flows["cost"][t, b, y[i]] if i < N else 0 for b, i in enumerate(index)]
    renewed, factor = card.step(index, own, flows["said"][t], before, t // EPOCH)
    wanted = flows["target"][t].copy()
    for b, label in renewed.items():
      wanted[b] = np.eye(card.classes)[label]
    real = index < N
    np.testing.assert_array_equal(target[t][real], wanted[real], err_msg=f"target of step {t}")
    np.testing.assert_array_equal(keep[t], before * factor, err_msg=f"keep of step {t}")
    np.testing.assert_array_equal(state.refurbished[t], card.labels(), err_msg=f"labels of {t}")
    np.testing.assert_array_equal(state.history.labels[t], card.ring(), err_msg=f"history of {t}")
    np.testing.assert_array_equal(state.history.pushes[t], card.pushes())


@pytest.mark.parametrize("phantom", [False, True])
@pytest.mark.parametrize("classes, length, doubt", [(3, 3, 0.2), (10, 4, 0.1), (200, 15, 0.05)])
def test_is_the_algorithm_with_dictionaries_and_lists(by_hand, classes, length, doubt, phantom):
  (flows, given), data = story(classes, doubt), dataset(classes)
  make = functools.partial(
    selfie, length=length, warmup=WARMUP, refurbished=given, phantom_votes=phantom
  )
  found = tell(flows, lambda rate, threshold: make(rate, threshold=threshold), data)
  happened, total = {}, collections.Counter()
  for i, (rate, threshold) in enumerate(LANES):
    card = by_hand.Card(N, classes, rate, length=length, threshold=threshold, warmup=WARMUP,
                        given=given, phantom=phantom)  # fmt: skip
    agrees(card, jax.tree.map(lambda v, i=i: v[i], found), flows, np.asarray(data.y))
    happened[threshold] = card.happened
    total += card.happened
  for what in ("new", "changed", "old", "clean only", "dropped", "round the ring", "in warm-up"):
    assert total[what] > 10, f"{what} hardly ever happened"
  assert happened[0.05]["new"] > 10
  assert (happened[0.05]["divided but certain"] > 0) == (classes == 200)
  assert happened[-1.0]["new"] == 0 < happened[-1.0]["old"]
  assert happened[1.0]["dropped"] == 0


def test_rows_known_to_be_clean_come_before_refurbishment(by_hand):
  (flows, given), data, classes = story(5, 0.15), dataset(5), 5
  clean = np.arange(N) % 3 == 0
  make = lambda rate, threshold: selfie(
    rate, threshold=threshold, length=3, warmup=WARMUP, refurbished=given, clean=clean
  )
  found = tell(flows, make, data)
  for i, (rate, threshold) in enumerate(LANES):
    card = by_hand.Card(N, classes, rate, length=3, threshold=threshold, warmup=WARMUP,
                        given=given, clean=clean)  # fmt: skip
    lane = jax.tree.map(lambda v, i=i: v[i], found)
    agrees(card, lane, flows, np.asarray(data.y))
    own = (flows["rows"] < N) & np.append(clean, False)[flows["rows"]]
    np.testing.assert_array_equal(lane[0][own], flows["target"][own])
    np.testing.assert_array_equal(lane[1][own], flows["keep"][own])
  assert card.happened["new"] > 20 and card.happened["clean only"] > 20
  # the rate has nothing to say then
  jax.tree.map(lambda v: np.testing.assert_array_equal(v[0], v[4]), found)


@functools.cache
def ten():
  """All 1024 histories of ten predictions of two labels, and others, of ten classes."""
  rng = np.random.default_rng(3)
  two = np.array(list(itertools.product([4, 7], repeat=10)))
  return np.concatenate([two, rng.integers(0, 10, (500, 10)), np.full((10, 10), range(10)).T])


def remembered(labels, classes, pushes=None):
  """A data set and the state after each example was given these labels."""
  rows, length = labels.shape
  data = rfjax.Batch.from_arrays(np.zeros((rows, 1)), np.zeros(rows, int), num_classes=classes)
  pushes = np.full(rows, length) if pushes is None else pushes
  past = History(jnp.asarray(labels.astype(np.int8)), jnp.asarray(pushes.astype(np.int32)))
  return data, SelfieState(past, jnp.asarray(np.full(rows, -1, np.int8)))


def labels_of(data, state, *methods):
  """The labels that each method gives, compiled as one."""

  @jax.jit
  def labels(data, state):
    flow = data.fill(jnp.zeros((data.num_rows, data.num_classes)))
    return [update(method, flow, state)[1][1] for method in methods]

  return jax.device_get(labels(data, state))


def test_the_defaults_ask_for_unanimity():
  histories = ten()
  data, state = remembered(histories, 10)
  [found] = labels_of(data, state, selfie(0.4, length=10))
  same = (histories == histories[:, :1]).all(1)
  np.testing.assert_array_equal(found, np.where(same, histories[:, 0], -1))
  assert same.sum() == 12


@pytest.mark.parametrize("classes, refurbished", [(134, False), (135, True)])
def test_one_dissent_of_fifteen_passes_from_135_classes_on(classes, refurbished):
  rows = np.full((15, 15), 101 % classes)
  rows[np.arange(15), np.arange(15)] = 3
  data, state = remembered(rows, classes)
  state = state._replace(
    history=state.history._replace(labels=jnp.asarray(rows.astype(np.int16))),
    refurbished=jnp.asarray(np.asarray(state.refurbished, np.int16)),
  )
  found, strict = labels_of(data, state, selfie(0.4), selfie(0.4, threshold=0.0))
  np.testing.assert_array_equal(found, rows[0, 1] if refurbished else -1)
  assert (strict == -1).all()


@pytest.mark.parametrize("classes, length", [(3, 3), (4, 4), (7, 7)])
def test_from_threshold_one_on_every_full_history_gives_its_majority(classes, length):
  rng = np.random.default_rng(0)
  if classes**length <= 800:
    histories = np.array(list(itertools.product(range(classes), repeat=length)))
  else:
    shuffled = rng.permuted(np.tile(np.arange(classes), (20, 1)), axis=1)
    histories = np.concatenate([rng.integers(0, classes, (300, length)), shuffled])
  majority = [min(range(classes), key=lambda k: (-list(h).count(k), k)) for h in histories]
  pushes = np.where(np.arange(len(histories)) % 5 == 4, length - 1, length + 2)
  data, state = remembered(histories, classes, pushes)

  @jax.jit
  def everything(data, state):
    flow = filled(data, np.ones(len(histories), int))
    return flow, *update(selfie(0.99, threshold=1.0, length=length), flow, state)

  flow, out, after = jax.device_get(everything(data, state))
  full = pushes >= length
  np.testing.assert_array_equal(after.refurbished, np.where(full, majority, -1))
  np.testing.assert_array_equal(out.target[full], np.eye(classes)[majority][full])
  np.testing.assert_array_equal(out.target[~full], flow.target[~full])
  assert (out.keep[full] == 1).all()


def test_phantom_votes_are_for_class_zero():
  histories = np.array([[0, 0, 0, 0], [2, 0, 0, 0], [0, 0, 0, 0], [2, 2, 2, 2]])
  data, state = remembered(histories, 3, np.array([0, 1, 3, 4]))
  methods = [selfie(0.4, length=4, phantom_votes=phantom) for phantom in (False, True)]
  without, phantom = labels_of(data, state, *methods)
  assert without.tolist() == [-1, -1, -1, 2] and phantom.tolist() == [0, -1, 0, 2]


def test_permuting_the_batch_changes_nothing():
  rng, data = np.random.default_rng(2), dataset(4, rows=12)
  rows = np.append(rng.permutation(12)[:9], [12, 12, 12])
  order, said, cost = rng.permutation(12), rng.integers(0, 4, 12), rng.integers(0, 2, (12, 4))
  histories = np.where(rng.random((12, 3)) < 0.8, rng.integers(0, 4, (12, 1)), 2)
  state = remembered(histories, 4)[1]._replace(
    refurbished=jnp.asarray(rng.integers(-1, 2, 12).astype(np.int8))
  )
  method = selfie(0.5, threshold=0.1, length=3, warmup=0)

  @jax.jit
  def act(rows, said, cost):
    flow = filled(data.take(rows), said, cost)
    return *update(method, flow, state), flow.target

  (one, after, before), (two, again, _) = (
    jax.device_get(act(*(v[p] for v in (rows, said, cost)))) for p in (np.arange(12), order)
  )
  np.testing.assert_array_equal(two.keep, one.keep[order])
  np.testing.assert_array_equal(two.target, one.target[order])
  chex.assert_trees_all_equal(after, again)
  assert 0 < one.keep.sum() < 9 and (one.target != before).any()


def test_rows_that_are_not_refurbished_keep_their_soft_target():
  histories = np.array([[1, 1, 1], [0, 1, 2], [2, 2, 2], [0, 0, 1], [1, 0, 2]])
  data, state = remembered(histories, 3)
  method = rfjax.chain(losses.label_smoothing(0.3), selfie(0.0, length=3, warmup=0))
  act = jax.jit(lambda data, state: update(method, filled(data, [0] * 5), ((), state))[0])
  out = act(data, state)
  soft = np.array([0.8, 0.1, 0.1])
  np.testing.assert_allclose(
    out.target, [[0, 1, 0], soft, [0, 0, 1], soft, soft], rtol=1e-6, atol=1e-7
  )
  np.testing.assert_array_equal(out.keep, 1)


def test_labels_of_an_earlier_round_hold_from_the_first_step_on():
  data, given = dataset(4), np.array([-1, 3, -1, 0, 2, -1, -1, 1])
  method = selfie(0.5, warmup=3, refurbished=given)

  @jax.jit
  def everything(data, given):
    state, flow = start(method, data), filled(data, [0] * N)
    late, _ = update(method, flow, state, epoch=3)
    traced = start(selfie(0.5, refurbished=given), data)
    return state, *update(method, flow, state, epoch=0), late, traced

  state, out, after, late, traced = jax.device_get(everything(data, given))
  assert state.refurbished.dtype == jnp.int8
  wanted = np.eye(4)[np.where(given >= 0, given, np.asarray(data.y))]
  np.testing.assert_array_equal(out.target, wanted)
  np.testing.assert_array_equal(out.keep, 1)
  np.testing.assert_array_equal(after.refurbished, given)
  assert (late.keep[given >= 0] == 1).all() and late.keep.sum() < N
  chex.assert_trees_all_equal(traced, start(selfie(0.5, refurbished=given), data))


@pytest.mark.parametrize("given, message", [
  (np.zeros(N - 1, int), r"refurbished must have one label a row, got shape \(7,\) for 8 rows"),
  (np.zeros((N, 1), int), "refurbished must have one label a row"),
  (np.full(N, 4), r"refurbished must lie in \[-1, 3\], got 4"),
  (np.full(N, -2), r"refurbished must lie in \[-1, 3\], got -2"),
  ([-1] * (N + 1), r"refurbished must have one label a row, got shape \(9,\) for 8 rows"),
  (["a"] * N, "refurbished must hold numbers"),
])  # fmt: skip
def test_bad_labels_of_an_earlier_round_are_refused(given, message):
  with pytest.raises(ValueError, match=message):
    start(selfie(0.2, refurbished=given), dataset(4))


@pytest.mark.parametrize("clean", [np.ones(N - 1, bool), np.array([0, 3]), np.ones((N, 1), bool)])
def test_marks_of_other_rows_are_refused(clean):
  with pytest.raises(ValueError, match="clean must"):
    start(selfie(0.2, clean=clean), dataset(4))


@pytest.mark.parametrize("clean", [[1, 0] * (N // 2), np.array([1.0, 0.0] * (N // 2))])
def test_marks_may_be_numbers(clean):
  data, wanted = dataset(4), np.arange(N) % 2 == 0
  methods = [selfie(0.2, clean=c) for c in (clean, wanted)]
  act = lambda m, data: update(m, filled(data, [0] * N), start(m, data))
  outs = jax.device_get(jax.jit(lambda data: [act(m, data) for m in methods])(data))
  np.testing.assert_array_equal(outs[0][0].keep, wanted)
  chex.assert_trees_all_equal(*outs)


@pytest.mark.parametrize("settings", [
  {"rate": 1.0}, {"rate": -0.1}, {"rate": float("nan")}, {"threshold": float("nan")},
  {"threshold": "a"}, {"length": 0}, {"length": 2.5}, {"warmup": -1}, {"warmup": 1.5},
])  # fmt: skip
def test_settings_out_of_range_are_refused(settings):
  with pytest.raises(ValueError, match=f"{next(iter(settings))} must"):
    selfie(**({"rate": 0.2} | settings))


def test_what_it_writes_and_where_its_defaults_are():
  state = jax.device_get(jax.jit(lambda: start(selfie(0.2), dataset(300)))())
  assert state.refurbished.dtype == state.history.labels.dtype == jnp.int16
  assert state.history.labels.shape == (N, 15) and (state.refurbished == -1).all()
  assert refurbishment.selfie(0.2).writes == ("target", "keep")
