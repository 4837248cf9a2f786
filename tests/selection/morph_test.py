"""MORPH against sets, lists and a mixture of its own, its criterion, and its consistency."""

import collections

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rfjax
from oracles import run_epochs, shuffled_orders
from rfjax import architectures, selection

KEY = jax.random.key(0)
ROWS, CLASSES, BATCH, EPOCHS = 41, 3, 9, 13
STEPS = -(-ROWS // BATCH)
RNG = np.random.default_rng(0)
TRUE = RNG.integers(0, CLASSES, ROWS)
Y = np.where(RNG.random(ROWS) < 0.3, (TRUE + 1) % CLASSES, TRUE)


def dataset():
  return rfjax.Batch.from_arrays(np.zeros((ROWS, 1), np.float32), Y, num_classes=CLASSES)


def epochs_of_logits(seed=1):
  """Orders [E, S, B], logits and keeps: true labels are learned first, and later all given ones."""
  rng = np.random.default_rng(seed)
  orders = shuffled_orders(rng, EPOCHS, ROWS, BATCH)
  logits = rng.normal(size=(EPOCHS, STEPS, BATCH, CLASSES))
  for at in np.ndindex(EPOCHS, STEPS, BATCH):
    if (i := orders[at]) < ROWS:
      logits[at][TRUE[i]] += 4 * min(at[0] / 4, 1)
      logits[at][Y[i]] += 8 * max(at[0] / EPOCHS - 0.5, 0) * (i % 3)
  keeps = rng.choice([0.0, 0.5, 1.0, 1.0, 1.0], (EPOCHS, STEPS, BATCH))
  return orders, logits, keeps


ORDERS, LOGITS, KEEPS = epochs_of_logits()


def upper_share(values, steps=100, floor=1e-6):
  """The mean probability of the upper one of two normal distributions, by plain EM."""
  v = (values - values.mean()) / values.std()
  weights, means, variances = np.full(2, 0.5), np.array([v.min(), v.max()]), np.full(2, v.var())

  def responsibilities():
    density = np.empty((len(v), 2))
    for k in range(2):
      density[:, k] = weights[k] / np.sqrt(2 * np.pi * variances[k])
      density[:, k] *= np.exp(-((v - means[k]) ** 2) / (2 * variances[k]))
    return density / density.sum(1, keepdims=True)

  for _ in range(steps):
    r = responsibilities()
    weights = r.mean(0)
    means = np.array([np.average(v, weights=r[:, k]) for k in range(2)])
    variances = np.array([np.average((v - means[k]) ** 2, weights=r[:, k]) for k in range(2)])
    variances = variances + floor
  return responsibilities()[:, np.argmax(means)].mean()


class Oracle:
  """The algorithm of the paper with a set S, lists H and a sum of losses of each example."""

  def __init__(self, length, rate=None, shift=0.0, min_epochs=None, max_epochs=None):
    self.length, self.given, self.shift = length, rate, shift
    self.min_epochs = length if min_epochs is None else min_epochs
    self.max_epochs = float("inf") if max_epochs is None else max_epochs
    self.lists = {i: [] for i in range(ROWS)}
    self.area = dict.fromkeys(range(ROWS), 0.0)
    self.rate = 0.0 if rate is None else rate
    self.safe, self.stopped = set(), None

  def memorized(self, i):
    votes = collections.Counter(self.lists[i])
    return bool(votes) and min(votes, key=lambda k: (-votes[k], k)) == Y[i]

  def end_epoch(self, done):
    """What happens when so many epochs are done, in the first phase."""
    if self.stopped is not None:
      return
    if self.given is None and done > 0:
      found = upper_share(np.array([self.area[i] for i in range(ROWS)])) + self.shift
      self.rate = min(max(found, 0.0), 0.9)
    M = {i for i in range(ROWS) if self.memorized(i)}
    enough = done > 0 and done >= self.min_epochs and len(M) >= (1 - self.rate) * ROWS - 1e-9
    if enough or done >= self.max_epochs:
      self.stopped, self.safe = done, M

  def step(self, rows, logits):
    """Pushes predictions, then decides; returns the rows that are learned from."""
    batch = {int(i) for i in rows if i < ROWS}
    for i, z in zip(rows, logits, strict=True):
      if i < ROWS:
        self.lists[i] = [*self.lists[i], int(np.argmax(z))][-self.length :]
        self.area[i] += np.log(np.exp(z).sum()) - z[Y[i]]
    if self.stopped is None:
      return batch
    C_new = {i for i in batch - self.safe if self.memorized(i)}
    R_new = {i for i in batch & self.safe if not self.memorized(i)}
    self.safe = (self.safe | C_new) - R_new
    return self.safe & batch


def run(method, dtype):
  """Keeps and states after each step, and states after each refresh, of the epochs of logits."""
  return run_epochs(
    method,
    dataset(),
    ORDERS,
    jnp.asarray(LOGITS, dtype),
    jnp.asarray(KEEPS, dtype),
    lambda state: (state.safe, state.area),
    lambda state: (state.safe, state.stopped, state.noise_rate),
  )


def compare(found, oracle, name, rtol=1e-10):
  """The lane is the oracle: masks, sets, areas, rates and the epoch of the transition."""
  keep, safe, area, started, stopped, rate = (np.asarray(leaf) for leaf in found)
  for epoch in range(EPOCHS):
    oracle.end_epoch(epoch)
    at = f"{name} epoch {epoch}"
    np.testing.assert_allclose(rate[epoch], oracle.rate, rtol=rtol, atol=rtol, err_msg=at)
    assert stopped[epoch] == (-1 if oracle.stopped is None else oracle.stopped), at
    assert set(np.flatnonzero(started[epoch])) == oracle.safe, at
    for step in range(STEPS):
      rows = ORDERS[epoch, step]
      chosen = oracle.step(rows, LOGITS[epoch, step])
      wanted = [k * (i in chosen) for i, k in zip(rows, KEEPS[epoch, step], strict=True)]
      np.testing.assert_array_equal(keep[epoch, step], wanted, err_msg=f"{at} step {step}")
      assert set(np.flatnonzero(safe[epoch, step])) == oracle.safe, at
      areas = [oracle.area[i] for i in range(ROWS)]
      np.testing.assert_allclose(area[epoch, step], areas, rtol=max(rtol, 1e-12), err_msg=at)
  return oracle.stopped


# Length and lanes of (shift, min_epochs, max_epochs).
BOUNDS = [(0.0, 1, 99), (0.0, 6, 99), (0.2, 1, 99), (-0.2, 1, 9), (-0.9, 1, 99), (0.95, 2, 99)]


def test_sets_and_lists_and_their_own_mixture_choose_the_same():
  make = lambda shift, low, high: selection.morph(
    shift=shift, min_epochs=low, max_epochs=high, length=3
  )
  with jax.enable_x64(True):
    lanes = [np.array(column) for column in zip(*BOUNDS, strict=True)]
    found = jax.device_get(jax.jit(jax.vmap(lambda *lane: run(make(*lane), float)))(*lanes))
  seen = []
  for lane, setting in enumerate(BOUNDS):
    oracle = Oracle(3, None, *setting)
    seen.append(compare(jax.tree.map(lambda leaf, i=lane: leaf[i], found), oracle, setting))
  assert EPOCHS * STEPS > 50
  assert len({stop for stop in seen if stop}) >= 3 and None in seen and 9 in seen


def test_defaults_of_the_bounds_in_both_precisions():
  for dtype in (float, jnp.float32):
    with jax.enable_x64(dtype is float):
      found = jax.jit(lambda dtype=dtype: run(selection.morph(length=4), dtype))()
    stopped = compare(found, Oracle(4), dtype, 1e-10 if dtype is float else 1e-4)
    assert stopped is not None and stopped >= 4


def test_a_given_rate_takes_the_place_of_the_estimate():
  rates = [0.0, 0.25, 0.3, 0.5]
  with jax.enable_x64(True):
    make = lambda rate: selection.morph(rate=rate, length=2, min_epochs=0)
    found = jax.jit(jax.vmap(lambda rate: run(make(rate), float)))(np.array(rates))
    found = jax.device_get(found)
  seen = [
    compare(jax.tree.map(lambda leaf, i=i: leaf[i], found), Oracle(2, rate, min_epochs=0), rate)
    for i, rate in enumerate(rates)
  ]
  assert seen[0] is None and len(set(seen)) >= 3


def update(method, batch, state, params=None, epoch=5, forward=None, key=KEY):
  return method.update(batch, state, params, key=key, step=0, epoch=epoch, forward=forward)


def after_an_epoch(hits, rate):
  """The state after an epoch in which these rows were memorized, under a given rate."""
  rows = hits.shape[0]
  data = rfjax.Batch.from_arrays(np.zeros((rows, 1), np.float32), np.zeros(rows, int))
  method = selection.morph(rate=rate, length=1)
  flow = data.fill(jax.nn.one_hot((~hits).astype(int), 2))
  _, state = update(method, flow, method.init(data))
  return method.refresh(data, state, None, key=KEY, step=0, epoch=1, forward=None)[1]


@pytest.mark.parametrize("rows", [20, 50])
def test_the_transition_is_where_recall_meets_precision(rows):
  rng = np.random.default_rng(3)
  memorized = rng.random((400, rows)) < rng.choice([0.2, 0.5, 0.7, 0.9], (400, 1))
  clean = rng.random((400, rows)) < rng.choice([0.2, 0.5, 0.7, 0.9], (400, 1))
  clean[:5], memorized[:5] = True, [np.arange(rows) < n for n in (0, 1, rows - 1, rows, rows)]
  both, known, right = ((m).sum(1) for m in (memorized & clean, memorized, clean))
  some = both > 0
  recall, precision = both[some] / right[some], both[some] / known[some]
  # Equation 4: they are equal where |M| = (1 - tau) N, and recall is above where |M| is.
  np.testing.assert_array_equal(recall == precision, (known == right)[some])
  np.testing.assert_array_equal(recall >= precision, (known >= right)[some])
  assert 10 < (recall == precision).sum() < 300
  rates = (1 - right / rows).astype(np.float32)
  started = jax.device_get(jax.jit(jax.vmap(after_an_epoch))(memorized, rates))
  np.testing.assert_array_equal(started.stopped >= 0, known >= right)
  np.testing.assert_array_equal(started.safe, memorized & (known >= right)[:, None])


# A network without hidden layers, whose second view is a stretch of each feature.
W = RNG.normal(size=(4, CLASSES))
X = RNG.normal(size=(BATCH, 4))
INDEX = np.array([4, 1, ROWS, 7, 30, 2, ROWS, 0, 11], np.int32)


STRETCH = 1 + 0.5 * RNG.normal(size=X.shape)


def stretch(x, key):
  return x * (1 + 0.5 * jax.random.normal(key, x.shape, x.dtype))


def known_stretch(x, key):
  assert jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
  return x * jnp.asarray(STRETCH, x.dtype)


def forward(params, batch, *, key=None):
  assert key is not None  # new dropout
  return batch.fill(batch.x @ params)


def softmax(z):
  e = np.exp(z - z.max(-1, keepdims=True))
  return e / e.sum(-1, keepdims=True)


def penalty(w, stopped, epoch, consistency=2.0, ramp_epochs=6.0, prior=0.25):
  """The penalty of a batch under weights `w`, in a run that moved on at `stopped`; what is kept."""
  method = selection.morph(
    known_stretch, consistency=consistency, ramp_epochs=ramp_epochs, length=2, min_epochs=0
  )
  data = dataset().replace(x=jnp.zeros((ROWS, 4), jnp.float32))
  state = method.init(data)._replace(stopped=stopped)
  batch = data.take(jnp.asarray(INDEX)).replace(x=jnp.asarray(X, w.dtype))
  flow = forward(w, batch, key=0).replace(penalty=jnp.asarray(prior, w.dtype))
  out, _ = update(method, flow, state, w, epoch, forward)
  return out.penalty, out.keep


def test_the_penalty_and_its_gradient_through_both_views():
  stopped, epochs = 3, np.arange(3, 13)
  with jax.enable_x64(True):
    each = jax.value_and_grad(penalty, has_aux=True)
    many = jax.jit(jax.vmap(each, (None, None, 0)))
    found = many(jnp.asarray(W), jnp.array(stopped, jnp.int32), jnp.asarray(epochs))
    (values, keep), gradients = jax.tree.map(np.asarray, found)
  real = INDEX < ROWS
  other = X * STRETCH
  p, q = softmax(X @ W), softmax(other @ W)
  apart = (p - q) * real[:, None]
  size = real.sum()
  J = (apart**2).sum() / size
  pull = lambda s: s * (apart - (apart * s).sum(1, keepdims=True)) * 2 / size
  slope = X.T @ pull(p) - other.T @ pull(q)
  # The mean is over all rows, not over those that are learned from.
  assert (keep.sum(1) < size).all()
  for epoch, value, gradient in zip(epochs, values, gradients, strict=True):
    t = epoch - stopped
    weight = 2.0 * np.exp(-5 * (1 - min(t / 6.0, 1)) ** 2)
    np.testing.assert_allclose(value, 0.25 + weight * J, rtol=1e-12, err_msg=str(epoch))
    np.testing.assert_allclose(gradient, weight * slope, rtol=1e-10, err_msg=str(epoch))
  assert values[0] == pytest.approx(0.25 + 2 * np.exp(-5) * J, rel=1e-12)
  assert values[6] == values[9] == pytest.approx(0.25 + 2 * J, rel=1e-12)


def test_no_penalty_before_the_transition():
  each = jax.jit(jax.value_and_grad(penalty, has_aux=True))
  found = each(W.astype(np.float32), np.array(-1, np.int32), 7)
  (value, keep), gradient = jax.device_get(found)
  assert value == 0.25 and not gradient.any()
  np.testing.assert_array_equal(keep, INDEX < ROWS)


def test_the_default_ramp_is_that_of_temporal_ensembling():
  @jax.jit
  def both(epoch):
    w, stopped = jnp.asarray(W, jnp.float32), jnp.array(0, jnp.int32)
    given = penalty(w, stopped, epoch, 5.0, 80.0, 0.0)[0]
    method = selection.morph(known_stretch, min_epochs=0)
    data = dataset().replace(x=jnp.zeros((ROWS, 4), jnp.float32))
    batch = data.take(jnp.asarray(INDEX)).replace(x=jnp.asarray(X, jnp.float32))
    state = method.init(data)._replace(stopped=stopped)
    return given, update(method, forward(w, batch, key=0), state, w, epoch, forward)[0].penalty

  given, default = jax.device_get(jax.jit(jax.vmap(both))(np.array([0, 40, 80, 100])))
  np.testing.assert_allclose(default, given, rtol=1e-6)
  np.testing.assert_allclose(default / default[2], np.exp([-5, -1.25, 0, 0]), rtol=1e-5)


def test_without_an_augmentation_it_writes_no_penalty():
  method, data = selection.morph(length=2), dataset()
  assert method.writes == ("keep",)
  assert selection.morph(stretch).writes == ("keep", "penalty")

  def step(logits):
    flow = data.fill(logits)
    out, state = update(method, flow, method.init(data)._replace(stopped=jnp.array(0)))
    for name in ("cost", "target", "weight", "penalty", "log_probs"):
      assert getattr(out, name) is getattr(flow, name)
    return out.keep, state.safe

  keep, safe = jax.jit(step)(jnp.zeros((ROWS, CLASSES)))
  np.testing.assert_array_equal(keep, Y == 0)
  np.testing.assert_array_equal(safe, Y == 0)


def test_a_batch_of_padding_leaves_no_trace():
  method, data = selection.morph(stretch, length=2), dataset()

  @jax.jit
  def step():
    state = method.init(data)._replace(stopped=jnp.array(0, jnp.int32))
    nothing = data.take(jnp.full(3, ROWS)).fill(jnp.ones((3, CLASSES)))
    back = lambda params, batch, key: batch.fill(jnp.ones((3, CLASSES)))
    return state, *update(method, nothing, state, None, 5, back)

  state, out, after = step()
  np.testing.assert_array_equal(out.keep, 0)
  assert out.penalty == 0
  jax.tree.map(np.testing.assert_array_equal, after, state)


def test_a_run_moves_on_and_then_pays_for_disagreement():
  rng = np.random.default_rng(4)
  x = rng.normal(size=(40, 2)).astype(np.float32)
  y = (x @ [1.0, 2.0] > 0).astype(int)
  data = rfjax.Batch.from_arrays(x, np.where(rng.random(40) < 0.3, 1 - y, y))
  method = selection.morph(stretch, length=3, ramp_epochs=4.0)
  observe = lambda state, view: (state.method.stopped, state.method.safe, state.method.history)
  run = jax.jit(lambda data: rfjax.fit(
    architectures.logistic(), method, optax.sgd(0.5), data,
    key=KEY, epochs=12, batch_size=16, observe=observe,
  ))  # fmt: skip
  state, log = jax.device_get(run(data))
  stopped, safe, past = log.observed
  at = int(state.method.stopped)
  assert 3 <= at < 12
  np.testing.assert_array_equal(stopped, np.where(np.arange(12) < at, -1, at))
  np.testing.assert_array_equal(log.penalty > 0, np.arange(12) >= at)
  assert not safe[:at].any() and safe[at:].any()
  # Every row is seen once an epoch: at the end the safe set is that of all memorized ones.
  ones = np.sum(np.asarray(past.labels[-1]) == 1, 1)
  np.testing.assert_array_equal(safe[-1], (ones > 3 - ones) == np.asarray(data.y))


@pytest.mark.parametrize(
  "settings",
  [
    {"rate": 1.0},
    {"rate": -0.1},
    {"consistency": -1.0},
    {"consistency": float("inf")},
    {"ramp_epochs": 0.0},
    {"length": 0},
    {"min_epochs": -1},
    {"max_epochs": -1},
    {"shift": 1.0},
    {"shift": -1.0},
  ],
)
def test_settings_out_of_range_are_refused(settings):
  with pytest.raises(ValueError, match=f"{next(iter(settings))} must"):
    selection.morph(**settings)
