"""Group DRO against the recursion in NumPy, groups in a loop, and the worst group of a run."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rfjax
from rfjax import architectures
from rfjax.fairness import inprocessing

KEY = jax.random.key(0)
ROWS, STEPS, GROUPS = 12, 25, 4


@functools.cache
def batches():
  """Batches of which some lack a group, with padding and a row that was not kept; their costs."""
  rng = np.random.default_rng(0)
  group = rng.choice(GROUPS, (STEPS, ROWS), p=[0.5, 0.3, 0.15, 0.05])
  group[:5] = np.minimum(group[:5], 2)
  return rng.integers(0, 2, (STEPS, ROWS)), group, rng.gamma(2.0, 1.0, (STEPS, ROWS, 2))


def training_set():
  group = np.repeat(np.arange(GROUPS), [50, 30, 15, 5])
  return rfjax.Batch.from_arrays(np.zeros((100, 1)), np.arange(100) % 2, group)


@functools.cache
def runner(**settings):
  made = inprocessing.group_dro(**settings)

  @jax.jit
  def run(y, group, cost):
    def step(state, at):
      y, group, cost = at
      valid = jnp.arange(ROWS) < ROWS - 2
      flow = rfjax.Batch(
        index=jnp.arange(ROWS), valid=valid, x=cost, y=y, group=group, num_groups=GROUPS
      ).fill(jnp.zeros((ROWS, 2)))
      flow = flow.replace(cost=cost, keep=flow.keep.at[0].set(0))
      out, state = made.update(flow, state, None, unknown=0)
      slope = jax.grad(lambda cost: made.update(flow.replace(cost=cost), state, None)[0].risk)(cost)
      return state, (jnp.exp(state.log_q), out.weight, out.risk, slope)

    return jax.lax.scan(step, made.init(training_set()), (y, group, cost))[1]

  return run


def by_hand(eta, adjustment, fraction=None, decay=0.9):
  """The recursion of the authors' code, group by group, which itself adds none where some are 0."""
  q, average, size = np.full(GROUPS, 1 / GROUPS), [None] * GROUPS, np.array([50, 30, 15, 5])
  found = []
  for y, group, cost in zip(*batches(), strict=True):
    counted = np.arange(ROWS)
    counted = counted[(counted > 0) & (counted < ROWS - 2)]
    losses = [[cost[i, y[i]] for i in counted if group[i] == g] for g in range(GROUPS)]
    mean = np.array([np.mean(v) if v else 0.0 for v in losses])
    more = adjustment / np.sqrt(size)
    q = q * np.exp(eta * (mean + more))
    q /= q.sum()
    for g, values in enumerate(losses):
      if values:
        average[g] = mean[g] if average[g] is None else decay * average[g] + (1 - decay) * mean[g]
    used = q
    if fraction is not None:
      left, used = fraction, np.zeros(GROUPS)
      for g in sorted(range(GROUPS), key=lambda g: -((average[g] or 0.0) + more[g])):
        used[g] = min(left, size[g] / 100) / fraction
        left = max(left - size[g] / 100, 0)
    rows = np.array([len(v) for v in losses])
    weight = [used[g] * len(counted) / rows[g] if rows[g] else 0.0 for g in group]
    found.append((q, weight, used @ mean, rows))
  return [np.array(v) for v in zip(*found, strict=True)]


CASES = (
  {"step_size": 0.3},
  {"step_size": 0.1, "adjustment": 4.0},
  {"step_size": 0.1, "adjustment": (0.0, 1.0, 2.0, 8.0)},
  {"step_size": 0.0, "fraction": 0.25, "decay": 0.7},
  {"step_size": 0.0, "fraction": 0.6, "adjustment": 3.0},
)


@pytest.mark.parametrize("settings", CASES)
def test_the_recursion(settings):
  q, weight, risk, slope = jax.device_get(runner(**settings)(*batches()))
  arguments = {"adjustment": 0.0} | {k: v for k, v in settings.items() if k != "step_size"}
  arguments["adjustment"] = np.asarray(arguments["adjustment"])
  expected = by_hand(settings["step_size"], **arguments)
  np.testing.assert_allclose(q, expected[0], rtol=1e-4)
  mine = np.arange(1, ROWS - 2)
  np.testing.assert_allclose(weight[:, mine], expected[1][:, mine], rtol=2e-4, atol=1e-5)
  np.testing.assert_allclose(risk, expected[2], rtol=1e-4)
  assert (slope[:, [0, -2, -1]] == 0).all()  # dropped rows and padding
  assert (expected[3] == 0).any()  # some batch lacks a group


def test_large_steps_do_not_overflow_and_no_group_is_lost():
  y, group, cost = batches()
  q, weight, _, _ = jax.device_get(runner(step_size=100.0)(y, group, 10 * cost))
  assert np.isfinite(weight).all()
  np.testing.assert_allclose(q.sum(1), 1, rtol=1e-5)
  assert (q[:, :2] > 0.99).any(0).all()  # first one is the worst, then another


def test_soft_and_missing_groups():
  made = inprocessing.group_dro(0.0)
  member = np.array([[1.0, 0.0], [0.5, 0.5], [0.0, 0.0], [0.0, 0.5]])
  data = rfjax.Batch.from_arrays(np.zeros((4, 1)), [0, 1, 0, 1], member)
  run = lambda data: made.update(data.fill(jnp.zeros((4, 2))), made.init(data), None)[0]
  out = jax.jit(run)(data)
  each = 0.5 * 2.5 / np.array([1.5, 1.0])  # q times the rows with a group over those of g
  expected = [each[0], each.mean(), 1.0, 0.5 * each[1] + 0.5]
  np.testing.assert_allclose(out.weight, expected, rtol=1e-6)


def test_a_group_without_rows_in_the_training_set_takes_no_weight():
  member = np.append(np.eye(2)[np.arange(60) % 3 // 2], np.zeros((60, 1)), axis=1)
  two, three = (
    rfjax.Batch.from_arrays(np.zeros((60, 1)), np.arange(60) % 2, g)
    for g in (member[:, :2], member)
  )

  @jax.jit
  def last(data):
    made = inprocessing.group_dro(0.1, adjustment=4.0)
    flow = data.fill(jnp.stack([jnp.linspace(-1, 1, 60), jnp.zeros(60)], axis=1))
    act = lambda _, state: made.update(flow, state, None)[1]
    state = jax.lax.fori_loop(0, 200, act, made.init(data))
    return jnp.exp(state.log_q), made.update(flow, state, None)[0].weight

  (expected, weights), (q, same) = last(two), last(three)
  np.testing.assert_allclose(q, np.append(expected, 0), atol=1e-6)
  np.testing.assert_allclose(same, weights, rtol=1e-5)
  none = three.replace(group=np.zeros((60, 3), np.float32))
  np.testing.assert_array_equal(last(none)[1], 1)


def test_the_worst_group_does_better():
  rng = np.random.default_rng(1)
  group, y = (np.arange(300) % 10 == 0).astype(int), rng.integers(0, 2, 300)
  x = rng.normal(size=(300, 2))
  x[np.arange(300), group] += 1.5 * (2 * y - 1)
  data = rfjax.Batch.from_arrays(x, y, group)

  def worst(method):
    network = architectures.logistic()
    state, _ = rfjax.fit(network, method, optax.adam(0.1), data, key=KEY, epochs=150)
    loss = rfjax.predict(network, state, data).loss
    means = [jnp.mean(loss, where=data.group == g) for g in (0, 1)]
    return jnp.stack(means)

  plain, robust = jax.jit(lambda: (worst(rfjax.chain()), worst(inprocessing.group_dro(0.1))))()
  assert robust.max() < 0.8 * plain.max()
  assert np.ptp(robust) < 0.1 * np.ptp(plain)  # at the saddle point both groups lose alike


def test_what_is_wrong_is_refused():
  data = training_set()
  with pytest.raises(ValueError, match="one number a group, 4, got 2"):
    inprocessing.group_dro(adjustment=[1.0, 2.0]).init(data)
  with pytest.raises(ValueError, match="group_dro needs group"):
    inprocessing.group_dro().init(data.replace(group=None))


def test_the_adversary_sees_the_losses_that_are_weighed_and_kept():
  """A row of weight 2 is two rows, and one of weight 0 or less is none."""
  rng = np.random.default_rng(2)
  group, y = np.arange(9) % 3, np.arange(9) % 2
  logits = rng.normal(size=(9, 2)).astype(np.float32)
  weight = np.array([2, 1, 1, 0, 1, 1, 1, 2, -1])
  made = inprocessing.group_dro(0.3)
  data = rfjax.Batch.from_arrays(np.zeros((9, 1)), y, group)
  rows = np.repeat(np.arange(9), np.maximum(weight, 0))

  @jax.jit
  def run(data):
    plain = data.fill(jnp.asarray(logits))
    flow = plain.replace(weight=jnp.asarray(weight, jnp.float32))
    copied = plain.take(rows).fill(jnp.asarray(logits[rows]))
    kept = flow.replace(weight=flow.weight * (weight == 1))
    chosen = plain.replace(keep=jnp.asarray(weight == 1) * 1.0)
    state = made.init(data)
    found = [made.update(seen, state, None) for seen in (flow, copied, kept, chosen)]
    return [(out.weight, state.log_q) for out, state in found]

  (out, seen), (copied, same), (_, kept), (_, chosen) = jax.device_get(run(data))
  np.testing.assert_allclose(seen, same, rtol=1e-5)
  np.testing.assert_allclose(out[rows], weight[rows] * copied, rtol=1e-5)
  np.testing.assert_allclose(kept, chosen, rtol=1e-5)
