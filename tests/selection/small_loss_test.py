"""Small-loss selection against sorted lists in exact arithmetic."""

import fractions
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rfjax
from rfjax import selection

ROWS = 128
RNG = np.random.default_rng(0)
PERCENT = np.array([0, 5, 10, 20, 29, 30, 40, 45, 50, 58, 70, 72, 80, 85, 90, 93, 99])
FIXED = [3, 6, 7, 11]  # of these, also as Python numbers


def dataset(rows=ROWS):
  y = np.arange(rows) % 2
  return rfjax.Batch.from_arrays(np.zeros((rows, 1), np.float32), y, num_classes=2)


@jax.jit
def with_losses(batch, losses):
  """Filled rows of these losses."""
  flow = batch.fill(jnp.zeros((batch.num_rows, 2)))
  return flow.replace(cost=jnp.asarray(losses)[:, None] * jnp.ones(2))


def select(method, flow, epoch=0):
  out, state = method.update(flow, (), None, key=None, step=0, epoch=epoch, forward=None)
  assert state == ()
  return out


def number_left(percent, rows, rounding):
  exact = (1 - fractions.Fraction(int(percent), 100)) * rows
  return math.floor(exact) if rounding == "floor" else math.ceil(exact)


def chosen(losses, rows, number):
  """Of these rows so many of the smallest losses, equal ones by row number."""
  return set(sorted(rows, key=lambda i: (losses[i], i))[:number])


@functools.partial(jax.jit, static_argnames="rounding")
def keeps(rounding, losses, keep):
  """Keep under all rates, as lanes in the one and under some, as numbers, in the other result."""
  flow = with_losses(dataset().replace(keep=keep), losses)
  make = lambda rate: select(selection.small_loss(rate, rounding=rounding), flow).keep
  lanes = jax.vmap(make)(jnp.asarray(PERCENT / 100, jnp.float32))
  return lanes, jnp.array([make(float(PERCENT[lane] / 100)) for lane in FIXED])


def both(rounding, losses, keep):
  """The lanes, each beside its percentage."""
  found = keeps(rounding, losses, np.asarray(keep, np.float32))
  lanes, fixed = (np.asarray(f) for f in found)
  return [*zip(PERCENT, lanes, strict=True), *zip(PERCENT[FIXED], fixed, strict=True)]


@pytest.mark.parametrize("rounding", ["floor", "ceil"])
def test_is_the_sorted_list(rounding):
  losses = RNG.choice(np.float32([0.0, 0.1, 0.25, 0.5, 1.0, 3.0, 1e4]), ROWS)  # many are equal
  keep = RNG.choice([0.0, 0.5, 1.0], ROWS, p=[0.2, 0.2, 0.6])
  keep[:28] = 0
  for dropped in (np.ones(ROWS), keep, np.arange(ROWS) < 100, np.arange(ROWS) < 20):
    rows = np.flatnonzero(dropped)
    for percent, lane in both(rounding, losses, dropped):
      number = number_left(percent, len(rows), rounding)
      wanted = chosen(losses, rows, number)
      assert len(wanted) == number
      assert set(np.flatnonzero(lane)) == wanted, f"{percent} of {len(rows)}"
      np.testing.assert_array_equal(lane[list(wanted)], dropped[list(wanted)])


def test_the_roundings_of_the_papers():
  losses = np.arange(ROWS, dtype=np.float32)
  counts = {
    name: [(p, lane.sum()) for p, lane in both(name, losses, np.ones(ROWS))]
    for name in ("floor", "ceil")
  }
  for percent, floor, ceil in ((20, 102, 103), (40, 76, 77), (45, 70, 71), (50, 64, 64)):
    assert {n for p, n in counts["floor"] if p == percent} == {floor}
    assert {n for p, n in counts["ceil"] if p == percent} == {ceil}


def test_floor_is_the_default():
  flow = with_losses(dataset(), np.arange(ROWS, dtype=np.float32))
  run = jax.jit(lambda flow: select(selection.small_loss(0.45), flow).keep)
  assert np.asarray(run(flow)).sum() == 70


@pytest.mark.parametrize("rounding", ["floor", "ceil"])
def test_every_whole_percent_of_every_batch_is_counted_right(rounding):
  # 1 - 0.72 in float32, times 25, falls short of 7.
  flow = with_losses(dataset(100), np.arange(100, dtype=np.float32))

  def kept(rate, rows):
    part = flow.replace(keep=(jnp.arange(100) < rows).astype(jnp.float32))
    return select(selection.small_loss(rate, rounding=rounding), part).keep.sum()

  percent, rows = np.arange(100), np.array([1, 7, 20, 25, 40, 50, 60, 80, 99, 100])
  grid = jax.jit(jax.vmap(jax.vmap(kept, (None, 0)), (0, None)))
  found = grid((percent / 100).astype(np.float32), rows)
  wanted = [[number_left(p, n, rounding) for n in rows] for p in percent]
  np.testing.assert_array_equal(found, wanted)


def test_padding_does_not_count_and_ties_go_by_index():
  order = np.array([9, 10, 3, 10, 1, 7, 10, 5, 0])  # of ten rows: 10 is padding
  losses = np.array([0.5, 0.0, 0.5, 0.0, 0.5, 0.2, 0.0, 0.5, 0.5], np.float32)
  run = jax.jit(
    lambda rows, rate: (
      select(selection.small_loss(rate), with_losses(dataset(10).take(rows), losses)).keep
    )
  )
  by_row = {int(i): (v, int(i)) for i, v in zip(order, losses, strict=True) if i < 10}
  for rate in (0.0, 0.25, 0.5, 0.75):
    wanted = sorted(by_row, key=by_row.get)[: math.floor((1 - rate) * len(by_row))]
    np.testing.assert_array_equal(run(order, rate), np.isin(order, wanted))
  np.testing.assert_array_equal(run(np.full(9, 10), 0.5), 0)


def test_the_loss_is_that_of_the_target():
  data = dataset(4)
  cost = jnp.asarray(np.array([[0.0, 9.0], [1.0, 0.0], [5.0, 0.0], [7.0, 2.0]], np.float32))
  flow = with_losses(data, np.zeros(4, np.float32)).replace(cost=cost)
  half = jax.jit(lambda target: select(selection.small_loss(0.5), flow.replace(target=target)).keep)
  target = np.asarray(flow.target)
  np.testing.assert_array_equal(half(target), [1, 1, 0, 0])
  np.testing.assert_array_equal(half(1 - target), [0, 1, 1, 0])
  np.testing.assert_array_equal(half(np.full((4, 2), np.float32(0.5))), [0, 1, 1, 0])


@pytest.mark.parametrize("from_zero", [True, False])
def test_a_rate_may_follow_the_epochs(from_zero):
  flow = with_losses(dataset(), np.arange(ROWS, dtype=np.float32))
  rate = selection.ramp_up(0.5, 5, from_zero=from_zero)
  method = selection.small_loss(rate)
  kept = jax.jit(jax.vmap(lambda epoch: select(method, flow, epoch).keep.sum()))(np.arange(7))
  left = [min(1, (e / 4 if from_zero else (e + 1) / 5)) * 0.5 for e in range(7)]
  np.testing.assert_array_equal(kept, [math.floor(ROWS * (1 - r) + 1e-9) for r in left])


def test_it_writes_keep_only_and_acts_in_update():
  method = selection.small_loss(0.5)
  assert method.writes == ("keep",)
  flow = with_losses(dataset(4), np.arange(4, dtype=np.float32))
  assert method.refresh(flow, (), None, key=None, step=0, epoch=0, forward=None)[0] is flow

  def step(flow):
    out = select(method, flow)
    for name in ("cost", "target", "weight", "penalty", "log_probs"):
      assert getattr(out, name) is getattr(flow, name)
    return out

  jax.eval_shape(step, flow)


@pytest.mark.parametrize("rate", [1.0, -0.1, float("nan"), "half", [0.1, 0.2]])
def test_rates_out_of_range_are_refused(rate):
  with pytest.raises(ValueError, match="forget_rate must"):
    selection.small_loss(rate)


def test_unknown_roundings_are_refused():
  with pytest.raises(ValueError, match="rounding must"):
    selection.small_loss(0.5, rounding="nearest")
