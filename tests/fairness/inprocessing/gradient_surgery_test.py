"""Gradient surgery against the algebra of two vectors in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rfjax
from rfjax import architectures
from rfjax.fairness import inprocessing


def split(vector):
  return {"a": jnp.asarray(vector[:6].reshape(2, 3)), "b": jnp.asarray(vector[6:])}


def join(tree):
  return np.concatenate([np.ravel(tree["a"]), tree["b"]]).astype(np.float64)


def mended(risk, penalty):
  """PCGrad's loop over tasks: each gradient is projected where it conflicts with the other."""
  found = []
  for mine, other in ((risk, penalty), (penalty, risk)):
    dot = mine @ other
    found.append(mine - dot / (other @ other) * other if dot < 0 else mine)
  return sum(found)


@pytest.mark.parametrize("seed", range(6))
def test_two_vectors(seed):
  rng = np.random.default_rng(seed)
  risk, penalty, decay = rng.normal(size=(3, 9)).astype(np.float32)
  if seed < 3:
    penalty -= 2 * risk
  grad_of = lambda risk_=1.0, penalty_=0.0: split(risk_ * risk + penalty_ * penalty)
  tx = inprocessing.gradient_surgery()
  out, _ = tx.update(split(risk + penalty + decay), tx.init(None), grad_of=grad_of, unknown=0)
  expected = mended(*(v.astype(np.float64) for v in (risk, penalty)))
  np.testing.assert_allclose(join(out) - decay, expected, atol=1e-5)
  assert expected @ risk > -1e-9 and expected @ penalty > -1e-9  # neither is undone


def test_opposite_and_vanishing_gradients():
  tx = inprocessing.gradient_surgery()
  g = np.arange(1.0, 10.0, dtype=np.float32)
  for other, expected in ((-2 * g, 0 * g), (0 * g, g), (3 * g, 4 * g)):
    grad_of = lambda risk=1.0, penalty=0.0, other=other: split(risk * g + penalty * other)
    out, _ = tx.update(split(g + other), tx.init(None), grad_of=grad_of)
    np.testing.assert_allclose(join(out), expected, atol=1e-5)
  with pytest.raises(ValueError, match="gradient_surgery needs grad_of"):
    tx.update(split(g), tx.init(None))


def test_inside_fit():
  rng = np.random.default_rng(0)
  group, y = np.arange(40) % 2, rng.integers(0, 2, 40)
  x = rng.normal(size=(40, 2)) + np.stack([y, group], 1)
  data = rfjax.Batch.from_arrays(x, y, group)
  network, gap = architectures.logistic(), inprocessing.gap(3.0)
  key = jax.random.key(0)

  @jax.jit
  def step(data):
    params, _ = network.init(key, data.x)

    def after(*links):
      tx = optax.chain(*links, optax.sgd(1.0))
      made = rfjax.train_step(network, gap, tx)
      new = made.update(made.init(params, data, key=key), data, key=key, step=0, epoch=0)[0]
      return jax.tree.map(lambda a, b: a - b, params, new.params)

    def part(params, penalty):
      flow = data.fill(*network.apply(params, (), data.x, key=key, train=True)[:2])
      out, _ = gap.update(flow, (), None)
      return out.penalty if penalty else out.risk

    slopes = [jax.grad(part)(params, p) for p in (False, True)]
    return after(inprocessing.gradient_surgery()), slopes

  vector = lambda tree: np.concatenate([np.ravel(v) for v in jax.tree.leaves(tree)])
  found, slopes = step(data)
  np.testing.assert_allclose(vector(found), mended(*map(vector, slopes)), atol=1e-5)
