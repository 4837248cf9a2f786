"""CRUST against greedy and exhaustive search by hand, and its weights in a step."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rfjax
from rfjax import architectures, selection

ROWS, CLASSES = 24, 4  # the last class has one row, the third none


def draw(seed=0):
  rng = np.random.default_rng(seed)
  y = np.repeat([0, 1, 3], [12, 11, 1])[rng.permutation(ROWS)]
  logits = 2 * rng.normal(size=(ROWS, CLASSES))
  logits[4] = logits[9]  # two rows that are alike in all but their number, and maybe their label
  return logits, y


def distances(logits, y):
  """Of the gradients by the logits, in float64."""
  p = np.exp(logits - logits.max(1, keepdims=True))
  p /= p.sum(1, keepdims=True)
  g = p - np.eye(CLASSES)[y]
  return np.sqrt(((g[:, None] - g[None]) ** 2).sum(-1))


def greedy(d, number):
  """The rows that each lower the sum of distances to the nearest chosen one most."""
  chosen, near = [], np.full(len(d), d.max())
  for _ in range(number):
    gains = [-1.0 if j in chosen else np.maximum(near - d[j], 0).sum() for j in range(len(d))]
    chosen.append(int(np.flatnonzero(np.isclose(gains, max(gains), atol=1e-12))[0]))
    near = np.minimum(near, d[chosen[-1]])
  return chosen


def select(logits, y, rows, share, radius, search):
  d, selected, weight = distances(logits, y), np.zeros(ROWS, bool), np.zeros(ROWS)
  for k in np.unique(y[rows]):
    mine = np.flatnonzero(rows & (y == k))
    own = d[np.ix_(mine, mine)]
    chosen = mine[search(own, int(share * len(mine) + 1e-9))]
    selected[chosen] = True
    weight[mine] = (own < radius).sum(1)
  return selected, weight


def central(d, number):
  return np.argsort(d.sum(1), kind="stable")[:number]


def data_of(logits, y, valid=None):
  data = rfjax.Batch.from_arrays(np.zeros((ROWS, 1)), y, num_classes=CLASSES)
  data = data if valid is None else data.replace(valid=jnp.asarray(valid))
  return filled(data, logits)


@jax.jit
def filled(data, logits):
  return data.fill(logits)


@functools.partial(jax.jit, static_argnames="settings")
def refreshed(data, share, radius, settings=()):
  method = selection.crust(share, radius=radius, warmup=0, **dict(settings))
  return method.refresh(data, method.init(data, key=None, spec=None), epoch=0)[1]


@pytest.mark.parametrize("is_greedy, capacity", [(True, None), (True, 12), (False, None)])
def test_rows_and_weights_are_those_of_the_search_by_hand(is_greedy, capacity):
  settings = (("greedy", is_greedy), ("capacity", capacity))
  for seed, (share, radius) in enumerate([(0.5, 0.8), (0.3, 0.5), (0.75, 2.0), (1.0, 0.3)]):
    logits, y = draw(seed)
    valid = np.random.default_rng(seed).random(ROWS) < 0.9
    with jax.enable_x64(True):
      found = refreshed(data_of(logits, y, valid), share, radius, settings)
    wanted = select(logits, y, valid, share, radius, greedy if is_greedy else central)
    np.testing.assert_array_equal(found.selected, wanted[0], err_msg=str(seed))
    np.testing.assert_array_equal(found.weight, wanted[1])


def theirs(d, number):
  """The authors' lazy search, in their order of comparisons: a heap of values that go stale."""
  near, chosen = np.zeros(len(d)), []
  s = d.max() - d
  value = lambda j: np.maximum(near, s[j]).sum()
  heap = sorted((value(j), j) for j in range(len(d)))
  while heap and len(chosen) < number:
    _, j = heap.pop()
    now = value(j)
    if not heap or now >= heap[-1][0]:
      chosen.append(j)
      near = np.maximum(near, s[j])
    else:
      heap = sorted([*heap, (now, j)])
  return chosen


def test_the_search_of_the_authors_takes_the_central_rows():
  """It compares the new value of a set with old ones, and so never looks at a second row."""
  for seed in range(5):
    logits, y = draw(seed)
    own = distances(logits, y)[np.ix_(y == 0, y == 0)]
    assert set(theirs(own, 6)) == set(central(own, 6)) != set(greedy(own, 6))


def test_greedy_is_near_the_best_of_all():
  """The gain over choosing nothing is at least 1 - 1/e of that of the best set."""
  for seed in range(4):
    logits, y = draw(seed)
    found = refreshed(data_of(logits.astype(np.float32), y), 0.35, 1.0)
    for k in (0, 1):
      mine = np.flatnonzero(y == k)
      d = distances(logits, y)[np.ix_(mine, mine)]
      gain = lambda chosen: np.sum(d.max() - d[list(chosen)].min(0))
      chosen = np.flatnonzero(np.asarray(found.selected)[mine])
      best = max(map(gain, itertools.combinations(range(len(mine)), len(chosen))))
      assert gain(chosen) >= (1 - np.exp(-1)) * best
      assert gain(chosen) > gain(central(d, len(chosen))) or seed > 0


def test_a_step_weighs_kept_rows_with_mean_one():
  logits, y = draw()
  data = data_of(logits.astype(np.float32), y)
  method = selection.crust(0.5, radius=0.8, warmup=0)
  rows, kept = np.append(np.arange(12), ROWS), np.ones(13, np.float32)
  kept[[2, 12]] = 0.5, 0

  @jax.jit
  def stepped(data, kept):
    _, state = method.refresh(data, method.init(data, key=None, spec=None), epoch=0)
    batch = data.take(rows).replace(keep=kept, weight=jnp.full(13, 2.0))
    out, after = method.update(batch, state, ())
    assert after is state
    return state, batch.loss, out.keep, out.risk, out.weight

  state, loss, found, risk, weight = jax.device_get(stepped(data, kept))
  keep = np.append(state.selected[:12] * kept[:12], 0)
  np.testing.assert_array_equal(found, keep)
  share = np.append(state.weight[:12], 0)
  share = share / (keep * share).sum()  # the authors' weights, whose sum is 1
  np.testing.assert_allclose(risk, 2 * (keep * share * loss).sum(), rtol=1e-5)
  np.testing.assert_allclose((keep * weight).sum(), 2 * keep.sum(), rtol=1e-5)
  assert method.writes == ("keep", "weight")


def test_an_empty_selection_changes_nothing_and_stays_finite():
  logits, y = draw()
  data = data_of(logits.astype(np.float32), y)
  state = refreshed(data, 0.0, 1.0)
  assert not np.asarray(state.selected).any()
  step = jax.jit(lambda data, state: selection.crust(0.0).update(data, state, ())[0])
  out = jax.device_get(step(data, state))
  assert float(step(data, state).risk) == 0 and np.isfinite(out.weight).all()


def test_the_first_epochs_learn_from_all():
  logits, y = draw()
  data = data_of(logits.astype(np.float32), y)
  method = selection.crust()

  @jax.jit
  def at(epoch):
    state = method.refresh(data, method.init(data, key=None, spec=None), epoch=epoch)[1]
    return state.selected, method.update(data, state, ())[0].weight

  for epoch in range(8):
    assert bool(np.asarray(at(epoch)[0]).all()) == (epoch < 5)
  np.testing.assert_array_equal(at(4)[1], 1)


def test_training_weighs_wrong_labels_less():
  rng = np.random.default_rng(3)
  truth = rng.integers(3, size=60)
  x = 3 * np.eye(3)[truth] + rng.normal(size=(60, 3))
  y = np.where(rng.random(60) < 0.3, (truth + 1) % 3, truth)
  data = rfjax.Batch.from_arrays(x.astype(np.float32), y)
  method = selection.crust(0.5, radius=0.5, warmup=3, capacity=30)
  run = jax.jit(lambda data: rfjax.fit(
    architectures.logistic(3), method, optax.adam(0.1), data, key=jax.random.key(0), epochs=5,
    batch_size=30,
  ))  # fmt: skip
  state, _ = run(data)
  chosen = np.asarray(state.method.selected)
  right, weight = y == truth, np.asarray(state.method.weight)
  assert np.average(right[chosen], weights=weight[chosen]) > right.mean() + 0.1


def test_a_class_larger_than_the_capacity_is_refused():
  logits, y = draw()
  with pytest.raises(ValueError, match="capacity must be at least the 12 rows"):
    selection.crust(capacity=11).init(data_of(logits, y))


@pytest.mark.parametrize(
  "settings",
  [{"share": -0.1}, {"share": 1.1}, {"radius": 0.0}, {"warmup": -1}, {"capacity": 0}],
)
def test_settings_out_of_range_are_refused(settings):
  with pytest.raises(ValueError, match=f"{next(iter(settings))} must"):
    selection.crust(**settings)


def test_half_precision_chooses_what_its_float32_chooses():
  rng = np.random.default_rng(3)
  z = np.asarray(2 * rng.normal(size=(200, 2)), jnp.bfloat16)
  data = rfjax.Batch.from_arrays(np.zeros((200, 1), np.float32), np.zeros(200, int), num_classes=2)
  t = selection.crust(0.1, warmup=0, capacity=200)

  @jax.jit
  def chosen(z):
    state = t.init(data, key=jax.random.key(0), spec=None)
    return t.refresh(data.fill(z), state, None, key=jax.random.key(0), step=0, epoch=0)[1]

  half, whole = chosen(z), chosen(z.astype(np.float32))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-2), half, whole)
