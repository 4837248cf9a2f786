"""Van et al.'s poisoning of fair learning: one row after another, by loss and unfairness."""

from typing import Any

import jax
import jax.numpy as jnp

from rfjax.core import Batch, Transform, _check, group_sum, stateless, uniform
from rfjax.noise import _append
from rfjax.noise._append import Rows
from rfjax.noise._chang_models import Points, Theta, gaps
from rfjax.noise._draws import select

STATISTICS = ("equalized_odds", "demographic_parity")
KINDS = ("sampling", "label_flip", "feature_change")
_L2 = {"equalized_odds": 1.0, "demographic_parity": 0.0}


def van(
  rate: float | jax.Array,
  pool: Batch,
  *,
  statistic: str = "equalized_odds",
  alpha: float | jax.Array = 0.5,
  gamma: float | jax.Array = 150.0,
  kind: str = "sampling",
  flip_rate: float | jax.Array = 0.15,
  columns: tuple[int, ...] | None = None,
  gap_weight: float | jax.Array = 5.0,
  steps: int = 2000,
  learning_rate: float | jax.Array = 1e-3,
  l2: float | jax.Array | None = None,
  capacity: int | None = None,
) -> Transform:
  r"""Appends the rows of a pool that harm a fair linear model's accuracy and fairness most (PFML).

  A model $u = x^\top k + b$ descends on the data D, from uniform draws in [0, 1), on

  $$F(\theta, D) = \frac{1}{|D|} \sum_{i \in D} \max(0, 1 - s_i u_i) + L\, \Delta(\theta, D) +
  r \lVert k \rVert^2, \qquad s = 2 y - 1.$$

  Then, floor(epsilon n) times, of the candidates that are left

  $$p = \arg\max_p\; \alpha \max(0, 1 - s_p u_p) +
  (1 - \alpha)\, \gamma\, \Delta\bigl(\theta, D \cup D_p \cup \{p\}\bigr)$$

  joins the poison D_p, and the model takes one step on $F(\theta, D \cup D_p)$. For equalized odds
  $\Delta = \sum_y |\mu_{0y} - \mu_{1y}|$, of the means of (1 - s u) / 2 by group and label, 0 where
  a group has no rows; for demographic parity $\Delta = (\tfrac1n \sum_i (z_i - \bar z)\, u_i)^2$,
  for which the authors keep z out of x. Their code divides the gap's gradient by n in the bias.
  `truth` says of an appended row what the pool says of it. Apply it by `rfjax.transform`.

  Args:
    rate: epsilon in [0, 1], appended rows as a share of the valid rows; may be traced.
    pool: the rows that candidates are made of, of the same features, two classes and two groups,
      such as clean rows that were held out and rows that a model gets wrong.
    statistic: "equalized_odds" or "demographic_parity".
    alpha: in [0, 1], from unfairness to loss; the authors try 0, 0.2, 0.5, 0.8 and 1. May be
      traced.
    gamma: at least 0; may be traced.
    kind: candidates are the pool as it is ("sampling"), with some labels flipped ("label_flip"),
      or the pool and a copy of it with one binary feature of each row changed ("feature_change").
    flip_rate: the share of the pool's labels that are flipped, in [0, 1]; may be traced.
    columns: the binary features that may be changed, of x as [N, d]; one is drawn for each row, and
      gets the other one of its two values in the data.
    gap_weight: L, at least 0; may be traced.
    steps: of the descent on the data alone.
    learning_rate: of the descent, above 0; may be traced.
    l2: r, at least 0; as in the authors' code 1 for equalized odds and 0 for demographic parity
      when None. May be traced.
    capacity: slots for appended rows, of which those that the rate leaves over are padding; needed
      where the rate is traced. What the rate makes of all rows when None.

  Returns:
    The transform, of data sets with two classes and two groups.

  Raises:
    ValueError: for values out of range, or a pool of another kind than the data; when applied, for
      too few candidates.

  References:
    Van, Du, Wu, Lu, Poisoning Attacks on Fair Machine Learning, DASFAA 2022.

  Examples:
    >>> import jax, rfjax
    >>> from rfjax import data, noise
    >>> clean, pool = (data.zafar(jax.random.key(seed), 100) for seed in (0, 1))
    >>> attack = noise.van(0.1, pool, steps=50)
    >>> poisoned = rfjax.transform(attack, clean, key=jax.random.key(0))
    >>> poisoned.num_rows, poisoned.index[-1].item()
    (110, 109)
  """
  _append.check_rate(rate, capacity)
  _check.choice("statistic", statistic, STATISTICS)
  _check.choice("kind", kind, KINDS)
  _check.number("alpha", alpha, 0.0, 1.0)
  _check.number("flip_rate", flip_rate, 0.0, 1.0)
  l2 = _L2[statistic] if l2 is None else l2
  for name, value in {"gamma": gamma, "gap_weight": gap_weight, "l2": l2}.items():
    _check.number(name, value, 0.0, open_high=True)
  _check.number("learning_rate", learning_rate, 0.0, open_low=True, open_high=True)
  steps = _check.count("steps", steps, 0)
  if kind == "feature_change" and not columns:
    raise ValueError("columns must name features for feature_change, such as columns=(0, 1)")
  for column in columns or ():
    _check.count("columns", column, 0)
  _append.check_pool("van", pool)

  def apply(batch: Batch, *, key: jax.Array, **unused: Any) -> Batch:
    del unused
    _append.check_data("van", batch)
    live = _append.slots(rate, capacity, batch)
    start_key, draw_key = jax.random.split(key)
    rows, valid = _candidates(batch, pool, kind, flip_rate, columns, draw_key)
    _append.check_candidates(batch, rows, valid, live.size)
    data = Points.of(batch.x, batch.y, batch.group, batch.valid)
    candidates = Points.of(rows.x, rows.y, rows.group, valid)
    start = jax.random.uniform(start_key, (data.x.shape[1] + 1,), data.x.dtype)

    def joined(used: jax.Array) -> Points:
      """The data and the poison."""
      poison = candidates._replace(cell=candidates.cell * used[:, None])
      return jax.tree.map(lambda a, b: jnp.concatenate([a, b]), data, poison)

    def step(theta: Theta, points: Points) -> Theta:
      slope = jax.grad(_objective)(theta, points, statistic, gap_weight, l2)
      return jax.tree.map(lambda v, g: v - learning_rate * g, theta, slope)

    def turn(carry: tuple[Theta, jax.Array], unused: None) -> tuple[Any, jax.Array]:
      theta, used = carry
      gap = _gaps(theta, joined(used), candidates, jnp.ones((), data.x.dtype), statistic)
      loss = jax.nn.relu(1 - candidates.margin(theta))
      score = jnp.where(valid & ~used, alpha * loss + (1 - alpha) * gamma * gap, -jnp.inf)
      row = jnp.argmax(score)
      used = used.at[row].set(True)
      return (step(theta, joined(used)), used), row

    theta = jax.lax.fori_loop(0, steps, lambda _, t: step(t, data), (start[:-1], start[-1]))
    none = jnp.zeros(valid.shape, bool)
    taken = jax.lax.scan(turn, (theta, none), length=live.size)[1]
    return _append.append(batch, jax.tree.map(lambda v: v[taken], rows), live)

  return stateless(apply, writes=_append.WRITES)


def _candidates(
  batch: Batch, pool: Batch, kind: str, flip_rate: Any, columns: Any, key: jax.Array
) -> tuple[Rows, jax.Array]:
  """The candidates, and which of them are valid."""
  rows, u = _append.rows_of(pool), uniform(key, pool)
  if kind == "sampling":
    return rows, pool.valid
  if kind == "label_flip":
    struck = select(u, flip_rate, pool, exact_count=True)
    return rows._replace(y=jnp.where(struck, 1 - rows.y, rows.y)), pool.valid
  x, flat = batch.x.reshape(batch.num_rows, -1), rows.x.reshape(pool.num_rows, -1)
  if max(columns) >= flat.shape[1]:
    raise ValueError(f"columns must lie in [0, {flat.shape[1]}), got {max(columns)}")
  place = jnp.minimum((u * len(columns)).astype(jnp.int32), len(columns) - 1)
  chosen = jax.nn.one_hot(jnp.asarray(columns)[place], flat.shape[1], dtype=bool)
  known = batch.valid[:, None]
  both = jnp.min(x, axis=0, where=known, initial=jnp.inf) + jnp.max(
    x, axis=0, where=known, initial=-jnp.inf
  )
  changed = rows._replace(x=jnp.where(chosen, both - flat, flat).reshape(rows.x.shape))
  join = lambda a, b: jnp.concatenate([a, b])
  return jax.tree.map(join, rows, changed), join(pool.valid, pool.valid)


def _gaps(
  theta: Theta, data: Points, points: Points, copies: jax.Array, statistic: str
) -> jax.Array:
  """The gap of the data, each time with copies of one of the points, [M]."""
  margin, other = data.margin(theta), points.margin(theta)
  if statistic == "equalized_odds":
    return jnp.sum(gaps(data, (1 - margin) / 2, points, (1 - other) / 2, copies), axis=1)
  group, added = (p.cell.reshape(-1, 2, 2).sum(axis=2) for p in (data, points))
  size = jnp.sum(group, axis=0) + copies * added
  total = group_sum(data.sign * margin, group) + copies * added * (points.sign * other)[:, None]
  rows = jnp.maximum(jnp.sum(size, axis=1), 1)
  return ((total[:, 1] - size[:, 1] / rows * jnp.sum(total, axis=1)) / rows) ** 2


def _objective(theta: Theta, points: Points, statistic: str, gap_weight: Any, l2: Any) -> jax.Array:
  """F of the points."""
  used = jnp.sum(points.cell, axis=1)
  loss = jnp.sum(jax.nn.relu(1 - points.margin(theta)) * used) / jnp.maximum(jnp.sum(used), 1)
  gap = _gaps(theta, points, points.at(jnp.zeros((), int)), jnp.zeros((), loss.dtype), statistic)
  return loss + gap_weight * gap[0] + l2 * jnp.sum(theta[0] ** 2)
