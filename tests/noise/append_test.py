"""Appended rows: their number, addresses, truth and columns, and that padding slots do nothing."""

import host
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rfjax
from rfjax import architectures
from rfjax.core import NO_ADDRESS
from rfjax.noise import _append

KEY = jax.random.key(0)
ROWS = 12


def dataset(**changes):
  rng = np.random.default_rng(0)
  x = rng.normal(size=(ROWS, 2)).astype(np.float32)
  y = (x[:, 0] > 0).astype(np.int32)
  return host.batch(x, y, np.arange(ROWS) % 2).replace(**changes)


def extra(count=4):
  rng = np.random.default_rng(1)
  x = rng.normal(size=(count, 2)).astype(np.float32)
  bits = [rng.integers(0, 2, count).astype(np.int32) for _ in range(4)]
  return _append.Rows(x, *bits)


_append_rows = jax.jit(_append.append)


def poisoned(live, data=None, rows=None):
  data, rows = dataset() if data is None else data, extra() if rows is None else rows
  return jax.device_get(_append_rows(data, rows, np.asarray(live)))


@pytest.mark.parametrize(
  ("rate", "rows"), [(0.0, 0), (0.29, 29), (0.57, 57), (0.999, 99), (1, 100)]
)
def test_a_rate_is_its_whole_number_of_rows(rate, rows):
  data = host.on_device(host.batch(np.zeros((100, 1)), np.arange(100) % 2))
  assert _append.slots(rate, None, data).tolist() == [True] * rows
  assert _append.slots(rate, 110, data).tolist() == [True] * rows + [False] * (110 - rows)
  traced = host.run(lambda r: _append.slots(r, 110, data), np.float32(rate))
  assert int(traced.sum()) == rows


def test_padding_rows_count_for_slots_but_not_for_rows():
  data = host.on_device(host.take(dataset(), np.arange(ROWS), np.full(8, ROWS)))
  assert _append.slots(0.5, None, data).tolist() == [True] * 6 + [False] * 4


def test_rows_are_appended_with_their_own_addresses_and_truth():
  data, rows = dataset(), extra()
  new = poisoned([True] * 4)
  for name in ("x", "y", "group"):
    expected = np.concatenate([getattr(data, name), getattr(rows, name)])
    np.testing.assert_array_equal(getattr(new, name), expected)
  np.testing.assert_array_equal(new.index, np.arange(ROWS + 4))
  np.testing.assert_array_equal(new.truth.y, np.append(data.y, rows.true_y))
  np.testing.assert_array_equal(new.truth.group, np.append(data.group, rows.true_group))
  assert new.valid.all() and (new.num_classes, new.num_groups) == (2, 2)
  for name in ("index", "x", "y", "group"):
    assert getattr(new, name).dtype == getattr(data, name).dtype
  assert new.keep is None and new.weight is None and new.target is None


def test_rows_of_a_part_get_addresses_that_the_part_does_not_have():
  part = host.take(dataset(), [9, 4, 11, ROWS])
  new = poisoned([True, False, True, True], part)
  assert new.index.tolist() == [9, 4, 11, NO_ADDRESS, 12, NO_ADDRESS, 14, 15]
  assert poisoned([True] * 4, part).index[4:].tolist() == [12, 13, 14, 15]
  low = poisoned([True] * 4, host.take(dataset(), [2, 0, 1, ROWS, ROWS]))
  assert low.index[5:].tolist() == [5, 6, 7, 8]


def test_a_truth_that_is_there_stays():
  data = dataset()
  given = data.replace(truth=rfjax.Truth(y=1 - data.y))
  new = poisoned([True] * 4, given)
  np.testing.assert_array_equal(new.truth.y[:ROWS], 1 - data.y)
  np.testing.assert_array_equal(new.truth.group[:ROWS], data.group)
  rows = _append.rows_of(given)
  np.testing.assert_array_equal(rows.true_y, 1 - data.y)
  np.testing.assert_array_equal(rows.true_group, data.group)


def test_unused_slots_are_the_padding_of_take():
  padding = dataset().replace(truth=rfjax.Truth(dataset().y, dataset().group))
  padding = host.take(padding, np.full(2, ROWS))
  tail = host.take(poisoned([True, False, True, False]), [ROWS + 1, ROWS + 3])
  for got, expected in zip(jax.tree.leaves(tail), jax.tree.leaves(padding), strict=True):
    np.testing.assert_array_equal(got, expected)
  assert tail.index.tolist() == [NO_ADDRESS] * 2


def test_columns_are_extended_by_their_defaults():

  def columns(data):
    data = data.with_columns("target", "keep", "weight", dtype=jnp.bfloat16)
    return data.replace(keep=data.keep.at[0].set(0.5), weight=3 * data.weight)

  data = host.run(columns, dataset())
  new = poisoned([True, True, True, False], data)
  np.testing.assert_array_equal(new.keep[:ROWS], data.keep)
  assert new.keep[ROWS:].tolist() == [1, 1, 1, 0]
  assert new.weight.tolist() == [3.0] * ROWS + [1.0] * 4
  np.testing.assert_array_equal(new.target, np.eye(2)[np.asarray(new.y)])
  assert new.keep.dtype == new.target.dtype == jnp.bfloat16


def test_what_a_network_said_is_dropped_and_what_is_trusted_stays():
  trusted, kept = dataset(), []

  def run(data, trusted):
    said = data.replace(trusted=trusted).fill(jnp.zeros((ROWS, 2)))
    new = _append.append(said, extra(), jnp.ones(4, bool))
    kept.append(new.trusted is trusted)
    return new

  new = jax.eval_shape(run, dataset(), trusted)
  assert new.logits is None and new.cost is None and new.penalty is None
  assert kept == [True]


def test_unused_slots_change_no_mean_and_no_run():
  full, spare = poisoned([True] * 4), poisoned([True] * 4 + [False] * 3, rows=extra(7))
  first = jax.tree.map(lambda v: v[:4], extra(7))
  full = poisoned([True] * 4, rows=first)
  means = lambda data: [data.mean(getattr(data, value)) for value in ("y", "group", "x")]
  for mean, same in zip(host.run(means, full), host.run(means, spare), strict=True):
    np.testing.assert_allclose(mean, same, rtol=1e-6)
  network = architectures.logistic()
  run = lambda data: (
    rfjax.fit(network, rfjax.chain(), optax.sgd(0.5), data, key=KEY, epochs=5)[0].params
  )
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), run(full), run(spare))


def test_batches_run_over_all_rows():
  spare = poisoned([True] * 4 + [False] * 3, rows=extra(7))
  state, log = rfjax.fit(
    architectures.logistic(),
    rfjax.chain(),
    optax.sgd(0.5),
    spare,
    key=KEY,
    epochs=2,
    batch_size=4,
  )
  found = jax.device_get((state.params, log))
  assert all(np.isfinite(v).all() for v in jax.tree.leaves(found))


@pytest.mark.parametrize("rate", [-0.1, 1.5, float("nan"), "a"])
def test_a_rate_out_of_range_is_refused(rate):
  with pytest.raises(ValueError, match="rate must"):
    _append.check_rate(rate, None)


def test_a_traced_rate_needs_a_capacity():
  with pytest.raises(ValueError, match="capacity must be given where rate is traced"):
    jax.jit(lambda rate: _append.check_rate(rate, None))(0.1)
  with pytest.raises(ValueError, match="rate must be a single number"):
    _append.check_rate(np.array([0.1, 0.2]), None)
  with pytest.raises(ValueError, match="capacity must be an integer"):
    _append.check_rate(0.1, 2.5)
  with pytest.raises(ValueError, match="capacity must be at least the 6 rows of rate, got 5"):
    _append.slots(0.5, 5, dataset())
  jax.jit(lambda rate: _append.check_rate(rate, 3))(0.1)


def test_data_of_another_kind_are_refused():
  data = dataset()
  refused = [
    (data.replace(group=None), "attack needs group"),
    (host.batch(data.x, np.arange(ROWS) % 3, data.group), "two classes"),
    (host.batch(data.x, data.y, np.arange(ROWS) % 3), "two groups"),
    (data.replace(group=np.eye(2)[data.group]), "one group a row.*front of group_missing"),
    (data.replace(order=np.zeros((1, 1), np.int32)), "order does not name"),
  ]
  for bad, message in refused:
    with pytest.raises(ValueError, match=message):
      _append.check_data("attack", bad)
  whole = data.replace(x=np.zeros((ROWS, 2), np.int32))
  _append.check_data("attack", whole)
  with pytest.raises(ValueError, match="attack moves points, but x has dtype int32"):
    _append.check_data("attack", whole, moves=True)
