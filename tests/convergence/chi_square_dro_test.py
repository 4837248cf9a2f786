"""Chi-square DRO against the primal problem, one-dimensional minimisers, and what it promises."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.optimize

import rfjax
from oracles import slopes
from rfjax import architectures, convergence

KEY = jax.random.key(0)
ROWS, PADDED = 9, 11
KEEP = np.array([1, 1, 0, 1, 1, 0.5, 1, 1, 1, 0, 0])
WEIGHT = np.array([1, 2, 1, 0.5, 1, 1, 0, 1, 3, 1, 1])

risk = jax.jit(convergence.chi_square_risk)


def primal(losses, share, radius):
  """The worst mean of losses over the ball, by sequential quadratic programming."""
  found: Any = scipy.optimize.minimize(
    lambda w: -share @ (w * losses),
    np.ones(len(losses)),
    jac=lambda w: -share * losses,
    bounds=[(0, None)] * len(losses),
    constraints=[
      {"type": "eq", "fun": lambda w: share @ w - 1, "jac": lambda w: share},
      {
        "type": "ineq",
        "fun": lambda w: radius - share @ (w - 1) ** 2,
        "jac": lambda w: -2 * share * (w - 1),
      },
    ],
    options={"ftol": 1e-10},
  )
  return -found.fun


def dual(losses, share, c):
  """The least C sqrt(mean (loss - eta)+^2) + eta, by a scan and a bounded minimiser."""
  there = losses[share > 0]
  top, unit = there.max(), np.ptp(there)
  below = (top - losses) / unit
  of = lambda t: c * np.sqrt(share @ np.maximum(t - below, 0) ** 2) - t
  grid = np.append(0, np.geomspace(1e-6, 1e4, 300))
  best = np.argmin([of(t) for t in grid])
  around = grid[max(best - 1, 0)], grid[min(best + 1, 300)]
  found: Any = scipy.optimize.minimize_scalar(
    of, bounds=around, method="bounded", options={"xatol": 1e-12}
  )
  return top + unit * min(found.fun, of(0))


@jax.jit
@functools.partial(jax.vmap, in_axes=(0, None))
def weights_between(place, share):
  """Of squared distances to both ends, which are rounded anew wherever a program needs them."""
  losses = jnp.square(place - jnp.array([-1.0, 1.0]))
  return convergence.chi_square_risk(losses, 0.3**-0.5, share).weight


def test_the_largest_loss_counts_wherever_it_is_computed():
  place, share = np.linspace(-0.9, 0.9, 100, dtype=np.float32), np.float32([0.6, 0.4])
  found = weights_between(place, share)
  np.testing.assert_allclose(found, (np.sign(place[:, None]) == [1, -1]) / share, rtol=1e-6)


@pytest.mark.parametrize("c", [1.001, 1.4, 2.5, 6.0])
def test_the_value_is_the_worst_mean_over_the_ball_and_its_dual(c):
  rng = np.random.default_rng(0)
  with jax.enable_x64(True):
    for losses, given in (
      (rng.gamma(1.0, 1.0, 20), np.ones(20)),
      (rng.integers(0, 4, 20) / 2, np.ones(20)),
      (rng.normal(size=20), rng.integers(0, 4, 20) / 2),
    ):
      share = given / given.sum()
      found = risk(losses, c, given)
      assert abs(found.value - primal(losses, share, c * c - 1)) < 1e-4
      assert abs(found.value - dual(losses, share, c)) < 1e-9
      weight = np.asarray(found.weight)
      assert (weight >= 0).all() and abs(share @ weight - 1) < 1e-12
      assert abs(share @ (weight * losses) - found.value) < 1e-9
      assert share @ (weight - 1) ** 2 < c * c - 1 + 1e-9
      tail = np.maximum(losses - found.eta, 0) * (given > 0)
      if c * c * share[losses == losses[share > 0].max()].sum() < 1:
        np.testing.assert_allclose(weight, c * tail / np.sqrt(share @ tail**2), atol=1e-7)


def test_a_ball_that_holds_all_puts_everything_on_the_largest_losses():
  losses = np.array([3.0, 1.0, 3.0, 2.9, 9.0])
  found = risk(losses, 2.0, np.array([1.0, 1.0, 1.0, 1.0, 0.0]))
  np.testing.assert_allclose(found.weight, [2, 0, 2, 0, 0])
  np.testing.assert_allclose((found.value, found.eta), (3, 3), rtol=1e-6)


@pytest.mark.parametrize("c", [1.0, 1.5, 100.0])
def test_equal_losses_count_alike_and_c_of_1_is_the_mean(c):
  equal = risk(np.full(7, np.float32(0.1)), c)
  np.testing.assert_array_equal(equal.weight, 1)
  np.testing.assert_allclose((equal.value, equal.eta), (0.1, 0.1), rtol=1e-6)
  nearly = np.nextafter(np.full(7, np.float32(0.1)), np.arange(7, dtype=np.float32) % 2)
  assert len(set(nearly)) == 2
  np.testing.assert_array_equal(risk(nearly, c).weight, 1)
  losses = np.arange(5.0)
  plain = risk(losses, 1.0)
  np.testing.assert_array_equal(plain.weight, 1)
  assert float(plain.value) == 2 and float(plain.eta) == -np.inf
  none = risk(losses, c, np.zeros(5))
  assert float(none.value) == 0 and np.isfinite(none.weight).all()


def test_any_scale_of_losses_in_float32():
  rng = np.random.default_rng(1)
  share = np.full(50, 0.02)
  for scale, shift in ((1e4, 0.0), (1e-12, 0.0), (1e-30, 0.0), (1.0, 1e4)):
    losses = (scale * rng.gamma(1.0, 1.0, 50) + shift).astype(np.float32)
    exact = losses.astype(np.float64)
    for c in (np.float32(1 + 1e-6), 1.3, 3.0):
      found = risk(losses, float(c))
      np.testing.assert_allclose(np.mean(found.weight), 1, rtol=1e-5)
      np.testing.assert_allclose(found.value, dual(exact, share, c), rtol=2e-5)
      np.testing.assert_allclose(np.mean(found.weight * exact), found.value, rtol=2e-5)


@pytest.mark.parametrize("alpha", [0.1, 0.3, 0.6])
def test_no_group_that_is_large_enough_is_worse_than_the_value(alpha):
  rng = np.random.default_rng(2)
  ball = {"tight": 1 / alpha - 1, "paper": 2 * (1 / alpha - 1) ** 2}
  nearest = np.inf
  for _ in range(20):
    losses, groups = rng.gamma(0.3, 1.0, 60).astype(np.float32), rng.integers(0, 4, 60)
    worst = np.sort(losses)[::-1][: int(np.ceil(60 * alpha))].mean()
    means = [losses[groups == g].mean() for g in range(4) if np.mean(groups == g) >= alpha]
    for radius in ball.values():
      value = np.asarray(risk(losses, float(np.sqrt(1 + radius))).value)
      assert max([worst, *means]) <= value + 1e-6
    nearest = min(nearest, np.asarray(risk(losses, alpha**-0.5).value) / worst)
  assert nearest < 1.5  # the bound says something


def test_the_constant_of_the_paper_bounds_groups_up_to_two_thirds_only():
  losses = np.append(np.ones(9), 0.0)
  value = lambda c: float(risk(losses, c).value)
  assert value(0.9**-0.5) >= 1 - 1e-6
  assert value((1 + 2 * (1 / 0.9 - 1) ** 2) ** 0.5) < 0.95


take = jax.jit(lambda data, rows: data.take(rows))


def flow():
  rng = np.random.default_rng(3)
  data = rfjax.Batch.from_arrays(rng.normal(size=(ROWS, 2)), np.arange(ROWS) % 3)
  batch = take(data, np.append(np.arange(ROWS), np.full(PADDED - ROWS, ROWS)))
  batch = batch.replace(keep=jnp.asarray(KEEP), weight=jnp.asarray(WEIGHT))
  return batch, rng.normal(size=(PADDED, 3))


@pytest.mark.parametrize(
  ("settings", "c"),
  [
    ({"alpha_min": 0.3}, 0.3**-0.5),
    ({"alpha_min": 0.8}, 0.8**-0.5),
    ({"alpha_min": 0.5, "bound": "paper"}, 3**0.5),
    ({"radius": 0.7}, 1.7**0.5),
    ({"eta": 0.8}, None),
  ],
)
def test_the_gradient_is_that_of_the_minimised_dual(settings, c):
  with jax.enable_x64(True):
    batch, logits = flow()
    method = convergence.chi_square_dro(**settings)

    def objective(logits):
      out, _ = method.update(batch.fill(logits), (), None, unknown=0)
      return out.objective, out.weight

    slope, weight = jax.jit(jax.grad(objective, has_aux=True))(jnp.asarray(logits))
    mass, y = KEEP * WEIGHT, np.asarray(batch.y)

    def expected(logits):
      logs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
      losses = -logs[np.arange(PADDED), y]
      if c is None:
        return mass @ np.maximum(losses - settings["eta"], 0) ** 2 / KEEP.sum()
      return dual(losses, mass / mass.sum(), c) * mass.sum() / KEEP.sum()

    np.testing.assert_allclose(slope, slopes(expected, logits, 1e-5), atol=1e-6)
    assert np.abs(np.asarray(slope)).max() > 0.1
    np.testing.assert_array_equal(np.asarray(slope)[mass == 0], 0)
    if c is not None:
      np.testing.assert_allclose(
        KEEP @ np.asarray(weight), mass.sum(), rtol=1e-9
      )  # as much as before


def test_rows_that_do_not_count_change_nothing_and_a_weight_of_2_is_a_row_twice():
  batch, logits = flow()
  method = convergence.chi_square_dro(0.4)
  act = lambda batch, z: method.update(batch.fill(z), (), None)[0].weight
  rows = np.append(np.flatnonzero(np.ceil(KEEP)), 1)
  twice = np.where(np.arange(PADDED) == 1, 2, 1).astype(np.float32)
  hard = batch.replace(keep=np.ceil(KEEP).astype(np.float32), weight=twice)

  @jax.jit
  def both(hard, z):
    alone = hard.replace(keep=None, weight=None).take(rows)
    return act(hard, z), act(alone, z[rows])

  weight, alone = map(np.asarray, both(hard, logits.astype(np.float32)))
  np.testing.assert_allclose(alone[-1], weight[1] / 2, rtol=1e-5)
  np.testing.assert_allclose(alone[1:-1], weight[rows[1:-1]] / np.where(rows[1:-1] == 1, 2, 1),
                             rtol=1e-5)  # fmt: skip


def test_the_worse_group_does_better_and_wrong_labels_weigh_most():
  """Both of the tutorial's sides: who is badly served is heard, and so is who is wrong."""
  rng = np.random.default_rng(4)
  group, y = (np.arange(300) % 5 == 0).astype(int), rng.integers(0, 2, 300)
  sign = 2.0 * y - 1
  x = np.stack([np.where(group, -sign, sign), 0.2 * sign], 1) + 0.1 * rng.normal(size=(300, 2))
  flipped = rng.random(300) < 0.1

  @jax.jit
  def run(y):
    data = rfjax.Batch.from_arrays(x, y, num_classes=2)

    def losses(method):
      network = architectures.logistic()
      state, _ = rfjax.fit(network, method, optax.adam(0.1), data, key=KEY, epochs=60)
      return rfjax.predict(network, state, data).loss

    return losses(rfjax.chain()), losses(convergence.chi_square_dro(0.2))

  worst = lambda losses: max(losses[group == 0].mean(), losses[group == 1].mean())
  plain, robust = map(np.asarray, run(y))
  assert worst(robust) < 0.8 * worst(plain)
  plain, robust = map(np.asarray, run(np.where(flipped, 1 - y, y)))
  weight = np.asarray(risk(plain, 0.2**-0.5).weight)
  assert weight[flipped].sum() > 0.4 * weight.sum()  # by a tenth of the rows
  assert robust[~flipped].mean() > plain[~flipped].mean()


def test_a_minority_that_is_served_stays():
  """Repeated loss minimisation: who suffers leaves, and those who are left are learned from."""
  points, born = np.array([-1.0, 1.0]), np.array([0.6, 0.4], np.float32)

  @jax.jit
  def last(c):
    def period(share, _):
      def descend(i, place):
        of = lambda place: convergence.chi_square_risk((place - points) ** 2, c, share).value
        return place - 0.5 / (i + 2) * jax.grad(of)(place)

      place = jax.lax.fori_loop(0, 100, descend, 0.0)
      stay = share * jnp.exp(-((place - points) ** 2) / 2) + born / 4
      return stay / stay.sum(), place

    return jax.lax.scan(period, born, None, 30)

  found = jax.tree.map(np.asarray, (last(1.0), last(0.3**-0.5)))
  (plain, _), (robust, place) = found
  assert plain[1] < 0.25 and abs(robust[1] - 0.4) < 0.01
  assert np.abs(place).max() < 0.02  # as near to the one as to the other


@pytest.mark.parametrize(
  ("settings", "message"),
  [
    ({}, "must be told one of alpha_min, radius and eta"),
    ({"alpha_min": 0.2, "eta": 0.5}, "must be told one of"),
    ({"alpha_min": 0.0}, "alpha_min must lie in"),
    ({"radius": -1.0}, "radius must lie in"),
    ({"alpha_min": 0.2, "bound": "loose"}, "bound must be one of"),
  ],
)
def test_what_is_wrong_is_refused(settings, message):
  with pytest.raises(ValueError, match=message):
    convergence.chi_square_dro(**settings)


def test_the_risk_refuses_what_is_out_of_range():
  with pytest.raises(ValueError, match="c must lie in"):
    convergence.chi_square_risk(np.ones(3), 0.5)
  with pytest.raises(ValueError, match="one axis"):
    convergence.chi_square_risk(np.ones((3, 2)), 2.0)
