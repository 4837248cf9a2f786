"""Disparities by probabilities of the groups, in tables where their bias is known exactly."""

import jax
import jax.numpy as jnp
import metric_programs
import numpy as np
import pytest

import rfjax
from rfjax import metrics

CELLS, TABLES = 5, 2000
# A row for each value of the proxy, true group and decision.
W, Z, SAID = (v.ravel() for v in np.indices((CELLS, 2, 2)))


@pytest.fixture(autouse=True)
def float64():
  with jax.enable_x64(True):
    yield


def table(rng):
  """P(w), P(z = 1 | w), P(said 1 | w, z), and the weights of the rows."""
  mass, likely, said = rng.dirichlet(np.ones(CELLS)), rng.random(CELLS), rng.random((CELLS, 2))
  weight = mass[W] * np.where(Z == 1, likely[W], 1 - likely[W])
  return mass, likely, said, weight * np.where(SAID == 1, said[W, Z], 1 - said[W, Z])


def proxies(likely):
  return np.stack([1 - likely[W], likely[W]], axis=1)


@jax.jit
def measured(weight, given, threshold):
  how = {"num_classes": 2, "weight": weight}
  audit = {"true_group": jnp.asarray(Z), **how}
  y = jnp.zeros_like(SAID)
  return (
    metrics.weighted_estimator(y, SAID, given, **how),
    metrics.threshold_estimator(y, SAID, given, threshold=threshold, **how),
    metrics.proxy_bias(y, SAID, given, **audit),
    metrics.proxy_bias(y, SAID, given, threshold=threshold, **audit),
    metrics.proxy_bias(y, SAID, given, threshold=threshold, reference=None, **audit),
  )


def test_the_bias_of_the_weighted_estimator_is_the_conditional_covariance():
  rng = np.random.default_rng(0)
  mass, likely, said, weight = (
    np.stack(v) for v in zip(*(table(rng) for _ in range(TABLES)), strict=True)
  )
  given = np.stack([proxies(p) for p in likely])
  by_weight, by_threshold, bias, other, _ = jax.vmap(measured, (0, 0, None))(weight, given, 0.6)
  one = np.sum(mass * likely, axis=1)
  rate = lambda z, p: np.sum(mass * p * said[:, :, z], axis=1) / np.sum(mass * p, axis=1)
  true = rate(1, likely) - rate(0, 1 - likely)
  covariance = np.sum(mass * likely * (1 - likely) * (said[:, :, 1] - said[:, :, 0]), axis=1)
  wanted = -covariance / (one * (1 - one))
  np.testing.assert_allclose(by_weight[:, 1] - true, wanted, atol=1e-12)
  np.testing.assert_allclose(bias.covariance[:, 1], wanted, atol=1e-12)
  np.testing.assert_allclose(bias.assignment, 0, atol=1e-12)
  np.testing.assert_allclose(bias.total[:, 1], wanted, atol=1e-12)
  np.testing.assert_array_equal(by_weight[:, 0], 0)  # it is the reference
  some = np.stack([np.any(likely > 0.6, axis=1), np.any(likely < 0.4, axis=1)]).all(0)
  assert 0.5 < some.mean() < 1
  found = (by_threshold[:, 1] - true)[some]
  np.testing.assert_allclose(other.total[some, 1], found, atol=1e-12)
  np.testing.assert_array_equal(other.total[~some], 0)
  assert min((found > 0.01).mean(), (found < -0.01).mean()) > 0.1  # its sign is not fixed
  sum_of_sources = (other.false_members + other.missed_members)[some]
  np.testing.assert_allclose(sum_of_sources, other.total[some], atol=1e-12)


def test_the_sources_of_a_threshold_s_bias_are_those_of_the_authors():
  rng = np.random.default_rng(1)
  seen = 0
  for _ in range(40):
    _, likely, _, weight = table(rng)
    given = proxies(likely)
    taken = given > 0.6
    if not taken.any(axis=0).all():
      continue
    seen += 1
    *_, bias = measured(weight, given, 0.6)
    for group in (0, 1):
      inside, own = taken[:, group], group == Z
      share = lambda rows, of: weight[rows & of].sum() / weight[of].sum()
      mean = lambda rows: np.average(SAID, weights=weight * rows)
      first = mean(inside & ~own) - mean(inside & own)
      second = mean(~inside & own) - mean(inside & own)
      false, missed = share(~own, inside), share(~inside, own)
      np.testing.assert_allclose(bias.false_members[group], first * false, atol=1e-12)
      np.testing.assert_allclose(bias.missed_members[group], -second * missed, atol=1e-12)
      # As their code puts it together.
      c1, c2, c3 = (1 - missed) * false, missed * (1 - false), missed * false
      authors = first * c1 - second * c2 + (first - second) * c3
      np.testing.assert_allclose(bias.total[group], authors, atol=1e-12)
  assert seen > 10


def sample(seed, n, gap):
  """Rows where the decision hangs on the true group by `gap` within a value of the proxy."""
  rng = np.random.default_rng(seed)
  likely = rng.beta(0.5, 0.5, n)
  z = (rng.random(n) < likely).astype(int)
  said = (rng.random(n) < 0.2 + 0.5 * likely + gap * z).astype(int)
  return np.stack([1 - likely, likely], axis=1), z, said


@pytest.mark.parametrize(("gap", "unbiased"), [(0.0, True), (0.2, False)])
def test_conditional_independence_makes_the_weighted_estimator_unbiased(gap, unbiased):
  n, errors = 4000, []

  @jax.jit
  def measured(said, given, z):
    sizes = {"num_classes": 2}
    rates = metrics.group_rates("selection_rate", said, said, z, num_groups=2, **sizes).value
    weighted = metrics.weighted_estimator(said, said, given, **sizes)
    return rates, weighted, metrics.proxy_bias(said, said, given, true_group=z, **sizes)

  for seed in range(30):
    given, z, said = sample(seed, n, gap)
    rates, weighted, audit = jax.device_get(measured(said, given, z))
    errors.append(float(weighted[1] - (rates[1, 0] - rates[0, 0])))
    np.testing.assert_allclose(audit.total[1], errors[-1], atol=1e-12)
  standard_error = np.std(errors) / np.sqrt(len(errors))
  assert standard_error < 3e-3
  assert (abs(np.mean(errors)) < 4 * standard_error) == unbiased
  if not unbiased:  # -E[Cov] / (P(1) P(0)), with E[p (1 - p)] = 1/8 of this beta law
    np.testing.assert_allclose(np.mean(errors), -gap / 8 / 0.25, atol=4 * standard_error)


@pytest.mark.parametrize("statistic", ["selection_rate", "true_positive_rate", "accuracy"])
def test_certain_proxies_give_the_plain_measure(statistic):
  rng = np.random.default_rng(2)
  y, z, weight = rng.integers(0, 2, 60), rng.integers(0, 3, 60), rng.random(60)
  p = rng.random(60)
  plain = np.asarray(metrics.group_rates(statistic, y, p, z, weight=weight).value)[:, 0]
  for given in (z, np.eye(3)[z]):
    how = {"statistic": statistic, "weight": weight}
    for estimator in (metrics.weighted_estimator, metrics.threshold_estimator):
      np.testing.assert_allclose(estimator(y, p, given, **how), plain - plain[0], atol=1e-12)
      found = estimator(y, p, given, reference=2, **how)
      np.testing.assert_allclose(found, plain - plain[2], atol=1e-12)
      np.testing.assert_allclose(estimator(y, p, given, reference=None, **how), plain)
    for part in metrics.proxy_bias(y, p, given, true_group=z, threshold=0.9, **how):
      np.testing.assert_allclose(part, 0, atol=1e-12)


def test_a_bias_is_exact_of_any_statistic_classes_and_proxies():
  rng = np.random.default_rng(3)
  n, weight = 80, rng.random(80)
  y, z, p = rng.integers(0, 3, n), rng.integers(0, 3, n), rng.dirichlet(np.ones(3), n)
  given = rng.dirichlet(0.3 * np.ones(3), n)
  given[:6] = 0
  true = np.where(np.arange(n)[:, None] < 70, np.eye(3)[z], 0)
  known = given.any(1) & true.any(1)
  for statistic in ("selection_rate", "precision"):
    for threshold in (None, 0.55):
      how = {"statistic": statistic, "threshold": threshold, "weight": weight}
      bias = metrics.proxy_bias(y, p, given, true_group=true, **how)
      assert bias.total.shape == (3, 3)
      part = lambda v: v[known]
      if threshold is None:
        estimator = metrics.weighted_estimator
        del how["threshold"]
      else:
        estimator = metrics.threshold_estimator
      how["weight"] = part(weight)
      found = estimator(part(y), part(p), part(given), **how)
      plain = metrics.weighted_estimator(
        part(y), part(p), part(z), statistic=statistic, weight=part(weight)
      )
      np.testing.assert_allclose(bias.total, found - plain, atol=1e-12)
      np.testing.assert_allclose(bias.false_members + bias.missed_members, bias.total, atol=1e-12)


def test_rows_below_the_threshold_are_dropped_and_it_may_be_traced():
  given, _, said = sample(4, 200, 0.1)
  grid = jnp.array([0.5, 0.7, 0.9])
  many = jax.jit(
    jax.vmap(lambda q: metrics.threshold_estimator(said, said, given, threshold=q, num_classes=2))
  )(grid)
  for q, found in zip(grid, many, strict=True):
    certain = given.max(1) > q
    rates = [said[certain & (given[:, g] > q)].mean() for g in (0, 1)]
    np.testing.assert_allclose(found, [0, rates[1] - rates[0]], atol=1e-12)
  tie = metrics.threshold_estimator([0, 0, 0], [1, 1, 0], [[0.5, 0.5], [0, 1], [1, 0]])
  np.testing.assert_array_equal(tie, [0, 1])


def test_a_batch_brings_its_proxies_and_its_true_groups():
  given, z, said = sample(5, 50, 0.1)
  truth = rfjax.Truth(group=jnp.asarray(z))
  data = rfjax.Batch.from_arrays(np.zeros((50, 1)), said, given, truth=truth)
  filled = data.fill(jnp.eye(2)[said]).replace(group=jnp.asarray(given))
  padded = filled.take(jnp.append(jnp.arange(40), jnp.array([50, 50])))
  first = lambda v: v[:40]
  bias, found, soft, hard = metric_programs.together(
    (metrics.proxy_bias, {}),
    (metrics.threshold_estimator, {"threshold": 0.7}),
    (metrics.weighted_estimator, {"soft": True}),
    (metrics.weighted_estimator, {}),
  )(padded)
  arrays, run = (first(said), first(said), first(given)), metric_programs.program
  wanted = run(metrics.proxy_bias, num_classes=2)(*arrays, true_group=first(z))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12), bias, wanted)
  wanted = run(metrics.threshold_estimator, num_classes=2)(*arrays, threshold=0.7)
  np.testing.assert_allclose(found, wanted, atol=1e-12)
  assert 0 < soft[1] < hard[1]


def test_a_group_that_nobody_is_taken_for_has_no_disparity():
  given = np.array([[0.9, 0.1], [0.6, 0.4], [0.8, 0.2]])
  with pytest.warns(UserWarning, match="threshold_estimator: no row in group 1 counts"):
    found = metrics.threshold_estimator([0, 0, 0], [1, 0, 1], given)
  np.testing.assert_array_equal(found, [0, 0])


def test_refusals_name_the_remedy():
  y, given = [0, 1], [[0.5, 0.5], [0.2, 0.8]]
  for threshold in (0.4, 1.0):
    with pytest.raises(ValueError, match="threshold must"):
      metrics.threshold_estimator(y, y, given, threshold=threshold)
  with pytest.raises(ValueError, match=r"reference must .*\[0, 2\), got 2"):
    metrics.weighted_estimator(y, y, given, reference=2)
  with pytest.raises(ValueError, match="statistic must be"):
    metrics.weighted_estimator(y, y, given, statistic="kindness")
  with pytest.raises(ValueError, match="true_group must"):
    metrics.proxy_bias(y, y, given, true_group=[0, 2])
  with pytest.raises(ValueError, match="true_group has 3 columns"):
    metrics.proxy_bias(y, y, given, true_group=np.eye(3)[:2])
  with pytest.raises(ValueError, match="needs the true groups: pass true_group"):
    metrics.proxy_bias(y, y, given)
