"""FairRobust: rows of small losses, as many of each group as the model owes it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rfjax.core import (
  Batch,
  Transform,
  _check,
  count,
  first_peer,
  read,
  stable_order,
  when,
  write,
)
from rfjax.fairness.inprocessing import _cells

GREEDY = ("prefix", "skip")
_CLOSE = 1e-6  # of a limit: a load that is the limit, but for rounding in float32, is the limit
_NAME = "fair_robust"


class FairRobustState(NamedTuple):
  """The state of `fair_robust`.

  Attributes:
    shares: [C, G], lambda, the share of each group among the rows of a label; rows sum to 1.
    selected: bool [N], the rows that the last selection has taken.
  """

  shares: jax.Array
  selected: jax.Array


def fair_robust(
  noise_rate: Any,
  criterion: str = "equalized_odds",
  rate: Any = 0.001,
  *,
  warm_start: int = 100,
  greedy: str = "prefix",
  official_wrap: bool = False,
) -> Transform:
  r"""FairRobust: learns from the rows of small losses that keep groups in FairBatch's shares.

  A set S, of which S_y have label y and S_{yg} are of group g too, is sought with

  $$\min_S \sum_{i \in S} (\mathrm{loss}_i - \max_j \mathrm{loss}_j) \quad\text{where}\quad
  |S| + \max_{y,g} \bigl(|S_{yg}| - \lambda_{yg} |S_y|\bigr)^+ \le \lfloor (1 - \tau)\, n \rfloor,$$

  so what a group has above its share costs selected rows. For each label the differences sum to
  zero, and the rule is one knapsack for each label and group; rows without a group count in |S|
  only. It is solved greedily, in ascending order of losses, equal ones by index:

  - "prefix" takes rows as long as the left-hand side is below the limit, as the authors' code does.
    That ends for good at the first violation, and may exceed the limit by the last row;
  - "skip" leaves out each row with which the limit would be exceeded, and goes on.

  The first `warm_start` epochs have the batches that they have without it. Then each epoch moves
  lambda as `fairbatch` does, by the losses of the last selection (at first of all rows), selects,
  and draws floor(|S| / B) batches of S, as `fairbatch` does. Where S has less than B rows,
  and in an epoch without `batch_size` in `fit`, there is one batch of |S| rows, but for rounding,
  in shares of lambda: of a group that is owed more some rows come twice, of others some do not.

  The losses are those of the chain: losses and corrections stand in front. Of several peers the
  first one's selection and batches are everybody's. For equalized odds the
  authors' code divides sums of losses by one more than the number of rows, so that a group of which
  no row is selected counts as having no loss; here they are means, and such a group is left out.

  Args:
    noise_rate: tau in [0, 1), the share of wrong labels; may be traced.
    criterion: what is to be made equal, as in `fairbatch`: "equal_opportunity", "equalized_odds"
      or "demographic_parity"; static.
    rate: alpha, by which lambda moves in an epoch, at least 0; may be traced.
    warm_start: epochs before the first selection.
    greedy: "prefix" or "skip".
    official_wrap: as in `fairbatch`.

  Returns:
    The transform; it writes order, and needs group in training only.

  Raises:
    ValueError: for values out of range, or where the group is missing.

  References:
    Roh, Lee, Whang, Suh, Sample Selection for Fair and Robust Training, NeurIPS 2021.

  Examples:
    >>> import jax, optax, rfjax
    >>> from rfjax import architectures, convergence
    >>> x = [[-2.0], [-1.5], [-1.0], [1.0], [1.5], [2.0]]
    >>> data = rfjax.Batch.from_arrays(x, [0, 0, 0, 1, 1, 0], [0, 1, 0, 1, 0, 1])
    >>> method = convergence.fair_robust(1 / 6, warm_start=20)
    >>> state, log = rfjax.fit(architectures.logistic(), method, optax.adam(0.1), data,
    ...                        key=jax.random.key(0), epochs=30, batch_size=2)
    >>> bool(state.method.selected[5])
    False
  """
  _check.number("noise_rate", noise_rate, 0.0, 1.0, open_high=True)
  _check.choice("criterion", criterion, _cells.CRITERIA)
  _check.number("rate", rate, 0.0, open_high=True)
  warm_start = _check.count("warm_start", warm_start, 0)
  _check.choice("greedy", greedy, GREEDY)

  def init(data: Batch, **unused: Any) -> FairRobustState:
    del unused
    shares = _cells.start_shares(data.require("group", by=_NAME))
    return FairRobustState(shares, jnp.ones(data.num_rows, bool))

  def select(
    data: Batch, state: FairRobustState, params: Any = None, *, key: jax.Array, **unused: Any
  ) -> tuple[Batch, FairRobustState]:
    del params, unused
    data.require("group", "cost", "target", by=_NAME)
    last = _cells.among(data, read(state.selected, data.index))
    shares = first_peer(_cells.move_shares(state.shares, last, criterion, rate))
    lot_key, shuffle_key = jax.random.split(key)
    cell = _cells.draw_cells(data, lot_key)
    rows = data.valid & (data.keep > 0)
    limit = jnp.sum(rows) - count(noise_rate, rows, up=True)
    drawn, cells = cell < shares.shape[0] * (shares.shape[1] + 1), _in_cells(cell, shares)
    chosen = first_peer(
      _fair_smallest(data.loss, drawn, cells, data.index, shares, limit, skip=greedy == "skip")
    )
    width = data.order.shape[1]
    size = jnp.clip(jnp.sum(chosen), 1, width)
    order = _cells.draw_batches(
      shares, _cells.among(data, chosen), lot_key, shuffle_key, size,
      width=width, official_wrap=official_wrap,
    )  # fmt: skip
    served = jnp.arange(order.shape[0]) < jnp.sum(chosen) // size
    selected = write(jnp.zeros_like(state.selected), data.index, chosen)
    order = jnp.where(served[:, None], order, data.num_rows)
    return data.replace(order=first_peer(order)), FairRobustState(shares, selected)

  late = when(lambda step, epoch: epoch >= warm_start, Transform(refresh=select))

  def refresh(
    data: Batch, state: FairRobustState, params: Any = None, **extra: Any
  ) -> tuple[Batch, FairRobustState]:
    if data.order is None:
      data = data.replace(order=jnp.arange(data.num_rows, dtype=jnp.int32)[None])
    view, (state, _) = late.refresh(data, (state, ()), params, **extra)
    return view, state

  return Transform(init, refresh=refresh, writes=("order",))


def _load(taken: jax.Array, shares: jax.Array) -> jax.Array:
  """The left-hand side of the rule, [...], of so many rows a cell, [C, G + 1, ...]."""
  known = taken[:, :-1]
  shares = shares.reshape(shares.shape + (1,) * (taken.ndim - 2))
  above = known - shares * jnp.sum(known, axis=1, keepdims=True)
  return jnp.sum(taken, axis=(0, 1)) + jnp.max(above, axis=(0, 1), initial=0.0)


def _sums_before(rows: jax.Array) -> jax.Array:
  """The sums of what stands before each place, [..., N]; those of whole numbers are exact.

  Blocks are summed by one product with a triangle, which is much faster on CPU than `jnp.cumsum`.
  """
  number, width = rows.shape[-1], 64
  blocks = jnp.pad(rows, [(0, 0)] * (rows.ndim - 1) + [(0, -number % width)])
  blocks = blocks.reshape(*rows.shape[:-1], -1, width)
  total = jnp.sum(blocks, axis=-1)
  before = jnp.cumsum(total, axis=-1) - total
  triangle = jnp.triu(jnp.ones((width, width), rows.dtype), 1)
  within = jnp.matmul(blocks, triangle, precision="highest") + before[..., None]
  return within.reshape(*rows.shape[:-1], -1)[..., :number]


def _in_cells(cell: jax.Array, shares: jax.Array) -> Callable[[jax.Array], jax.Array]:
  """The cells [C, G + 1, N] of rows in an order, one-hot, from their numbers y (G + 1) + group."""
  labels, groups = shares.shape
  numbers = jnp.arange(labels * (groups + 1)).reshape(labels, groups + 1, 1)
  return lambda order: (cell[order] == numbers).astype(shares.dtype)


def _fair_smallest(
  loss: jax.Array,
  some: jax.Array,
  cells: Callable[[jax.Array], jax.Array],
  index: jax.Array,
  shares: jax.Array,
  limit: Any,
  *,
  skip: bool,
) -> jax.Array:
  """Marks rows of small losses under the rule.

  Args:
    loss: [N].
    some: bool [N], the rows that take part.
    cells: what rows in an order have in each cell, [C, G + 1, N]; zeros for rows without a part.
    index: `Batch.index`.
    shares: lambda, [C, G].
    limit: of the left-hand side.
    skip: leave out a row that does not fit and go on, instead of ending there.

  Returns:
    The marks, bool [N].
  """
  order = stable_order(jnp.where(some, loss, jnp.inf), index)
  rows = cells(order)
  if skip:

    def visit(taken: jax.Array, row: jax.Array) -> tuple[jax.Array, jax.Array]:
      fits = _load(taken + row, shares) <= (1 + _CLOSE) * limit
      return taken + fits * row, fits

    _, chosen = jax.lax.scan(visit, jnp.zeros_like(rows[..., 0]), jnp.moveaxis(rows, -1, 0))
  else:
    ended = ~(_load(_sums_before(rows), shares) < (1 - _CLOSE) * limit)
    place = jnp.arange(ended.size)
    # The load only rises, but for rounding: the first row that finds it too large ends all.
    chosen = place < jnp.min(jnp.where(ended, place, ended.size))
  return jnp.zeros_like(some).at[order].set(chosen) & some
