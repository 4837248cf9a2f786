"""The worst rates of noisy groups against linear programs, and the two methods that bound them."""

import functools

import constraint_oracles as oracles
import jax
import numpy as np
import optax
import pytest
from scipy.optimize import linprog

import rfjax
from rfjax import convergence, metrics, noise
from rfjax.fairness import inprocessing

KEY = jax.random.key(0)
STATISTICS = ("selection_rate", "true_positive_rate", "precision", "accuracy")
POSTERIOR = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.3, 0.0, 0.7]])


@functools.cache
def compiled(make, *settings, **more):
  """What the multipliers see in one update, of a method whose first setting is traced."""

  def seen(value, flow):
    method = make(value, *settings, **more)
    state = method.init(flow, key=KEY, spec=None)
    extra = {"key": KEY, "step": 0, "epoch": 0, "forward": None}
    return method.update(flow, state, None, **extra)[1].constraints

  return jax.jit(seen)


def constraints(make, value, flow, *settings, **more):
  return np.asarray(compiled(make, *settings, **more)(value, flow))


DRO, SOFT = convergence.tv_robust_constraints, convergence.soft_assignment_constraints


def counts(name, y, p):
  """Numerators and denominators, row by row."""
  return {
    "selection_rate": (p, 1 + 0 * p),
    "true_positive_rate": (y * p, 1.0 * y),
    "precision": (y * p, p),
    "accuracy": (y * p + (1 - y) * (1 - p), 1 + 0 * p),
  }[name]


def probabilities(flow, hard):
  z = np.asarray(flow.logits, np.float64)
  p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
  return (z.argmax(1) == 1).astype(float) if hard else p[:, 1]


def program(a, b, equal, below, n):
  """The largest of a.q / b.q over q >= 0 with rows of equal.q = 0 and below.q <= 0."""
  found = linprog(
    -a,
    A_eq=np.vstack([b[None], *([equal] if len(equal) else [])]),
    b_eq=np.r_[1, np.zeros(len(equal))],
    A_ub=below if len(below) else None,
    b_ub=np.zeros(len(below)) if len(below) else None,
    bounds=(0, None),
  )
  assert found.status == 0 and len(found.x) == n
  return -found.fun


def near(a, b, share, radius):
  """The largest rate within a radius in total variation: variables t p, t |p - share| and t."""
  n = len(share)
  eye = np.eye(n)
  equal = np.r_[np.ones(n), np.zeros(n), -1.0][None]
  below = np.vstack(
    [
      np.c_[eye, -eye, -share],
      np.c_[-eye, -eye, share],
      np.r_[np.zeros(n), np.full(n, 0.5), -radius][None],
    ]
  )
  rest = np.zeros(n + 1)
  return program(np.r_[a, rest], np.r_[b, rest], equal, below, 2 * n + 1)


def assigned(a, b, given, posterior, group, rows_of):
  """The largest rate of a group over all tables w: variables t w for each cell and group, and t."""
  cells = [(h, c) for h in range(len(posterior)) for c in range(rows_of.max() + 1)]
  groups = len(posterior)
  mass = np.array([np.sum((given == h) & (rows_of == c)) for h, c in cells], float)
  pick = [np.flatnonzero(rows_of == c)[0] if np.any(rows_of == c) else 0 for _, c in cells]
  n = len(cells) * groups
  at = lambda i, g: i * groups + g
  top, bottom = np.zeros(n + 1), np.zeros(n + 1)
  for i in range(len(cells)):
    top[at(i, group)], bottom[at(i, group)] = mass[i] * a[pick[i]], mass[i] * b[pick[i]]
  equal = []
  for i in range(len(cells)):
    row = np.zeros(n + 1)
    row[[at(i, g) for g in range(groups)]], row[-1] = 1, -1
    equal.append(row)
  for h in range(groups):
    mine = [i for i, (k, _) in enumerate(cells) if k == h]
    for g in range(groups):
      row = np.zeros(n + 1)
      row[[at(i, g) for i in mine]] = mass[mine]
      row[-1] = -posterior[h, g] * mass[mine].sum()
      equal.append(row)
  return program(top, bottom, np.array(equal), [], n + 1)


@pytest.mark.parametrize("hard", [True, False])
@pytest.mark.parametrize("statistic", STATISTICS)
def test_rates_near_the_given_groups_are_those_of_linear_programs(statistic, hard):
  with jax.enable_x64(True):
    for seed in range(4):
      flow = oracles.filled(seed, rows=24)
      logits = np.array(flow.logits)
      logits[22:] = [-9, 9]
      flow = flow.replace(valid=np.arange(24) < 22, logits=logits)
      radius = np.random.default_rng(seed).uniform(0, 0.6, 3)
      y, z = np.asarray(flow.y)[:22], np.asarray(flow.group)[:22]
      a, b = counts(statistic, y, probabilities(flow, hard)[:22])
      share = [(z == g) / np.sum(z == g) for g in range(3)]
      high = [near(a, b, s, r) for s, r in zip(share, radius, strict=True)]
      low = [-near(-a, b, s, r) for s, r in zip(share, radius, strict=True)]
      overall = a.sum() / b.sum()
      want = np.r_[np.array(high) - overall, overall - np.array(low)]
      np.testing.assert_allclose(
        constraints(DRO, radius, flow, 0.0, statistic, hard=hard), want, atol=1e-9
      )


@pytest.mark.parametrize("statistic", STATISTICS)
def test_rates_of_soft_assignments_are_those_of_linear_programs(statistic):
  with jax.enable_x64(True):
    for seed in range(3):
      flow = oracles.filled(seed, rows=40)
      y, z, p = np.asarray(flow.y), np.asarray(flow.group), probabilities(flow, True)
      a, b = counts(statistic, y, p)
      args = (z, POSTERIOR)
      kind = (2 * y + p).astype(int)
      high = np.array([assigned(a, b, *args, g, kind) for g in range(3)])
      low = np.array([-assigned(-a, b, *args, g, kind) for g in range(3)])
      overall = a.sum() / b.sum()
      want = np.r_[high - overall, overall - low]
      np.testing.assert_allclose(
        constraints(SOFT, POSTERIOR, flow, 0.0, statistic), want, atol=1e-9
      )


def test_both_ends_of_two_groups_are_reached_at_once():
  with jax.enable_x64(True):
    flow, posterior = oracles.filled(5, rows=30, groups=2), np.array([[0.8, 0.2], [0.3, 0.7]])
    z, p = np.asarray(flow.group), probabilities(flow, True)
    # One table: group 0 takes the accepted ones of each given group first, group 1 what is left.
    hits = size = 0.0
    others = np.zeros(2)
    for h in (0, 1):
      yes, total = np.sum((z == h) & (p == 1)), np.sum(z == h)
      need = posterior[h, 0] * total
      hits, size = hits + min(yes, need), size + need
      others += [yes - min(yes, need), total - need]
    want = hits / size - others[0] / others[1]
    seen = constraints(SOFT, posterior, flow, 0.0, method="between_groups")
    np.testing.assert_allclose(seen[0], want, atol=1e-12)


METHODS = {
  "tv": lambda **s: convergence.tv_robust_constraints(0.15, 0.01, **s),
  "soft": lambda **s: convergence.soft_assignment_constraints(POSTERIOR, 0.01, **s),
}


@pytest.mark.parametrize("statistic", STATISTICS[:3])
@pytest.mark.parametrize("name", METHODS)
def test_slopes_are_those_of_central_differences(name, statistic):
  with jax.enable_x64(True):
    flow = oracles.filled(3, rows=18)
    method = METHODS[name](statistics=statistic, hard=False, method="between_groups")
    extra = {"key": KEY, "step": 0, "epoch": 0, "forward": None}

    def penalty(logits, flow):
      state = method.init(flow, key=KEY, spec=None)
      push = np.linspace(0.5, 1.5, state.constraints.size)
      state = state._replace(multipliers=state.multipliers._replace(params=push))
      return method.update(flow.fill(logits), state, None, **extra)[0].penalty

    both, logits, h = jax.jit(jax.value_and_grad(penalty)), np.array(flow.logits), 1e-6
    slope = np.asarray(both(logits, flow)[1])
    for i, k in np.ndindex(4, 2):
      moved = np.zeros_like(logits)
      moved[i, k] = h
      ends = [np.asarray(both(logits + sign * moved, flow)[0]) for sign in (1, -1)]
      np.testing.assert_allclose(slope[i, k], (ends[0] - ends[1]) / (2 * h), atol=1e-6)


@pytest.mark.parametrize("method", ["between_groups", "to_overall"])
@pytest.mark.parametrize("statistics", [("selection_rate",), ("true_positive_rate", "precision")])
def test_what_is_known_for_certain_is_a_plain_constraint(statistics, method):
  with jax.enable_x64(True):
    flow = oracles.filled(2)
    want = constraints(inprocessing.lagrangian, 0.05, flow, statistics, method=method)
    for make, certain in ((DRO, 0.0), (SOFT, np.eye(3))):
      seen = constraints(make, certain, flow, 0.05, statistics, method=method)
      np.testing.assert_allclose(seen, want, atol=1e-12)


def test_nothing_known_is_the_whole_range():
  flow = oracles.filled(0)
  y, p = np.asarray(flow.y), probabilities(flow, True)
  overall = np.sum(y * p) / np.sum(y)
  seen = constraints(DRO, 1.0, flow, 0.0, "true_positive_rate")
  np.testing.assert_allclose(seen, np.repeat([1 - overall, overall], 3), atol=1e-6)
  # There are rows enough for a group without the positives that are rejected.
  seen = constraints(SOFT, np.full((3, 3), 1 / 3), flow, 0.0, "true_positive_rate")
  np.testing.assert_allclose(seen[:3], 1 - overall, atol=1e-6)


def test_a_law_without_positives_has_no_rate():
  flow = oracles.filled(0)
  flow = flow.replace(y=np.sort(flow.y))
  accepted = np.stack([np.zeros(60), np.where(flow.y == 1, 5, -5)], axis=1).astype(np.float32)
  flow = jax.jit(lambda flow, logits: flow.fill(logits))(flow, accepted)
  seen = constraints(DRO, 1.0, flow, 0.0, "true_positive_rate")
  np.testing.assert_allclose(seen, 0, atol=1e-6)  # all that there can be is 1


def test_radius_holds_the_distance_of_true_and_given_groups():
  rng = np.random.default_rng(0)
  for _ in range(200):
    matrix = rng.dirichlet(np.ones(3), size=3)
    joint = rng.dirichlet(np.full(12, 0.5)).reshape(4, 3)  # of x and true group
    given = joint @ matrix
    apart = np.abs(joint / joint.sum(0) - given / given.sum(0)).sum(0) / 2
    radius = convergence.tv_radius(matrix, joint.sum(0))
    assert np.all(apart <= np.asarray(radius) + 1e-6)


# ---- a population whose groups are noisy


@functools.cache
def gap_of(name):
  """The difference of selection rates on the true groups after training on noisy ones."""
  matrix, half, tx = noise.symmetric_matrix(0.2, 2), [0.5, 0.5], optax.sgd(0.5)
  method_of = {
    "plain": lambda: inprocessing.lagrangian(0.03, method="to_overall", tx=tx),
    "tv": lambda: convergence.tv_robust_constraints(
      convergence.tv_radius(matrix, half), 0.03, tx=tx
    ),
    "soft": lambda: convergence.soft_assignment_constraints(
      convergence.group_posterior(matrix, half), 0.03, tx=tx
    ),
  }[name]

  def run(seed):
    key, method = jax.random.key(seed), method_of()
    data = rfjax.Batch.from_arrays(*oracles.favoured(rows=400))
    given = rfjax.transform(noise.group_matrix(matrix), data, key=key)
    adam = optax.adam(0.05)
    state, _ = rfjax.fit(oracles.NETWORK, method, adam, given, key=key, epochs=150)
    return metrics.demographic_parity_difference(rfjax.predict(oracles.NETWORK, state, data))

  return np.asarray(jax.jit(jax.vmap(run))(np.arange(4)))


@pytest.mark.parametrize("name", ["tv", "soft"])
def test_true_groups_are_nearer_than_by_plain_constraints(name):
  assert np.mean(gap_of(name)) < 0.6 * np.mean(gap_of("plain"))


@pytest.mark.parametrize(
  ("make", "message"),
  [
    (lambda: convergence.tv_robust_constraints(1.5, 0.0), "radius"),
    (lambda: convergence.tv_robust_constraints([[0.1]], 0.0), "radius"),
    (lambda: convergence.soft_assignment_constraints([[0.5, 0.4], [0, 1]], 0.0), "posterior"),
  ],
)
def test_refuses(make, message):
  with pytest.raises(ValueError, match=message):
    make()


def test_refuses_other_data():
  flow = oracles.filled(0, classes=3)
  with pytest.raises(ValueError, match="radius has 2 entries"):
    constraints(DRO, np.array([0.1, 0.1]), flow, 0.0)
  with pytest.raises(ValueError, match="posterior is of 2 groups"):
    constraints(SOFT, np.eye(2), flow, 0.0)
  with pytest.raises(ValueError, match="accuracy"):
    constraints(SOFT, np.eye(3), flow, 0.0, "accuracy")
