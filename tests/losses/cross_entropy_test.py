"""Cross-entropy: its formula and optax."""

import host
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rfjax import losses

LOGITS = 3.0 * np.random.default_rng(1).normal(size=(6, 5))


def formula(log_probs, k):
  return -log_probs[k]


def floored(log_probs, k, floor):
  return -np.log(np.exp(log_probs[k]) + floor)


def test_costs_and_slopes_are_the_formula(check):
  check.follows(losses.cross_entropy, formula, [()], static=True)


def test_stays_right_and_finite_at_the_edges(check):
  check.survives(losses.cross_entropy, formula, [()], static=True)


def test_a_floor_is_the_formula_and_bounds_it(check):
  settings = [(1e-5,), (0.3,), (1e-2,)]
  check.follows(losses.cross_entropy, floored, settings)
  check.survives(losses.cross_entropy, floored, settings)
  edge = np.float32([[1e4, -1e4, 0, 0]])
  np.testing.assert_allclose(
    check.cost(losses.cross_entropy(1e-5), edge)[0, 1], -np.log(1e-5), rtol=1e-6
  )


def test_no_floor_is_the_limit_also_where_it_is_traced(check):
  run = jax.jit(lambda z, floor: check.apply(losses.cross_entropy(floor), check.batch(z)).cost)
  logits = LOGITS.astype(np.float32)
  plain = check.cost(losses.cross_entropy(), logits)
  np.testing.assert_allclose(run(logits, 0.0), plain, rtol=1e-6)
  assert np.isfinite(host.run(jax.jacobian(run), logits, 0.0)).all()


@pytest.mark.parametrize("floor", [-1e-9, 1.0, float("nan")])
def test_refuses_a_floor_out_of_range(floor):
  with pytest.raises(ValueError, match="floor must lie in"):
    losses.cross_entropy(floor)


def test_is_a_loss(check):
  check.is_a_loss(losses.cross_entropy())


def test_optax_agrees(check):
  y = np.array([0, 4, 2, 2, 1, 3])
  with jax.enable_x64(True):
    mine = lambda z: check.apply(losses.cross_entropy(), check.batch(z, y)).risk
    theirs = lambda z: optax.softmax_cross_entropy_with_integer_labels(z, y).mean()
    (a, da), (b, db) = (host.run(jax.value_and_grad(f), LOGITS) for f in (mine, theirs))
    soft = np.random.default_rng(2).dirichlet(np.ones(5), 6)
    apply = lambda z, soft: check.apply(losses.cross_entropy(), check.batch(z, y, soft)).loss
    one, two = (host.run(f, LOGITS, soft) for f in (apply, optax.softmax_cross_entropy))
  np.testing.assert_allclose(one, two, rtol=1e-12)
  np.testing.assert_allclose(a, b, rtol=1e-12)
  np.testing.assert_allclose(da, db, rtol=1e-10, atol=1e-14)


def test_sets_the_cost_anew(check):
  flow = check.batch(LOGITS.astype(np.float32))
  stale = flow.replace(cost=7 + 0 * flow.cost)
  np.testing.assert_array_equal(check.apply(losses.cross_entropy(), stale).cost, -flow.log_probs)


def test_a_floor_may_be_a_number_of_jax_inside_of_jit():
  floor, made = jnp.float32(0.1), []
  jax.jit(lambda z: (made.append(losses.cross_entropy(floor)), z)[1])(1.0)
  assert made[0].writes == ("loss",)
