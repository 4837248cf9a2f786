"""Counterfactual pairs of a linear network, where all is known in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rfjax
from rfjax import architectures
from rfjax.fairness import inprocessing

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
X, Z = RNG.normal(size=(60, 2)), np.arange(60) % 2
Y = (X[:, 0] + 1.5 * Z + RNG.normal(size=60) > 0.7).astype(int)
DATA = rfjax.Batch.from_arrays(np.c_[X, Z], Y)


def flip(batch):
  return batch.x.at[:, 2].set(1 - batch.x[:, 2])


def linear(params, batch, key=None):
  del key
  return batch.fill(batch.x @ params)


@pytest.mark.parametrize("classes", [2, 3])
def test_value_and_slope_of_a_linear_network(classes):
  """d(x) - d(x') is the column of the attribute times how far it moved."""
  params = RNG.normal(size=(3, classes)).astype(np.float32)
  batch = DATA.replace(num_classes=classes, valid=np.arange(60) > 0)

  def value(params, distance):
    method = inprocessing.counterfactual_logit_pairing(0.5, flip, distance=distance)
    return method.update(linear(params, batch), (), params, forward=linear)[0].penalty

  w = np.asarray(params, np.float64)[2]
  w = w[1:] - w[:1] if classes == 2 else w - w.mean()
  both = lambda p: (jax.value_and_grad(value)(p, "squared"), value(p, "absolute"))
  (squared, slope), absolute = jax.device_get(jax.jit(both)(params))
  np.testing.assert_allclose(squared, 0.5 * (w**2).sum(), rtol=1e-5)
  np.testing.assert_allclose(absolute, 0.5 * np.abs(w).sum(), rtol=1e-5)
  expected = [-w[0], w[0]] if classes == 2 else w  # both passes are differentiated
  np.testing.assert_allclose(slope[2], expected, rtol=1e-5)
  np.testing.assert_allclose(slope[:2], 0, atol=1e-6)


def test_training_forgets_the_attribute_and_a_table_does_the_same():
  table = flip(DATA)
  by_index = lambda batch: table.at[batch.index].get(mode="fill", fill_value=0)
  network = architectures.logistic()

  def moved(method):
    tx = optax.sgd(0.1)
    state, _ = rfjax.fit(network, method, tx, DATA, key=KEY, epochs=60, batch_size=16)
    margins = [rfjax.predict(network, state, DATA.replace(x=x)).margin for x in (DATA.x, table)]
    return jnp.abs(margins[0] - margins[1]).mean()

  pairing = inprocessing.counterfactual_logit_pairing
  methods = (rfjax.chain(), pairing(3.0, flip), pairing(3.0, by_index))
  plain, first, again = jax.jit(lambda: [moved(method) for method in methods])()
  assert plain > 0.4
  assert first < 0.1
  np.testing.assert_allclose(again, first, rtol=1e-4)


def test_the_optax_form_is_the_form_in_the_loss():
  method, network = inprocessing.counterfactual_logit_pairing(1.0, flip), architectures.logistic()

  @jax.jit
  def fits(data):
    fit = lambda method, tx: rfjax.fit(network, method, tx, data, key=KEY, epochs=5)[0].params
    chained = optax.chain(rfjax.add_penalty(method), optax.adam(0.1))
    return fit(method, optax.adam(0.1)), fit(rfjax.chain(), chained)

  inside, beside = fits(DATA)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), inside, beside)


def test_features_of_another_shape_are_refused():
  method = inprocessing.counterfactual_logit_pairing(1.0, lambda batch: batch.x[:, :2])
  with pytest.raises(ValueError, match=r"counterfactual must have shape \(60, 3\), got \(60, 2\)"):
    act = lambda params: method.update(linear(params, DATA), (), params, forward=linear)
    jax.eval_shape(act, np.ones((3, 2), np.float32))
