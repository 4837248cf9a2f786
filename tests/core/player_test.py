"""Players against optax by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from rfjax.core import descend, player

BATCH = {"x": jnp.array([1.0, -2.0, 0.5]), "rows": jnp.arange(3)}
START = {"w": jnp.array([0.3, -0.1, 0.2]), "b": jnp.zeros(())}


def loss(params, batch):
  return jnp.sum((params["w"] - batch["x"]) ** 3) + params["b"] ** 2 - params["b"]


def test_descend_is_an_optax_step():
  tx = optax.adamw(0.1, weight_decay=0.05)
  params, opt, mine = START, tx.init(START), player(START, tx)
  for _ in range(3):
    mine = descend(loss, mine, BATCH, tx)
    updates, opt = tx.update(jax.grad(loss)(params, BATCH), opt, params)
    params = optax.apply_updates(params, updates)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), tuple(mine), (params, opt))
  assert not np.allclose(params["w"], START["w"])


def test_no_gradient_flows_back_to_the_batch():
  tx = optax.sgd(0.1)

  def after(x):
    moved = descend(loss, player(START, tx), BATCH | {"x": x}, tx)
    return loss(moved.params, {"x": jnp.zeros(3)})

  assert not np.any(jax.grad(after)(BATCH["x"]))
  assert after(BATCH["x"]) != after(BATCH["x"] + 1)


def test_inner_steps_run_in_a_loop():
  tx = optax.sgd(0.5)
  start = player(jnp.zeros(()), tx)
  chase = lambda w, target: 0.5 * (w - target) ** 2
  step = lambda _, p: descend(chase, p, 1.0, tx)
  count = lambda n: jax.lax.fori_loop(0, n, step, start).params
  np.testing.assert_allclose(jax.jit(count)(3), 1 - 0.5**3)
