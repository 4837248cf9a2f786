"""Chang et al.'s poisoning of fair learning: the rows of a pool that hurt equalized odds most."""

from typing import Any

import jax
import jax.numpy as jnp

from rfjax.core import Batch, Transform, _check, stateless
from rfjax.noise import _append
from rfjax.noise._append import Rows
from rfjax.noise._chang_models import Attacker, Points, greedy, online

_GAP_WEIGHT = {1: 1.0, 2: 100.0}
_STEPS = {1: 2000, 2: 1000}
_LONG_AGO = -(2**30)


def chang(
  rate: float | jax.Array,
  pool: Batch,
  *,
  algorithm: int = 1,
  flip: bool = True,
  gap_weight: float | jax.Array | None = None,
  steps: int | None = None,
  learning_rate: float | jax.Array = 1e-3,
  l2: float | jax.Array = 1.0,
  capacity: int | None = None,
) -> Transform:
  r"""Appends the rows of a pool that harm a model, and its equalized odds, most while it learns.

  $$p_t = \arg\max_p\; \ell(\theta_t; p) + L\, \Delta\bigl(\theta_t, D \cup \{p\}^m\bigr), \qquad
  m = \lfloor \varepsilon n \rfloor$$

  after which the model takes one step on the data D and on m copies of $p_t$; the last m rows taken
  are the poison. As in the authors' code, a row is not taken again while it is among the last m - 1
  in algorithm 1, and among the last m in algorithm 2. With labels s = 2 y - 1 and outputs
  $u = x^\top k + b$,

  1. algorithm 1 has the hinge loss, and $\Delta = \sum_y |\mu_{0y} - \mu_{1y}|$ of the means of
     (1 - s u) / 2 by group and label. It starts from uniform draws in [0, 1) and moves by
     $\eta \nabla \bigl[\tfrac1n (\sum_D \ell + m \ell_p + m L \Delta) + r \lVert k \rVert^2\bigr]$;
  2. algorithm 2 has the logistic loss, and $\Delta = \max_y |\mu_{0y} - \mu_{1y}|$ of the error
     rates. It starts from the logistic regression of D and moves by one full-batch step of Adam on
     $\tfrac1n (\sum_D \ell + m\, \ell_p)$, where the authors take an epoch of minibatches.

  Each gap is that of the candidate alone; the authors' code of algorithm 1 adds up those of all
  candidates before it, and divides the gap's gradient by n in the bias. `truth` says of an appended
  row what the pool says of it before its label is flipped. Apply it by `rfjax.transform`.

  Args:
    rate: epsilon in [0, 1], appended rows as a share of the valid rows; may be traced.
    pool: the candidates, of the same features, two classes and two groups, such as clean rows that
      were held out and rows that a model gets wrong.
    algorithm: 1 or 2.
    flip: whether each candidate comes with the other label too (adversarial labelling), or only as
      it is (adversarial sampling).
    gap_weight: L, at least 0, in the paper lambda / epsilon; the authors take 1 in algorithm 1 and
      100 in algorithm 2, as is done when None. May be traced.
    steps: rows taken, at least as many as are appended; 2000 in algorithm 1 and 1000 in algorithm 2
      when None.
    learning_rate: eta, or the one of Adam, above 0; may be traced.
    l2: r of algorithm 1, at least 0; may be traced.
    capacity: slots for appended rows, of which those that the rate leaves over are padding; needed
      where the rate is traced. What the rate makes of all rows when None.

  Returns:
    The transform, of data sets with two classes and two groups.

  Raises:
    ValueError: for values out of range, or a pool of another kind than the data; when applied, for
      too few candidates or steps.

  References:
    Chang, Nguyen, Murakonda, Kazemi, Shokri, On Adversarial Bias and the Robustness of Fair Machine
    Learning, arXiv 2020.

  Examples:
    >>> import jax, rfjax
    >>> from rfjax import data, noise
    >>> clean, pool = (data.zafar(jax.random.key(seed), 100) for seed in (0, 1))
    >>> attack = noise.chang(0.1, pool, steps=50)
    >>> poisoned = rfjax.transform(attack, clean, key=jax.random.key(0))
    >>> poisoned.num_rows, poisoned.index[-1].item()
    (110, 109)
  """
  _append.check_rate(rate, capacity)
  _check.choice("algorithm", algorithm, (1, 2))
  gap_weight = _GAP_WEIGHT[algorithm] if gap_weight is None else gap_weight
  _check.number("gap_weight", gap_weight, 0.0)
  steps = _check.count("steps", _STEPS[algorithm] if steps is None else steps)
  _check.number("learning_rate", learning_rate, 0.0, open_low=True)
  _check.number("l2", l2, 0.0)
  _append.check_pool("chang", pool)

  def apply(batch: Batch, *, key: jax.Array, **unused: Any) -> Batch:
    del unused
    _append.check_data("chang", batch)
    live = _append.slots(rate, capacity, batch)
    rows, valid = _candidates(pool, flip)
    _check_pool(batch, rows, valid, live.size, steps, algorithm)
    data = Points.of(batch.x, batch.y, batch.group, batch.valid)
    candidates = Points.of(rows.x, rows.y, rows.group, valid)
    copies = jnp.sum(live).astype(data.x.dtype)
    if algorithm == 1:
      attacker = online(data, candidates, copies, gap_weight, learning_rate, l2, key)
    else:
      attacker = greedy(data, candidates, copies, gap_weight, learning_rate)
    taken = _take_turns(attacker, valid, jnp.sum(live) - (algorithm == 1), steps)
    last = taken[jnp.clip(steps - jnp.sum(live) + jnp.arange(live.size), max=steps - 1)]
    return _append.append(batch, jax.tree.map(lambda v: v[last], rows), live)

  return stateless(apply, writes=_append.WRITES)


def _candidates(pool: Batch, flip: bool) -> tuple[Rows, jax.Array]:
  """The rows of the pool, and if wanted again with the other label; which of them are valid."""
  rows = _append.rows_of(pool)
  if not flip:
    return rows, pool.valid
  double = lambda a, b: jnp.concatenate([a, b])
  rows = jax.tree.map(double, rows, rows._replace(y=1 - pool.y))
  return rows, double(pool.valid, pool.valid)


def _check_pool(
  batch: Batch, rows: Rows, valid: jax.Array, slots: int, steps: int, algorithm: int
) -> None:
  known = _append.check_candidates(batch, rows, valid, slots)
  if algorithm == 2 and known == slots < steps:
    raise ValueError(
      f"pool has {known} candidates for {slots} rows, and algorithm 2 needs one more: lower the"
      " rate, or widen it"
    )
  if steps < slots:
    raise ValueError(f"steps must be at least the {slots} rows to append, got {steps}")


def _take_turns(attacker: Attacker, valid: jax.Array, barred: jax.Array, steps: int) -> jax.Array:
  """The candidates taken one after another, int32 [steps], none of the last `barred` ones again."""

  def turn(carry: tuple[Any, jax.Array], step: jax.Array) -> tuple[Any, jax.Array]:
    state, last = carry
    free = valid & (step - last > barred)
    row = jnp.argmax(jnp.where(free, attacker.score(state), -jnp.inf))
    return (attacker.move(state, row), last.at[row].set(step)), row

  last = jnp.full(valid.size, _LONG_AGO, jnp.int32)
  return jax.lax.scan(turn, (attacker.start, last), jnp.arange(steps, dtype=jnp.int32))[1]
