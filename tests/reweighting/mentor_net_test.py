"""MentorNet PD: its curriculum, moving percentile and dropout against a loop."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rfjax
from rfjax import architectures, reweighting

KEY = jax.random.key(0)
WIDTH, CLASSES, STEPS = 12, 3, 50
NONE = ((0.0, 100),)


def dataset(rows=WIDTH):
  return rfjax.Batch.from_arrays(
    np.zeros((rows, 1), np.float32), np.arange(rows) % CLASSES, num_classes=CLASSES
  )


def start(t):
  return t.init(dataset(), key=KEY, spec=None)


def update(t, flow, state, step=0, epoch=0, key=KEY):
  return t.update(flow, state, None, key=key, step=step, epoch=epoch, forward=None)


def percentage(step, steps):
  return min(100 * step // steps, 99)


def curriculum(difference, e, gamma, burn_in):
  if e < burn_in or e <= 18:
    return 1.0
  if e < 90 or gamma == 0:
    return 1.0 if difference <= 0 else 0.0
  return float(np.clip(1 - difference / gamma, 0, 1))


class Oracle:
  def __init__(self, percentile, decay, gamma, burn_in=0):
    self.percentile, self.decay, self.gamma, self.burn_in = percentile, decay, gamma, burn_in
    self.average = 0.0

  def step(self, losses, counts, e):
    real = [loss for loss, counted in zip(losses, counts, strict=True) if counted]
    if real:
      now = np.quantile(real, self.percentile)
      self.average = self.decay * self.average + (1 - self.decay) * now
    return [curriculum(loss - self.average, e, self.gamma, self.burn_in) for loss in losses]


@functools.cache
def _losses():
  """Cost matrices with padding rows and rows that others have left out."""
  rng, flows = np.random.default_rng(0), []
  for step in range(STEPS):
    padding = step % 4
    rows = np.append(rng.permutation(WIDTH)[padding:], np.full(padding, WIDTH))
    rows = rng.permutation(rows)
    keep = ((rng.random(WIDTH) < 0.8) & (rows < WIDTH)).astype(float)
    flows.append((rows, keep, rng.gamma(1.0, 1.0, size=(WIDTH, CLASSES)) * (1 + step / 20)))
  return [np.stack(column) for column in zip(*flows, strict=True)]


@jax.jit
def of_steps(settings, arrays):
  percentile, decay, gamma, burn_in = settings
  t = reweighting.mentor_net(
    steps=STEPS, percentile=percentile, decay=decay, gamma=gamma, burn_in=burn_in, dropout=NONE
  )

  def body(state, at):
    step, *arrays = at
    out, state = update(t, flow_of(*arrays), state, step)
    return state, (out.weight, out.loss, state.average)

  return jax.lax.scan(body, start(t), arrays)[1]


def flow_of(rows, keep, cost):
  flow = dataset().take(rows).fill(jnp.zeros((WIDTH, CLASSES), cost.dtype))
  return flow.replace(keep=keep, cost=cost)


@pytest.mark.parametrize(
  "settings",
  [
    (0.7, 0.5, 1.0, 0),
    (0.75, 0.9, 3.0, 0),
    (0.3, 0.0, 0.0, 0),
    (0.5, 0.5, 0.5, 60),
  ],
)
def test_follows_the_loop_by_hand(settings):
  gamma, (rows, keep, cost) = settings[2], _losses()
  oracle = Oracle(*settings)
  with jax.enable_x64(True):
    found = of_steps(tuple(map(float, settings)), (np.arange(STEPS), rows, keep, cost))
    weights, losses, averages = jax.device_get(found)
  seen = set()
  for step in range(STEPS):
    e, counts = percentage(step, STEPS), keep[step] > 0
    expected = oracle.step(np.asarray(losses[step]), counts, e)
    np.testing.assert_allclose(averages[step], oracle.average, rtol=1e-12)
    np.testing.assert_allclose(weights[step][counts], np.array(expected)[counts], atol=1e-12)
    seen |= {(e > 18) + (e >= 90.0), *np.array(expected)[counts]}
  assert {0, 1, 2} <= seen and (gamma == 0 or len(seen) > 3)


def test_an_empty_batch_leaves_the_average():
  t = reweighting.mentor_net(steps=10)

  @jax.jit
  def average():
    state = start(t)._replace(average=jnp.asarray(2.5))
    empty = dataset().take(jnp.full(4, WIDTH)).fill(jnp.zeros((4, CLASSES)))
    return update(t, empty, state)[1].average

  assert average() == 2.5


@pytest.mark.parametrize("unit", ["epochs", "steps"])
def test_the_percentage_is_of_the_whole_run(unit):
  t = reweighting.mentor_net(**{unit: 7}, gamma=1.0, dropout=NONE, decay=0.0, percentile=0.0)
  cost = np.tile(np.linspace(0, 1.5, WIDTH)[:, None], CLASSES).astype(np.float32)

  @jax.jit
  def weight(at):
    flow = flow_of(jnp.arange(WIDTH), jnp.ones(WIDTH), jnp.asarray(cost))
    other = {"step": at, "epoch": 0} if unit == "steps" else {"epoch": at, "step": 0}
    return update(t, flow, start(t), **other)[0].weight

  kinds = [len(set(weight(at).tolist())) for at in range(9)]
  # 0 and 14 percent keep all, 28 to 85 percent keep the smallest; all of 7 is past 99 percent.
  assert kinds == [1, 1, 2, 2, 2, 2, 2, 9, 9]


def test_the_limit_of_gamma_is_the_threshold():
  rows, keep, cost = _losses()
  rows, cost = jnp.asarray(rows[0]), jnp.asarray(cost[0], jnp.float32)

  @jax.jit
  def at(gamma, step):
    flow = flow_of(rows, jnp.asarray(keep[0]), cost)
    t = reweighting.mentor_net(steps=100, gamma=gamma, dropout=NONE, decay=0.0)
    return update(t, flow, start(t), step)[0].weight

  hard = np.asarray(at(1.0, 50))
  assert 0 < hard.sum() < WIDTH
  for gamma in (0.0, 1e-30, 1e-9):
    np.testing.assert_array_equal(at(gamma, 95), hard)
  np.testing.assert_allclose(np.asarray(at(1e9, 95))[keep[0] > 0], 1, atol=1e-6)


def test_dropout_keeps_the_floor_of_the_rest_and_follows_the_table():
  rows, keep, cost = _losses()
  rows, keep, cost = rows[1], keep[1].copy(), jnp.asarray(cost[1], jnp.float32)
  keep[0] = 1
  keep *= rows < WIDTH
  counted = keep > 0
  # The rates of 16 and 17, of 94 and 95 percent are on two sides of a border.
  steps, rates = [0, 16, 17, 50, 94, 95, 99], [0.5, 0.5, 0.05, 0.05, 0.05, 1.0, 1.0]

  @jax.jit
  def weights(step, key):
    flow = flow_of(jnp.asarray(rows), jnp.asarray(keep), cost)
    make = lambda **more: reweighting.mentor_net(steps=100, **more)
    run = lambda t: update(t, flow, start(t), step, key=key)[0].weight
    return run(make()), run(make(dropout=NONE))

  for step, rate in zip(steps, rates, strict=True):
    draws = []
    for seed in range(4):
      dropped, whole = weights(step, jax.random.key(seed))
      dropped, whole = np.asarray(dropped)[counted], np.asarray(whole)[counted]
      number = int(counted.sum() * (1 - rate))
      if step <= 18:
        assert (dropped > 0).sum() == number
      assert set(dropped[dropped > 0]) <= set(whole) and (dropped > 0).sum() <= number
      np.testing.assert_array_equal(dropped[dropped > 0], whole[dropped > 0])
      draws.append(tuple(dropped))
    assert len(set(draws)) > 1 or rate == 1.0


def test_draws_belong_to_rows():
  t = reweighting.mentor_net(steps=100, dropout=((0.5, 100),))
  order = np.random.default_rng(5).permutation(WIDTH)

  @jax.jit
  def weights(order):
    flow = dataset().fill(jnp.zeros((WIDTH, CLASSES)))
    return [update(t, f, start(t))[0].weight for f in (flow, flow.take(order))]

  weight, permuted = jax.device_get(weights(order))
  np.testing.assert_array_equal(permuted, weight[order])
  assert weight.sum() == 6


def test_it_multiplies_and_has_no_gradient():
  t = reweighting.mentor_net(steps=100, dropout=NONE, decay=0.0)
  z = jnp.asarray(np.random.default_rng(6).normal(size=(WIDTH, CLASSES)), jnp.float32)
  run = lambda z: update(t, dataset().fill(z).replace(weight=2 * jnp.ones(WIDTH)), start(t), 97)[0]
  scored = lambda z: (run(z).weight @ np.arange(12, dtype=np.float32), run(z).weight)
  slope, weight = jax.device_get(jax.jit(jax.grad(scored, has_aux=True))(z))
  np.testing.assert_array_equal(slope, 0)
  assert 0 < weight.min() < 2 and weight.max() == 2
  assert t.writes == ("weight",)


def test_a_run_leaves_wrong_labels_out():
  rng = np.random.default_rng(7)
  x, wrong = rng.normal(size=(40, 2)), np.arange(40) % 5 == 0
  x[:, 0] += 2 * np.sign(x[:, 0])
  data = rfjax.Batch.from_arrays(x, (x[:, 0] > 0) ^ wrong)
  t = reweighting.mentor_net(epochs=20, percentile=0.75, dropout=NONE)
  network = architectures.logistic()

  @jax.jit
  def run(data):
    state, _ = rfjax.fit(network, t, optax.sgd(1.0), data, key=KEY, epochs=16)
    flow = rfjax.predict(network, state, data)
    return update(t, flow, state.method, epoch=16)[0].weight

  weight = np.asarray(run(data))
  assert weight[wrong].sum() == 0 and weight[~wrong].mean() > 0.8


@pytest.mark.parametrize(
  ("settings", "named"),
  [
    ({}, "mentor_net"),
    ({"epochs": 3, "steps": 3}, "mentor_net"),
    ({"epochs": 0}, "epochs"),
    ({"steps": 1.5}, "steps"),
    ({"epochs": 3, "percentile": 1.5}, "percentile"),
    ({"epochs": 3, "decay": 1.0}, "decay"),
    ({"epochs": 3, "gamma": -1.0}, "gamma"),
    ({"epochs": 3, "burn_in": -1.0}, "burn_in"),
    ({"epochs": 3, "dropout": ((0.5, 50),)}, "dropout"),
    ({"epochs": 3, "dropout": ((1.5, 100),)}, "dropout"),
    ({"epochs": 3, "dropout": ((0.5, 0.5), (0.5, 99.5))}, "dropout"),
  ],
)
def test_settings_out_of_range_are_refused(settings, named):
  with pytest.raises(ValueError, match=f"{named}.* must"):
    reweighting.mentor_net(**settings)
