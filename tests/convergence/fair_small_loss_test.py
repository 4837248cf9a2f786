"""FairRobust's rule on a batch: loops over rows, small losses of one group, and its bounds."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rfjax
from oracles import fair_prefix, fair_smallest
from rfjax import architectures, convergence, metrics, selection

KEY = jax.random.key(0)
ROWS, PADDED, NUMBER = 36, 40, 60


def cases(classes, groups, missing, seed=0):
  """Random batches of rows that the training set has, of which some come from padding."""
  rng = np.random.default_rng(seed)
  loss = rng.exponential(size=(NUMBER, PADDED, classes))
  loss[::2] = loss[::2].round(1)  # with ties
  y = rng.integers(0, classes, (NUMBER, PADDED))
  z = rng.integers(0, groups, (NUMBER, PADDED))
  z = np.where(rng.random(z.shape) < 0.3, y % groups, z)
  none = rng.random(z.shape) < (0.15 if missing else 0.0)
  keep = rng.random(z.shape) < 0.9
  cuts = np.sort((16 * rng.random((NUMBER, classes, groups - 1))).round() / 16, -1)
  shares = np.diff(cuts, axis=-1, prepend=0, append=1)
  return loss, y, z, none, keep, shares, rng.random(NUMBER) * 0.6


def flow(cost, y, z, none, keep, groups):
  member = jnp.where(none[:, None], 0.0, jax.nn.one_hot(z, groups))
  index = jnp.arange(PADDED)[::-1].astype(jnp.int32)  # ties go by index, not by place
  batch = rfjax.Batch(
    index=index, valid=jnp.arange(PADDED) < ROWS, x=cost, y=y, group=member,
    num_classes=cost.shape[1], num_groups=groups,
  ).fill(jnp.zeros_like(cost))  # fmt: skip
  return batch.replace(cost=cost, keep=batch.keep * keep)


@functools.cache
def selector(groups, **settings):
  """The marks of many batches, compiled; the shares and rates are traced."""

  def one(cost, y, z, none, keep, shares, rate):
    made = convergence.fair_small_loss(rate, shares, **settings)
    batch = flow(cost, y, z, none, keep, groups)
    return made.update(batch, made.init(batch), None, epoch=0)[0].keep

  return jax.jit(jax.vmap(one))


def in_order(case):
  """A batch as the oracles have it: the rows that take part, of small index first."""
  cost, y, z, none, keep, shares, rate = case
  mine = np.flatnonzero(keep & (np.arange(PADDED) < ROWS))[::-1]
  own = cost[mine, y[mine]]
  groups = np.where(none, shares.shape[1], z)[mine]
  return mine, own, y[mine], groups, shares, int(np.floor((1 - rate) * len(mine) + 1e-6))


@pytest.mark.parametrize("greedy", ["skip", "prefix"])
def test_the_rule_is_that_of_a_loop_over_rows(greedy):
  given = cases(3, 3, missing=True)
  with jax.enable_x64(True):
    found = np.asarray(selector(3, greedy=greedy)(*given))
  for case, row in zip(zip(*given, strict=True), found, strict=True):
    mine, loss, y, z, shares, limit = in_order(case)
    taken = fair_smallest(loss, y, z, shares, limit, greedy == "skip")
    np.testing.assert_array_equal(row, np.isin(np.arange(PADDED), mine[taken]))


def test_the_prefix_is_the_released_loop():
  given = cases(2, 2, missing=False, seed=1)
  with jax.enable_x64(True):
    found = np.asarray(selector(2, greedy="prefix")(*given))
  for case, row in zip(zip(*given, strict=True), found, strict=True):
    mine, loss, y, z, shares, limit = in_order(case)
    taken = fair_prefix(loss, 2 * y - 1, z, shares[1, 1], shares[0, 1], limit)
    np.testing.assert_array_equal(row, np.isin(np.arange(PADDED), mine[taken]))


def test_what_is_kept_is_within_the_rule():
  """Group 1 has the larger losses, so that small losses are those of group 0 first."""
  cost, y, z, none, keep, _, _ = cases(2, 2, missing=False, seed=2)
  cost, shares = cost + 1.5 * z[..., None], np.full((NUMBER, 2, 2), 0.5)
  given = (cost, y, z, none, keep, shares, np.full(NUMBER, 0.3))
  limit = np.array([in_order(case)[-1] for case in zip(*given, strict=True)])
  for greedy, beyond in (("skip", 1e-4), ("prefix", 1.5)):  # a row of its group adds 1 + 1/2
    found = np.asarray(selector(2, greedy=greedy)(*given)) > 0
    kept = found.sum(1)
    count = np.stack([[(found & (y == a) & (z == g)).sum(1) for g in (0, 1)] for a in (0, 1)])
    above = np.max(count - 0.5 * count.sum(1, keepdims=True), axis=(0, 1))
    assert (kept + above <= limit + beyond).all()
    assert (kept > limit / 2 - 1).all()
    assert (above > 1).mean() > 0.8 and (kept < limit - 1).mean() > 0.5  # the price is paid


@pytest.mark.parametrize("greedy", ["skip", "prefix"])
@pytest.mark.parametrize("rounding", ["floor", "ceil"])
def test_with_one_group_it_is_small_loss(greedy, rounding):
  cost, y, z, none, keep, _, rate = cases(3, 1, missing=True, seed=3)
  given = (cost, y, 0 * z, none, 0.5 * keep, np.ones((NUMBER, 3, 1)), rate)
  found = selector(1, greedy=greedy, rounding=rounding)(*given)

  def plain(cost, y, z, none, keep, shares, rate):
    del shares
    batch = flow(cost, y, z, none, keep, 1)
    return selection.small_loss(rate, rounding=rounding).update(batch, (), epoch=0)[0].keep

  np.testing.assert_array_equal(found, jax.jit(jax.vmap(plain))(*given))


def train_set(rows=240):
  """A fifth of the labels is wrong."""
  rng = np.random.default_rng(4)
  group, y = (np.arange(rows) % 3 == 0).astype(int), rng.integers(0, 2, rows)
  x = rng.normal(size=(rows, 2)) + 2.0 * y[:, None]
  wrong = rng.permutation(rows) < rows // 5
  truth = rfjax.Truth(y, group)
  return rfjax.Batch.from_arrays(x, np.where(wrong, 1 - y, y), group, truth=truth)


def test_a_run_leaves_wrong_labels_out_in_the_shares_of_the_training_set():
  data = train_set()

  @jax.jit
  def run(data):
    ramp = selection.ramp_up(0.2, 10)
    method = rfjax.chain(convergence.fair_small_loss(ramp), metrics.watch())
    network, tx = architectures.logistic(), optax.adam(0.05)
    return rfjax.fit(network, method, tx, data, key=KEY, epochs=30, batch_size=60)[0].method

  state, watched = run(data)
  y, group, truth = (np.asarray(v) for v in (data.y, data.group, data.truth.y))
  right = y == truth
  own = [[np.mean(group[y == a] == g) for g in (0, 1)] for a in (0, 1)]
  np.testing.assert_allclose(state.shares, own, rtol=1e-6)
  kept = np.asarray(watched.kept) > 0
  assert 0.7 < kept.mean() <= 0.82 and right[kept].mean() > right.mean() + 0.12


def test_soft_rows_count_in_parts():
  """Two rows of half of both groups are one of each."""
  member = np.float32([[0.5, 0.5], [0.5, 0.5], [1, 0], [1, 0], [1, 0], [0, 1]])
  data = rfjax.Batch.from_arrays(np.zeros((6, 1)), np.zeros(6, int), member)
  cost = np.stack([np.arange(6), np.zeros(6)], axis=1).astype(np.float32)
  made = convergence.fair_small_loss(1 / 6, [[0.5, 0.5], [0.5, 0.5]])  # a limit of 5

  @jax.jit
  def kept(data, member):
    seen = data.fill(jnp.zeros((6, 2))).replace(cost=cost, group=member)
    return made.update(seen, made.init(data), None, epoch=0)[0].keep

  found = kept(data, member)
  np.testing.assert_array_equal(found, [1, 1, 1, 1, 0, 0])  # 4 rows, and 1 above 3 - 2
  member[4] = [0, 1]
  found = kept(data, member)
  np.testing.assert_array_equal(found, [1, 1, 1, 1, 0, 0])  # 5 rows, and 1/2 above 5/2


def test_what_is_wrong_is_refused():
  data = rfjax.Batch.from_arrays([[0.0], [1.0]], [0, 1])
  with pytest.raises(ValueError, match="fair_small_loss needs group"):
    jax.eval_shape(convergence.fair_small_loss(0.1).init, data)
  with pytest.raises(ValueError, match=r"shares must be of shape \(2, 2\).*got \(1, 2\)"):
    jax.eval_shape(convergence.fair_small_loss(0.1, [[0.5, 0.5]]).init, train_set())
