"""The error-tolerant program: its bounds by enumerating all perturbations, its values by loops."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.optimize
from constraint_oracles import favoured, filled, train

import rfjax
from rfjax import convergence
from rfjax.convergence._error_tolerant import tolerated_rates

KEY = jax.random.key(0)
# What a row must be for numerator and denominator, of its label and its decision.
EVENTS = {
  "selection_rate": (lambda y, f: f, lambda y, f: np.ones_like(f)),
  "true_positive_rate": (lambda y, f: (y == 1) & f, lambda y, f: (y == 1) | (f & False)),
  "precision": (lambda y, f: (y == 1) & f, lambda y, f: f),
}


def perturbations(group, groups, most):
  """All groups that differ from the given ones in at most so many rows, [P, n]."""
  found = [group]
  for size in range(1, most + 1):
    for rows in itertools.combinations(range(len(group)), size):
      others = [[g for g in range(groups) if g != group[i]] for i in rows]
      for new in itertools.product(*others):
        found.append(group.copy())
        found[-1][list(rows)] = new
  return np.array(found)


def masses(event, group, groups):
  """The share of all rows that an event [F, n] and each group [P, n] have, [F, P, G]."""
  member = np.eye(groups)[group]
  return np.einsum("fn,png->fpg", event.astype(float), member) / group.shape[-1]


@jax.jit
def bounds(ratio, eta, least, sizes):
  """The bound without and with the sizes, [F] each."""
  whole = lambda t, s, d: convergence.tolerated_ratio(t, eta, s)
  sharp = lambda t, s, d: convergence.tolerated_ratio(t, eta, s, d)
  return tuple(jax.vmap(bound)(ratio, least, sizes) for bound in (whole, sharp))


@pytest.mark.parametrize("statistic", EVENTS)
@pytest.mark.parametrize(("groups", "rows", "most"), [(2, 11, 1), (2, 11, 2), (3, 12, 1)])
def test_what_is_fair_stays_within_the_bounds_whatever_is_perturbed(statistic, groups, rows, most):
  rng, eta, tried, close = np.random.default_rng(0), most / rows, 0, []
  hit, base = EVENTS[statistic]
  decisions = np.array(list(itertools.product([False, True], repeat=rows)))
  for _ in range(4):
    y, group = (rng.random(rows) < 0.75).astype(int), rng.permutation(np.arange(rows) % groups)
    some = decisions[rng.choice(len(decisions), 800, replace=False)]
    every = perturbations(group, groups, most)
    top, bottom = (masses(e(y, some), every, groups) for e in (hit, base))
    least, size = top[:, 0], bottom[:, 0]
    fit = least.min(1) > eta + 1e-9
    ratio = top / np.maximum(bottom, 1e-9)
    ratio = ratio.min(2) / np.maximum(ratio.max(2), 1e-9)
    with jax.enable_x64(True):
      whole, sharp = (np.asarray(v)[fit] for v in bounds(ratio[:, 0], eta, least, size))
    given, worst = ratio[fit, 0], ratio[fit].min(1)
    assert (top[fit].min(1) >= least[fit] - eta - 1e-12).all()
    assert (worst >= sharp - 1e-12).all()
    assert (sharp >= whole).all() and (0 < whole).all() and (whole < given).all()
    # The power 1 would do, where a row perturbed is in one group less and in one more.
    assert (worst >= np.sqrt(whole * given) - 1e-12).all()
    tried += fit.sum()
    close.append(np.max(sharp / worst, initial=0))
  assert tried > 20 and max(close) > 0.5


def test_the_sharp_bound_is_the_worst_that_an_adversary_can_do():
  rng, rows, reached = np.random.default_rng(1), 400, []
  moves = np.array([m for m in itertools.product(range(9), repeat=4) if sum(m) <= 8])
  there, back, up, down = moves.T  # accepted rows 0 -> 1 and 1 -> 0, rejected ones likewise
  with jax.enable_x64(True):
    for _ in range(30):
      top = rng.integers(20, 60, 2)
      bottom = top + rng.integers(20, 140, 2)
      a = top[0] - there + back, top[1] + there - back
      b = bottom[0] - there + back - up + down, bottom[1] + there - back + up - down
      first = a[0] / b[0] * b[1] / a[1]
      worst = np.minimum(first / first[0], first[0] / first).min()
      shares = (np.array([v]) / rows for v in (top, bottom))
      found = float(bounds(np.ones(1), 8 / rows, *shares)[1][0])
      assert found <= worst + 1e-12
      reached.append(found / worst)
  assert min(reached) > 0.999  # whole rows move, so an inner worst point is met nearly
  assert max(reached) > 1 - 1e-9


@pytest.mark.parametrize(
  ("least", "sizes", "eta"),
  [
    ((0.13051718, 0.07344046), (0.86562126, 0.10600781), 0.0044059),
    ((0.10722121, 0.14355545), (0.15584233, 0.58422391), 0.00201286),
  ],
)
def test_a_worst_mixture_of_moves_is_found(least, sizes, eta):
  (p, o), (s, f), a = least, sizes, np.linspace(0, eta, 2001)

  def left(p, o, s, f):
    b = eta - a
    return (1 - a / p) / (1 + (b - a) / s) * (1 + (a - b) / f) / (1 + a / o)

  curves = np.stack([left(p, o, s, f), left(o, p, f, s)])
  ends = curves[:, [0, -1]].min()
  assert curves.min() < ends - 1e-6  # neither moves all one way
  with jax.enable_x64(True):
    found = float(bounds(np.ones(1), eta, np.array([least]), np.array([sizes]))[1][0])
  assert found <= curves.min() + 1e-15 and found == pytest.approx(curves.min(), abs=1e-10)


def test_bounds_at_their_ends():
  run = jax.jit(convergence.tolerated_ratio)
  bound = lambda *values: run(*map(np.float32, values))
  assert float(bound(0.8, 0.0, 0.3)) == pytest.approx(0.8)
  assert float(bound(0.8, 0.1, 0.3)) == pytest.approx(0.8 * (0.2 / 0.4) ** 2)
  assert float(bound(0.8, 0.1, [0.5, 0.3])) == pytest.approx(0.8 * (0.2 / 0.4) ** 2)
  assert float(bound(0.8, 0.3, 0.3)) == 0
  assert float(bound(0.8, 0.0, [0.3, 0.2], [0.5, 0.5])) == pytest.approx(0.8)
  assert float(bound(0.8, 0.2, [0.3, 0.2], [0.5, 0.5])) == 0
  # All that is lost to rejected rows that come over: what is accepted cannot be lower.
  assert float(bound(1.0, 0.1, [0.5, 0.5], [0.5, 0.5])) == pytest.approx(0.4 / 0.6)


membership = jax.jit(lambda flow: flow.membership)


def ratios_by_hand(flow, statistic, ratio, floor, temperature=None):
  """The constraints in float64, row by row; of decisions where there is no temperature."""
  z = np.asarray(flow.logits, np.float64)
  p = np.eye(z.shape[1])[z.argmax(1)]
  if temperature is not None:
    p = np.exp(z / temperature) / np.exp(z / temperature).sum(1, keepdims=True)
  y, member = np.eye(z.shape[1])[np.asarray(flow.y)], np.asarray(membership(flow), np.float64)
  parts = {"selection_rate": (p, np.ones_like(p)), "true_positive_rate": (y * p, y)}[statistic]
  if z.shape[1] == 2:
    parts = [part[:, 1:] for part in parts]
  top, bottom = (member.T @ part for part in parts)
  found, rows = [], np.sum(np.asarray(flow.valid))
  for g, h in itertools.permutations(range(flow.num_groups), 2):
    for k in range(top.shape[1]):
      known = bottom[g, k] > 0 and bottom[h, k] > 0
      found.append(ratio * top[h, k] / bottom[h, k] - top[g, k] / bottom[g, k] if known else 0.0)
  for g in range(flow.num_groups):
    for k in range(top.shape[1]):
      found.append(floor[g] - top[g, k] / rows if bottom[g, k] > 0 else 0.0)
  return np.array(found)


def rows_of_zeros():
  """Rows of which some have no group, some a part of one, and some are padding."""

  @jax.jit
  def pad(plain):
    padded = plain.take(np.append(np.arange(60), np.full(9, 60)))
    padded = padded.fill(jnp.concatenate([plain.logits, jnp.full((9, 2), 7.0)]))
    return padded.replace(group=padded.membership.at[:5].set(0).at[5:9].multiply(0.25))

  return pad(filled(3))


@pytest.mark.filterwarnings("ignore:true_positive_rate")
@pytest.mark.parametrize(
  ("statistic", "make"),
  [
    ("selection_rate", rows_of_zeros),
    ("true_positive_rate", lambda: filled(2, classes=3)),
    ("true_positive_rate", lambda: filled(3, missing_cell=True)),
  ],
)
def test_constraints_are_those_of_a_loop(statistic, make):
  with jax.enable_x64(True):
    flow, factor = make(), 0.9 * (0.07 / 0.13) ** 2
    rates = tolerated_rates(0.9, 0.02, 0.1, None, statistic, 0.01, 0.5, "test")
    both = jax.jit(lambda f: (rates.values(f, soft=True), rates.values(f, soft=False)))(flow)
    assert rates.count(flow) == len(both[0])
    for found, temperature in zip(both, (0.5, None), strict=True):
      expected = ratios_by_hand(flow, statistic, factor, [0.07] * 3, temperature)
      np.testing.assert_allclose(found, expected, atol=1e-12)


def test_without_perturbation_it_is_the_plain_ratio_and_shares_may_differ_by_group():
  flow, least = filled(5), np.array([0.1, 0.2, 0.15], np.float32)
  expected = ratios_by_hand(flow, "selection_rate", 0.9, least, 1.0)

  @jax.jit
  def both(flow):
    sizes = None, np.array([0.4, 0.4, 0.2], np.float32)
    make = lambda s: tolerated_rates(0.9, 0.0, least, s, "selection_rate", 0.0, 1.0, "test")
    return [make(s).values(flow, soft=True) for s in sizes]

  for found in both(flow):
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_the_penalty_is_what_old_multipliers_weigh_and_new_ones_follow_decisions():
  flow, tx = filled(6, groups=2), optax.sgd(0.9)
  method = convergence.error_tolerant(0.9, 0.05, 0.25, temperature=0.5, tx=tx)
  old = np.float32([0.5, 0.2, 0.3, 0.1])

  @jax.jit
  def step(flow, old):
    state = method.init(flow, key=KEY, spec=None)
    state = state._replace(multipliers=state.multipliers._replace(params=old))
    return method.update(flow, state)

  out, new = step(flow, old)
  factor, floor = 0.9 * (0.2 / 0.3) ** 2, [0.2] * 2
  by_hand = lambda t: ratios_by_hand(flow, "selection_rate", factor, floor, t)
  np.testing.assert_allclose(out.penalty, old @ by_hand(0.5), atol=1e-6)
  expected = np.maximum(old + 0.9 * by_hand(None), 0)
  np.testing.assert_allclose(new.multipliers.params, expected, atol=1e-6)
  assert (expected == 0).any() and (expected > 0).any()


def test_eta_may_be_swept():
  x, y, group = favoured(rows=60)
  data = rfjax.Batch.from_arrays(x, y, group)
  least, sizes = np.float32([0.1, 0.2]), np.float32([0.5, 0.5])

  def values(eta, sizes=None):
    rates = tolerated_rates(0.9, eta, least, sizes, "selection_rate", 0, 1.0, "t")
    return rates.values(data.fill(x[:, :2].astype(np.float32)), soft=True)

  for run in (values, lambda eta: values(eta, sizes)):
    swept = jax.jit(jax.vmap(run))(np.float32([0.0, 0.03, 0.1]))
    alone = jax.jit(run)
    single = np.stack([alone(eta) for eta in (0.0, 0.03, 0.1)])
    np.testing.assert_allclose(swept, single, atol=1e-6)
    assert (np.diff(single, axis=0) < 0).all()  # more perturbation, looser constraints


def test_a_fixed_point_is_the_optimum_of_slsqp():
  x, y, group = favoured(rows=200)
  x, ridge, eta, least = x[:, :2], 0.02, 0.02, 0.16
  data = rfjax.Batch.from_arrays(x, y, group)
  bound = 0.98 * ((least - eta) / (least + eta)) ** 2
  rows = np.append(x, np.ones((len(x), 1)), axis=1)
  member = np.eye(2)[group]

  def risk(theta):
    z = rows @ theta
    slope = rows.T @ (1 / (1 + np.exp(-z)) - y) / len(y) + ridge * theta
    return np.mean(np.logaddexp(0, z) - y * z) + ridge / 2 * theta @ theta, slope

  def slack(theta):
    chosen = member.T @ (1 / (1 + np.exp(-rows @ theta)))
    rate = chosen / member.sum(0)
    return np.append(rate - bound * rate[::-1], chosen / len(y) - (least - eta))

  best = scipy.optimize.minimize(
    risk,
    np.zeros(3),
    jac=True,
    method="SLSQP",
    constraints={"type": "ineq", "fun": slack},
    options={"ftol": 1e-12},
  )
  assert best.success and np.abs(slack(best.x)).min() < 1e-6 and slack([0.5, 0.3, 0]).size == 4
  method = convergence.error_tolerant(0.98, eta, least, hard=False, tx=optax.sgd(0.5))
  tx = optax.chain(optax.add_decayed_weights(ridge), optax.sgd(0.5))
  state, *_ = train(method, data, 2000, tx)
  theta = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(state.params)[::-1]])
  multipliers = np.asarray(state.method.multipliers.params)
  np.testing.assert_allclose(theta, best.x, atol=2e-3)
  np.testing.assert_allclose(risk(theta)[0], best.fun, atol=1e-5)
  assert multipliers.max() > 0.05 and (multipliers[slack(theta) > 1e-2] == 0).all()


@pytest.mark.parametrize(
  ("bad", "message"),
  [
    ({"ratio": 1.1}, "ratio must"),
    ({"eta": -0.1}, "eta must"),
    ({"eta": 0.31}, r"eta \+ slack must be at most .* 0.3"),
    ({"slack": 0.25}, r"eta \+ slack must"),
    ({"slack": -0.1}, "slack must"),
    ({"least_share": 0.0}, "least_share must"),
    ({"least_share": [[0.5]]}, "least_share must"),
    ({"sizes": [0.2, 0.5]}, "sizes must be at least least_share"),
    ({"sizes": 0.5}, "sizes must"),
    ({"statistic": "kindness"}, "statistic must"),
    ({"temperature": 0.0}, "temperature must"),
    ({"radius": -1.0}, "radius must"),
  ],
)
def test_bad_settings_are_refused(bad, message):
  settings = {"ratio": 0.8, "eta": 0.1, "least_share": 0.3} | bad
  with pytest.raises(ValueError, match=message):
    convergence.error_tolerant(**settings)


def test_data_of_another_kind_are_refused():
  data = rfjax.Batch.from_arrays([[0.0], [1.0]], [0, 1])
  start = lambda method, data: jax.eval_shape(lambda d: method.init(d, key=KEY, spec=None), data)
  with pytest.raises(ValueError, match="error_tolerant needs group"):
    start(convergence.error_tolerant(0.8, 0.0, 0.3), data)
  method = convergence.error_tolerant(0.8, 0.0, [0.3, 0.3, 0.2])
  with pytest.raises(ValueError, match=r"least_share is of 3 groups, .* num_groups 2"):
    start(method, rfjax.Batch.from_arrays([[0.0], [1.0]], [0, 1], [0, 1]))
  with pytest.raises(ValueError, match=r"sizes must be given .* of each group"):
    convergence.tolerated_ratio(0.8, 0.0, [0.3, 0.3], [0.5, 0.5, 0.5])
