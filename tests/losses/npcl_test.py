"""Noise pruned curriculum loss: the base loss, and the rows kept against brute force."""

import itertools

import host
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rfjax
from rfjax import losses

KEY = jax.random.key(0)
ROWS, CLASSES = 8, 3
SUBSETS = np.array(list(itertools.product([0, 1], repeat=ROWS)), float)


def base(logits):
  """The soft hinge loss if the label were k and its margin, float64 [B, C]."""
  z = np.asarray(logits, np.float64)
  log_probs = z - z.max(1, keepdims=True)
  log_probs -= np.log(np.exp(log_probs).sum(1, keepdims=True))
  cost, margin = np.zeros(z.shape), np.zeros(z.shape)
  for i, k in np.ndindex(*z.shape):
    u = margin[i, k] = log_probs[i, k] - np.delete(log_probs[i], k).max()
    cost[i, k] = max(0.0, 1 - u) if u >= 0 else 1 - log_probs[i, k]
  return cost, margin


def filled(logits, y, keep=None):
  batch = rfjax.Batch.from_arrays(np.zeros((len(y), 1)), np.asarray(y), num_classes=logits.shape[1])
  if keep is not None:
    batch = batch.replace(keep=jnp.asarray(keep, jnp.float32))
  return batch.fill(jnp.asarray(logits, jnp.float32))


def update(t, flow, epoch=0):
  state = t.init(flow, key=KEY, spec=None)
  return t.update(flow, state, None, key=KEY, step=0, epoch=epoch, forward=None)[0]


def updated(t, logits, y, keep=None, epoch=0):
  """The rows after an update, as one program."""
  return host.run(lambda z: update(t, filled(z, y, keep), epoch), np.float32(logits))


def problems(seed, count, scale=2.0):
  rng = np.random.default_rng(seed)
  logits = (scale * rng.normal(size=(count, ROWS, CLASSES))).astype(np.float32)
  y = rng.integers(0, CLASSES, (count, ROWS))
  keep = rng.random((count, ROWS)) < rng.uniform(0.2, 1.2, (count, 1))
  keep[np.arange(count), rng.integers(0, ROWS, count)] = True
  return logits, y, keep.astype(np.float32), rng.uniform(0, 0.9, count).astype(np.float32)


@jax.jit
@jax.vmap
def solve(logits, y, keep, rate):
  batch = rfjax.Batch.from_arrays(jnp.zeros((ROWS, 1)), y, num_classes=CLASSES)
  return update(losses.npcl(rate), batch.replace(keep=keep).fill(logits)).keep


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_the_base_loss_is_the_formula_for_every_label(classes):
  rng = np.random.default_rng(classes)
  logits = (2 * rng.normal(size=(40, classes))).astype(np.float32)
  y = rng.integers(0, classes, 40)
  run = lambda z: (lambda out: (out, out.loss))(update(losses.npcl(0.3), filled(z, y)))
  out, loss = host.run(run, logits)
  cost, margin = base(logits)
  np.testing.assert_allclose(out.cost, cost, rtol=1e-5, atol=1e-6)
  assert (cost >= (margin < 0)).all() and {0.0} < set(cost.ravel())
  expected = cost[np.arange(40), y]
  np.testing.assert_allclose(loss, expected, rtol=1e-5, atol=1e-6)


def test_the_base_loss_by_hand():
  # Margins 2, 0.5 and 0 of the label, then one below another class.
  logits = np.array([[2, 0, -9], [0.5, 0, -9], [1, 1, -9], [-1, 0, -9]], np.float32)
  out = updated(losses.npcl(0.0), logits, [0, 0, 0, 0])
  wrong = 1 + 1 + np.log(np.exp([-1.0, 0.0, -9.0]).sum())
  np.testing.assert_allclose(out.cost[:, 0], [0, 0.5, 1, wrong], rtol=1e-5)


def test_the_rows_kept_are_as_good_as_the_best_subset():
  logits, y, keep, rates = problems(0, 400)
  found, sizes, smaller = np.asarray(solve(logits, y, keep, rates)), set(), 0
  for z, label, kept, rate, v in zip(logits, y, keep, rates.astype(float), found, strict=True):
    cost, margin = (entry[np.arange(ROWS), label] for entry in base(z))
    inside, m = kept > 0, int((kept > 0).sum())
    assert set(np.unique(v)) <= {0, 1} and not v[~inside].any()
    c = (1 - rate) ** 2 * m + (1 - rate) * (margin[inside] < 0).sum()
    value = lambda v, c=c, cost=cost: np.maximum(v @ cost, c - v.sum(-1))
    subsets = SUBSETS[~SUBSETS[:, ~inside].any(1)]
    best = value(subsets).min()
    np.testing.assert_allclose(value(v), best, rtol=1e-5, atol=1e-5)
    # A prefix of the sorted losses, and of these the longest one that is optimal.
    order = np.flatnonzero(inside)[np.argsort(cost[inside], kind="stable")]
    sums, size = np.cumsum(cost[order]), int(v.sum())
    np.testing.assert_array_equal(np.sort(order[:size]), np.flatnonzero(v))
    slack = c + 1 - np.arange(1, m + 1) - sums
    assert (slack[:size] > -1e-4).all() and (slack[size:] < 1e-4).all()
    sizes.add(size)
    smaller += size < m
  assert len(sizes) > 4 and 100 < smaller < 400


def test_without_noise_the_value_lies_between_the_errors_and_the_sum_of_the_losses():
  logits, y, keep, _ = problems(1, 400)
  found = np.asarray(solve(logits, y, keep, np.zeros(400, np.float32)))
  for z, label, kept, v in zip(logits, y, keep, found, strict=True):
    cost, margin = (entry[np.arange(ROWS), label][kept > 0] for entry in base(z))
    errors = (margin < 0).sum()
    value = max(v[kept > 0] @ cost, len(cost) + errors - v.sum())
    assert errors - 1e-4 <= value <= cost.sum() + 1e-4


def test_a_higher_rate_keeps_fewer_rows_as_the_single_runs_do():
  logits, y, _, _ = problems(2, 1, scale=4.0)
  rates = np.linspace(0.0, 0.9, 7, dtype=np.float32)

  def both(z, many):
    run = lambda rate: update(losses.npcl(rate), filled(z, y[0])).keep
    return jax.vmap(run)(many), [run(float(rate)) for rate in rates]

  many, loop = host.run(both, logits[0], rates)
  np.testing.assert_array_equal(many, loop)
  assert (np.diff(many, axis=0) <= 0).all() and many[0].sum() > many[-1].sum() > 0


def test_the_threshold_by_hand():
  # Losses 0.1, 0.2, 1.8 and 2 of two rows right and two wrong; c = 4 (1 - r)^2 + 2 (1 - r).
  right = lambda loss: [1 - loss, 0.0]
  wrong = lambda loss: [-np.log(np.expm1(loss - 1)), 0.0]
  logits = np.array([wrong(2.0), right(0.2), wrong(1.8), right(0.1)])
  three, two, one = [0, 1, 1, 1], [0, 1, 0, 1], [0, 0, 0, 1]
  expected = {0.0: three, 0.2: three, 0.25: two, 0.6: two, 0.64: one}
  one = lambda rate, z: update(losses.npcl(rate), filled(z, [0, 0, 0, 0]))
  run = lambda z: [(out.loss, out.keep) for out in (one(rate, z) for rate in expected)]
  for (loss, keep), kept in zip(host.run(run, logits), expected.values(), strict=True):
    np.testing.assert_allclose(loss, [2, 0.2, 1.8, 0.1], rtol=1e-5)
    np.testing.assert_array_equal(keep, kept)


def test_a_tie_is_no_error():
  # Margins 0 and losses 1: c is 1.47 without an error, and 3.57 with three.
  out = updated(losses.npcl(0.3), np.zeros((3, 2)), [0, 1, 0])
  np.testing.assert_allclose(out.cost, 1, rtol=1e-6)
  assert out.keep.sum() == 1


def test_warm_up_keeps_all_rows():
  logits, y, keep, _ = problems(3, 1, scale=4.0)

  def epochs(z):
    flow = filled(z, y[0], 0.5 * keep[0])
    run = lambda epoch: update(losses.npcl(0.5, warmup=3), flow, epoch)
    _, seen = jax.lax.scan(lambda c, epoch: (c, run(epoch)), (), jnp.arange(6))
    return flow, update(losses.npcl(0.5), flow), seen

  flow, late, seen = host.run(epochs, logits[0])
  assert late.keep.sum() < flow.keep.sum()
  for epoch in range(6):
    expected = flow.keep if epoch < 3 else late.keep
    np.testing.assert_array_equal(seen.keep[epoch], expected)
    np.testing.assert_allclose(seen.cost[epoch], late.cost, rtol=1e-6)


def test_keep_is_multiplied_and_padding_counts_for_nothing():
  logits, y, _, _ = problems(4, 1, scale=4.0)
  logits, y = logits[0], y[0]
  more = np.concatenate([logits, np.full((5, CLASSES), 0.1, np.float32)])
  rows = np.append(np.arange(ROWS), np.full(5, ROWS))

  def run(z, more):
    t, data = losses.npcl(0.4), rfjax.Batch.from_arrays(np.zeros((ROWS, 1)), y, num_classes=CLASSES)
    quarter = update(t, filled(z, y, np.full(ROWS, 0.25)))
    plain, padded = update(t, filled(z, y)), update(t, data.take(rows).fill(more))
    return plain.keep, quarter.keep, padded.keep, plain.risk, padded.risk

  plain, quarter, padded, risk, padded_risk = host.run(run, logits, more)
  np.testing.assert_array_equal(quarter, 0.25 * plain)
  np.testing.assert_array_equal(padded, np.append(plain, np.zeros(5)))
  np.testing.assert_allclose(padded_risk, risk, rtol=1e-6)


def test_selects_in_update_only_and_sets_the_loss_in_refresh():
  logits, y, _, _ = problems(5, 1)
  t = losses.npcl(0.6)

  def run(z):
    flow = filled(z, y[0])
    state = t.init(flow, key=KEY, spec=None)
    return flow, t.refresh(flow, state, None, key=KEY, step=0, epoch=0, forward=None)[0]

  flow, seen = host.run(run, logits[0])
  np.testing.assert_array_equal(seen.keep, flow.keep)
  np.testing.assert_allclose(seen.cost, base(logits[0])[0], rtol=1e-5, atol=1e-6)
  assert set(t.writes) == {"loss", "keep"}


def test_the_gradient_is_that_of_the_rows_kept():
  logits, y, _, _ = problems(6, 1)
  logits, y = logits[0].astype(float), y[0]
  risk = lambda z: (lambda out: (out.risk, out.keep))(update(losses.npcl(0.3), filled(z, y)))
  gradient, keep = host.run(jax.grad(risk, has_aux=True), logits.astype(np.float32))
  keep, step = np.asarray(keep, float), 1e-6
  value = lambda z: keep @ base(z)[0][np.arange(ROWS), y] / keep.sum()
  for i, k in np.ndindex(ROWS, CLASSES):
    shift = np.zeros((ROWS, CLASSES))
    shift[i, k] = step
    slope = (value(logits + shift) - value(logits - shift)) / (2 * step)
    np.testing.assert_allclose(gradient[i, k], slope, atol=1e-5)


def test_values_and_gradients_are_finite_at_far_logits():
  rng = np.random.default_rng(7)
  far = np.where(rng.random((ROWS, CLASSES)) < 0.5, 1e4, -1e4).astype(np.float32)
  risk = lambda z: (lambda out: (out.risk, out))(update(losses.npcl(0.1), filled(z, [0, 1] * 4)))
  gradient, out = host.run(jax.grad(risk, has_aux=True), far)
  assert np.isfinite(out.cost).all() and np.isfinite(gradient).all()
  np.testing.assert_allclose(out.cost, base(far)[0], rtol=1e-5)


@pytest.mark.parametrize("rate", [-0.1, 1.5, float("nan"), "a"])
def test_a_rate_out_of_range_is_refused(rate):
  with pytest.raises(ValueError, match="rate must"):
    losses.npcl(rate)


@pytest.mark.parametrize("warmup", [-1, 1.5])
def test_a_warm_up_out_of_range_is_refused(warmup):
  with pytest.raises(ValueError, match="warmup must"):
    losses.npcl(0.1, warmup=warmup)
