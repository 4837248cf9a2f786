"""The denoised program against the authors' expressions, true groups, and a naive constraint."""

import functools

import jax
import numpy as np
import optax
import pytest
from convergence.corrected_groups_test import THREE, TWO, population

import rfjax
from rfjax import architectures, convergence, metrics, noise

KEY = jax.random.key(0)


def constraints(method, flow):
  """What the multipliers see, of decisions, in one update."""
  state = method.init(flow, key=KEY, spec=None)
  extra = {"key": KEY, "step": 0, "epoch": 0, "forward": None}
  return method.update(flow, state, None, **extra)[1].constraints


filled = jax.jit(lambda data, logits: data.fill(logits))


def authors(flow, eta0, eta1, tau, lam, delta, of_label=None):
  """The authors' six expressions, each at least 0 where its constraint holds."""
  z, y = np.asarray(flow.group), np.asarray(flow.y)
  yes, n = np.asarray(flow.logits).argmax(1) == 1, flow.num_rows
  base = np.ones(n, bool) if of_label is None else y == of_label
  s0, s1 = (np.sum((z == g) & yes & base) / n for g in (0, 1))
  n0, n1 = (np.sum((z == g) & base) / n for g in (0, 1))
  mu0, mu1 = (1 - eta1) * n0 - eta1 * n1, (1 - eta0) * n1 - eta0 * n0
  q0, q1 = (1 - eta1) * s0 - eta1 * s1, (1 - eta0) * s1 - eta0 * s0
  per = (1 - eta0 - eta1) * (lam - delta)
  ratios = q0 / mu0 - (tau - delta) * q1 / mu1, q1 / mu1 - (tau - delta) * q0 / mu0
  return np.array([*ratios, *(np.array([q0, q1]) - per) / (1 - eta0 - eta1)])


@pytest.mark.parametrize(
  ("statistic", "label"),
  [("selection_rate", None), ("false_positive_rate", 0), ("true_positive_rate", 1)],
)
def test_two_groups_have_the_authors_constraints(statistic, label):
  with jax.enable_x64(True):
    rng, settings = np.random.default_rng(1), {"slack": 0.02, "least_share": 0.15}
    make = lambda matrix: convergence.denoised_constraints(0.8, matrix, statistic, **settings)
    run = jax.jit(lambda matrix, flow: constraints(make(matrix), flow))
    for _ in range(3):
      y, z = rng.integers(0, 2, 80), rng.integers(0, 2, 80)
      data, logits = rfjax.Batch.from_arrays(np.zeros((80, 1)), y, z), rng.normal(size=(80, 2))
      flow = filled(data, logits)
      eta0, eta1 = rng.uniform(0, 0.3, 2)
      matrix = np.array([[1 - eta0, eta0], [eta1, 1 - eta1]])
      wanted = authors(flow, eta0, eta1, 0.8, 0.15, 0.02, label)
      np.testing.assert_allclose(run(matrix, flow), -wanted, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("matrix", [TWO, THREE])
def test_in_a_population_they_are_those_of_the_true_groups(matrix):
  with jax.enable_x64(True):
    noisy, true = population(matrix)
    made = functools.partial(convergence.denoised_constraints, 0.9, slack=0.0)
    plain = made(np.eye(len(matrix)))

    @jax.jit
    def run(noisy, true):
      pairs = (made(matrix), noisy), (plain, true), (plain, noisy)
      return [constraints(*pair) for pair in pairs]

    found, wanted, naive = map(np.asarray, run(noisy, true))
    np.testing.assert_allclose(found, wanted, rtol=1e-10, atol=1e-13)
    assert np.abs(naive - wanted).max() > 1e-3


def test_true_groups_come_within_the_ratio_where_naive_constraints_leave_them_apart():
  rng = np.random.default_rng(0)
  rows = 4000
  group = rng.integers(0, 2, rows)
  x = np.stack([rng.normal(size=rows) + 1.2 * group, rng.normal(size=rows)], axis=1)
  y = (x[:, 0] + x[:, 1] + rng.normal(size=rows) > 0.6).astype(int)
  data = rfjax.Batch.from_arrays(x, y, group)
  matrix = np.float32([[0.75, 0.25], [0.25, 0.75]])
  corrupt = jax.jit(lambda data: rfjax.transform(noise.group_matrix(matrix), data, key=KEY))
  noisy = corrupt(data)
  network = architectures.logistic()

  @jax.jit
  def ratio(matrix):
    method = convergence.denoised_constraints(0.9, matrix, hard=False)
    state, _ = rfjax.fit(network, method, optax.adam(0.05), noisy, key=KEY, epochs=300)
    said = rfjax.predict(network, state, data)
    return metrics.demographic_parity_ratio(said), metrics.accuracy(said)

  denoised, naive = ratio(matrix), ratio(np.eye(2, dtype=np.float32))
  assert denoised[0] > 0.8 > 0.65 > naive[0] and denoised[1] > 0.65


def test_refusals_name_the_remedy():
  with pytest.raises(ValueError, match="must be invertible"):
    convergence.denoised_constraints(0.8, [[0.5, 0.5], [0.5, 0.5]])
  with pytest.raises(ValueError, match="least_share must be a number, or one a group"):
    convergence.denoised_constraints(0.8, TWO, least_share=[[0.1]])
