"""The linear program of optimized pre-processing, solved in a fixed number of steps."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from rfjax.core import ratio

Program = Callable[..., tuple[jax.Array, jax.Array, jax.Array]]

_ROUND = 500  # at most, steps between two restarts from their average


def least_change(
  joint: jax.Array, far: jax.Array, classes: int, epsilon: Any, limits: Any, steps: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """The least change of pairs of cell and label that meets the constraints.

  Args:
    joint: the probability of each group and pair, [G, K].
    far: whether a pair that becomes another one counts for each threshold, [thresholds, K, K].
    classes: C; the label of pair k is k modulo C.
    epsilon: how far apart the label rates of two groups may be.
    limits: how likely each pair may become a far one, [thresholds].
    steps: of the solver, at least; it takes a few more to have rounds of equal length.

  Returns:
    The change [G, K, K], the total variation [], and by how much the worst constraint is missed.
  """
  limits = jnp.asarray(limits, joint.dtype)
  program = _program(joint, far.astype(joint.dtype), classes)
  change = _solve(program, joint, epsilon, limits, steps)
  pair, rate, distorted = program(change)
  missed = (jnp.abs(rate) - epsilon, distorted - limits[:, None])
  excess = jnp.max(jnp.concatenate([jnp.ravel(m) for m in missed]), initial=0)
  return change, jnp.sum(jnp.abs(pair - jnp.sum(joint, axis=0))) / 2, excess


def _program(joint: jax.Array, far: jax.Array, classes: int) -> Program:
  """What the program looks at, linear in the change [G, K, K]; with sign=1 without minus signs.

  Returns:
    The function, whose value is the pairs afterwards [K], the differences of label rates of two
    groups [pairs of groups, C], and the chances of a distortion [thresholds, K].
  """
  in_group = ratio(joint, jnp.sum(joint, axis=1, keepdims=True))
  of_pair = ratio(joint, jnp.sum(joint, axis=0))
  label = jax.nn.one_hot(jnp.arange(joint.shape[1]) % classes, classes, dtype=joint.dtype)
  one, other = np.triu_indices(joint.shape[0], 1)
  there = (jnp.sum(joint, axis=1) > 0).astype(joint.dtype)
  both = (there[one] * there[other])[:, None]

  def look(change: jax.Array, sign: float = -1.0) -> tuple[jax.Array, jax.Array, jax.Array]:
    sums = lambda by: jnp.einsum("gi,gij->gj", by, change, precision="highest")
    rate = jnp.matmul(sums(in_group), label, precision="highest")
    distorted = jnp.einsum("gi,gij,tij->ti", of_pair, change, far, precision="highest")
    return jnp.sum(sums(joint), axis=0), both * (rate[one] + sign * rate[other]), distorted

  return look


def _solve(
  program: Program, joint: jax.Array, epsilon: Any, limits: jax.Array, steps: int
) -> jax.Array:
  """The primal-dual hybrid gradient method with diagonal steps, restarted from averages."""
  groups, pairs = joint.shape
  # To change nothing is the start, so that it is the end where nothing has to change.
  start = jnp.broadcast_to(jnp.eye(pairs, dtype=joint.dtype), (groups, pairs, pairs))
  plain = lambda change: program(change, 1.0)
  back = jax.linear_transpose(program, start)
  rows = plain(jnp.ones_like(start))
  columns = jax.linear_transpose(plain, start)(jax.tree.map(jnp.ones_like, rows))[0]
  dual_step = jax.tree.map(lambda row: ratio(jnp.ones_like(row), row), rows)
  widest = jnp.max(columns, axis=2, keepdims=True)
  step = ratio(jnp.ones_like(widest), widest)
  target = jnp.sum(joint, axis=0)

  to_simplex = jax.vmap(jax.vmap(optax.projections.projection_simplex))

  def move(_: Any, at: tuple) -> tuple:
    change, dual, sums = at
    new = to_simplex(change - step * back(dual)[0])
    pair, rate, distorted = program(2 * new - change)
    shift, gap, cost = dual
    gap += dual_step[1] * rate
    dual = (
      jnp.clip(shift + dual_step[0] * (pair - target), -0.5, 0.5),
      jnp.sign(gap) * jnp.maximum(jnp.abs(gap) - dual_step[1] * epsilon, 0),
      jnp.maximum(cost + dual_step[2] * (distorted - limits[:, None]), 0),
    )
    return new, dual, jax.tree.map(jnp.add, sums, (new, dual))

  rounds = -(-steps // _ROUND)
  length = -(-steps // rounds)

  def restart(_: Any, at: tuple) -> tuple:
    zero = jax.tree.map(jnp.zeros_like, at)
    *_, sums = jax.lax.fori_loop(0, length, move, (*at, zero))
    return jax.tree.map(lambda total: total / length, sums)

  at = (start, jax.tree.map(jnp.zeros_like, rows))
  return jax.lax.fori_loop(0, rounds, restart, at)[0]
