"""Prestopping against sets and lists, written from its definitions, and its repeated start."""

import collections
import fractions
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rfjax
from oracles import run_epochs, shuffled_orders
from rfjax import architectures, selection

KEY = jax.random.key(0)
ROWS, CLASSES, BATCH, EPOCHS = 23, 3, 6, 13
STEPS = -(-ROWS // BATCH)
RNG = np.random.default_rng(0)
Y = RNG.integers(0, CLASSES, ROWS)
RATES = [0.1, 0.2, 0.35, 0.5, 0.8, 0.0]
STOPS = [0, 1, 4, 5, 9, 100]


def dataset():
  return rfjax.Batch.from_arrays(np.zeros((ROWS, 1), np.float32), Y, num_classes=CLASSES)


def epochs_of_logits(seed=1):
  """Orders [E, S, B], logits and keeps: a network that gives the given labels more and more often.

  A few examples it never learns, and logits are small integers, so that some are equal.
  """
  rng = np.random.default_rng(seed)
  orders = shuffled_orders(rng, EPOCHS, ROWS, BATCH)
  logits = rng.integers(0, 3, (EPOCHS, STEPS, BATCH, CLASSES)).astype(np.float32)
  learned = rng.random(ROWS) < 0.85
  for epoch, rows in np.ndindex(EPOCHS, STEPS * BATCH):
    at = epoch, rows // BATCH, rows % BATCH
    i = orders[at]
    if i < ROWS and learned[i] and rng.random() < 0.2 + epoch / EPOCHS:
      logits[at][Y[i]] += 2
  keeps = rng.choice([0.0, 0.5, 1.0, 1.0, 1.0], (EPOCHS, STEPS, BATCH)).astype(np.float32)
  return orders, logits, keeps


ORDERS, LOGITS, KEEPS = epochs_of_logits()


class Oracle:
  """Histories are lists, the safe set is a set, and the changes are sets of their own."""

  def __init__(self, length, rate=None, stop=None, cap=False):
    self.length, self.rate, self.stop, self.cap = length, rate, stop, cap
    self.lists = {i: [] for i in range(ROWS)}
    self.last, self.safe, self.stopped = {}, set(), None

  def share(self, i):
    """The label with most votes, of equal ones the lowest, and its share."""
    votes = collections.Counter(self.lists[i])
    label = min(votes, key=lambda k: (-votes[k], k))
    return label, votes[label] / len(self.lists[i])

  def memorized(self, i):
    return bool(self.lists[i]) and self.share(i)[0] == Y[i]

  def start_epoch(self, epoch):
    if self.stopped is not None:
      return
    if self.stop is None:
      errors = sum(self.last.get(i) != Y[i] for i in range(ROWS))
      now = epoch > 0 and fractions.Fraction(errors, ROWS) <= fractions.Fraction(str(self.rate))
    else:
      now = epoch >= self.stop
    if now:
      self.stopped, self.safe = epoch, {i for i in range(ROWS) if self.memorized(i)}

  def step(self, rows, logits, keep):
    """The rows that are learned from; what is in front has dropped those of keep 0."""
    batch = [int(i) for i in rows if i < ROWS]
    for i, z in zip(rows, logits, strict=True):
      if i < ROWS:
        self.last[i] = int(np.argmax(z))
        self.lists[i] = [*self.lists[i], self.last[i]][-self.length :]
    if self.stopped is None:
      return set(batch)
    new = {i for i in set(batch) - self.safe if self.memorized(i)}
    gone = {i for i in set(batch) & self.safe if not self.memorized(i)}
    self.safe = (self.safe | new) - gone
    kept = [int(i) for i, k in zip(rows, keep, strict=True) if i < ROWS and k > 0]
    return self.capped(kept) if self.cap else self.safe & set(batch)

  def capped(self, batch):
    """As the authors take trusted samples; a score is 0 where the decision is no."""
    score = {i: self.share(i)[1] if self.memorized(i) else 0.0 for i in batch}
    most = math.floor(len(batch) * (1 - fractions.Fraction(str(self.rate))))
    threshold = 0.0
    if sum(self.memorized(i) for i in batch) > most:
      threshold = min(sorted(score.values(), reverse=True)[most], 0.999)
    taken = set()
    for i in sorted(batch, key=lambda i: (-score[i], i)):
      if len(taken) < most and self.memorized(i) and score[i] > threshold:
        taken.add(i)
    return taken


def run(method):
  """Keeps, states after each step and states after each refresh, of the epochs of logits."""
  return run_epochs(
    method,
    dataset(),
    ORDERS,
    LOGITS,
    KEEPS,
    lambda state: (state.safe, state.latest),
    lambda state: (state.safe, state.stopped),
  )


def compare(found, oracle, name):
  """The lane is the oracle: masks, safe sets, last hits and the epoch of the stop."""
  keep, safe, latest, started, stopped = (np.asarray(leaf) for leaf in found)
  for epoch in range(EPOCHS):
    oracle.start_epoch(epoch)
    at = f"{name} epoch {epoch}"
    assert stopped[epoch] == (-1 if oracle.stopped is None else oracle.stopped), at
    assert set(np.flatnonzero(started[epoch])) == oracle.safe, at
    for step in range(STEPS):
      rows = ORDERS[epoch, step]
      chosen = oracle.step(rows, LOGITS[epoch, step], KEEPS[epoch, step])
      wanted = [k * (i in chosen) for i, k in zip(rows, KEEPS[epoch, step], strict=True)]
      np.testing.assert_array_equal(keep[epoch, step], wanted, err_msg=f"{at} step {step}")
      assert set(np.flatnonzero(safe[epoch, step])) == oracle.safe, at
      hits = {i for i, label in oracle.last.items() if label == Y[i]}
      assert set(np.flatnonzero(latest[epoch, step])) == hits, at
  return oracle


# By a rate, by a stop, and both of them with the cap of the authors' code.
@pytest.mark.parametrize(
  "length, by, cap", [(3, "rate", False), (4, "rate", True), (4, "stop", True), (1, "stop", False)]
)
def test_sets_and_lists_choose_the_same(length, by, cap):
  def make(rate, stop):
    given = {"rate": {"rate": rate}, "stop": {"stop": stop}}[by] | ({"rate": rate} if cap else {})
    return selection.prestopping(length=length, cap=cap, **given)

  stops = STOPS if by == "stop" else [None] * len(RATES)
  lanes = np.array(RATES, np.float32), np.array(STOPS)
  found = jax.jit(jax.vmap(lambda rate, stop: run(make(rate, stop))))(*lanes)
  found = jax.device_get(found)
  seen = []
  for lane, (rate, stop) in enumerate(zip(RATES, stops, strict=True)):
    oracle = Oracle(length, rate, stop, cap)
    compare(jax.tree.map(lambda leaf, i=lane: leaf[i], found), oracle, f"rate {rate} stop {stop}")
    seen.append(oracle.stopped)
  assert EPOCHS * STEPS > 50
  assert len({stop for stop in seen if stop}) >= 3 and None in seen  # the cases differ


def update(method, batch, state, epoch=5):
  extra = {"key": KEY, "step": 0, "epoch": epoch, "forward": None}
  return method.update(batch, state, None, **extra)


def refresh(method, data, state, epoch):
  return method.refresh(data, state, None, key=KEY, step=0, epoch=epoch, forward=None)[1]


@jax.jit
def tenth_keep(wins, rate):
  """What the tenth push keeps of ten rows of label 0; row i was given it `wins[i]` times."""
  data = rfjax.Batch.from_arrays(jnp.zeros((10, 1)), jnp.zeros(10, int), num_classes=2)
  method = selection.prestopping(rate=rate, stop=0, cap=True)

  def push(state, turn):
    flow = data.fill(jax.nn.one_hot((turn >= wins).astype(int), 2))
    return update(method, flow, state)[::-1]

  state = refresh(method, data, method.init(data), 0)
  return jax.lax.scan(push, state, jnp.arange(10))[1].keep[-1]


def last_keep(wins, rate):
  return np.flatnonzero(tenth_keep(np.array(wins), rate)).tolist()


def test_the_cap_by_hand():
  # Six of ten places for seven memorized rows: what is not memorized has no share, however firm.
  assert last_keep([9, 8, 10, 7, 6, 9, 6, 0, 0, 1], 0.4) == [0, 1, 2, 3, 5]
  assert last_keep([9, 8, 10, 7, 6, 9, 7, 0, 0, 1], 0.4) == [0, 1, 2, 3, 5, 6]
  # Of more unanimous rows than places those of the lowest index.
  assert last_keep([10, 10, 10, 10, 10, 10, 10, 10, 0, 1], 0.5) == [0, 1, 2, 3, 4]
  # All rows are equal and none is above the next one.
  assert last_keep([9] * 10, 0.1) == []
  # Room for all that is memorized, also for a share of a half and a little.
  assert last_keep([6, 6, 9, 5, 0, 1, 2, 3, 4, 0], 0.6) == [0, 1, 2, 3]
  assert last_keep([6, 6, 9, 4, 0, 1, 2, 3, 4, 0], 0.95) == []


def stopped_after(errors, rows, rate):
  """The epoch of the stop when so many of the last predictions were wrong."""
  data = rfjax.Batch.from_arrays(np.zeros((rows, 1), np.float32), np.zeros(rows, int))
  wrong = jnp.arange(rows) < errors
  method = selection.prestopping(rate=rate, length=2)
  flow = data.fill(jax.nn.one_hot(wrong.astype(int), 2))
  state = refresh(method, data, method.init(data), 0)
  assert state.stopped.shape == ()
  return refresh(method, data, update(method, flow, state)[1], 1).stopped


def test_an_error_that_is_the_rate_stops():
  # In float32 1 - 0.95 is more than 0.05.
  for rows in (20, 100):
    percent = np.array([p for p in range(0, 100, 5) if p * rows % 100 == 0])
    errors = percent * rows // 100
    many = jax.jit(jax.vmap(lambda e, r, rows=rows: stopped_after(e, rows, r)))
    rates = (percent / 100).astype(np.float32)
    np.testing.assert_array_equal(many(errors, rates), 1)
    np.testing.assert_array_equal(many(errors + 1, rates), -1)
  fixed = jax.jit(lambda e: jnp.array([stopped_after(e + more, 20, 0.05) for more in (0, 1)]))
  np.testing.assert_array_equal(fixed(1), [1, -1])


def test_padding_and_rows_never_seen():
  data, method = dataset(), selection.prestopping(stop=0, length=2)
  one_hot = np.eye(CLASSES, dtype=np.float32)

  @jax.jit
  def step(state, rows):
    labels = jnp.asarray(Y).at[rows].get(mode="fill", fill_value=0)
    return update(method, data.take(rows).fill(jnp.asarray(one_hot)[labels]), state)

  again = jax.jit(lambda state, epoch: refresh(method, data, state, epoch))
  state = jax.device_get(again(jax.jit(lambda: method.init(data))(), 0))
  assert state.stopped == 0 and not state.safe.any()
  out, after = step(state, np.full(3, ROWS))
  np.testing.assert_array_equal(out.keep, 0)
  jax.tree.map(np.testing.assert_array_equal, after, state)
  out, after = step(state, np.array([3, ROWS, 7]))
  np.testing.assert_array_equal(out.keep, [1, 0, 1])
  assert np.flatnonzero(after.safe).tolist() == [3, 7]
  assert int(again(after, 9).stopped) == 0


def noisy():
  rng = np.random.default_rng(4)
  x = rng.normal(size=(40, 2)).astype(np.float32)
  y = (x @ [1.0, 2.0] > 0).astype(int)
  return rfjax.Batch.from_arrays(x, np.where(rng.random(40) < 0.3, 1 - y, y))


def trajectory(method):
  observe = lambda state, view: state.params
  settings = {"key": KEY, "epochs": 6, "batch_size": 16, "observe": observe}
  return rfjax.fit(architectures.logistic(), method, optax.sgd(0.3), noisy(), **settings)[1]


def test_the_first_phase_is_repeated_to_the_bit_with_another_stop():
  stops = [2, 3, 100]
  # One run after the other, as somebody does who looks at validation errors first.
  run = jax.jit(lambda stop: trajectory(selection.prestopping(stop=stop)))
  *found, whole = [jax.device_get(run(stop)) for stop in stops]
  for stop, log in zip(stops, found, strict=False):
    jax.tree.map(lambda a, b, at=stop: np.testing.assert_array_equal(a[:at], b[:at]), log, whole)
    assert (log.risk[stop:] != whole.risk[stop:]).all()
  plain = jax.jit(lambda: trajectory(rfjax.chain()))()
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), whole, plain)


def test_it_writes_keep_only():
  data, method = dataset(), selection.prestopping(rate=0.2)
  assert method.writes == ("keep",)

  def step(logits):
    flow = data.fill(logits)
    out = update(method, flow, method.init(data))[0]
    for name in ("cost", "target", "weight", "penalty", "log_probs"):
      assert getattr(out, name) is getattr(flow, name)
    return out.keep

  np.testing.assert_array_equal(jax.jit(step)(jnp.zeros((ROWS, CLASSES))), 1)


@pytest.mark.parametrize(
  "settings, message",
  [
    ({}, "must have a rate, or a stop"),
    ({"rate": 0.1, "stop": 3}, "must have a rate, or a stop"),
    ({"stop": 3, "cap": True}, "cap must have a rate"),
    ({"rate": 1.0}, "rate must"),
    ({"rate": -0.1}, "rate must"),
    ({"stop": -1}, "stop must"),
    ({"stop": 1, "length": 0}, "length must"),
    ({"stop": 1, "length": 1.5}, "length must"),
  ],
)
def test_settings_out_of_range_are_refused(settings, message):
  with pytest.raises(ValueError, match=message):
    selection.prestopping(**settings)


def test_the_cap_counts_what_is_still_kept():
  z = 5 * np.eye(2, dtype=np.float32)[[0, 1, 0, 1]]
  data = rfjax.Batch.from_arrays(z, [0, 1, 0, 1], num_classes=2)
  t = selection.prestopping(rate=0.5, stop=0, cap=True)
  at = {"key": KEY, "step": 0, "epoch": 0, "forward": None}

  @jax.jit
  def kept(keep):
    state = t.init(data, key=KEY, spec=None)
    state = t.refresh(data.fill(z), state, None, **at)[1]
    return t.update(data.fill(z).replace(keep=keep), state, None, **at)[0].keep

  assert kept(np.array([0.0, 0.0, 1.0, 1.0], np.float32)).tolist() == [0, 0, 1, 0]
  assert kept(np.ones(4, np.float32)).tolist() == [1, 1, 0, 0]
