"""Cross-entropy: its formula and optax."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from rfjax import losses

LOGITS = 3.0 * np.random.default_rng(1).normal(size=(6, 5))


def formula(log_probs, k):
  return -log_probs[k]


def test_costs_and_slopes_are_the_formula(check):
  check.follows(losses.cross_entropy, formula, [()], static=True)


def test_stays_right_and_finite_at_the_edges(check):
  check.survives(losses.cross_entropy, formula, [()], static=True)


def test_is_a_loss(check):
  check.is_a_loss(losses.cross_entropy())


def test_optax_agrees(check):
  y = np.array([0, 4, 2, 2, 1, 3])
  with jax.enable_x64(True):
    logits = jnp.asarray(LOGITS)
    mine = lambda z: check.apply(losses.cross_entropy(), check.batch(z, y)).risk
    theirs = lambda z: optax.softmax_cross_entropy_with_integer_labels(z, y).mean()
    (a, da), (b, db) = (jax.value_and_grad(f)(logits) for f in (mine, theirs))
    soft = jnp.asarray(np.random.default_rng(2).dirichlet(np.ones(5), 6))
    out = check.apply(losses.cross_entropy(), check.batch(logits, y, soft))
    np.testing.assert_allclose(out.loss, optax.softmax_cross_entropy(logits, soft), rtol=1e-12)
  np.testing.assert_allclose(a, b, rtol=1e-12)
  np.testing.assert_allclose(da, db, rtol=1e-10, atol=1e-14)


def test_sets_the_cost_anew(check):
  flow = check.batch(jnp.asarray(LOGITS, jnp.float32))
  stale = flow.replace(cost=7 + 0 * flow.cost)
  np.testing.assert_array_equal(check.apply(losses.cross_entropy(), stale).cost, -flow.log_probs)
