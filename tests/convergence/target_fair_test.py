"""Penalties of the rows of another domain: where it is the own one, by hand, and after a shift."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rfjax
from rfjax import architectures, convergence, metrics
from rfjax.fairness import inprocessing, preprocessing

KEY = jax.random.key(0)
NETWORK = architectures.logistic()


@functools.cache
def domains(rows=400):
  """A source, and a target whose features lie elsewhere and whose group goes by another one."""
  rng = np.random.default_rng(0)

  def draw(mean, column):
    x = rng.normal(size=(rows, 2)) + np.array(mean)
    z = rng.random(rows) < 1 / (1 + np.exp(-3 * (x[:, column] - x[:, column].mean())))
    y = rng.random(rows) < 1 / (1 + np.exp(-2 * x.sum(1)))
    return rfjax.Batch.from_arrays(x, y.astype(int), z.astype(int), num_groups=2)

  return draw((0.0, 0.0), 0), draw((0.7, -0.4), 1)


def unlabelled(target):
  return rfjax.Batch.from_arrays(target.x, np.zeros(target.num_rows, int), target.group)


def train(method, data, epochs=1, batch_size=None, tx=None):
  tx = optax.sgd(0.5) if tx is None else tx
  return rfjax.fit(NETWORK, method, tx, data, key=KEY, epochs=epochs, batch_size=batch_size)


@pytest.mark.parametrize(
  "penalty",
  [
    inprocessing.gap(2.0),
    inprocessing.gap(2.0, decay=0.5),
    inprocessing.covariance_constraint(0.01),
    inprocessing.lagrangian(0.02),
  ],
)
def test_of_the_own_rows_it_is_the_penalty(penalty):
  source, _ = domains()

  @jax.jit
  def both(data):
    return tuple(
      train(method, data, epochs=4) for method in (penalty, convergence.target_fair(penalty, data))
    )

  (state, log), (same, other) = both(source)
  np.testing.assert_allclose(other.penalty, log.penalty, rtol=1e-5)
  assert (log.penalty[1:] != 0).all()
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-7), state, same)


def test_a_step_by_hand():
  """The gradient is that of the risk of the source, without groups, and of the target's gap."""
  source, target = domains()
  data = source.replace(group=None, num_groups=0)
  params = {"kernel": np.array([[0.5], [-0.3]], np.float32), "bias": np.array([0.1], np.float32)}

  def by_hand(params):
    said = lambda x: (x @ params["kernel"])[:, 0] + params["bias"][0]
    u, p = said(source.x), jax.nn.sigmoid(said(target.x))
    risk = jnp.mean(jnp.where(source.y == 1, jax.nn.softplus(-u), jax.nn.softplus(u)))
    return risk + 2 * jnp.abs(
      jnp.mean(p, where=target.group == 1) - jnp.mean(p, where=target.group == 0)
    )

  objective, slope = jax.tree.map(np.asarray, jax.jit(jax.value_and_grad(by_hand))(params))
  expected = jax.tree.map(lambda w, g: w - 0.5 * g, params, slope)

  @jax.jit
  def step(data, other):
    trusted = data.replace(trusted=other)
    runs = (convergence.target_fair(inprocessing.gap(2.0), other), data), (
      convergence.target_fair(inprocessing.gap(2.0)), trusted)  # fmt: skip
    return [
      rfjax.fit(NETWORK, m, optax.sgd(0.5), d, key=KEY, epochs=1, params=params) for m, d in runs
    ]

  for state, log in step(data, unlabelled(target)):
    close(state.params, expected)
    np.testing.assert_allclose(np.add(log.risk, log.penalty), objective, rtol=1e-5)


def close(found, expected):
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), found, expected)


def test_after_a_shift_it_is_the_target_that_is_fair():
  """Source weights of the target for the risk, and its own rows for the penalty."""
  source, target = domains(1000)
  _, fresh = domains(1000)
  data = source.replace(trusted=unlabelled(target))

  @jax.jit
  def run(data, fresh):
    moved = rfjax.transform(preprocessing.density_ratio_weights(steps=8), data, key=KEY)
    gap = inprocessing.gap(5.0)
    methods = {"plain": rfjax.chain(), "source": gap, "target": convergence.target_fair(gap)}
    train_on = lambda m: train(m, moved, epochs=100, tx=optax.adam(0.05))[0]

    def measured(state):
      said = rfjax.predict(NETWORK, state, fresh)
      rate = metrics.group_rates("selection_rate", said, soft=True)
      return metrics.difference(rate), metrics.accuracy(said)

    return {name: measured(train_on(method)) for name, method in methods.items()}

  found = {name: tuple(map(float, pair)) for name, pair in run(data, fresh).items()}
  apart, accuracy = ({name: pair[i] for name, pair in found.items()} for i in (0, 1))
  assert apart["target"] < 0.03 < 0.2 < min(apart["plain"], apart["source"])
  assert accuracy["target"] > 0.6


def test_some_rows_a_step_are_the_penalty_of_these():
  """Each step draws others, without replacement."""
  source, target = domains()
  rows = unlabelled(target)
  score = rfjax.stateless(
    lambda b, **_: b.replace(penalty=b.penalty + jnp.mean(b.margin)), writes=("penalty",)
  )
  start = {"kernel": np.ones((2, 1), np.float32), "bias": np.ones(1, np.float32)}

  @functools.partial(jax.jit, static_argnums=1)
  def penalties(data, size):
    some, tx = convergence.target_fair(score, rows, batch_size=size), optax.sgd(0.0)
    return rfjax.fit(NETWORK, some, tx, data, key=KEY, epochs=200, params=start)[1].penalty

  found, u = np.asarray(penalties(source, 50)), np.asarray(target.x).sum(1) + 1
  np.testing.assert_allclose(penalties(source, 400), u.mean(), rtol=1e-4)  # which are all
  assert len(np.unique(found)) > 190
  np.testing.assert_allclose(found.mean(), u.mean(), atol=4 * u.std() / np.sqrt(200 * 50))
  np.testing.assert_allclose(found.std(), u.std() * np.sqrt((1 - 50 / 400) / 50), rtol=0.2)


def test_what_is_missing_is_named():
  source, target = domains()
  gap = inprocessing.gap(1.0)
  start = lambda *target, **more: jax.eval_shape(
    lambda data: convergence.target_fair(gap, *target, **more).init(data, key=KEY), source
  )
  with pytest.raises(ValueError, match="target_fair needs trusted"):
    start()
  with pytest.raises(ValueError, match="target_fair needs group"):
    start(target.replace(group=None))
  with pytest.raises(ValueError, match="batch_size must be at most the 400 rows of the target"):
    start(target, batch_size=401)
