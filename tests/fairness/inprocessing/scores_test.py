"""Penalties on the scores of groups: the measures of the same name, on any scores and labels."""

import jax
import numpy as np
import optax
import pytest

import rfjax
from rfjax import architectures, metrics
from rfjax.fairness import inprocessing

KEY = jax.random.key(0)
FILL = jax.jit(rfjax.Batch.fill)
PAIRS = {
  "mmd": (inprocessing.mmd, metrics.score_mmd),
  "hsic": (inprocessing.hsic, metrics.score_hsic),
  "correlation": (inprocessing.correlation, metrics.score_correlation),
  "wasserstein": (inprocessing.wasserstein, metrics.score_wasserstein),
}


def filled(classes=2, rows=30, groups=3):
  rng = np.random.default_rng(classes)
  y, code = np.arange(rows) % classes, rng.permutation(np.arange(rows) % groups)
  data = rfjax.Batch.from_arrays(rng.normal(size=(rows, 2)), y, code, num_classes=classes)
  logits, features = rng.normal(size=(rows, classes)), rng.normal(size=(rows, 4))
  return FILL(data, logits, features)


def penalty(method, flow):
  return method.update(flow, (), None, key=KEY, step=0, epoch=0, forward=None)[0].penalty


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("label", [None, 1])
@pytest.mark.parametrize("name", PAIRS)
def test_it_is_the_measure_times_the_strength(name, label, classes):
  method, measure = PAIRS[name]
  flow = filled(classes)
  settings = [({}, {})]
  if name != "hsic":
    settings = [({"agg": "worst_case"}, {"agg": "worst_case"}), ({"agg": "mean"}, {})]

  @jax.jit
  def both(flow):
    wanted = [measure(flow, label=label, **of) for of, _ in settings]
    return wanted, [penalty(method(0.5, label=label, **of), flow) for _, of in settings]

  wanted, found = jax.device_get(both(flow))
  assert wanted[0] > 1e-3
  for expected, got in zip(wanted, found, strict=True):
    np.testing.assert_allclose(got, 0.5 * expected, 1e-5)


def test_mmd_compares_margins_and_features():
  flow = filled(groups=2)
  first = np.asarray(flow.group) == 0
  logits, features = (np.asarray(v, np.float64) for v in (flow.logits, flow.features))
  methods = [inprocessing.mmd(1.0, width=1.5, score=score) for score in ("margin", "features")]
  found = jax.jit(lambda flow: [penalty(method, flow) for method in methods])(flow)
  for got, values in zip(found, (logits[:, 1:] - logits[:, :1], features), strict=True):
    k = np.exp(-np.sum((values[:, None] - values[None]) ** 2, axis=2) / 1.5**2)
    block = lambda a, b, k=k: k[np.ix_(a, b)].mean()
    expected = block(first, first) - 2 * block(first, ~first) + block(~first, ~first)
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_margins_far_apart_still_have_a_slope_of_wasserstein():
  data = rfjax.Batch.from_arrays(np.zeros((3, 1)), [0, 1, 1], [0, 1, 1])
  logits = np.float32([[0.0, 40.0], [0.0, -40.0], [0.0, -60.0]])
  method = inprocessing.wasserstein(2.0, score="margin")
  value, slope = jax.jit(jax.value_and_grad(lambda z: penalty(method, data.fill(z))))(logits)
  np.testing.assert_allclose(value, 2 * 90)
  np.testing.assert_allclose(slope[:, 1], [2, -1, -1])


def test_features_are_asked_for():
  flow = filled().replace(features=None)
  with pytest.raises(ValueError, match="hsic needs features"):
    penalty(inprocessing.hsic(1.0, score="features"), flow)
  with pytest.raises(ValueError, match=r"label must lie in \[0, 2\), got 2"):
    penalty(inprocessing.mmd(1.0, label=2), flow)


def test_the_optax_form_is_the_form_in_the_loss():
  rng = np.random.default_rng(0)
  data = rfjax.Batch.from_arrays(rng.normal(size=(24, 3)), np.arange(24) % 2, np.arange(24) % 3)
  method, network = inprocessing.mmd(3.0, width=0.5), architectures.logistic()

  @jax.jit
  def fits(data):
    fit = lambda method, tx: rfjax.fit(network, method, tx, data, key=KEY, epochs=5)[0].params
    inside = fit(method, optax.adam(0.1))
    beside = fit(rfjax.chain(), optax.chain(rfjax.add_penalty(method), optax.adam(0.1)))
    return inside, beside, fit(rfjax.chain(), optax.adam(0.1))

  leaves = [jax.tree.leaves(params) for params in jax.device_get(fits(data))]
  assert max(np.abs(a - c).max() for a, _, c in zip(*leaves, strict=True)) > 1e-2
  for a, b, _ in zip(*leaves, strict=True):
    np.testing.assert_allclose(a, b, atol=1e-6)
