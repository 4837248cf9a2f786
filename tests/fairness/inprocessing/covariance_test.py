"""Zafar's covariances against loops over rows, and his constraint against SLSQP."""

import jax
import numpy as np
import optax
import pytest
from scipy import optimize

import rfjax
from rfjax import architectures
from rfjax.fairness import inprocessing

KEY = jax.random.key(0)
FILL = jax.jit(rfjax.Batch.fill)


def filled(classes=2, groups=2, rows=40):
  rng = np.random.default_rng(10 * classes + groups)
  y, code = rng.integers(classes, size=rows), np.arange(rows) % groups
  member = np.eye(groups)[code]
  member[3] = 0
  data = rfjax.Batch.from_arrays(np.zeros((rows, 1)), y, member, num_classes=classes)
  return FILL(data, rng.normal(size=(rows, classes)) * 2)


def penalty(method, flow):
  return method.update(flow, (), None, key=KEY, step=0, epoch=0, forward=None)[0].penalty


def distances(flow):
  """The distance [K] of each row, by its definition."""
  z = np.asarray(flow.logits, np.float64)
  return z[:, 1:] - z[:, :1] if z.shape[1] == 2 else z - z.mean(1, keepdims=True)


def by_hand(flow, tolerance, part, counts):
  """Sums what covariances exceed, of `part(own, d)` over rows where `counts(own)`."""
  total, member = 0.0, np.asarray(flow.group, np.float64)
  for k, column in enumerate(distances(flow).T):
    own = np.asarray(flow.y) == (1 if flow.num_classes == 2 else k)
    rows = [i for i in range(len(own)) if counts(own[i]) and member[i].sum() > 0]
    for g in range(1 if member.shape[1] == 2 else 0, member.shape[1]):
      mean = np.mean([member[i, g] for i in rows])
      cov = np.mean([(member[i, g] - mean) * part(own[i], column[i]) for i in rows])
      total += max(abs(cov) - tolerance, 0)
  return total


ERRORS = {
  "all": lambda own: True,
  "false_positive": lambda own: not own,
  "false_negative": lambda own: own,
}


@pytest.mark.parametrize(("classes", "groups"), [(2, 2), (2, 3), (3, 2)])
def test_covariances_are_those_of_a_loop(classes, groups):
  flow = filled(classes, groups)
  methods = {name: inprocessing.mistreatment_covariance(0.5, name, tolerance=0.005)
             for name in ERRORS}  # fmt: skip
  methods["covariance"] = inprocessing.covariance(0.5, tolerance=0.02)
  run = jax.jit(lambda flow: {name: penalty(made, flow) for name, made in methods.items()})
  found = run(flow)
  expected = by_hand(flow, 0.02, lambda own, d: d, lambda own: True)
  assert expected > 0.01
  np.testing.assert_allclose(found["covariance"], 0.5 * expected, rtol=1e-5)
  for errors, counts in ERRORS.items():
    expected = by_hand(flow, 0.005, lambda own, d: min(0, d if own else -d), counts)
    np.testing.assert_allclose(found[errors], 0.5 * expected, rtol=1e-4, atol=1e-7)


def test_mistreatment_is_the_difference_that_the_authors_write():
  flow = filled()
  d, y = distances(flow)[:, 0], np.asarray(flow.y)
  z = np.asarray(flow.group)
  known = z.sum(1) > 0
  for errors, label in (("false_positive", 0), ("false_negative", 1)):
    rows = known & (y == label)
    n0, n1 = z[rows].sum(0)
    n, g = n0 + n1, np.minimum(0, (2 * label - 1) * d)
    expected = abs(n1 / n * g[rows & (z[:, 0] > 0)].sum() - n0 / n * g[rows & (z[:, 1] > 0)].sum())
    made = inprocessing.mistreatment_covariance(1.0, errors)
    got = jax.jit(lambda flow, made=made: penalty(made, flow))(flow)
    np.testing.assert_allclose(got, expected / n, rtol=1e-5)


def test_one_group_has_no_covariance():
  flow = filled()
  lone = flow.replace(group=np.tile(np.float32([0.0, 1.0]), (40, 1)))
  assert jax.jit(lambda flow: penalty(inprocessing.covariance(1.0), flow))(lone) == 0


def draw(groups):
  rng = np.random.default_rng(groups)
  code = np.arange(90) % groups
  x = rng.normal(size=(90, 2)) + 0.8 * code[:, None] * np.array([1, -0.3])
  y = (x @ [1.0, 0.7] + rng.normal(size=90) * 1.5 > 0.6).astype(int)
  return x, y, code


def slsqp(x, y, code, tolerance):
  """The risk and parameters of the constrained logistic regression, in float64."""
  columns = np.c_[x, np.ones(len(x))]
  member = np.eye(code.max() + 1)[code]
  lean = (member - member.mean(0)).T @ columns / len(x)
  sign = 2 * y - 1
  risk = lambda w: np.mean(np.logaddexp(0, -sign * (columns @ w)))
  slope = lambda w: columns.T @ (-sign / (1 + np.exp(sign * (columns @ w)))) / len(x)
  bound = {
    "type": "ineq",
    "fun": lambda w: np.r_[tolerance - lean @ w, tolerance + lean @ w],
    "jac": lambda w: np.r_[-lean, lean],
  }
  options = {"ftol": 1e-14, "maxiter": 500}
  found = optimize.minimize(
    risk, np.zeros(3), jac=slope, constraints=bound, method="SLSQP", options=options
  )
  return found.fun, np.abs(lean @ found.x).max(), found.x


@pytest.mark.parametrize("groups", [2, 3])
def test_the_constrained_optimum_is_that_of_slsqp(groups):
  x, y, code = draw(groups)
  data = rfjax.Batch.from_arrays(x, y, code)
  tolerances = np.array([1e-3, 0.05, 9.0])  # the last one binds nothing

  @jax.jit
  @jax.vmap
  def train(tolerance):
    method = inprocessing.covariance_constraint(tolerance, strength=4.0, rate=0.5)
    tx = optax.sgd(0.2)
    state, _ = rfjax.fit(architectures.logistic(), method, tx, data, key=KEY, epochs=2000)
    return rfjax.predict(architectures.logistic(), state, data).margin[:, 0], state.method

  margins, multipliers = jax.device_get(train(np.float32(tolerances)))
  for tolerance, margin, upper, lower in zip(tolerances, margins, *multipliers, strict=True):
    margin = np.asarray(margin, np.float64)
    expected, lean, w = slsqp(x, y, code, tolerance)
    risk = np.mean(np.logaddexp(0, -(2 * y - 1) * margin))
    np.testing.assert_allclose(risk, expected, atol=2e-6)
    np.testing.assert_allclose(margin, np.c_[x, np.ones(len(x))] @ w, atol=2e-3)
    member = np.eye(groups)[code]
    covariance = np.abs((member - member.mean(0)).T @ margin / len(x)).max()
    np.testing.assert_allclose(covariance, lean, atol=2e-5)
    assert (max(upper.max(), lower.max()) > 1e-2) == (tolerance < 1)
  assert slsqp(x, y, code, 1e-3)[0] > slsqp(x, y, code, 9.0)[0] + 1e-2


def test_small_batches_meet_the_bound_of_the_whole_training_set():
  x, y, code = draw(2)
  data = rfjax.Batch.from_arrays(x, y, code)
  method, network = inprocessing.covariance_constraint(0.02, strength=2.0), architectures.logistic()
  tx = optax.sgd(optax.linear_schedule(0.3, 0.0, 900))

  def train(data, method):
    state, _ = rfjax.fit(network, method, tx, data, key=KEY, epochs=300, batch_size=30)
    return rfjax.predict(network, state, data).margin[:, 0]

  both = jax.jit(lambda data: [train(data, m) for m in (method, rfjax.chain())])
  margin, other = jax.device_get(both(data))
  assert abs(np.cov(code, margin, ddof=0)[0, 1]) < 0.04
  assert abs(np.cov(code, other, ddof=0)[0, 1]) > 0.1


def test_multipliers_are_those_by_hand():
  flow = filled(groups=3)
  method = inprocessing.covariance_constraint(0.01, strength=3.0, rate=0.5)
  extra = {"key": KEY, "step": 0, "forward": None}

  @jax.jit
  def run(flow):
    start = method.init(flow, key=KEY, spec=None)
    none = method.refresh(flow, start, epoch=0)[1]
    _, first = method.refresh(flow, start, epoch=1)
    _, second = method.refresh(flow.fill(-2 * flow.logits), first, epoch=2)
    out, _ = method.update(flow, second, None, epoch=2, **extra)
    return none, first, second, out.penalty

  none, first, second, found = jax.device_get(run(flow))
  assert not jax.tree.reduce(lambda a, b: a + b.sum(), none, 0.0)
  member = np.asarray(flow.group, np.float64)[np.arange(40) != 3]
  d = distances(flow)[np.arange(40) != 3, 0]
  cov = (member - member.mean(0)).T @ d / 39
  total = 0.0
  for name, sign in (("upper", 1), ("lower", -1)):
    mu = np.maximum(1.5 * (sign * cov - 0.01), 0)
    np.testing.assert_allclose(getattr(first, name)[:, 0], mu, rtol=1e-4, atol=1e-7)
    mu = np.maximum(mu + 1.5 * (-2 * sign * cov - 0.01), 0)
    np.testing.assert_allclose(getattr(second, name)[:, 0], mu, rtol=1e-4, atol=1e-7)
    for m, h in zip(mu, sign * cov - 0.01, strict=True):
      total += m * h + 1.5 * h**2 if m + 3 * h > 0 else -(m**2) / 6
  np.testing.assert_allclose(found, total, rtol=1e-4)
