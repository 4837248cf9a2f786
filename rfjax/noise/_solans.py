"""Solans et al.'s gradient-based poisoning: points that drive the scores of two groups apart."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rfjax.core import Batch, Transform, _check, logistic_regression, rank, uniform
from rfjax.noise import _append
from rfjax.noise._append import Rows
from rfjax.noise._draws import check_width


def _dot(a: jax.Array, b: jax.Array) -> jax.Array:
  # Full precision also where a device would take a shorter one: the gradient is a small difference.
  return jnp.matmul(a, b, precision="highest")


class SolansState(NamedTuple):
  """What the attacker takes from the validation data.

  Attributes:
    x: features [V, d].
    target: the label that each row is driven away from, 1 for the unprivileged, [V].
    weight: one over the size of the row's group, 0 for padding, [V].
    low: the smallest value of each feature, [d].
    high: the largest value of each feature, [d].
  """

  x: jax.Array
  target: jax.Array
  weight: jax.Array
  low: jax.Array
  high: jax.Array


def attacker_loss(kernel: jax.Array, intercept: jax.Array, state: SolansState) -> jax.Array:
  """What the attacker raises: the loss of target, averaged in each group and summed, []."""
  score = _dot(state.x, kernel) + intercept
  return jnp.sum(state.weight * jax.nn.softplus((1 - 2 * state.target) * score))


def poison_gradient(
  x: jax.Array, y: jax.Array, weight: jax.Array, row: jax.Array, state: SolansState, **fit: Any
) -> tuple[jax.Array, jax.Array]:
  r"""The attacker's loss after a refit, and its gradient in one training point.

  $$\nabla_{x_p} A = -\bigl[r_p\, a_k + \sigma_p' \,(\tilde x_p^\top a)\, k\bigr], \qquad
  a = H^{-1} \nabla_\theta A, \quad r_p = \sigma_p - y_p$$

  which is $(\partial \theta / \partial x_p)^\top \nabla_\theta A$ at the optimum theta = (k, b) of
  the training objective with Hessian H, where $\sigma_p$ is the sigmoid of the point's score,
  $\tilde x_p = (x_p, 1)$, and $a_k$ is a without its last entry.

  Args:
    x: training features [N, d].
    y: training labels [N], 0 or 1.
    weight: training weights [N].
    row: the number p of the point, [].
    state: the attacker's view of the validation data.
    **fit: l2 and steps of `logistic_regression`.

  Returns:
    The loss A [] and its gradient [d].
  """
  kernel, intercept = logistic_regression(x, y, weight=weight, **fit)
  loss, pull = jax.value_and_grad(attacker_loss, (0, 1))(kernel, intercept, state)
  rows = jnp.pad(x, ((0, 0), (0, 1)), constant_values=1)
  prob = jax.nn.sigmoid(_dot(x, kernel) + intercept)
  slope = weight * prob * (1 - prob)
  ridge = jnp.full(rows.shape[1], fit["l2"], x.dtype).at[-1].set(0)
  hessian = _dot(rows.T, slope[:, None] * rows) + jnp.diag(ridge)
  direction = jnp.linalg.solve(hessian, jnp.append(*pull))
  turn = slope[row] * jnp.sum(rows[row] * direction) * kernel
  return loss, -(weight[row] * (prob[row] - y[row]) * direction[:-1] + turn)


def solans(
  rate: float | jax.Array,
  *,
  privileged: int | jax.Array = 1,
  steps: int = 100,
  step_size: float | jax.Array = 0.05,
  l2: float | jax.Array = 1.0,
  newton_steps: int = 10,
  capacity: int | None = None,
) -> Transform:
  r"""Appends points moved by gradient ascent until a logistic regression favours one group.

  The points start as random training rows with the other label, all in the data, and one after the
  other climbs

  $$x_p \leftarrow \Pi\bigl(x_p + \eta\, \nabla_{x_p} A / \lVert \nabla_{x_p} A \rVert\bigr), \qquad
  A = \frac{1}{n_0} \sum_{g_i = u} \log(1 + e^{-s_i}) + \frac{1}{n_1} \sum_{g_i = v}
  \log(1 + e^{s_i})$$

  where s are the scores, on validation data, of the logistic regression that is refitted at each
  step, u is the unprivileged group and v the privileged one: so the scores of the one are driven
  down and of the other up. The gradient goes through the refit by the implicit function theorem;
  the box of the projection is the range of each feature in the validation data; of its path a point
  keeps the best place. The paper weighs the groups alike and takes labels by group, as is done
  here, whereas in the authors' code the loss of each row has the same sign.

  Give the validation data by `rfjax.transform(..., fitted_on=)`. An appended row keeps the group of
  its start, and `truth` says what is true of its start.

  Args:
    rate: appended rows as a share of the valid rows, in [0, 1]; may be traced.
    privileged: the group v, 0 or 1; may be traced.
    steps: steps of each point, at least 1; the authors stop after at most 1000.
    step_size: eta, above 0, in units of x; may be traced.
    l2: penalty of the logistic regression, above 0; may be traced.
    newton_steps: Newton steps of each refit, at least 1.
    capacity: slots for appended rows, of which those that the rate leaves over are padding; needed
      where the rate is traced. What the rate makes of all rows when None.

  Returns:
    The transform, of data sets with two classes and two groups.

  Raises:
    ValueError: for values out of range; when applied, for data of another kind, or validation data
      of one group alone.

  References:
    Solans, Biggio, Castillo, Poisoning Attacks on Algorithmic Fairness, ECML PKDD 2020.

  Examples:
    >>> import jax, rfjax
    >>> from rfjax import data, noise
    >>> clean, held_out = (data.zafar(jax.random.key(seed), 60) for seed in (0, 1))
    >>> attack = noise.solans(0.05, steps=5)
    >>> poisoned = rfjax.transform(attack, clean, key=jax.random.key(0), fitted_on=held_out)
    >>> poisoned.num_rows, bool((poisoned.y[60:] != poisoned.truth.y[60:]).all())
    (63, True)
  """
  _append.check_rate(rate, capacity)
  _append.check_side("privileged", privileged)
  steps = _check.count("steps", steps)
  _check.number("step_size", step_size, 0.0, open_low=True)
  _check.number("l2", l2, 0.0, open_low=True)
  fit = {"l2": l2, "steps": _check.count("newton_steps", newton_steps)}

  def init(data: Batch, **unused: Any) -> SolansState:
    del unused
    _append.check_data("solans", data, moves=True)
    _check_groups(data)
    return _view(data, privileged)

  def update(
    batch: Batch, state: SolansState, params: Any = None, *, key: jax.Array, **unused: Any
  ) -> tuple[Batch, SolansState]:
    del params, unused
    _append.check_data("solans", batch, moves=True)
    live = _append.slots(rate, capacity, batch)
    start = _starts(batch, live.size, key)
    x = _flat(jnp.concatenate([batch.x, start.x]))
    check_width("solans", "features", state.low.size, x.shape[1])
    y = jnp.concatenate([batch.y, start.y])
    weight = jnp.concatenate([batch.valid, live]).astype(x.dtype)
    x = x.at[batch.num_rows :].set(jnp.clip(x[batch.num_rows :], state.low, state.high))

    def climb(slot: jax.Array, x: jax.Array) -> jax.Array:
      row = batch.num_rows + slot
      gradient = lambda at: poison_gradient(x.at[row].set(at), y, weight, row, state, **fit)
      return x.at[row].set(_ascend(gradient, x[row], state, step_size, steps))

    x = jax.lax.fori_loop(0, live.size, climb, x)[batch.num_rows :]
    return _append.append(batch, start._replace(x=x.reshape(start.x.shape)), live), state

  return Transform(init, update, writes=_append.WRITES)


def _flat(x: jax.Array) -> jax.Array:
  """Features as [N, d], in float32 at least: in half precision points would climb by rounding."""
  return x.reshape(x.shape[0], -1).astype(jnp.promote_types(x.dtype, jnp.float32))


def _check_groups(data: Batch) -> None:
  """Refuses validation data in which one of the two groups is known to have no row."""
  if _check.traced(data.group, data.valid):
    return
  found = np.asarray(data.group)[np.asarray(data.valid)]
  missing = [g for g in range(2) if not (found == g).any()]
  if missing:
    raise ValueError(
      f"solans needs validation data of both groups, got no row of group {missing[0]}: pass other"
      " rows as fitted_on="
    )


def _view(data: Batch, privileged: Any) -> SolansState:
  """The attacker's view of validation data."""
  x = _flat(data.x)
  target = (data.group != privileged).astype(x.dtype)
  sizes = jnp.sum(data.membership, axis=0)
  weight = data.valid / jnp.maximum(sizes[jnp.minimum(data.group, 1)], 1)
  valid = data.valid[:, None]
  low, high = jnp.where(valid, x, jnp.inf).min(axis=0), jnp.where(valid, x, -jnp.inf).max(axis=0)
  return SolansState(x, target, weight.astype(x.dtype), low, high)


def _starts(batch: Batch, slots: int, key: jax.Array) -> Rows:
  """Rows of the data in random order, each with the other label."""
  place = rank(jnp.where(batch.valid, uniform(key, batch), jnp.inf), batch.index)
  order = jnp.zeros_like(place).at[place].set(jnp.arange(batch.num_rows, dtype=jnp.int32))
  source = order[jnp.arange(slots) % jnp.maximum(jnp.sum(batch.valid), 1)]
  rows = jax.tree.map(lambda v: v[source], _append.rows_of(batch))
  return rows._replace(y=1 - rows.y)


def _ascend(
  gradient: Any, start: jax.Array, state: SolansState, step_size: Any, steps: int
) -> jax.Array:
  """The best place on a path of normalised gradient steps in the box, [d]."""

  def step(unused: jax.Array, carry: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
    del unused
    at, best, top = carry
    loss, slope = gradient(at)
    best, top = jnp.where(loss > top, at, best), jnp.maximum(loss, top)
    slope /= jnp.maximum(jnp.linalg.norm(slope), jnp.finfo(at.dtype).tiny)
    return jnp.clip(at + step_size * slope, state.low, state.high), best, top

  lowest = jnp.asarray(-jnp.inf, start.dtype)
  # Once more than there are steps: a place is judged only where the next one would begin.
  return jax.lax.fori_loop(0, steps + 1, step, (start, start, lowest))[1]
