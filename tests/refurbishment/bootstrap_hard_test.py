"""Hard bootstrapping: its target by a loop, and what it leaves alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rfjax
from rfjax import refurbishment

RNG = np.random.default_rng(0)
ROWS, CLASSES = 9, 4
Y = np.arange(ROWS) % CLASSES
Z = (2 * RNG.normal(size=(ROWS, CLASSES))).astype(np.float32)
Z[2] = [1.0, 3.0, 3.0, 0.0]  # a tie, which the lowest label wins
DATA = rfjax.Batch.from_arrays(RNG.normal(size=(ROWS, 2)), Y, num_classes=CLASSES)


def update(t, flow):
  return t.update(flow, (), None, key=None, step=0, epoch=0, forward=None)[0]


def wanted(beta, z, before):
  target = []
  for row, given in zip(z, before, strict=True):
    best = [1.0 if k == list(row).index(max(row)) else 0.0 for k in range(CLASSES)]
    target.append([beta * g + (1 - beta) * b for g, b in zip(given, best, strict=True)])
  return np.array(target)


def test_targets_are_the_loops():
  flow = DATA.fill(jnp.asarray(Z))
  soft = RNG.dirichlet(np.ones(CLASSES), ROWS).astype(np.float32)
  betas = jnp.array([0.0, 0.25, 0.8, 1.0])

  def run(beta, target):
    return update(refurbishment.bootstrap_hard(beta), flow.replace(target=target)).target

  for before in (np.eye(CLASSES, dtype=np.float32)[Y], soft):
    found = jax.jit(jax.vmap(run, (0, None)))(betas, jnp.asarray(before))
    for beta, target in zip(betas, found, strict=True):
      np.testing.assert_allclose(target, wanted(float(beta), Z, before), rtol=1e-6)


def test_only_the_target_changes_and_it_holds_no_gradient():
  flow, t = DATA.fill(jnp.asarray(Z)), refurbishment.bootstrap_hard()
  out = update(t, flow)
  np.testing.assert_allclose(out.target, wanted(0.8, Z, np.eye(CLASSES)[Y]), rtol=1e-6)
  for name in ("log_probs", "cost", "keep", "weight", "penalty"):
    assert getattr(out, name) is getattr(flow, name)
  assert t.writes == ("target",)
  slope = jax.grad(lambda z: update(t, DATA.fill(z)).objective)(jnp.asarray(Z))
  expected = (np.asarray(jax.nn.softmax(Z)) - np.asarray(out.target)) / ROWS
  np.testing.assert_allclose(slope, expected, atol=1e-7)


def test_beta_one_is_cross_entropy():
  one, two = (update(t, DATA.fill(jnp.asarray(Z))).objective
              for t in (refurbishment.bootstrap_hard(1.0), rfjax.core.identity))  # fmt: skip
  assert one == two


@pytest.mark.parametrize("beta", [-0.1, 1.1, float("nan"), "a"])
def test_a_beta_out_of_range_is_refused(beta):
  with pytest.raises(ValueError, match="beta must"):
    refurbishment.bootstrap_hard(beta)
