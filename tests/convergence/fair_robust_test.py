"""FairRobust against NumPy accounts of the authors' greedy loop, of lambda and of the batches."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rfjax
from oracles import fair_prefix, fair_smallest
from rfjax import architectures, convergence
from rfjax.convergence import _fair_robust

KEY = jax.random.key(0)
ROWS, BATCH, RATE, NOISE = 60, 8, 0.04, 0.2
LIMIT, WARM, EPOCHS = 48, 5, 70


@functools.partial(jax.jit, static_argnums=(5, 6))
def marks(loss, y, z, shares, limit, kind, skip):
  def one(loss, y, z, shares, limit):
    cell = y * (kind + 1) + z
    some, cells = cell < shares.shape[0] * (kind + 1), _fair_robust._in_cells(cell, shares)
    index = jnp.arange(y.size)
    return _fair_robust._fair_smallest(loss, some, cells, index, shares, limit, skip=skip)

  return jax.vmap(one)(loss, y, z, shares, limit)


def cases(rng, number, rows, labels, groups, missing):
  """Random ones, of which every second has equal losses, and shares that are exact in binary."""
  exact = np.arange(number)[:, None] % 2 == 0
  loss = rng.exponential(size=(number, rows))
  loss = np.where(exact, loss.round(1), loss)
  y = rng.integers(0, labels, (number, rows))
  z = rng.integers(0, groups + missing, (number, rows))
  z = np.where(rng.random((number, rows)) < 0.3, y % groups, z)
  cuts = np.sort(rng.random((number, labels, groups - 1)), -1)
  cuts = np.where(exact[..., None], (16 * cuts).round() / 16, cuts)
  shares = np.diff(cuts, axis=-1, prepend=0, append=1)
  return loss, y, z, shares, rng.integers(1, rows + 1, number)


def as_marks(chosen, rows):
  return np.isin(np.arange(rows), chosen)


def test_the_prefix_is_the_released_loop():
  loss, y, z, shares, limit = cases(np.random.default_rng(0), 1000, 40, 2, 2, 0)
  with jax.enable_x64(True):
    found = np.asarray(marks(loss, y, z, shares, limit, 2, False))
  ends = []
  for i, row in enumerate(found):
    first, second = shares[i, 1, 1], shares[i, 0, 1]
    taken = fair_prefix(loss[i], 2 * y[i] - 1, z[i], first, second, limit[i])
    np.testing.assert_array_equal(row, as_marks(taken, 40))
    ends.append(limit[i] - len(taken))
  assert np.mean(np.array(ends) > 1) > 0.5  # shares, and not the number alone, end the loop


@pytest.mark.parametrize("skip", [False, True])
def test_the_rule_for_many_labels_and_groups(skip):
  loss, y, z, shares, limit = cases(np.random.default_rng(1), 60, 30, 3, 3, 1)
  with jax.enable_x64(True):
    found = np.asarray(marks(loss, y, z, shares, limit, 3, skip))
  for i, row in enumerate(found):
    taken = fair_smallest(loss[i], y[i], z[i], shares[i], limit[i], skip)
    np.testing.assert_array_equal(row, as_marks(taken, 30))


@functools.cache
def make_data(seed=0):
  rng = np.random.default_rng(seed)
  y = rng.integers(0, 2, ROWS)
  group = np.where(rng.random(ROWS) < 0.3, y, rng.integers(0, 2, ROWS))
  data = rfjax.Batch.from_arrays(np.zeros((ROWS, 1)), y, group, num_groups=2)
  return data.replace(keep=np.ones(ROWS, np.float32))


take = jax.jit(lambda data, rows: data.take(rows))


def costs(data, epochs=EPOCHS, seed=1):
  """Costs of which those of a label and group rise and fall in turn, so that shares do too."""
  rng = np.random.default_rng(seed)
  cell = np.asarray(data.y) * 2 + np.asarray(data.group)
  wave = np.sin(np.arange(epochs)[:, None, None] / 8 + 2.5 * cell[:, None])
  return 2 + 0.5 * wave + 3 * rng.random((epochs, ROWS, 2))


@functools.cache
def refresher(criterion, full=False):
  """All refreshes of some epochs, compiled: the shares, the selections and the orders."""
  made = convergence.fair_robust(NOISE, criterion, RATE, warm_start=WARM)

  @jax.jit
  def run(data, cost, first):
    def epoch(state, at):
      cost, key, number = at
      seen = data.fill(jnp.zeros((ROWS, 2))).replace(cost=cost)
      if not full:
        order = jnp.arange(64).reshape(8, BATCH)
        seen = seen.replace(order=jnp.where(order < ROWS, order, ROWS))
      view, state = made.refresh(seen, state, None, key=key, step=0, epoch=number, forward=None)
      return state, (state.shares, state.selected, view.order)

    at = (cost, jax.random.split(KEY, len(cost)), first + jnp.arange(len(cost)))
    return jax.lax.scan(epoch, made.init(data, key=KEY, spec=None), at)[1]

  return run


class Oracle:
  """The released account of an epoch, with means where it divides by one more; y in {-1, 1}."""

  def __init__(self, y, z, criterion):
    self.y, self.z, self.criterion = y, z, criterion
    self.lb = {a: np.sum((y == a) & (z == 1)) / np.sum(y == a) for a in (-1, 1)}
    self.clean = np.ones(len(y), bool)

  def epoch(self, cost):
    y, z, parity = self.y, self.z, self.criterion == "demographic_parity"
    own = cost[np.arange(len(y)), (y + 1) // 2]
    mean = {}
    for a in (-1, 1):
      for b in (0, 1):
        rows = self.clean & (y == a) & (z == b)
        below = np.sum(self.clean & (z == b)) if parity else rows.sum()
        mean[a, b] = (cost[:, 1] if parity else own)[rows].sum() / below
    apart = {a: abs(mean[a, 1] - mean[a, 0]) for a in (-1, 1)}
    which = 1 if self.criterion == "equal_opportunity" or apart[1] > apart[-1] else -1
    move = RATE if mean[which, 1] > mean[which, 0] else -RATE
    if parity and which == -1:
      move = -move
    self.lb[which] = min(max(self.lb[which] + move, 0), 1)
    taken = fair_prefix(own, y, z, self.lb[1], self.lb[-1], LIMIT)
    self.clean = as_marks(taken, len(y))
    return [[1 - self.lb[a], self.lb[a]] for a in (-1, 1)]


@pytest.mark.parametrize("criterion", ["equal_opportunity", "equalized_odds", "demographic_parity"])
def test_a_run_has_the_released_lambdas_selections_and_batches(criterion):
  data = make_data()
  cost = costs(data)
  shares, selected, orders = map(np.asarray, refresher(criterion)(data, cost.astype(np.float32), 0))
  y, z = 2 * np.asarray(data.y) - 1, np.asarray(data.group)
  oracle, lambdas = Oracle(y, z, criterion), []
  cells = np.append(np.asarray(data.y) * 2 + z, 9)
  assert selected[:WARM].all()
  plain = np.append(np.arange(ROWS), np.full(4, ROWS)).reshape(8, BATCH)
  for epoch in range(WARM):
    np.testing.assert_array_equal(orders[epoch][:, :BATCH], plain)
    assert (orders[epoch][:, BATCH:] == ROWS).all()
  for epoch in range(WARM, EPOCHS):
    lambdas.append(oracle.epoch(cost[epoch]))
    np.testing.assert_array_equal(selected[epoch], oracle.clean)
    count = np.array([np.sum(oracle.clean & (cells[:-1] == c)) for c in range(4)]).reshape(2, 2)
    sizes = np.round(np.array(lambdas[-1]) * BATCH * count.sum(1, keepdims=True) / count.sum())
    sizes = np.where(count > 0, sizes, 0).ravel()
    batches = count.sum() // BATCH
    served = [(cells[orders[epoch]] == c).sum(-1) for c in range(4)]
    np.testing.assert_array_equal(np.stack(served, -1)[:batches], np.tile(sizes, (batches, 1)))
    assert (orders[epoch][batches:] == ROWS).all()
    assert not np.isin(orders[epoch], np.flatnonzero(~oracle.clean)).any()
  np.testing.assert_allclose(shares[WARM:], lambdas, atol=1e-5)
  assert len(np.unique(np.round(lambdas, 4)[:, 1, 1])) > 5  # they have moved
  assert len(np.unique(selected[WARM:].sum(1))) > 5


def test_rows_of_padding_and_dropped_ones_are_not_selected():
  data = make_data()
  cost = costs(data).astype(np.float32)
  dropped = np.arange(ROWS) % 5 == 1
  kept = data.replace(keep=np.where(dropped, 0, 1).astype(np.float32))
  _, selected, orders = map(np.asarray, refresher("equalized_odds")(kept, cost, WARM))
  assert not selected[:, dropped].any()
  assert not np.isin(orders, np.flatnonzero(dropped)).any()
  assert (selected.sum(1) <= 38).all()  # floor(0.8 * 48)
  padded = take(data, np.append(np.arange(ROWS - 5), np.full(5, ROWS)))
  _, selected, orders = refresher("equalized_odds")(padded, cost, WARM)
  assert not np.asarray(selected)[:, ROWS - 5 :].any()
  assert not np.isin(orders, np.arange(ROWS - 5, ROWS)).any()


def test_a_permuted_data_set_has_the_same_selection_and_batches():
  data = make_data(3)
  cost = costs(data).astype(np.float32)
  run = refresher("equalized_odds")
  other = np.random.default_rng(4).permutation(ROWS)
  first, second = run(data, cost, WARM), run(take(data, other), cost[:, other], WARM)
  np.testing.assert_allclose(first[0], second[0], atol=1e-6)
  np.testing.assert_array_equal(first[1], second[1])  # by address
  np.testing.assert_array_equal(first[2], np.append(other, ROWS)[np.asarray(second[2])])


def test_a_full_batch_is_the_selection_in_shares():
  data = make_data()
  run = refresher("equalized_odds", full=True)
  shares, selected, order = map(np.asarray, run(data, costs(data, 8).astype(np.float32), 0))
  assert order.shape[1] == 1
  np.testing.assert_array_equal(np.sort(order[0, 0])[:ROWS], np.arange(ROWS))
  cells = np.append(np.asarray(data.y) * 2 + np.asarray(data.group), 9)
  for epoch in range(WARM, 8):
    of_label = [np.sum(selected[epoch] & (np.asarray(data.y) == a)) for a in (0, 1)]
    sizes = np.round(shares[epoch] * np.array(of_label)[:, None])
    served = [(cells[order[epoch, 0]] == c).sum() for c in range(4)]
    np.testing.assert_array_equal(served, sizes.ravel())


@pytest.mark.parametrize("greedy", ["prefix", "skip"])
def test_a_run_leaves_wrong_labels_out(greedy):
  rng = np.random.default_rng(3)
  group, y = (np.arange(200) % 3 == 0).astype(int), rng.integers(0, 2, 200)
  x = rng.normal(size=(200, 2)) + 3.0 * y[:, None]
  wrong = rng.permutation(200) < 20
  data = rfjax.Batch.from_arrays(x, np.where(wrong, 1 - y, y), group)
  method = convergence.fair_robust(0.1, rate=0.005, warm_start=10, greedy=greedy)
  network, tx = architectures.logistic(), optax.adam(0.05)
  run = jax.jit(lambda d: rfjax.fit(network, method, tx, d, key=KEY, epochs=20, batch_size=50)[0])
  selected = np.asarray(run(data).method.selected)
  assert 100 < selected.sum() <= 180
  assert wrong[selected].mean() < 0.02


def test_it_needs_a_group():
  data = rfjax.Batch.from_arrays([[0.0], [1.0]], [0, 1])
  with pytest.raises(ValueError, match="fair_robust needs group"):
    jax.eval_shape(lambda data: convergence.fair_robust(0.1).init(data, key=KEY), data)
