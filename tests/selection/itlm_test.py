"""ITLM: its selections and runs against gradient descent in NumPy, and its descent."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rfjax
from rfjax import architectures, selection

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
ROWS = 20
X = RNG.normal(size=(ROWS, 2))
Y = ((X @ np.array([1.0, -2.0]) + RNG.normal(size=ROWS)) > 0).astype(int)
Y[:4] = 1 - Y[:4]
NETWORK = architectures.logistic(init_scale=0.0)


def dataset(**columns):
  made = rfjax.Batch.from_arrays(X.astype(np.float32), Y, num_classes=2)
  return made.replace(**columns)


def masks(state, view):
  del view
  return optax.tree_utils.tree_get(state.method, "ItlmState").kept


@functools.partial(jax.jit, static_argnames=("every", "epochs", "batch_size"))
def train(rate, data, rate_of_learning, every=1, epochs=9, batch_size=None):
  method = rfjax.chain(selection.itlm(rate, every=every))
  return rfjax.fit(
    NETWORK, method, optax.sgd(rate_of_learning), data, key=KEY, epochs=epochs,
    batch_size=batch_size, observe=masks,
  )  # fmt: skip


@functools.partial(jax.jit, static_argnames=("rounds", "epochs", "batch_size"))
def in_rounds(rate, learning, rounds, epochs, batch_size=None):
  return selection.itlm_rounds(
    NETWORK, optax.sgd(learning), dataset(), rate=rate, rounds=rounds, key=KEY, epochs=epochs,
    batch_size=batch_size, observe=masks,
  )  # fmt: skip


class ByHand:
  """Logistic regression by gradient descent on a part of the rows."""

  def __init__(self, learning):
    self.learning, self.w, self.b = learning, np.zeros(2), 0.0

  def losses(self):
    margin = (2 * Y - 1) * (X @ self.w + self.b)
    return np.log1p(np.exp(-margin))

  def smallest(self, number, among=None):
    among = np.arange(ROWS) if among is None else among
    ranked = sorted(among, key=lambda i: (self.losses()[i], i))
    return np.isin(np.arange(ROWS), ranked[:number])

  def step(self, mask):
    """One step; returns the risk before it."""
    risk = self.losses()[mask].mean()
    slope = 1 / (1 + np.exp(-(X @ self.w + self.b))) - Y
    self.w = self.w - self.learning * (slope[mask] @ X[mask]) / mask.sum()
    self.b = self.b - self.learning * slope[mask].mean()
    return risk


@pytest.mark.parametrize("every", [1, 3])
def test_a_run_is_the_one_by_hand(every):
  state, log = jax.device_get(train(0.3, dataset(), 0.7, every=every))
  by_hand, mask, risks = ByHand(0.7), np.ones(ROWS, bool), []
  for epoch in range(9):
    if epoch and epoch % every == 0:
      mask = by_hand.smallest(14)
    risks.append(by_hand.step(mask))
    np.testing.assert_array_equal(log.observed[epoch], mask)
  np.testing.assert_allclose(log.risk, risks, rtol=1e-5)
  np.testing.assert_allclose(state.params["kernel"][:, 0], by_hand.w, rtol=1e-4)
  np.testing.assert_allclose(state.params["bias"][0], by_hand.b, rtol=1e-3, atol=1e-6)


def test_the_trimmed_objective_of_a_convex_problem_never_rises():
  _, log = jax.device_get(train(0.4, dataset(), 0.3, epochs=300))
  assert (np.diff(log.risk) <= 1e-7).all() and log.risk[-1] < 0.9 * log.risk[1]
  # Each round finds the best parameters for its rows, and then the best rows for these.
  _, log = jax.device_get(in_rounds(0.4, 1.0, 6, 300))
  assert (np.diff(log.risk[:, -1]) <= 1e-6).all() and log.risk[-1, -1] < log.risk[1, -1]


def test_rounds_start_anew_and_select_by_the_last_network():
  state, log = jax.device_get(in_rounds(0.25, 0.5, 3, 7))
  assert log.risk.shape == (3, 7)
  mask = np.ones(ROWS, bool)
  for turn in range(3):
    by_hand = ByHand(0.5)
    risks = [by_hand.step(mask) for _ in range(7)]
    np.testing.assert_allclose(log.risk[turn], risks, rtol=1e-5)
    np.testing.assert_array_equal(log.observed[turn], np.tile(mask, (7, 1)))
    last, mask = mask, by_hand.smallest(15)
  np.testing.assert_array_equal(state.method[1].kept, last)
  np.testing.assert_allclose(state.params["kernel"][:, 0], by_hand.w, rtol=1e-4)


def test_one_round_is_plain_training():
  state, log = in_rounds(0.25, 0.5, 1, 7, batch_size=6)
  fit = lambda data: rfjax.fit(
    NETWORK, rfjax.chain(), optax.sgd(0.5), data, key=KEY, epochs=7, batch_size=6
  )
  plain, other = jax.jit(fit)(dataset())
  np.testing.assert_allclose(state.params["kernel"], plain.params["kernel"], rtol=1e-5)
  np.testing.assert_allclose(np.asarray(log.risk)[0], other.risk, rtol=1e-5)


def test_rounds_select_by_the_loss_in_front():
  turned = rfjax.pointwise(lambda batch, **_: batch.replace(cost=1 / batch.cost), writes=("cost",))
  params = {"kernel": jnp.asarray([[1.0], [-2.0]]), "bias": jnp.asarray([0.0])}
  fixed = NETWORK._replace(init=lambda key, x: (params, ()))
  run = lambda data: selection.itlm_rounds(
    fixed, optax.sgd(0.0), data, rate=0.25, rounds=2, key=KEY, epochs=1, before=turned
  )
  state, _ = jax.device_get(jax.jit(run)(dataset()))
  by_hand = ByHand(0.0)
  by_hand.w = np.array([1.0, -2.0])
  np.testing.assert_array_equal(~state.method[1].kept, by_hand.smallest(5))


def test_only_rows_that_the_data_keep_are_counted():
  keep = (np.arange(ROWS) >= 6).astype(np.float32)
  _, log = jax.device_get(train(0.5, dataset(keep=keep), 0.5, epochs=3, batch_size=8))
  assert log.observed[0].all()
  assert (log.observed[1:].sum(1) == 7).all() and not log.observed[1:, :6].any()


def test_a_batch_keeps_what_is_selected():
  kept = np.arange(ROWS) % 3 > 0
  method = selection.itlm(0.5, kept=jnp.asarray(kept))
  rows = np.array([3, 19, ROWS, 4, 7, 0, ROWS])
  keep = np.array([1.0, 0.5, 0.0, 0.5, 1.0, 1.0, 0.0], np.float32)

  @jax.jit
  def everything(keep):
    state = method.init(dataset(), key=KEY, spec=None)
    flow = dataset().take(rows).replace(keep=keep).fill(jnp.zeros((7, 2)))
    out, after = method.update(flow, state, ())
    assert after is state
    return state.kept, out.keep

  found, kept_now = everything(keep)
  np.testing.assert_array_equal(found, kept)
  np.testing.assert_array_equal(kept_now, keep * np.append(kept, False)[rows])
  assert method.writes == ("keep",)


def test_the_rate_may_be_traced_or_a_function_of_the_epoch():
  for rate, number in ((0.0, 20), (0.15, 17), (0.5, 10), (0.95, 1)):
    observed = np.asarray(train(rate, dataset(), 0.7)[1].observed)  # compiled once
    assert observed[-1].sum() == number
  method = selection.itlm(lambda epoch: 0.1 * epoch)

  @jax.jit
  def kept(logits):
    flow, state = dataset().fill(logits), method.init(dataset(), key=KEY, spec=None)
    return [method.refresh(flow, state, (), epoch=epoch)[1].kept.sum() for epoch in (0, 1, 4)]

  numbers = kept(jnp.asarray(RNG.normal(size=(ROWS, 2)), jnp.float32))
  assert [int(number) for number in numbers] == [20, 18, 12]


def test_settings_out_of_range_are_refused():
  for settings in ({"rate": 1.0}, {"rate": -0.1}, {"every": 0}, {"every": 1.5}):
    with pytest.raises(ValueError, match=f"{next(iter(settings))} must"):
      selection.itlm(**({"rate": 0.1} | settings))
  with pytest.raises(ValueError, match=r"kept must have one entry for each of the 20 rows"):
    selection.itlm(0.1, kept=np.ones(3, bool)).init(dataset(), key=KEY, spec=None)
  with pytest.raises(ValueError, match="kept must be bool, got int"):
    selection.itlm(0.1, kept=np.arange(20)).init(dataset(), key=KEY, spec=None)
  for settings in ({"rate": 1.0}, {"rounds": 0}, {"epochs": 0}):
    with pytest.raises(ValueError, match=f"{next(iter(settings))} must"):
      selection.itlm_rounds(
        NETWORK, optax.sgd(0.1), dataset(), key=KEY, **({"rate": 0.1, "epochs": 1} | settings)
      )


FIXED = architectures.from_function(lambda key, x: jnp.zeros(()), lambda params, x: x + params)


AFTER_AN_EPOCH = {"step": lambda step, epoch: step >= 2, "epoch": lambda step, epoch: epoch >= 1}


@pytest.mark.parametrize("schedule", AFTER_AN_EPOCH.values(), ids=AFTER_AN_EPOCH)
def test_the_last_refresh_of_a_round_knows_its_step(schedule):
  """A chain in front that turns losses round after the first epoch, of two steps."""
  z = np.array([[0.0, 1.0], [0.0, 2.0], [0.0, 3.0], [0.0, 4.0]], np.float32)
  data = rfjax.Batch.from_arrays(z, [1, 1, 1, 1], num_classes=2)
  turned = rfjax.pointwise(lambda b, **_: b.replace(cost=1 / b.cost), writes=("cost",))
  run = jax.jit(lambda data: selection.itlm_rounds(
    FIXED, optax.sgd(0.0), data, rate=0.25, rounds=2, key=KEY, epochs=1, batch_size=2,
    before=rfjax.when(schedule, turned),
  ))  # fmt: skip
  state, _ = run(data)
  assert state.method[1].kept.tolist() == [True, True, True, False]


def test_rounds_take_a_sampler():
  run = jax.jit(lambda data: selection.itlm_rounds(
    NETWORK, optax.sgd(0.5), data, rate=0.5, rounds=2, key=KEY, epochs=2, batch_size=4,
    after=selection.packed(),
  ))  # fmt: skip
  state, log = jax.device_get(run(dataset()))
  assert log.risk.shape == (2, 2) and state.method[1].kept.sum() == ROWS // 2
