"""Plans of acquisition against SLSQP, conditions of optimality, and loops of the baselines."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize

from rfjax.fairness import preprocessing

SLICES = 5


def problem(seed, offset=False):
  rng = np.random.default_rng(seed)
  b, a = rng.uniform(1, 6, SLICES), rng.uniform(0.15, 0.8, SLICES)
  c = rng.uniform(0.02, 0.1, SLICES) * offset
  size = rng.integers(50, 500, SLICES).astype(float)
  return (b, a, c), size, rng.uniform(0.5, 2, SLICES)


@functools.partial(jax.jit, static_argnames="average")
def planned(curve, size, budget, cost, fairness, average="others", given=None):
  average = average if given is None else given
  return preprocessing.slice_plan(
    preprocessing.LearningCurve(*curve), size, budget, cost=cost, fairness=fairness, average=average
  )


def double(*arguments, **settings):
  with jax.enable_x64(True):
    up = lambda v: v if isinstance(v, str) else jnp.asarray(v, jnp.float64)
    return np.asarray(planned(*jax.tree.map(up, arguments), **jax.tree.map(up, settings)))


def others(loss):
  return np.array([np.delete(loss, i).mean() for i in range(len(loss))])


def objective(curve, size, average, fairness):
  b, a, c = curve
  loss = lambda d: b * (size + d) ** -a + c
  return lambda d: np.sum(loss(d) + fairness * np.maximum(0, loss(d) / average - 1))


@pytest.mark.parametrize("offset", [False, True])
@pytest.mark.parametrize("fairness", [0.0, 1.0])
def test_the_plan_is_that_of_slsqp(fairness, offset):
  for seed in range(4):
    curve, size, cost = problem(seed, offset)
    budget = (100, 400, 1000, 3000)[seed]
    average = others(curve[0] * size ** -curve[1] + curve[2])
    plan = double(curve, size, budget, cost, fairness)
    assert plan.min() >= 0
    np.testing.assert_allclose(cost @ plan, budget, rtol=1e-12)
    value = objective(curve, size, average, fairness)
    # With d = budget t / C the variables are of one size.
    in_shares = lambda t, f=value, k=budget / cost: 100 * f(np.maximum(k * t, 0))
    sums_to_one = {"type": "eq", "fun": lambda t: t.sum() - 1}
    tight = {"maxiter": 1000, "ftol": 1e-15}
    found = minimize(
      in_shares,
      np.full(SLICES, 1 / SLICES),
      method="SLSQP",
      bounds=[(0, 1)] * SLICES,
      constraints=sums_to_one,
      options=tight,
    )
    assert value(plan) <= found.fun / 100 * (1 + 1e-9)
    # At a kink its search ends early, above the plan.
    np.testing.assert_allclose(value(plan), found.fun / 100, rtol=1e-4 if fairness else 1e-7)
    single = planned(jax.tree.map(np.float32, curve), np.float32(size), budget, cost, fairness)
    np.testing.assert_allclose(single, plan, rtol=1e-3, atol=1e-3 * budget)


@pytest.mark.parametrize("fairness", [0.0, 1.0, 5.0])
def test_no_slice_is_worth_more_than_the_price_of_the_others(fairness):
  kinks = 0
  for seed in range(8):
    curve, size, cost = problem(seed)
    b, a, _ = curve
    average = np.full(SLICES, 0.9 * np.mean(b * size**-a))
    plan = double(curve, size, 800.0, cost, fairness, given=average)
    loss = b * (size + plan) ** -a
    slope = a * b * (size + plan) ** (-a - 1) / cost
    at_kink = np.abs(loss / average - 1) < 1e-9
    # What a row more is worth, and what the last one was: they differ at the kink alone.
    more = slope * (1 + fairness / average * ((loss > average) & ~at_kink))
    last = slope * (1 + fairness / average * ((loss > average) | at_kink))
    bought = plan > 1e-9
    price = np.max(more)
    assert np.all(last[bought] >= price * (1 - 1e-6))
    kinks += int((at_kink & bought).sum())
  assert kinks > 0 or fairness == 0


def test_it_beats_the_baselines_on_its_own_objective():
  names = ("uniform_acquisition", "water_filling")
  baselines = jax.jit(lambda n: [getattr(preprocessing, name)(n, 1000) for name in names])
  for seed in range(6):
    curve, size, _ = problem(seed)
    average = others(curve[0] * size ** -curve[1])
    value = objective(curve, size, average, 1.0)
    plan = double(curve, size, 1000.0, 1.0, 1.0)
    for theirs in map(np.asarray, baselines(size)):
      assert theirs.sum() <= 1000 and value(plan) < value(theirs)


def test_fairness_moves_rows_to_the_slices_of_large_losses():
  bought = np.zeros(3)
  for seed in range(6):
    curve, size, _ = problem(seed)
    loss = curve[0] * size ** -curve[1]
    for i, fairness in enumerate((0.0, 0.2, 2.0)):
      bought[i] += double(curve, size, 2000.0, 1.0, fairness)[loss > others(loss)].sum()
  assert bought[0] + 10 < bought[1] and bought[1] + 10 < bought[2]
  two = double(curve, size, 500.0, 1.0, 1.0, average="all")
  held = double(curve, size, 500.0, 1.0, 1.0, given=np.full(SLICES, loss.mean()))
  np.testing.assert_allclose(two, held, rtol=1e-9)


def test_flat_slices_get_nothing_and_one_slice_may_get_all():
  flat = (np.array([1.0, 2.0, 0.0]), np.array([0.0, 0.5, 0.5]), np.zeros(3))
  np.testing.assert_allclose(double(flat, np.full(3, 100.0), 60.0, 2.0, 1.0), [0, 30, 0], rtol=1e-9)
  none = (np.ones(3), np.zeros(3), np.zeros(3))
  np.testing.assert_array_equal(double(none, np.full(3, 100.0), 60.0, 1.0, 1.0), 0)
  curve, size, cost = problem(0)
  np.testing.assert_array_equal(double(curve, size, 0.0, cost, 1.0), 0)


def reference(curve, size, budget, cost, strategy, rounds):
  """The rounds of the authors' code in a loop, rounded down, with the share found on a grid."""
  imbalance = lambda n: n.max() / n.min()
  limit, bought = 1.0, []
  for _ in range(rounds):
    plan = double(curve, size, budget, cost, 1.0)
    moved = lambda x, n=size, d=plan: abs(imbalance(n + x * d) - imbalance(n))
    if moved(1.0) > limit:
      grid = np.linspace(0, 1, 200001)
      ratios = (size[:, None] + grid * plan[:, None]).max(0) / (
        size[:, None] + grid * plan[:, None]
      ).min(0)
      plan = plan * grid[np.argmax(np.abs(ratios - imbalance(size)) > limit)]
    new = np.floor(plan + 1e-6)
    bought.append(new)
    size, budget = size + new, budget - cost @ new
    limit = {"moderate": limit + 1, "aggressive": 2 * limit}.get(strategy, limit)
  return np.array(bought)


@pytest.mark.parametrize("strategy", ["conservative", "moderate", "aggressive"])
def test_rounds_move_the_imbalance_by_no_more_than_the_limit(strategy):
  curve = (np.array([1.0, 9.0, 3.0]), np.array([0.6, 0.25, 0.4]), np.zeros(3))
  size, cost, rounds = np.array([60.0, 300.0, 90.0]), np.array([1.0, 1.5, 1.0]), 3
  b, a, _ = curve

  @jax.jit
  def tuned(budget):
    def measure(n):
      sizes = n[:, None] * jnp.array([0.2, 0.4, 0.7, 1.0])
      return sizes, b[:, None] * sizes ** -a[:, None]

    return preprocessing.slice_tuner(
      measure, size, budget, strategy=strategy, rounds=rounds, cost=cost
    )

  with jax.enable_x64(True):
    found = jax.tree.map(np.asarray, tuned(jnp.float64(2000)))
  wanted = reference(curve, size, 2000.0, cost, strategy, rounds)
  np.testing.assert_allclose(found.bought, wanted, atol=1)  # the share of the search is on a grid
  np.testing.assert_array_equal(found.count, found.bought.sum(0))
  np.testing.assert_allclose(found.left, 2000 - cost @ found.count)
  np.testing.assert_allclose(found.curve.exponent, a, rtol=1e-6)
  assert found.left >= 0
  sizes = size + np.cumsum(np.concatenate([np.zeros((1, SLICES - 2)), found.bought]), axis=0)
  imbalance = sizes.max(1) / sizes.min(1)
  limits = {"conservative": [1, 1, 1], "moderate": [1, 2, 3], "aggressive": [1, 2, 4]}[strategy]
  # Rounding takes less than a row from the smallest slice, and from the largest.
  row = imbalance[1:] / sizes.min(1)[1:]
  assert np.all(np.abs(np.abs(np.diff(imbalance)) - limits) <= row)


def test_on_the_host_it_ends_when_nothing_more_can_be_bought():
  calls = []

  def measure(n):
    calls.append(np.asarray(n).tolist())
    sizes = np.asarray(n)[:, None] * np.float32([0.25, 0.5, 1.0])
    return sizes, np.float32(2) * sizes**-0.5

  found = preprocessing.slice_tuner(measure, [100, 100], 7, rounds=9)
  assert found.bought.shape == (9, 2) and found.count.tolist() == [3, 3] and float(found.left) == 1
  assert len(calls) < 4 and calls[1] == [103.0, 103.0]


def filled(size, budget, cost):
  """Row after row to the smallest slice, the first of them, while there is enough for it."""
  count = np.zeros(len(size), int)
  while cost[np.argmin(size + count)] <= budget + 1e-9:
    s = np.argmin(size + count)
    count[s] += 1
    budget -= cost[s]
  return count


def test_water_filling_is_the_loop_and_uniform_buys_as_many_of_each():
  fill = jax.jit(lambda n, m, c: preprocessing.water_filling(n, m, cost=c))
  even = jax.jit(lambda n, m, c: preprocessing.uniform_acquisition(n, m, cost=c))
  rng = np.random.default_rng(0)
  for budget in (0, 1, 7, 60, 333, 1000):
    size, cost = rng.integers(1, 120, SLICES), rng.choice([0.5, 1.0, 1.5, 2.0], SLICES)
    np.testing.assert_array_equal(fill(size, budget, cost), filled(size, budget, cost))
    each = np.asarray(even(size, budget, cost))
    assert set(each) == {int(budget // cost.sum())}
  # In float32 the sum of tenths is above one, and still pays for a row of each.
  assert even(np.ones(10), 100.0, np.full(10, 0.1)).tolist() == [100] * 10


def test_what_is_no_plan_is_refused():
  curve = preprocessing.LearningCurve(np.ones(2), np.ones(2), np.zeros(2))
  plan = preprocessing.slice_plan
  cases = (
    (lambda: plan(curve, [0, 1], 5), "size must lie in"),
    (lambda: plan(curve, [[1, 1]], 5), "one number a slice"),
    (lambda: plan(curve, [1, 1], -5), "budget must lie in"),
    (lambda: plan(curve, [1, 1], 5, cost=[1.0, 0.0]), "cost must lie in"),
    (lambda: plan(curve, [1, 1], 5, cost=[1.0] * 3), "cost must be one number"),
    (lambda: plan(curve, [1, 1], 5, fairness=-1.0), "fairness must lie in"),
    (lambda: plan(curve, [1, 1], 5, average="most"), "average must be one of"),
    (lambda: plan(curve, [1, 1, 1], 5), "one entry a slice"),
    (lambda: plan(curve, [1], 5), "at least two slices"),
    (lambda: preprocessing.slice_tuner(None, [1, 1], 5, strategy="bold"), "strategy must be one"),
    (lambda: preprocessing.slice_tuner(None, [1, 1], 5, rounds=0), "rounds must be"),
    (lambda: preprocessing.water_filling([1, 1], -1), "budget must lie in"),
    (lambda: preprocessing.uniform_acquisition([1, 1], 1, cost=0), "cost must lie in"),
  )
  for call, message in cases:
    with pytest.raises(ValueError, match=message):
      call()


@pytest.mark.parametrize("strategy", ["conservative", "moderate", "aggressive"])
def test_it_ends_early_only_where_the_compiled_rounds_would_buy_nothing(strategy):
  calls, most = [], 3 if strategy == "conservative" else 6

  def tuned(budget):
    def measure(n):
      calls.append(n)
      sizes = n[:, None] * np.float32([0.25, 0.5, 1.0])
      return sizes, np.float32([[4.0], [2.0]]) * sizes**-0.5

    return preprocessing.slice_tuner(measure, [4, 25], budget, strategy=strategy, rounds=most)

  # At first the limit allows less than a row of the small slice, and later more.
  eager, rounds = tuned(500.0), len(calls)
  compiled = jax.jit(tuned)(500.0)
  np.testing.assert_array_equal(eager.bought[0], 0)
  assert (int(eager.count.sum()) > 300) == (strategy != "conservative")
  np.testing.assert_array_equal(eager.bought, compiled.bought)
  for one, other in zip(jax.tree.leaves(eager), jax.tree.leaves(compiled), strict=True):
    np.testing.assert_allclose(one, other, rtol=1e-5)
  assert (rounds == 1) == (strategy == "conservative") and rounds < most


def test_water_filling_counts_costs_as_the_fractions_that_are_meant():
  fill = jax.jit(lambda n, m, c: preprocessing.water_filling(n, m, cost=c))
  rng = np.random.default_rng(1)
  for _ in range(100):
    size, tenths = rng.integers(1, 120, SLICES), rng.integers(1, 10, SLICES)
    budget = int(rng.integers(0, 1000))
    wanted = filled(size, budget, tenths)  # in tenths all numbers are whole
    np.testing.assert_array_equal(fill(size, budget / 10, tenths / 10), wanted)
  # Whole costs are exact, and need no tolerance, whatever the budget.
  assert fill(np.ones(SLICES), 10_000_003, np.ones(SLICES)).sum() == 10_000_003
