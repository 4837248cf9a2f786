"""Peer loss: the mean over all partners, the draws of one, and what the draws belong to."""

import host
import jax
import numpy as np
import optax
import pytest

import rfjax
from rfjax import losses

LOGITS = 2.0 * np.random.default_rng(1).normal(size=(6, 4))
Y = np.array([0, 3, 3, 1, 3, 0])  # nobody has label 2
KEYS = jax.random.split(jax.random.key(1), 4000)
FEW_KEYS = KEYS[:50]


def by_pairs(cost, y, alpha, valid=None):
  """The definition: every row meets the label of every valid row."""
  valid = np.ones(len(y), bool) if valid is None else np.asarray(valid)
  cost = np.asarray(cost)
  result = cost.astype(np.float64)
  for i in range(len(y)):
    meetings = [cost[i][y[j]] for j in range(len(y)) if valid[j]]
    result[i] -= alpha * sum(meetings) / len(meetings)
  return result


def base(check, loss, logits, y):
  return jax.jit(lambda z: check.apply(loss, check.batch(z, y)))(logits)


@pytest.mark.parametrize("loss", [losses.cross_entropy(), losses.gce(0.5)])
def test_all_pairs_are_the_mean_over_all_partners(check, loss):
  with jax.enable_x64(True):
    flow = base(check, loss, LOGITS, Y)
    run = jax.jit(lambda flow, alpha: check.apply(losses.peer_loss(alpha), flow).cost)
    for alpha in (0.3, 1.0, 5.0):
      got = run(flow, alpha)
      np.testing.assert_allclose(got, by_pairs(flow.cost, Y, alpha), rtol=1e-12, atol=1e-13)


def test_slope_by_hand(check):
  """With cross-entropy: d/dz of the label's cost is (p - e_y) - alpha (p - shares)."""
  p = np.exp(LOGITS) / np.exp(LOGITS).sum(1, keepdims=True)
  shares = np.bincount(Y, minlength=4) / 6
  wanted = (p - np.eye(4)[Y]) - 0.7 * (p - shares)
  with jax.enable_x64(True):
    loss = lambda z: check.apply(losses.peer_loss(0.7), check.batch(z, Y)).loss.sum()
    gradient = jax.jit(jax.grad(loss))(LOGITS)
  np.testing.assert_allclose(gradient, wanted, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("sampled", [False, True])
def test_without_a_peer_it_is_the_loss(check, sampled):
  flow = base(check, losses.gce(), LOGITS.astype(np.float32), Y)
  got = check.apply(losses.peer_loss(0.0, sampled=sampled), flow).cost
  np.testing.assert_array_equal(got, flow.cost)


@pytest.mark.parametrize("sampled", [False, True])
def test_maps_the_cost_and_nothing_else(check, sampled):
  method = losses.peer_loss(sampled=sampled)
  assert method.writes == ("cost",)
  check.padding_pulls_at_nothing(losses.peer_loss(0.5, sampled=sampled))
  flow = base(check, losses.gce(), LOGITS.astype(np.float32), Y)

  def update(flow):
    out = check.update(method, flow)
    same = flow.replace(cost=out.cost)
    for one, two in zip(jax.tree.leaves(out), jax.tree.leaves(same), strict=True):
      assert one is two
    return out

  jax.eval_shape(update, flow)
  rfjax.chain(losses.gce(), method, rfjax.stateless(lambda b, **_: b, writes=("keep",)))
  with pytest.raises(ValueError, match="overwrite"):
    rfjax.chain(method, losses.gce())


def test_refresh_sees_the_same_cost(check):
  flow = base(check, losses.gce(), LOGITS.astype(np.float32), Y)
  method = losses.peer_loss()
  extra = {"key": KEYS[0], "step": 0, "epoch": 0, "forward": None}
  seen, _ = host.run(lambda flow: method.refresh(flow, (), (), **extra), flow)
  np.testing.assert_allclose(seen.cost, by_pairs(flow.cost, Y, 1.0), rtol=1e-5, atol=1e-6)


def padded(flow):
  """The same rows among empty ones, which have label 0 and large costs."""
  wide = host.take(flow, [6, 0, 1, 7, 2, 3, 4, 5, 6])
  cost = np.where(wide.valid[:, None], wide.cost, np.float32(1e4))
  return wide.replace(cost=cost), wide.valid


@pytest.mark.parametrize("sampled", [False, True])
def test_empty_rows_are_nobodys_partners(check, sampled):
  flow = base(check, losses.gce(), LOGITS.astype(np.float32), Y)
  wide, valid = padded(flow)
  run = jax.jit(
    jax.vmap(
      lambda b, key: check.apply(losses.peer_loss(2.0, sampled=sampled), b, key).cost, (None, 0)
    )
  )
  few = FEW_KEYS
  of_wide, of_flow = np.asarray(run(wide, few)), np.asarray(run(flow, few))
  np.testing.assert_allclose(of_wide[:, valid], of_flow, rtol=1e-5, atol=1e-6)
  assert np.isfinite(of_wide).all()


def partners(check, keys, rows=5):
  """Who meets whom [keys, rows]: every row has a label of its own, which names it."""
  logits = np.random.default_rng(3).normal(size=(rows, rows)).astype(np.float32)
  flow = check.batch(logits, np.arange(rows))
  one = lambda key: check.apply(losses.peer_loss(1.0, sampled=True), flow, key).cost
  gap = np.asarray(flow.cost) - np.asarray(jax.jit(jax.vmap(one))(keys))
  np.testing.assert_allclose(gap, gap[:, :, :1] + 0 * gap, rtol=1e-4, atol=1e-5)
  distance = np.abs(gap[:, :, :1] - np.asarray(flow.cost))
  assert (distance.min(-1) < 1e-5).all()
  return distance.argmin(-1)


def test_partners_are_uniform_and_independent(check):
  met, rows = partners(check, KEYS), 5
  # Five standard errors of a share of 1/5, and of 1/25 for two rows together.
  for i in range(rows):
    shares = np.bincount(met[:, i], minlength=rows) / len(KEYS)
    assert np.abs(shares - 1 / rows).max() < 5 * np.sqrt(0.2 * 0.8 / len(KEYS))
    pairs = np.bincount(rows * met[:, i] + met[:, (i + 1) % rows], minlength=rows**2) / len(KEYS)
    assert np.abs(pairs - 1 / rows**2).max() < 5 * np.sqrt(0.04 * 0.96 / len(KEYS))


def test_the_expectation_over_draws_is_the_all_pairs_form(check):
  flow = base(check, losses.gce(), LOGITS.astype(np.float32), Y)
  one = lambda key: check.apply(losses.peer_loss(0.8, sampled=True), flow, key).cost
  draws = np.asarray(jax.jit(jax.vmap(one))(KEYS), np.float64)
  error = draws.std(0) / np.sqrt(len(KEYS))
  assert (error > 1e-4).all()
  assert (np.abs(draws.mean(0) - by_pairs(flow.cost, Y, 0.8)) < 5 * error).all()


def test_draws_belong_to_rows_and_differ_by_key(check):
  flow = base(check, losses.cross_entropy(), LOGITS.astype(np.float32), Y)
  order = np.array([4, 2, 0, 5, 1, 3])
  moved = host.take(flow, order)
  one = lambda b, key: check.apply(losses.peer_loss(1.0, sampled=True), b, key).cost
  run = jax.jit(jax.vmap(one, (None, 0)))
  here, there = (np.asarray(run(batch, FEW_KEYS)) for batch in (flow, moved))
  np.testing.assert_allclose(there, here[:, order], rtol=1e-6, atol=1e-6)
  assert len({tuple(row) for row in np.asarray(here)[:, :, 0]}) > 40


def test_a_schedule_is_a_strength(check):
  """scaled(alpha, peer_loss(1)) is peer_loss(alpha(t))."""
  flow = base(check, losses.cross_entropy(), LOGITS.astype(np.float32), Y)
  alpha = optax.linear_schedule(0.0, 2.0, 10)
  ramp = rfjax.scaled(alpha, losses.peer_loss(1.0))
  steps = 0, 4, 20
  strengths = [float(strength) for strength in host.run(lambda: [alpha(step) for step in steps])]
  scaled = lambda flow: [check.apply(ramp, flow, step=step).cost for step in steps]
  fixed = lambda flow: [check.apply(losses.peer_loss(a), flow).cost for a in strengths]
  got, wanted = host.run(lambda flow: (scaled(flow), fixed(flow)), flow)
  np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("sampled", [False, True])
def test_traced_strengths_are_the_loop(check, sampled):
  flow = base(check, losses.cross_entropy(), LOGITS.astype(np.float32), Y)
  run = lambda alpha: check.apply(losses.peer_loss(alpha, sampled=sampled), flow).cost
  alphas = [0.0, 0.5, 1.0, 20.0]
  both = lambda many: (jax.vmap(run)(many), [run(alpha) for alpha in alphas])
  np.testing.assert_allclose(*host.run(both, np.float32(alphas)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("sampled", [False, True])
def test_stays_finite_at_the_edges(check, sampled):
  z = check.EDGES.astype(np.float32)
  method = losses.peer_loss(20.0, sampled=sampled)
  run = jax.value_and_grad(lambda z: check.apply(method, check.batch(z)).cost.sum())
  value, slope = jax.jit(run)(z)
  assert np.isfinite(value) and np.isfinite(slope).all()


@pytest.mark.parametrize("alpha", [-0.1, float("nan"), "a"])
def test_refuses(alpha):
  with pytest.raises(ValueError, match="alpha must"):
    losses.peer_loss(alpha)
