"""AdaFair against a loop over rows on scikit-learn's stumps, and the stumps against those."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rfjax
from rfjax.fairness import inprocessing

tree = pytest.importorskip("sklearn.tree")
KEY = jax.random.key(0)
ROWS, ROUNDS = 300, 20
TAKE = jax.jit(rfjax.Batch.take)


@functools.cache
def make_data(groups=2, classes=2, seed=0):
  """A small group whose labels hang on another feature, and are rarely above 0."""
  rng = np.random.default_rng(seed)
  group = rng.choice(groups, ROWS, p=[0.7, *[0.3 / (groups - 1)] * (groups - 1)])
  x = rng.normal(size=(ROWS, 3))
  score = np.where(group == 0, x[:, 0], x[:, 1] - 0.5) + 0.7 * rng.normal(size=ROWS)
  y = np.searchsorted(np.linspace(-0.3, 0.8, classes - 1) if classes > 2 else [0.2], score)
  return rfjax.Batch.from_arrays(x, y, group, num_classes=classes, num_groups=groups)


@pytest.mark.parametrize("classes", [2, 3])
def test_a_stump_is_that_of_scikit_learn(classes):
  data, found = make_data(2, classes), jax.jit(inprocessing.stump().fit)
  for seed in range(4):
    weight = np.random.default_rng(seed).gamma(0.3, 1.0, ROWS).astype(np.float32)
    mine = found(data, weight, KEY)
    other = tree.DecisionTreeClassifier(max_depth=1).fit(data.x, data.y, weight)
    assert mine.feature == other.tree_.feature[0]
    np.testing.assert_allclose(mine.threshold, other.tree_.threshold[0], rtol=1e-5)
    said = jax.jit(inprocessing.stump().probs)(mine, data)
    np.testing.assert_allclose(said, other.predict_proba(data.x), atol=1e-4)


def test_a_stump_of_constants_padding_and_equal_values():
  fit = jax.jit(inprocessing.stump().fit)
  data = rfjax.Batch.from_arrays(np.ones((4, 2)), [0, 1, 1, 1])
  same = fit(data, np.ones(4, np.float32), KEY)
  said = jax.jit(inprocessing.stump().probs)(same, data)
  np.testing.assert_allclose(said, [[0.25, 0.75]] * 4)
  data = rfjax.Batch.from_arrays([[0.0], [0.0], [1.0], [1.0]], [0, 1, 1, 1])
  plain = fit(data, np.ones(4, np.float32), KEY)
  padded = fit(TAKE(data, np.array([0, 1, 4, 2, 3, 4])), np.ones(6, np.float32), KEY)
  np.testing.assert_allclose(plain.leaves, [[0.5, 0.5], [0.0, 1.0]])
  assert plain.threshold == padded.threshold == 0.5
  np.testing.assert_allclose(plain.leaves, padded.leaves)


def by_hand(data, rounds, balance, confidence):
  """The algorithm in loops, with the costs of each group and label by their gaps."""
  x, y, group = (np.asarray(v) for v in (data.x, data.y, data.group))
  classes, groups = data.num_classes, data.num_groups
  weight, votes = np.full(ROWS, 1 / ROWS), np.zeros((ROWS, classes))
  weights, objectives, alphas, stages = [], [], [], []
  for number in range(rounds):
    weights.append(weight)
    one = tree.DecisionTreeClassifier(max_depth=1).fit(x, y, weight)
    said = one.predict(x)
    error = weight[said != y].sum()
    if error >= 1 - 1 / classes:
      break
    alpha = np.log((1 - error) / error) + np.log(classes - 1)
    votes = votes + alpha * np.eye(classes)[said]
    together = votes.argmax(1)
    rate = np.array(
      [
        [np.mean(together[(y == k) & (group == g)] == k) for g in range(groups)]
        for k in range(classes)
      ]
    )
    cost, unfair = np.ones((classes, groups)), 1.0
    if number > 0:
      unfair = sum(max(abs(a - b) for a in row for b in row) for row in rate)
      for k in range(classes):
        for g in range(groups):
          cost[k, g] = 1 + max(rate[k]) - rate[k, g]
    recall = np.mean([np.mean(together[y == k] == k) for k in range(classes)])
    error_rate = np.mean(together != y)
    objectives.append(balance * (1 - recall) + (1 - balance) * error_rate + unfair)
    alphas.append(alpha)
    stages.append(together)
    sure = one.predict_proba(x).max(1)
    weight = weight.copy()
    for i in range(ROWS):
      if said[i] != y[i]:
        weight[i] *= cost[y[i], group[i]] * np.exp(alpha * (sure[i] if confidence else 1))
    weight = weight / weight.sum()
  best = int(np.argmin(objectives))
  return np.array(weights), objectives, alphas[: best + 1], stages[best]


@pytest.mark.parametrize(
  ("groups", "classes", "balance", "confidence"),
  [(2, 2, 1.0, True), (2, 2, 0.3, False), (3, 3, 1.0, True)],
)
def test_a_fit_is_the_one_in_loops(groups, classes, balance, confidence):
  data = make_data(groups, classes)

  @jax.jit
  def run(data):
    ensemble = inprocessing.adafair(data, rounds=ROUNDS, balance=balance, confidence=confidence)
    return ensemble, inprocessing.adafair_vote(ensemble, data.replace(group=None)).logits

  ensemble, voted = jax.device_get(run(data))
  weights, objectives, alphas, together = by_hand(data, ROUNDS, balance, confidence)
  ended = len(objectives)
  np.testing.assert_allclose(ensemble.weight[:ended], weights[:ended], rtol=2e-3, atol=1e-6)
  np.testing.assert_allclose(ensemble.objective[:ended], objectives, atol=1e-4)
  assert np.isinf(ensemble.objective[ended:]).all()
  np.testing.assert_allclose(ensemble.vote[: len(alphas)], alphas, rtol=1e-3)
  assert (ensemble.vote[len(alphas) :] == 0).all() and len(alphas) > 1
  np.testing.assert_array_equal(voted.argmax(1), together)


def test_it_is_fairer_than_its_first_learner():
  data = make_data(seed=1)

  y, group = np.asarray(data.y), np.asarray(data.group)

  def gap(logits):
    right = logits.argmax(1) == y
    rate = [[right[(y == k) & (group == g)].mean() for g in (0, 1)] for k in (0, 1)]
    return float(np.abs(np.diff(rate, axis=1)).sum())

  @jax.jit
  def votes(data):
    fair = inprocessing.adafair(data, rounds=ROUNDS)
    alone = fair._replace(vote=jnp.zeros(ROUNDS).at[0].set(1))
    return [inprocessing.adafair_vote(one, data).logits for one in (fair, alone)]

  fair, alone = jax.device_get(votes(data))
  assert gap(fair) < 0.6 * gap(alone)


def test_perfect_learners_chance_and_a_learner_of_ones_own():
  clear = rfjax.Batch.from_arrays([[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1], [0, 1, 0, 1])
  run = lambda data, **more: inprocessing.adafair(data, rounds=3, **more)
  constant = inprocessing.Learner(
    fit=lambda data, weight, key: jax.random.uniform(key),
    probs=lambda params, data: jnp.tile(jnp.array([0.4, 0.6]), (data.num_rows, 1)),
  )
  both = jax.jit(lambda data: (run(data), run(data, learner=constant)))
  done, chance = jax.device_get(both(clear))
  assert np.isfinite(done.vote).all() and done.vote[0] > 10
  assert np.isinf(chance.objective).all() and (chance.vote == 0).all()
  assert len(set(chance.learners.tolist())) == 3  # each round has a key of its own


def test_padding_and_dropped_rows_have_no_influence():
  data, many = make_data(), np.arange(ROWS + 60)
  padded = jax.device_get(TAKE(data, np.where(many < ROWS, many, ROWS)))
  some = many < ROWS
  dropped = padded.replace(
    x=np.where(some[:, None], padded.x, padded.x[many - ROWS] + np.float32(0.01)),
    group=np.where(some, padded.group, many % 2).astype(np.int32),
    valid=many >= 0,
    keep=np.float32(some),
  )
  fit = jax.jit(lambda d: inprocessing.adafair(d, rounds=4))
  one, *others = (jax.device_get(fit(d)) for d in (data, padded, dropped))
  for other in others:
    np.testing.assert_allclose(one.vote, other.vote, rtol=1e-5)
    np.testing.assert_allclose(one.objective, other.objective, rtol=1e-5)
    np.testing.assert_allclose(one.learners.threshold, other.learners.threshold, rtol=1e-5)


def test_what_is_wrong_is_refused():
  data = make_data()
  for wrong in ({"rounds": 0}, {"balance": 1.5}, {"confidence": "much"}):
    with pytest.raises(ValueError, match="must"):
      inprocessing.adafair(data, **wrong)
  with pytest.raises(ValueError, match="adafair needs group"):
    inprocessing.adafair(data.replace(group=None))
