"""Exponentiated gradient against fairlearn's, HiGHS, scikit-learn, and sums over a finite class."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from constraint_oracles import Column, column_oracle, decisions, favoured
from sklearn.linear_model import LogisticRegression

import rfjax
from rfjax import metrics
from rfjax.fairness import inprocessing
from rfjax.fairness.inprocessing._exponentiated_gradient import _nu
from rfjax.fairness.inprocessing._mixture import best_mixture

reductions = pytest.importorskip("fairlearn.reductions")
pytestmark = pytest.mark.filterwarnings("ignore:Setting a")  # pandas, of fairlearn's code
BOUNDS = np.array([0.01, 0.03, 0.06, 0.12])


PEERS = {"demographic_parity": "DemographicParity", "equalized_odds": "EqualizedOdds"}


def theirs(x, y, group, constraint, estimator, bound, **settings):
  moment = getattr(reductions, PEERS[constraint])(difference_bound=bound)
  found = reductions.ExponentiatedGradient(estimator, moment, **settings)
  found.fit(x, y, sensitive_features=group)
  return found


def measured(x, y, group, found):
  """Expected error and violation of fairlearn's mixture, for demographic parity."""
  p = found._pmf_predict(x)[:, 1]
  return np.abs(p - y).mean(), max(abs(p[group == g].mean() - p.mean()) for g in (0, 1))


@pytest.mark.parametrize("constraint", PEERS)
def test_the_path_of_multipliers_is_that_of_fairlearn(constraint):
  with jax.enable_x64(True):

    @jax.jit
    def run(data, bound, eps):
      found = inprocessing.exponentiated_gradient(
        data, constraint, difference_bound=bound, eps=eps, iterations=40, oracle=column_oracle(),
        answer="smallest_gap", duals=False, multiples=(1.0, 2.0, 5.0, 10.0),
      )  # fmt: skip
      moments = inprocessing.parity_moments(data, constraint)
      return found, _nu(moments, found.errors[0]), found.classifier.probability(data.x)

    for seed, bound, eps in ((0, 0.02, 0.01), (1, 0.0, 0.05), (2, 0.1, 0.02)):
      x, y, group = decisions(seed)
      found, nu, chance = run(rfjax.Batch.from_arrays(x, y, group), bound, eps)
      peer = theirs(
        x, y, group, constraint, Column(), bound, eps=eps, max_iter=40, run_linprog_step=False
      )
      rounds = peer.last_iter_ + 1
      path = peer.lambda_vecs_EG_.loc[["+", "-"]].to_numpy().T
      flat = np.asarray(found.multipliers).reshape(40, -1)[:rounds]
      np.testing.assert_allclose(flat, path, rtol=1e-9, atol=1e-12)
      assert np.isfinite(found.gaps).sum() == rounds and found.stored == len(peer.predictors_)
      np.testing.assert_allclose(found.gap, peer.best_gap_, atol=1e-10)
      np.testing.assert_allclose(nu, peer.nu)
      np.testing.assert_allclose(found.classifier.weights[: len(peer.weights_)],
                                 peer.weights_.sort_index(), atol=1e-12)  # fmt: skip
      np.testing.assert_allclose(chance, peer._pmf_predict(x)[:, 1])


def test_with_duals_and_at_the_end_it_finds_the_optimum_of_the_whole_class():
  with jax.enable_x64(True):

    @jax.jit
    def run(data, bound):
      settings = {"difference_bound": bound, "iterations": 12, "oracle": column_oracle()}
      rules = {"answer": "smallest_gap", "multiples": (1.0, 2.0, 5.0, 10.0)}
      game = inprocessing.exponentiated_gradient(data, "equalized_odds", **settings, **rules)
      found = inprocessing.exponentiated_gradient(data, "equalized_odds", **settings)
      moments = inprocessing.parity_moments(data, "equalized_odds")
      return game, found, jax.vmap(moments.gamma)(data.x.T)

    for seed, bound in ((3, 0.0), (4, 0.02), (5, 0.05)):
      x, y, group = decisions(seed)
      game, found, gammas = jax.device_get(run(rfjax.Batch.from_arrays(x, y, group), bound))
      errors, gammas = np.abs(x - y[:, None]).mean(0), gammas.reshape(x.shape[1], -1)
      best = program(errors, gammas, bound, 100.0)
      value = lambda e, g, c=bound: float(e + 100 * max(0, np.max(g) - c))
      np.testing.assert_allclose(value(found.error, found.gamma), best, atol=1e-9)
      np.testing.assert_allclose(found.gap, 0, atol=1e-9)
      peer = theirs(x, y, group, "equalized_odds", Column(), bound, max_iter=12)
      assert value(game.error, game.gamma) <= best + float(game.gap) + 1e-9
      np.testing.assert_allclose(game.gap, peer.best_gap_, atol=0.01)


def program(errors, gammas, bound, limit):
  """The least error + limit * violation of a mixture, by HiGHS."""
  size, m = gammas.shape
  return scipy.optimize.linprog(
    np.append(errors, limit),
    A_ub=np.concatenate([(gammas - bound).T, -np.ones((m, 1))], axis=1),
    b_ub=np.zeros(m),
    A_eq=np.append(np.ones(size), 0)[None],
    b_eq=[1],
  ).fun


def test_the_best_mixture_is_that_of_highs():
  with jax.enable_x64(True):
    solve = jax.jit(best_mixture)
    for seed, m in (*((seed, 8) for seed in range(20)), (20, 12)):
      rng = np.random.default_rng(seed)
      errors, half = 0.3 + 0.2 * rng.random(40), 0.2 * rng.normal(size=(40, m // 2))
      gammas, bound = np.concatenate([half, -half], axis=1), rng.choice([0.0, 0.01, 0.05])
      limit, stored = rng.choice([1.0, 100.0]), np.arange(40) < rng.integers(1, 41)
      mixture, dual = (np.asarray(v) for v in solve(errors, gammas, stored, bound, limit))
      best = program(errors[stored], gammas[stored], bound, limit)
      violation = max(0, (mixture @ gammas - bound).max())
      np.testing.assert_allclose(mixture @ errors + limit * violation, best, atol=1e-9)
      assert mixture.min() >= 0 and mixture[~stored].sum() == 0
      lowest = (errors + (gammas - bound) @ dual)[stored].min()
      np.testing.assert_allclose(lowest, best, atol=1e-9)
      assert dual.min() >= 0 and dual.sum() <= limit + 1e-9


def test_the_logistic_oracle_is_the_regression_of_scikit_learn():
  x, y, _ = favoured(rows=120)
  rng = np.random.default_rng(0)
  weight = rng.exponential(size=120) * (rng.random(120) < 0.8)
  peer = LogisticRegression(C=0.5, solver="newton-cholesky", tol=1e-12).fit(x, y, weight)
  expected = np.append(peer.coef_[0], peer.intercept_)
  with jax.enable_x64(True):
    oracle = inprocessing.logistic_oracle(l2=2.0)
    fit = jax.jit(oracle.fit)
    for start in (np.zeros(4), 3 * rng.normal(size=4)):
      found = fit(x, y, weight, start)
      np.testing.assert_allclose(found, expected, atol=1e-7)
    np.testing.assert_array_equal(oracle.decide(found, jnp.asarray(x)), peer.predict(x))
    for label in (0, 1):
      found = fit(x, np.where(weight > 0, label, 1 - label), weight, np.ones(4))
      np.testing.assert_array_equal(found, [0, 0, 0, 2 * label - 1])
      np.testing.assert_array_equal(oracle.decide(found, jnp.asarray(x)), label)


def test_the_oracle_leaves_a_start_that_is_wrong_by_a_wide_margin():
  rng = np.random.default_rng(0)
  x = rng.normal(size=(200, 2)) * [1.0, 300.0]
  y = (rng.random(200) < 1 / (1 + np.exp(-x @ [1.0, 0.02]))).astype(int)
  z = rng.normal(size=(200, 2))
  clear = (z @ [1.0, 2.0] > 0).astype(int)
  with jax.enable_x64(True):
    oracle = inprocessing.logistic_oracle()
    fit = jax.jit(oracle.fit)
    for features, label in ((x, y), (z, clear), (z * [1.0, 300.0], clear)):
      start = fit(features, label, np.ones(200), np.zeros(3))
      found = fit(features, 1 - label, np.ones(200), start)
      peer = LogisticRegression(solver="newton-cholesky", tol=1e-12).fit(features, 1 - label)
      expected = np.append(peer.coef_[0], peer.intercept_)
      np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


@pytest.fixture(scope="module")
def frontier():
  """Four tolerances in one program, in float32, with the rows in padding."""
  x, y, group = favoured(seed=1, rows=200)
  data = rfjax.Batch.from_arrays(x, y, group).take(np.append(np.arange(200), [200] * 4))
  run = lambda data, bound: inprocessing.exponentiated_gradient(
    data, "demographic_parity", difference_bound=bound, iterations=10
  )
  return (
    data,
    jax.device_get(jax.jit(jax.vmap(run, (None, 0)))(data, np.float32(BOUNDS))),
    x,
    y,
    group,
  )


def test_the_frontier_is_not_below_that_of_fairlearn(frontier):
  _, found, x, y, group = frontier
  violations = np.asarray(found.gamma).max((1, 2, 3))
  assert (violations <= BOUNDS + 1e-5).all()
  for i, bound in list(enumerate(BOUNDS))[::2]:
    learner = LogisticRegression(solver="newton-cholesky")
    peer = theirs(x, y, group, "demographic_parity", learner, bound)
    error, violation = measured(x, y, group, peer)
    assert violation > bound - 0.01  # the bound is felt
    assert found.error[i] <= error + 1e-5
  assert (np.diff(found.error) < 0).all()


def test_probabilities_are_those_of_the_mixture_and_lots_follow_them(frontier):
  data, found, x, *_ = frontier
  one = jax.tree.map(lambda leaf: leaf[1], found)
  kernel = np.asarray(one.classifier.hypotheses, np.float64)
  hard = (x @ kernel[:, :3].T + kernel[:, 3] > 0) * 1.0
  expected = hard @ np.asarray(one.classifier.weights, np.float64)

  @jax.jit
  def told(classifier, data):
    said = classifier.predict(data)
    gap = metrics.demographic_parity_difference(said, method="to_overall", soft=True)
    lots = jax.vmap(lambda k: classifier.predict(data, key=k).logits.argmax(1))(
      jax.random.split(jax.random.key(0), 400)
    )
    return said.probs, gap, metrics.group_rates("error_rate", said, soft=True), lots

  probs, gap, error, drawn = jax.device_get(told(one.classifier, data))
  np.testing.assert_allclose(probs[:200, 1], expected, atol=1e-5)
  np.testing.assert_allclose(gap, one.gamma.max(), atol=1e-5)
  np.testing.assert_allclose(error.hits.sum() / error.size.sum(), one.error, atol=1e-5)
  unsure = (expected > 0.05) & (expected < 0.95)
  assert unsure.sum() > 3
  np.testing.assert_allclose(drawn.mean(0)[:200], expected, atol=0.11)  # 4.4 standard errors


def test_the_scale_of_weights_changes_nothing_nor_do_rows_without_weight():
  x, y, group = favoured(seed=4, rows=130)
  data = rfjax.Batch.from_arrays(x, y, group)

  @jax.jit
  def run(data, weight):
    data, name = data.replace(weight=weight), "demographic_parity"
    found = inprocessing.exponentiated_gradient(
      data, name, difference_bound=0.05, iterations=8, answer="smallest_gap"
    )
    return found, inprocessing.grid_search(data, name, grid_size=5)

  with jax.enable_x64(True):
    rows = np.arange(130) < 100
    plain, scaled = (jax.device_get(run(data, np.where(rows, w, 0))) for w in (1.0, 1 / 256))
    for one, other in zip(jax.tree.leaves(plain), jax.tree.leaves(scaled), strict=True):
      np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)
    assert (scaled[1].multipliers[2] == 0).all()
    peer = LogisticRegression(solver="newton-cholesky", tol=1e-12).fit(x[rows], y[rows])
    expected = np.append(peer.coef_[0], peer.intercept_)
    np.testing.assert_allclose(scaled[1].classifier.hypotheses[2], expected, atol=1e-7)


def test_after_the_stop_nothing_is_stored():
  x, y, group = decisions(7, count=200)
  data = rfjax.Batch.from_arrays(x, y, group)
  run = lambda data, rounds: inprocessing.exponentiated_gradient(
    data, "equalized_odds", difference_bound=0.0, iterations=rounds, oracle=column_oracle(),
    answer="smallest_gap", nu=100.0,
  )  # fmt: skip
  first, more = jax.device_get(jax.jit(lambda data: (run(data, 6), run(data, 15)))(data))
  size = len(first.errors)
  assert np.isfinite(more.gaps).sum() == 6 and more.stored == first.stored
  np.testing.assert_allclose(more.errors, np.append(first.errors, np.zeros(27)), atol=1e-6)
  np.testing.assert_allclose(more.classifier.weights[:size], first.classifier.weights, atol=1e-6)


def test_bad_settings_are_refused():
  x, y, group = favoured(rows=20)
  data = rfjax.Batch.from_arrays(x, y, group)
  for settings in (
    {"difference_bound": -0.1},
    {"eps": 0.0},
    {"answer": "average"},
    {"iterations": 0},
    {"multiples": (0.0,)},
    {"nu": -1.0},
  ):
    with pytest.raises(ValueError, match=f"{next(iter(settings))} must"):
      inprocessing.exponentiated_gradient(data, "equalized_odds", **settings)
  with pytest.raises(ValueError, match="l2 must"):
    inprocessing.logistic_oracle(l2=0.0)
