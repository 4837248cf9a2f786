"""The threshold optimizer against fairlearn's, a linear program, Qhull, and what it promises."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linprog
from scipy.spatial import ConvexHull
from sklearn.base import BaseEstimator, ClassifierMixin

import rfjax
from rfjax import metrics
from rfjax.fairness import postprocessing
from rfjax.fairness.postprocessing import _hull
from rfjax.fairness.postprocessing._hull import at, upper_hulls

KEY = jax.random.key(0)
ROWS, GROUPS, GRID = 120, 5, 1000
FILL = jax.jit(rfjax.Batch.fill)
make = functools.partial(postprocessing.threshold_optimizer, grid_size=GRID)
# Groups of each data set, of which others are empty, and how far apart their rates may be.
USED = (2, 3, 4, 5, 2, 3, 4, 5, 2, 3)
TOLS = np.array([0, 0, 0, 0, 0, 0.0455, 0.1005, 0.3335, 0.0205, 0.9995])


@pytest.fixture(autouse=True)
def double():
  with jax.enable_x64(True):
    yield


def filled(score, y, group, weight=None):
  """A data set of five groups, whose programs are those of all tests."""
  member = np.eye(GROUPS)[group] if np.ndim(group) == 1 else group
  data = rfjax.Batch.from_arrays(np.zeros((ROWS, 1)), y, member, num_classes=2)
  data = data.replace(weight=np.ones(ROWS) if weight is None else np.asarray(weight))
  return FILL(data, np.stack([np.zeros(ROWS), score], 1))


@functools.cache
def said(seed):
  """A data set with log-odds that tell more of the label in some groups, or the wrong one."""
  rng, groups = np.random.default_rng(seed), USED[seed]
  y = np.append(np.tile([0, 1], groups), rng.integers(0, 2, ROWS - 2 * groups))
  group = np.append(np.repeat(np.arange(groups), 2), rng.integers(0, groups, ROWS - 2 * groups))
  score = rng.normal(size=ROWS) + y * rng.uniform(-0.3, 2, groups)[group] + group
  return filled(np.round(2 * score) / 2 if seed % 2 else score, y, group)


@functools.cache
def program(constraint, objective, flip):
  """Fits and applies ten at once, compiled; costs and tolerance are not."""

  def run(data, costs, tol):
    method = make(
      constraint,
      objective,
      false_positive_cost=costs[0],
      false_negative_cost=costs[1],
      tol=0.0 if constraint == "equalized_odds" else tol,
      flip=flip,
    )
    state = method.init(data, key=KEY, spec=None)
    return state, method.update(data, state, key=KEY)[0]

  return jax.jit(jax.vmap(run))


def solve(data, constraint, objective="error", flip=False, costs=(1.0, 1.0), tol=TOLS):
  """The states and decisions of data sets, at most ten."""
  data = [*data, *[data[0]] * (len(TOLS) - len(data))]
  stack = jax.tree.map(lambda *leaves: np.stack(leaves), *data)
  found = program(constraint, objective, flip)(stack, np.tile(costs, (10, 1)), tol)
  found = jax.tree.map(np.asarray, found)
  return [jax.tree.map(lambda leaf, i=i: leaf[i], found) for i in range(10)]


def mean_rates(chance, y, group):
  """The false and true positive rates of groups, expected of probabilities of 1."""
  mean = lambda g, label: np.asarray(chance)[(group == g) & (y == label)].mean()
  return np.array([[mean(g, label) for label in (0, 1)] for g in range(group.max() + 1)])


class Scores(ClassifierMixin, BaseEstimator):
  """What fairlearn takes for a fitted model: the score is the one feature."""

  def fit(self, X, y):
    self.fitted_ = True
    return self

  def decision_function(self, X):
    return np.asarray(X)[:, 0]


def fairlearn(data, constraint, objective, flip, tol):
  """The loss of fairlearn's optimizer, and each row's probability of 1."""
  peer = pytest.importorskip("fairlearn.postprocessing").ThresholdOptimizer
  score, y, group = np.asarray(data.margin), np.asarray(data.y), np.asarray(data.group).argmax(1)
  found = peer(
    estimator=Scores().fit(score, y),
    constraints=constraint,
    objective={"error": "accuracy_score", "balanced": "balanced_accuracy_score"}[objective],
    grid_size=GRID,
    flip=flip,
    tol=tol or None,
    prefit=True,
    predict_method="decision_function",
  ).fit(score, y, sensitive_features=group)
  chance = found._pmf_predict(score, sensitive_features=group)[:, 1]
  if constraint == "equalized_odds":
    f, t, share = found._x_best, found._y_best, y.mean()
    return (1 - share) * f + share * (1 - t) if objective == "error" else (f + 1 - t) / 2, chance
  return 1 - found._y_best, chance


@pytest.mark.parametrize(
  ("constraint", "objective", "flip"),
  [
    ("demographic_parity", "error", False),
    ("true_positive_rate_parity", "balanced", True),
    ("false_positive_rate_parity", "error", False),
    ("equalized_odds", "error", False),
    ("equalized_odds", "balanced", True),
  ],
)
def test_the_value_is_that_of_fairlearn(constraint, objective, flip):
  half, same = 0.5 if objective == "balanced" else 1.0, 0
  sets = [said(seed) for seed in range(10)]
  for seed, (state, out) in enumerate(solve(sets, constraint, objective, flip, (half, half))):
    tol = 0.0 if constraint == "equalized_odds" else TOLS[seed]
    loss, of_row = fairlearn(sets[seed], constraint, objective, flip, tol)
    np.testing.assert_allclose(state.loss, loss, atol=1e-9)
    y, group = np.asarray(sets[seed].y), np.asarray(sets[seed].group).argmax(1)
    chance, size = np.exp(out.log_probs[:, 1]), np.bincount(group)
    rates = mean_rates(chance, y, group)
    np.testing.assert_allclose(state.rates[: USED[seed]], rates, atol=1e-9)
    selected = np.bincount(group, chance) / size
    equal = dict(zip(("t", "f", "d"), (rates[:, 1], rates[:, 0], selected), strict=True))
    for of_group in rates.T if constraint == "equalized_odds" else [equal[constraint[0]]]:
      assert np.ptp(of_group) <= tol + 1e-9
    if constraint == "equalized_odds":
      np.testing.assert_allclose(rates, mean_rates(of_row, y, group), atol=1e-9)
      same += np.allclose(chance, of_row, rtol=0, atol=1e-9)
  # Rows differ where fairlearn keeps a corner on a straight line, by rounding.
  assert same >= 6 or constraint != "equalized_odds"


def upper_hull(x, y, **how):
  return jax.tree.map(lambda v: v[0], upper_hulls(x[None], y[None], **how))


@pytest.mark.parametrize(("chunk", "few"), [(1024, 32), (7, 32), (7, 1)])
@pytest.mark.parametrize("ascending", [False, True])
def test_the_hull_is_that_of_qhull(monkeypatch, chunk, few, ascending):
  monkeypatch.setattr(_hull, "_CHUNK", chunk)  # many points are first sifted by chunks
  monkeypatch.setattr(_hull, "_FEW", few)  # and what is left may be few or many
  places = np.linspace(0, 12, 97)
  find = jax.jit(functools.partial(upper_hull, ascending=ascending))
  for seed in range(5):
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 12, 60).astype(float)
    y = rng.integers(0, 9, 60).astype(float)
    x[:2], y[:2] = (0, 12), (4, 4)
    x = np.sort(x) if ascending else x
    hull = jax.device_get(find(x, y))
    np.testing.assert_array_equal(hull.x, x[hull.corner])
    last = np.argmax(hull.x) + 1  # what follows is filled with it
    assert (np.diff(hull.x[:last]) > 0).all() and (
      hull.corner[last:] == hull.corner[last - 1]
    ).all()
    assert (np.diff(np.diff(hull.y[:last]) / np.diff(hull.x[:last])) < -1e-9).all()
    equations = ConvexHull(np.stack([x, y], 1)).equations
    upper = equations[equations[:, 1] > 1e-9]
    expected = np.min(-(upper[:, :1] * places + upper[:, 2:]) / upper[:, 1:2], axis=0)
    reached = jax.device_get(jax.jit(at)(hull, places))
    np.testing.assert_allclose(reached.y, expected, atol=1e-9)
    mixed = (reached.share * x[reached.corner]).sum(1)
    np.testing.assert_allclose(mixed, places, atol=1e-9)


def test_many_points_are_sifted_to_the_same_hull():
  rng = np.random.default_rng(9)
  moves = rng.random(5000) < np.linspace(0.9, 0.1, 5000)  # a curve as of scores that are of use
  x, y = np.cumsum(~moves).astype(np.float32), np.cumsum(moves).astype(np.float32)
  find = jax.jit(functools.partial(upper_hull, ascending=True))
  hull = find(x, y)
  corners = np.unique(hull.corner)
  qhull = ConvexHull(np.stack([x, y], 1).astype(float))
  upper = qhull.equations[qhull.equations[:, 1] > 1e-9]
  on_hull = np.abs(upper @ np.stack([x, y, np.ones_like(x)])).min(axis=0) < 1e-6
  assert on_hull[corners].all() and len(corners) > 20
  heights = -(upper[:, :1] * x + upper[:, 2:]) / upper[:, 1:2]
  np.testing.assert_allclose(jax.jit(at)(hull, x).y, heights.min(axis=0), rtol=1e-5)


def test_costs_and_weights_against_a_linear_program_over_all_mixtures():
  """Twenty positives a group, so that the grid holds all corners and leaves nothing to gain."""
  rng = np.random.default_rng(4)
  group, y = np.repeat([0, 1, 2], 40), np.tile([0, 1], 60)
  score = np.round(2 * (rng.normal(size=ROWS) + y * (group + 0.5))) / 2
  weight = np.array([3.0, 1.0, 2.0])[group]
  cuts = np.unique(np.append(score, [-9, 9])) + 0.25
  # How often a group uses a threshold, to decide above or below it.
  columns = list(itertools.product(range(3), cuts, (1, -1)))
  rate = lambda g, c, way, label: (way * (score - c)[(group == g) & (y == label)] > 0).mean()
  share = lambda g: weight[group == g].sum() / weight.sum()
  loss = [share(c[0]) * (2 * rate(*c, 0) + 3 * (1 - rate(*c, 1))) for c in columns]
  true = lambda h: np.array([rate(*c, 1) * (c[0] == h) for c in columns])
  apart = [true(g) - true(h) for g, h in itertools.permutations(range(3), 2)]
  sums = [[float(c[0] == h) for c in columns] for h in range(3)]
  found = solve(
    [filled(score, y, group, weight)], "true_positive_rate_parity", "balanced", True, (2.0, 3.0)
  )
  for tol, (state, _) in zip(TOLS[[0, 9]], (found[0], found[9]), strict=True):
    best = linprog(loss, A_ub=apart, b_ub=[tol] * len(apart), A_eq=sums, b_eq=[1] * 3)
    np.testing.assert_allclose(state.loss, best.fun, atol=1e-9)
  assert found[9][0].loss < found[0][0].loss - 0.01


def test_decisions_are_scores_of_two_values():
  """Of decisions, parity of true positive rates by both directions is equal opportunity."""
  opportunity = postprocessing.equal_opportunity()
  start = jax.jit(lambda data: opportunity.init(data, key=KEY, spec=None))
  for seed in (1, 3):
    data = said(seed)
    data = FILL(data, np.eye(2)[(np.asarray(data.logits)[:, 1] > seed).astype(int)])
    mixed = start(data)
    state, _ = solve([data], "true_positive_rate_parity", "balanced", True)[0]
    f, t = np.asarray(mixed.rates).T
    exact = (np.asarray(data.group).mean(0) * (f + 1 - t)).sum()
    assert exact - 1e-9 <= state.loss <= exact + 2 / GRID


def test_lots_have_the_expected_rates_and_belong_to_rows():
  data = said(3)
  state, fair = solve([data], "equalized_odds")[0]
  gap = jax.jit(metrics.equalized_odds_difference, static_argnames="soft")
  assert gap(fair, soft=True) < 1e-9
  assert gap(data) > 0.1
  lots = make("equalized_odds", randomize=True)
  draw = lambda data, key: lots.update(data, state, key=key)[0].probs[:, 1]

  @jax.jit
  def run(data):
    drawn = jax.vmap(draw, (None, 0))(data, jax.random.split(KEY, 400))
    return drawn, draw(data, KEY), draw(data.take(jnp.arange(ROWS - 1, -1, -1)), KEY)

  drawn, once, back = jax.device_get(run(data))
  assert set(np.unique(drawn.round(9))) <= {0.0, 1.0}
  np.testing.assert_allclose(
    drawn.mean(0), np.exp(fair.log_probs[:, 1]), atol=4.5 * 0.5 / np.sqrt(400)
  )
  np.testing.assert_array_equal(back[::-1], once)


def test_who_is_left_out_keeps_decisions_and_mixed_members_get_the_mean():
  data = said(5)
  group = np.array(np.asarray(data.group))
  group[:8] = np.array([[0.25, 0.75, 0, 0, 0], *np.eye(5)[[0, 1, 4, 4]], *np.zeros((3, 5))])
  score, y = np.array(data.logits)[:, 1], np.array(data.y)
  score[:8] = [1.5, 1.5, 1.5, 0.5, -0.5, 0.5, -0.5, 9.0]
  y[:8] = 1  # nothing in group 4 is negative
  state, fair = solve([filled(score, y, group)], "equalized_odds", "balanced", flip=True)[0]
  chance = np.exp(fair.log_probs[:, 1])
  np.testing.assert_allclose(chance[0], 0.25 * chance[1] + 0.75 * chance[2], atol=1e-9)
  np.testing.assert_allclose(chance[3:8], [1, 0, 1, 0, 1], atol=1e-9)
  assert 0.01 < chance[1] < 0.99 or 0.01 < chance[2] < 0.99
  gone = solve(
    [filled(score, y, group, np.where(group[:, 4] > 0, 0.0, 1.0))],
    "equalized_odds",
    "balanced",
    flip=True,
  )[0][0]
  np.testing.assert_allclose(state.rates, gone.rates, atol=1e-9)
  np.testing.assert_allclose(state.loss, gone.loss, atol=1e-9)


@pytest.mark.parametrize(
  ("arguments", "match"),
  [
    ({"constraint": "parity"}, "constraint must be one of"),
    ({"objective": "accuracy"}, "objective must be one of"),
    ({"constraint": "equalized_odds", "tol": 0.1}, "tol must be 0"),
    ({"grid_size": 0}, "grid_size must be"),
  ],
)
def test_what_is_out_of_range_is_refused(arguments, match):
  with pytest.raises(ValueError, match=match):
    postprocessing.threshold_optimizer(**arguments)
