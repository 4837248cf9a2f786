"""Slice Tuner: how many rows of each slice to buy, by its learning curve and its price."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from rfjax.core import _check, ratio
from rfjax.fairness.preprocessing import _acquisition
from rfjax.fairness.preprocessing._learning_curve import LearningCurve, learning_curve

_BISECTIONS = 60
_AVERAGES = ("others", "all")
_STRATEGIES = ("one_shot", "conservative", "moderate", "aggressive")
_FIRST_LIMIT = 1.0


class SliceTuner(NamedTuple):
  """What `slice_tuner` bought.

  Attributes:
    count: int32 [S], the new rows of each slice.
    bought: int32 [rounds, S], those of each round; 0 in rounds that bought nothing.
    left: [], what is left of the budget.
    curve: the curves [S] of the last round.
  """

  count: jax.Array
  bought: jax.Array
  left: jax.Array
  curve: LearningCurve


def slice_plan(
  curve: LearningCurve,
  size: ArrayLike,
  budget: float | jax.Array,
  *,
  cost: ArrayLike = 1.0,
  fairness: float | jax.Array = 1.0,
  average: str | ArrayLike = "others",
) -> jax.Array:
  r"""The rows that lower the losses of slices, and what is unfair in them, most for a budget.

  $$\min_{d \ge 0}\; \sum_s L_s(n_s + d_s)
  + \lambda \sum_s \max\Bigl(0, \frac{L_s(n_s + d_s)}{A_s} - 1\Bigr)
  \quad\text{with}\quad \sum_s C_s d_s = \mathrm{budget}$$

  with curves $L_s(n) = b_s n^{-a_s} + c_s$ and an average loss A that is held. At a price $\mu$ of
  a unit of cost each slice is bought until what the next row is worth falls to $\mu C_s$: up to

  $$\Bigl(\frac{a b\,(1 + \lambda / A)}{\mu C}\Bigr)^{\frac1{a + 1}}, \quad
  \Bigl(\frac{a b}{\mu C}\Bigr)^{\frac1{a + 1}} \quad\text{or}\quad
  \Bigl(\frac{b}{A - c}\Bigr)^{\frac1a}$$

  rows, above the average, below it, or at the kink between the two. The price that spends the
  budget is found by bisection. A slice whose curve is flat gets nothing.

  Args:
    curve: the curves of the slices [S], as from `learning_curve`; may be traced.
    size: n [S], how many rows each slice has, above 0; may be traced.
    budget: at least 0; may be traced.
    cost: C, of a row of each slice, [S] or one for all, above 0; may be traced.
    fairness: lambda, at least 0; may be traced.
    average: A: "others", the mean of the present losses of the other slices; "all", that of all; or
      numbers [S], such as the loss of each slice's complement, above 0.

  Returns:
    d [S], not rounded.

  Raises:
    ValueError: for values out of range, for shapes that do not match, or for fewer than two slices.

  References:
    Tae, Whang, Slice Tuner: a selective data acquisition framework for accurate and fair machine
    learning models, SIGMOD 2021.

  Examples:
    >>> import jax.numpy as jnp
    >>> from rfjax.fairness import preprocessing
    >>> curve = preprocessing.LearningCurve(jnp.array([2.0, 4.0]), jnp.full(2, 0.5), jnp.zeros(2))
    >>> preprocessing.slice_plan(curve, [100, 100], 300, fairness=0.0).round().tolist()
    [93.0, 207.0]
  """
  sizes, costs, money = _acquisition.read(size, budget, cost)
  _check.number("fairness", fairness, 0.0, open_high=True)
  if sizes.size < 2:
    raise ValueError("size must be of at least two slices: one alone needs no plan")
  if any(jnp.shape(leaf) != sizes.shape for leaf in curve):
    raise ValueError(f"curve must have one entry a slice, {sizes.size}, as size has")
  held = _average(average, curve.at(sizes))
  b, a, c = (jnp.asarray(leaf, sizes.dtype) for leaf in curve)
  tiny = jnp.finfo(sizes.dtype).tiny
  # What a row is worth, a b n^-(a + 1), in logarithms, below and above the average.
  log_low = jnp.log(jnp.maximum(a * b, tiny))
  log_high = log_low + jnp.log1p(fairness * ratio(jnp.ones_like(held), held))
  log_cost = jnp.log(costs)
  gap = held - c
  kink = (jnp.log(jnp.maximum(b, tiny)) - jnp.log(jnp.where(gap > 0, gap, 1))) / jnp.maximum(
    a, tiny
  )
  kink = jnp.where(gap > 0, kink, jnp.inf)

  def bought(log_price: jax.Array) -> jax.Array:
    until = lambda log_worth: (log_worth - log_price - log_cost) / (a + 1)
    reached = jnp.clip(kink, until(log_low), until(log_high))
    return jnp.where(a * b > 0, jnp.maximum(jnp.exp(reached) - sizes, 0), 0)

  # At the higher price nobody buys, and at the lower one some slice alone spends the budget.
  highest = jnp.max(log_high - (a + 1) * jnp.log(sizes) - log_cost)
  lowest = jnp.max(log_low - (a + 1) * jnp.log(sizes + money / costs) - log_cost)

  def body(_: Any, ends: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
    low, high = ends
    middle = (low + high) / 2
    over = jnp.sum(costs * bought(middle)) > money
    return jnp.where(over, middle, low), jnp.where(over, high, middle)

  _, price = jax.lax.fori_loop(0, _BISECTIONS, body, (lowest, highest))
  found = bought(price)
  # What rounding of the price has left over, which is a share of the budget near eps.
  return found * ratio(money, jnp.sum(costs * found))


def _average(average: str | ArrayLike, loss: jax.Array) -> jax.Array:
  """A [S]."""
  if isinstance(average, str):
    _check.choice("average", average, _AVERAGES)
    if average == "all":
      return jnp.full_like(loss, jnp.mean(loss))
    return (jnp.sum(loss) - loss) / (loss.size - 1)
  given = jnp.asarray(_check.numbers("average", average, 0.0, open_low=True), loss.dtype)
  return jnp.broadcast_to(given, loss.shape)


def slice_tuner(
  measure: Callable[[jax.Array], tuple[ArrayLike, ArrayLike]],
  size: ArrayLike,
  budget: float | jax.Array,
  *,
  strategy: str = "moderate",
  rounds: int = 10,
  cost: ArrayLike = 1.0,
  fairness: float | jax.Array = 1.0,
  average: str | ArrayLike = "others",
) -> SliceTuner:
  r"""Slice Tuner: buys rows of slices in rounds, each by curves that are measured anew.

  In a round `slice_plan` spends what is left of the budget. Since rows of one slice change the
  losses of others, a plan is cut to the share x of it at which the imbalance ratio
  $\max_s n_s / \min_s n_s$ has moved by a limit T, where all of it would move it by more; and what
  it buys is rounded down. T is 1 in the first round, and then stays ("conservative"), grows by 1
  ("moderate") or doubles ("aggressive"); "one_shot" buys once and has no limit.

  Args:
    measure: `measure(size) -> (sizes, losses)`, what trainings on parts of slices of `size` rows
      say: how many rows each had of each slice, and the losses, both [S, K]. It gets and buys the
      rows; where the whole is to be compiled, it must be traceable.
    size: n [S], how many rows each slice has, above 0.
    budget: at least 0; may be traced.
    strategy: "one_shot", "conservative", "moderate" or "aggressive".
    rounds: the largest number of rounds, each with one call of `measure`; outside of compiled code
      it ends before, where a round has bought nothing and the next one would be the same.
    cost: as in `slice_plan`.
    fairness: as in `slice_plan`.
    average: as in `slice_plan`.

  Returns:
    The `SliceTuner`.

  Raises:
    ValueError: for values out of range.

  References:
    Tae, Whang, Slice Tuner: a selective data acquisition framework for accurate and fair machine
    learning models, SIGMOD 2021.

  Examples:
    >>> import jax.numpy as jnp
    >>> from rfjax.fairness import preprocessing
    >>> def measure(size):
    ...   sizes = size[:, None] * jnp.array([0.25, 0.5, 1.0])
    ...   return sizes, jnp.array([[2.0], [4.0]]) * sizes ** -0.5
    >>> found = preprocessing.slice_tuner(measure, [100, 100], 300, strategy="one_shot")
    >>> found.count.tolist(), float(found.left)
    ([0, 300], 0.0)
  """
  _check.choice("strategy", strategy, _STRATEGIES)
  rounds = 1 if strategy == "one_shot" else _check.count("rounds", rounds)
  sizes, costs, left = _acquisition.read(size, budget, cost)
  limit, history, curve = _FIRST_LIMIT, [], None
  for _ in range(rounds):
    curve = learning_curve(*measure(sizes))
    plan = slice_plan(curve, sizes, left, cost=costs, fairness=fairness, average=average)
    share = jnp.ones(()) if strategy == "one_shot" else _share(sizes, plan, limit)
    new = _acquisition.whole(plan * share)
    sizes, left = sizes + new, left - jnp.sum(costs * new)
    history.append(new.astype(jnp.int32))
    # A plan that was cut buys more under the higher limit of the next round.
    same = jnp.all(new == 0) & ((share == 1) | (strategy == "conservative"))
    if not _check.traced(same) and same:
      break
    limit = {"moderate": limit + 1, "aggressive": 2 * limit}.get(strategy, limit)
  bought = jnp.stack(history)
  bought = jnp.pad(bought, ((0, rounds - len(history)), (0, 0)))
  assert curve is not None
  return SliceTuner(jnp.sum(bought, axis=0), bought, left, curve)


def _share(sizes: jax.Array, plan: jax.Array, limit: float) -> jax.Array:
  """The share of a plan at which the imbalance ratio has moved by the limit, at most 1."""
  imbalance = lambda n: jnp.max(n) / jnp.min(n)
  moved = lambda x: jnp.abs(imbalance(sizes + x * plan) - imbalance(sizes))

  def body(_: Any, ends: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
    low, high = ends
    middle = (low + high) / 2
    over = moved(middle) > limit
    return jnp.where(over, low, middle), jnp.where(over, middle, high)

  zero, one = jnp.zeros((), sizes.dtype), jnp.ones((), sizes.dtype)
  low, _ = jax.lax.fori_loop(0, _BISECTIONS, body, (zero, one))
  return jnp.where(moved(one) > limit, low, one)
