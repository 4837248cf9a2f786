"""The slope of every penalty against central differences, also where cells are empty."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rfjax
from rfjax.fairness import inprocessing

KEY = jax.random.key(0)
ROWS, PADDED = 24, 27


def flipped(batch):
  return -batch.x


PENALTIES = {
  "gap": lambda: inprocessing.gap(0.7, ("selection_rate", "false_positive_rate")),
  "gap, precision": lambda: inprocessing.gap(0.7, "precision", method="to_overall"),
  "mmd": lambda: inprocessing.mmd(0.7, width=0.5),
  "mmd, label 1": lambda: inprocessing.mmd(0.7, label=1, kernel="laplacian", method="to_overall"),
  "hsic": lambda: inprocessing.hsic(0.7, kernel="laplacian"),
  "hsic, margins": lambda: inprocessing.hsic(0.7, score="margin"),
  "correlation": lambda: inprocessing.correlation(0.7),
  "correlation, label 1": lambda: inprocessing.correlation(0.7, label=1, agg="worst_case"),
  "wasserstein": lambda: inprocessing.wasserstein(0.7),
  "wasserstein, label 0": lambda: inprocessing.wasserstein(0.7, label=0, score="margin"),
  "covariance": lambda: inprocessing.covariance(0.7, tolerance=0.01),
  "covariance_constraint": lambda: inprocessing.covariance_constraint(0.01, strength=0.7),
  "mistreatment_covariance": lambda: inprocessing.mistreatment_covariance(0.7),
  "mistreatment_covariance, false_positive": (
    lambda: inprocessing.mistreatment_covariance(0.7, "false_positive")
  ),
  "relative_gap": lambda: inprocessing.relative_gap(0.7, "true_positive_rate"),
  "relative_gap, norm 3": lambda: inprocessing.relative_gap(0.7, "precision", order=3),
  "relative_gap, log_sum_exp": (
    lambda: inprocessing.relative_gap(0.7, "false_negative_share", violation="log_sum_exp")
  ),
  "prejudice_remover": lambda: inprocessing.prejudice_remover(0.7),
  "bounded_group_loss": lambda: inprocessing.bounded_group_loss(0.7, 0.1),
  "counterfactual_logit_pairing": lambda: inprocessing.counterfactual_logit_pairing(0.7, flipped),
  "counterfactual_logit_pairing, absolute": (
    lambda: inprocessing.counterfactual_logit_pairing(0.7, flipped, distance="absolute")
  ),
}  # the gradient of fair_projection stops at its projection: see its own tests
# Labels and groups in which something is missing; the last rows are padding.
ALL = np.random.default_rng(0).permutation(np.arange(ROWS) % 6)
CASES = {
  "all cells": (ALL % 2, ALL % 3),
  "an empty cell": (np.where(ALL % 3 == 1, 0, ALL % 2), ALL % 3),
  "one class": (np.zeros(ROWS, int), ALL % 3),
  "one group": (ALL % 2, np.zeros(ROWS, int)),
}


@functools.cache
def flow_of(case):
  y, codes = CASES[case]
  member = np.eye(3)[codes]
  member[0], member[1] = 0, member[1] / 2  # missing, and half known
  rng = np.random.default_rng(1)
  data = rfjax.Batch.from_arrays(rng.normal(size=(ROWS, 2)), y, member, num_classes=2)
  return pad(data, rng.normal(size=(PADDED, 2)))


@jax.jit
def pad(data, logits):
  rows = np.append(np.arange(ROWS), [ROWS] * (PADDED - ROWS))
  return data.take(jnp.asarray(rows)).fill(logits)


@pytest.fixture(autouse=True)
def float64():
  with jax.enable_x64(True):
    yield


@pytest.fixture(scope="module", params=PENALTIES)
def sloped(request):
  """The penalty of logits and its gradient, compiled once for all cases."""
  method = PENALTIES[request.param]()
  forward = lambda params, batch, key=None: batch.fill(jnp.sin(3 * batch.x))

  def value(logits, flow):
    state = method.init(flow, key=KEY, spec=None)
    extra = {"key": KEY, "step": 0, "epoch": 0, "forward": forward}
    return method.update(flow.fill(logits), state, None, **extra)[0].penalty

  return jax.jit(jax.value_and_grad(value))


@pytest.mark.parametrize("case", CASES)
def test_slopes_are_those_of_central_differences(sloped, case):
  flow, rng, h = flow_of(case), np.random.default_rng(2), 1e-6
  logits = np.asarray(flow.logits)
  value, gradient = jax.device_get(sloped(logits, flow))
  assert np.isfinite(value) and (gradient[ROWS:] == 0).all()
  if case == "all cells":
    assert value > 1e-3 and np.abs(gradient).max() > 1e-4
  for _ in range(3):
    way = rng.normal(size=logits.shape)
    ahead, behind = (float(sloped(logits + step * way, flow)[0]) for step in (h, -h))
    np.testing.assert_allclose(
      np.sum(gradient * way), (ahead - behind) / (2 * h), rtol=1e-5, atol=1e-9
    )


def test_slopes_are_finite_at_saturated_logits(sloped):
  flow = flow_of("an empty cell")
  logits = np.asarray(flow.logits)
  for size in (50.0, 1e4):
    for sign in (np.sign(logits), np.array([-1.0, 1.0])):
      value, gradient = sloped(size * sign * np.ones_like(logits), flow)
      assert np.isfinite(value) and np.isfinite(gradient).all()
