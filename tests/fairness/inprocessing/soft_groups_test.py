"""Every penalty and constraint with soft membership, and with groups that are missing."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rfjax
from rfjax import core
from rfjax.fairness import inprocessing

KEY, ROWS, TIMES = jax.random.key(0), 24, 3
BOTH = ("selection_rate", "true_positive_rate")
FAST = optax.sgd(0.5)

METHODS = {
  "gap": lambda: inprocessing.gap(0.7, BOTH, decay=0.5),
  "relative_gap": lambda: inprocessing.relative_gap(0.7, BOTH, order=2),
  "mmd": lambda: inprocessing.mmd(0.7, width=0.5),
  "hsic": lambda: inprocessing.hsic(0.7),
  "correlation": lambda: inprocessing.correlation(0.7),
  "correlation, label 1": lambda: inprocessing.correlation(0.7, label=1, agg="worst_case"),
  "wasserstein": lambda: inprocessing.wasserstein(0.7),
  "covariance": lambda: inprocessing.covariance(0.7),
  "covariance_constraint": lambda: inprocessing.covariance_constraint(0.01),
  "mistreatment_covariance": lambda: inprocessing.mistreatment_covariance(0.7),
  "fair_projection": lambda: inprocessing.fair_projection(0.7),
  "lagrangian": lambda: inprocessing.lagrangian(0.01, BOTH, tx=FAST),
  "proxy_lagrangian": lambda: inprocessing.proxy_lagrangian(0.01, BOTH, tx=FAST),
  "prejudice_remover": lambda: inprocessing.prejudice_remover(0.7),
  "bounded_group_loss": lambda: inprocessing.bounded_group_loss(0.7, 0.1),
  "adversarial_debiasing": lambda: inprocessing.adversarial_debiasing(0.7, "equalized_odds"),
  "gradient_reversal": lambda: inprocessing.gradient_reversal(0.7, "equal_opportunity"),
  "laftr": lambda: inprocessing.laftr(0.7),
  "group_dro": lambda: inprocessing.group_dro(0.5, fraction=0.4),
  "fairbatch_reweight": lambda: inprocessing.fairbatch_reweight("demographic_parity", 0.1),
}
RNG = np.random.default_rng(0)
X, LOGITS = RNG.normal(size=(ROWS, 2)), RNG.normal(size=(ROWS, 3))
FEATURES = RNG.normal(size=(ROWS, 4))
Y, CODES = RNG.permutation(np.arange(ROWS) % 3), RNG.permutation(np.arange(ROWS) % 4 % 3)
HIDDEN = np.arange(ROWS) % 4 == 1
SOFT = RNG.dirichlet(np.ones(3), ROWS)


def flow(group):
  data = rfjax.Batch.from_arrays(X, Y, CODES, num_classes=3)
  filled = data.fill(jnp.asarray(LOGITS), jnp.asarray(FEATURES))
  return filled.replace(group=jnp.asarray(group))


def hidden(group):
  return np.where(HIDDEN[:, None], 0, group)


def run(said, name, flow):
  """The sum of the penalties of a few updates, with these penalties and the weights."""
  method, filled = METHODS[name](), flow.fill(*said)
  extra = {"key": KEY, "step": 0, "epoch": 1, "forward": None}

  def step(state, _):
    _, state = method.refresh(filled, state, None, **extra)
    out, state = method.update(filled, jax.lax.stop_gradient(state), None, **extra)
    return state, (out.penalty, out.weight)

  first = method.init(filled, key=KEY, spec=core.Spec(*said))
  _, wrote = jax.lax.scan(step, first, length=TIMES)
  return jnp.sum(wrote[0]), wrote


RUN = jax.jit(run, static_argnums=1)
SLOPES = jax.jit(jax.grad(run, has_aux=True), static_argnums=1)


def sloped(name, flow):
  slopes, wrote = SLOPES((flow.logits, flow.features), name, flow)
  return *wrote, slopes


@pytest.fixture(autouse=True)
def float64():
  with jax.enable_x64(True):
    yield


def assert_same(found, wanted):
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12), found, wanted)


@pytest.mark.parametrize("name", METHODS)
def test_one_hot_membership_is_that_of_codes(name):
  hard = flow(CODES)
  _, wanted = RUN((hard.logits, hard.features), name, hard)
  assert_same(sloped(name, flow(np.eye(3)[CODES]))[:2], wanted)


@pytest.mark.parametrize("name", METHODS)
def test_rows_without_a_group_are_left_out(name):
  known = np.flatnonzero(~HIDDEN)
  some = jnp.asarray(np.append(known, np.full(HIDDEN.sum(), ROWS)))
  whole, part = flow(np.where(HIDDEN[:, None], 0, SOFT)), flow(SOFT).take(some)
  penalties, weights, slopes = sloped(name, whole)
  wanted, others, others_slopes = sloped(name, part)
  assert_same(penalties, wanted)
  assert_same(weights[:, known], others[:, : len(known)])
  for slope, other in zip(slopes, others_slopes, strict=True):
    assert_same(slope[known], other[: len(known)])
    np.testing.assert_array_equal(slope[HIDDEN], 0)
  all_alike = weights[:, known[:1]] if name == "proxy_lagrangian" else 1
  assert_same(weights[:, HIDDEN], all_alike * np.ones((TIMES, HIDDEN.sum())))
  changed = np.concatenate([penalties, weights[-1] - 1])
  assert np.abs(changed).max() > 1e-4
  whole = sloped(name, flow(SOFT))
  assert not np.allclose(whole[0], penalties, rtol=1e-3) or not np.allclose(whole[1], weights)


@pytest.mark.parametrize("name", METHODS)
def test_without_any_group_nothing_is_asked(name):
  penalties, weights, slopes = sloped(name, flow(np.zeros((ROWS, 3))))
  np.testing.assert_allclose(penalties, 0, atol=1e-15)
  assert np.isfinite(weights).all()
  for slope in slopes:
    np.testing.assert_allclose(slope, 0, atol=1e-15)
