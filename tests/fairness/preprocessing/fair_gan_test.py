"""FairGAN against its value function in NumPy, and planted features of the group."""

import jax
import numpy as np
import pytest
from scipy.special import log_expit, log_softmax
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score

import rfjax
from rfjax.fairness import preprocessing
from rfjax.fairness.preprocessing import _fair_gan

KEY, ROWS, NOISE = jax.random.key(0), 300, 8


def table(rows=ROWS):
  """A feature that the group moves by two, one that it does not, and a label of both."""
  rng = np.random.default_rng(0)
  group = np.arange(rows) % 2
  x = np.stack([rng.normal(size=rows) + 2 * group, rng.normal(size=rows)], axis=1)
  y = (x.sum(1) - 1 + 0.3 * rng.normal(size=rows) > 0).astype(int)
  return x.astype(np.float32), y, group


@jax.jit
def learn(data, fairness):
  method = preprocessing.fair_gan(fairness, learning_rate=0.005, steps=500)
  return method.init(data, key=KEY, spec=None)


@jax.jit
def learn_a_little(data):
  method = preprocessing.fair_gan(noise=2, hidden=4, steps=5)
  return method.init(data, key=KEY, spec=None)


@jax.jit
def made(state, data):
  out, _ = preprocessing.fair_gan().update(data, state, key=KEY)
  return out.x, out.y


def make(state, data):
  return tuple(map(np.asarray, made(state, data)))


@pytest.fixture(scope="module")
def learned():
  x, y, group = table()
  data = rfjax.Batch.from_arrays(x, y, group)
  return data, {fairness: learn(data, fairness) for fairness in (0.0, 3.0)}


def players(rng, sizes):
  """Weights and biases of networks with one hidden layer of five units."""
  layer = lambda i, o: (rng.normal(size=(i, o)), rng.normal(size=o))
  return [(layer(i, 5), layer(5, o)) for i, o in sizes]


def network(layers, x):
  (w, b), (v, c) = layers
  inside = x @ w + b
  return np.where(inside > 0, inside, 0.01 * inside) @ v + c


def test_losses_are_those_of_the_value_function():
  rng = np.random.default_rng(1)
  rows, groups, classes = 30, 3, 2
  x, y = rng.normal(size=(rows, 2)), rng.integers(0, classes, rows)
  soft = np.eye(groups)[rng.integers(0, groups, rows)]
  soft[:3], soft[3] = 0, [0.5, 0.25, 0.25]
  weight, draws = rng.integers(0, 3, rows), rng.uniform(0.01, 0.99, (rows, 4 + classes))
  generator, *judges = players(rng, [(4 + groups, 2 + classes), (4 + groups, 1), (4, groups)])
  out = network(generator, np.concatenate([norm.ppf(draws[:, :4]), soft], axis=1))
  scores = out[:, 2:] - np.log(-np.log(draws[:, 4:]))
  probs = np.exp(log_softmax(scores / 0.5, axis=1))
  judge = lambda x, y: network(judges[0], np.concatenate([x, y, soft], axis=1))[:, 0]
  real, fake = judge(x, np.eye(classes)[y]), judge(out[:, :2], probs)
  told = log_softmax(network(judges[1], np.concatenate([out[:, :2], probs], axis=1)), axis=1)
  counted = weight * (soft.sum(1) > 0)
  mean = lambda values: np.average(values, weights=counted)
  value = mean(log_expit(real)) + mean(log_expit(-fake)) + mean((soft * told).sum(1))
  with jax.enable_x64(True):
    data = rfjax.Batch.from_arrays(x, y, soft, num_classes=classes)
    data = data.replace(weight=weight.astype(float))

    @jax.jit
    def losses(generator, judges, draws, data):
      fakes = _fair_gan.generate(generator, draws, data.membership, 4)
      judged = _fair_gan.judged(judges, data, fakes)[0]
      return fakes, judged, _fair_gan.fooled(judges, data, fakes, 0.7)

    fakes, judged, fooled = losses(generator, judges, draws, data)
    np.testing.assert_allclose(fakes.x, out[:, :2], rtol=1e-6)
    np.testing.assert_array_equal(fakes.y, scores.argmax(1))
    np.testing.assert_allclose(judged, -value, rtol=1e-6)
    wanted = -mean(log_expit(fake)) + 0.7 * mean((soft * told).sum(1))
    np.testing.assert_allclose(fooled, wanted, rtol=1e-6)


def test_labels_are_drawn_with_the_probabilities_of_the_generator():
  layers = ((np.zeros((NOISE + 2, 3)), np.zeros(3)), (np.zeros((3, 3)), np.array([7.0, 0, 1])))
  layers = jax.tree.map(np.float32, layers)
  state = _fair_gan.FairGanState(layers, np.float32([1.0]), np.float32([2.0]))
  data = rfjax.Batch.from_arrays(np.zeros((ROWS, 1), np.float32), [0] * ROWS, np.arange(ROWS) % 2)
  x, y = make(state, data)
  np.testing.assert_allclose(x, 15.0)
  assert abs(y.mean() - 1 / (1 + np.exp(-1))) < 3 * 0.45 / np.sqrt(ROWS)


def told(x, y, group):
  """The balanced accuracy with which a line tells the groups of rows."""
  seen = np.column_stack([x, y])
  return balanced_accuracy_score(group, LogisticRegression().fit(seen, group).predict(seen))


def test_without_fairness_rows_are_like_the_real_ones(learned):
  data, states = learned
  (x, y, group), (fake_x, fake_y) = table(), make(states[0.0], data)
  for g in range(2):
    of = group == g
    np.testing.assert_allclose(fake_x[of].mean(0), x[of].mean(0), atol=0.35)
    np.testing.assert_allclose(fake_x[of].std(0), x[of].std(0), atol=0.35)
    np.testing.assert_allclose(fake_y[of].mean(), y[of].mean(), atol=0.12)
  np.testing.assert_allclose(
    np.corrcoef(fake_x.T, fake_y)[2, :2], np.corrcoef(x.T, y)[2, :2], atol=0.15
  )
  assert told(x, y, group) > 0.8 and told(fake_x, fake_y, group) > 0.75


def test_with_fairness_the_group_goes_and_the_label_stays_a_label_of_the_features(learned):
  data, states = learned
  x, y = make(states[3.0], data)
  group = table()[2]
  assert told(x, y, group) < 0.62
  assert (
    abs(y[group == 1].mean() - y[group == 0].mean()) < 0.2 < 0.4 < table()[1][group == 1].mean()
  )
  assert np.corrcoef(x.sum(1), y)[0, 1] > 0.6


def test_other_rows_are_made_by_their_index_and_those_without_a_group_stay(learned):
  data, states = learned
  soft = np.eye(2)[table()[2]]
  soft[:5] = 0
  x, y = make(states[3.0], data)
  some_x, some_y = make(states[3.0], data.replace(group=np.float32(soft)))
  np.testing.assert_array_equal(some_x[:5], np.asarray(data.x)[:5])
  np.testing.assert_array_equal(some_y[:5], np.asarray(data.y)[:5])
  np.testing.assert_allclose(some_x[5:], x[5:], rtol=1e-5, atol=1e-6)
  rows = np.array([7, 3] + [ROWS] * (ROWS - 2))
  few_x, few_y = make(states[3.0], jax.jit(rfjax.Batch.take)(data, rows))
  np.testing.assert_allclose(few_x[:2], x[[7, 3]], rtol=1e-5, atol=1e-6)
  np.testing.assert_array_equal(few_y[:2], y[[7, 3]])


def test_padding_and_rows_of_no_weight_have_no_influence():
  data = rfjax.Batch.from_arrays(*table(40)).with_columns("weight")
  padded = jax.jit(rfjax.Batch.take)(data, np.append(np.arange(30), [40] * 10))
  first = np.arange(40) < 30
  weightless = data.replace(weight=np.float32(first))
  wild = weightless.replace(x=np.where(first[:, None], data.x, np.float32(50)))
  one, two, three = (learn_a_little(d) for d in (padded, weightless, wild))
  for other in (two, three):
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
      np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_what_cannot_be_made_is_refused():
  with pytest.raises(ValueError, match="fair_gan needs group"):
    preprocessing.fair_gan().init(rfjax.Batch.from_arrays([[0.0], [1.0]], [0, 1]), key=KEY)
  whole = rfjax.Batch.from_arrays([[0], [1]], [0, 1], [0, 1])
  with pytest.raises(ValueError, match="pass x as float"):
    preprocessing.fair_gan().update(whole, None, key=KEY)
