"""The two models that Chang et al.'s attacker trains, and how each scores a candidate."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from rfjax.core import group_sum, logistic_regression, ratio

# Full precision also where a device would take a shorter one: which row is best hangs on it.
_dot = functools.partial(jnp.matmul, precision="highest")

Theta = tuple[jax.Array, jax.Array]


class Points(NamedTuple):
  """Labelled points for a linear model.

  Attributes:
    x: features [N, d].
    sign: 2 y - 1, [N].
    cell: the one-hot place of (group, y) among 4, [N, 4]; rows of zeros do not count.
  """

  x: jax.Array
  sign: jax.Array
  cell: jax.Array

  @classmethod
  def of(cls, x: jax.Array, y: jax.Array, group: jax.Array, valid: jax.Array) -> "Points":
    """Makes points of rows x [N, ...], with labels 0 or 1 and groups 0 or 1."""
    x = x.reshape(x.shape[0], -1)
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    cell = jax.nn.one_hot(2 * group + y, 4, dtype=x.dtype) * valid[:, None]
    return cls(x, (2 * y - 1).astype(x.dtype), cell)

  def margin(self, theta: Theta) -> jax.Array:
    """sign * (x kernel + bias), [N]."""
    return self.sign * (_dot(self.x, theta[0]) + theta[1])

  def at(self, row: jax.Array) -> "Points":
    """One of the points, as [1, ...]."""
    return jax.tree.map(lambda v: v[row][None], self)


class Attacker(NamedTuple):
  """What a round of the attack needs.

  Attributes:
    start: the state of the model.
    score: `score(state)`, of each candidate [M]; the largest is taken.
    move: `move(state, row)`, the state after training on the data and on the candidate taken.
  """

  start: Any
  score: Callable[[Any], jax.Array]
  move: Callable[[Any, jax.Array], Any]


def gaps(
  data: Points, values: jax.Array, pool: Points, pool_values: jax.Array, copies: jax.Array
) -> jax.Array:
  r"""How far the group means of a value lie apart, where one candidate is copied into the data.

  $$\Delta_y(p) = |\mu_{0y} - \mu_{1y}|, \qquad \mu_{gy} =
  \frac{\sum_{i \in (g,y)} v_i + m\,[p \in (g,y)]\,v_p}{n_{gy} + m\,[p \in (g,y)]}$$

  Args:
    data: the data.
    values: v of the data, [N].
    pool: the candidates p.
    pool_values: v of the candidates, [M].
    copies: m, [].

  Returns:
    The gaps for labels 0 and 1, [M, 2]; 0 where a group has no rows.
  """
  size = group_sum(jnp.ones_like(values), data.cell) + copies * pool.cell
  total = group_sum(values, data.cell) + copies * pool.cell * pool_values[:, None]
  mean, known = ratio(total, size).reshape(-1, 2, 2), (size > 0).reshape(-1, 2, 2).all(axis=1)
  return jnp.where(known, jnp.abs(mean[:, 0] - mean[:, 1]), 0)


def online(
  data: Points,
  pool: Points,
  copies: jax.Array,
  gap_weight: Any,
  learning_rate: Any,
  l2: Any,
  key: jax.Array,
) -> Attacker:
  """The attacker of algorithm 1: a linear model with hinge loss and a linear equalized odds gap."""
  loss = lambda margin: jax.nn.relu(1 - margin)
  rows = jnp.maximum(jnp.sum(data.cell), 1)

  def harm(theta: Theta, points: Points) -> jax.Array:
    margin, other = data.margin(theta), points.margin(theta)
    gap = gaps(data, (1 - margin) / 2, points, (1 - other) / 2, copies)
    return loss(other) + gap_weight * jnp.sum(gap, axis=1)

  def objective(theta: Theta, row: jax.Array) -> jax.Array:
    clean = jnp.sum(loss(data.margin(theta)) * data.cell.sum(axis=1))
    risk = (clean + copies * harm(theta, pool.at(row))[0]) / rows
    return risk + l2 * jnp.sum(theta[0] ** 2)

  def move(theta: Theta, row: jax.Array) -> Theta:
    step = lambda v, g: v - learning_rate * g
    return jax.tree.map(step, theta, jax.grad(objective)(theta, row))

  start = jax.random.uniform(key, (data.x.shape[1] + 1,), data.x.dtype)
  return Attacker((start[:-1], start[-1]), lambda theta: harm(theta, pool), move)


def greedy(
  data: Points, pool: Points, copies: jax.Array, gap_weight: Any, learning_rate: Any
) -> Attacker:
  """The attacker of algorithm 2: a logistic regression and its exact equalized odds gap."""
  adam = optax.adam(learning_rate)
  wrong = lambda margin: (margin <= 0).astype(margin.dtype)
  used = data.cell.sum(axis=1)

  def score(state: tuple[Theta, Any]) -> jax.Array:
    margin, other = data.margin(state[0]), pool.margin(state[0])
    gap = gaps(data, wrong(margin), pool, wrong(other), copies)
    return jax.nn.softplus(-other) + gap_weight * jnp.max(gap, axis=1)

  def risk(theta: Theta, row: jax.Array) -> jax.Array:
    clean = jnp.sum(jax.nn.softplus(-data.margin(theta)) * used)
    added = copies * jax.nn.softplus(-pool.at(row).margin(theta))[0]
    return (clean + added) / jnp.maximum(jnp.sum(used), 1)

  def move(state: tuple[Theta, Any], row: jax.Array) -> tuple[Theta, Any]:
    theta, memory = state
    step, memory = adam.update(jax.grad(risk)(theta, row), memory)
    return jax.tree.map(jnp.add, theta, step), memory

  theta = logistic_regression(data.x, data.sign > 0, weight=used)
  return Attacker((theta, adam.init(theta)), score, move)
