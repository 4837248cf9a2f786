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
  params = {"kernel": jnp.array([[0.5], [-0.3]]), "bias": jnp.array([0.1])}

  def by_hand(params):
    said = lambda x: (x @ params["kernel"])[:, 0] + params["bias"][0]
    u, p = said(source.x), jax.nn.sigmoid(said(target.x))
    risk = jnp.mean(jnp.where(source.y == 1, jax.nn.softplus(-u), jax.nn.softplus(u)))
    return risk + 2 * jnp.abs(
      jnp.mean(p, where=target.group == 1) - jnp.mean(p, where=target.group == 0)
    )

  expected = jax.tree.map(lambda w, g: w - 0.5 * g, params, jax.grad(by_hand)(params))

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
    np.testing.assert_allclose(log.risk + log.penalty, by_hand(params), rtol=1e-5)


def close(found, expected):
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), found, expected)


def test_after_a_shift_it_is_the_target_that_is_fair():
  """Source weights of the target for the risk, and its own rows for the penalty."""
  source, target = domains(1000)
  _, fresh = domains(1000)
  data = source.replace(trusted=unlabelled(target))

  @jax.jit
  def run(data):
    moved = rfjax.transform(preprocessing.density_ratio_weights(steps=8), data, key=KEY)
    gap = inprocessing.gap(5.0)
    methods = {"plain": rfjax.chain(), "source": gap, "target": convergence.target_fair(gap)}
    train_on = lambda m: train(m, moved, epochs=100, tx=optax.adam(0.05))[0]
    return {name: train_on(method) for name, method in methods.items()}

  apart, accuracy = {}, {}
  for name, state in run(data).items():
    said = rfjax.predict(NETWORK, state, fresh)
    rate = metrics.group_rates("selection_rate", said, soft=True)
    apart[name], accuracy[name] = float(metrics.difference(rate)), float(metrics.accuracy(said))
  assert apart["target"] < 0.03 < 0.2 < min(apart["plain"], apart["source"])
  assert accuracy["target"] > 0.6


def test_some_rows_a_step_are_the_penalty_of_these():
  """Each step draws others, without replacement."""
  source, target = domains()
  rows = unlabelled(target)
  score = rfjax.stateless(
    lambda b, **_: b.replace(penalty=b.penalty + jnp.mean(b.margin)), writes=("penalty",)
  )
  start = {"kernel": jnp.ones((2, 1)), "bias": jnp.ones(1)}

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
  with pytest.raises(ValueError, match="target_fair needs trusted"):
    convergence.target_fair(gap).init(source, key=KEY)
  with pytest.raises(ValueError, match="target_fair needs group"):
    convergence.target_fair(gap, target.replace(group=None)).init(source, key=KEY)
  with pytest.raises(ValueError, match="batch_size must be at most the 400 rows of the target"):
    convergence.target_fair(gap, target, batch_size=401).init(source, key=KEY)
