"""Attacks on fairness as evaluators: what they do to a plain model, beyond what random rows do."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rfjax
from rfjax import data, metrics, noise
from rfjax.core import logistic_regression
from rfjax.noise import _append

ROWS, TEST, SEEDS, RATE = 300, 2000, 8, 0.1

# By name: the attack, from a pool of candidates.
ATTACKS = {
  "chang, algorithm 1": lambda pool: noise.chang(RATE, pool, steps=1000),
  "mehrabi, random": lambda pool: noise.mehrabi(RATE),
  "mehrabi, non-random": lambda pool: noise.mehrabi(RATE, kind="non_random"),
  "solans": lambda pool: noise.solans(RATE, steps=10, step_size=0.5, newton_steps=5),
  "van": lambda pool: noise.van(RATE, pool, alpha=0.8, kind="label_flip", steps=1000),
}


def draw(seed):
  """Training rows, a pool, held out rows and test rows, and a key."""
  keys = jax.random.split(jax.random.key(seed), 5)
  sizes = (ROWS, ROWS, ROWS, TEST)
  return *(data.zafar(k, n) for k, n in zip(keys[:4], sizes, strict=True)), keys[4]


def figures(train, test):
  """Accuracy, and the differences of equal opportunity and equalized odds, of clean rows."""
  kernel, intercept = logistic_regression(train.x, train.y, weight=train.valid)
  score = test.x @ kernel + intercept
  said = test.fill(jnp.stack([jnp.zeros_like(score), score], axis=1))
  differences = metrics.equal_opportunity_difference(said), metrics.equalized_odds_difference(said)
  return jnp.stack([metrics.accuracy(said), *differences])


@functools.cache
def draws():
  return jax.jit(lambda seeds: jax.lax.map(draw, seeds))(np.arange(SEEDS, dtype=np.uint32))


@jax.jit
def all_figures(train, test):
  return jax.lax.map(lambda pair: figures(*pair), (train, test))


def random_rows(pool):
  """Rows of the pool with the other label."""

  def append(batch, *, key, **unused):
    taken = jax.random.permutation(key, ROWS)[: int(RATE * ROWS)]
    rows = jax.tree.map(lambda v: v[taken], _append.rows_of(pool))
    return _append.append(batch, rows._replace(y=1 - rows.y), jnp.ones(taken.size, bool))

  return rfjax.stateless(append, writes=_append.WRITES)


def over_seeds(made):
  """The figures of each seed after an attack."""

  def attack(drawn):
    train, pool, held_out, _, key = drawn
    return rfjax.transform(made(pool), train, key=key, fitted_on=held_out)

  drawn = draws()
  attacked = jax.jit(lambda drawn: jax.lax.map(attack, drawn))(drawn)
  return np.asarray(all_figures(attacked, drawn[3]))


@pytest.fixture(scope="module")
def at_random():
  return over_seeds(random_rows)


def rises(more):
  """The mean of paired differences in standard errors."""
  return more.mean() / (more.std(ddof=1) / math.sqrt(len(more)))


@pytest.mark.parametrize("name", ATTACKS)
def test_disparity_rises_more_than_by_random_rows(name, at_random):
  more = over_seeds(ATTACKS[name]) - at_random
  assert rises(more[:, 1]) > 2 and rises(more[:, 2]) > 2


def test_chang_s_second_algorithm_costs_a_plain_model_accuracy_and_not_fairness(at_random):
  more = over_seeds(lambda pool: noise.chang(RATE, pool, algorithm=2)) - at_random
  assert rises(more[:, 0]) < -2
  assert rises(more[:, 1]) < 2
