"""Small-loss selection on a batch, under FairRobust's rule on the groups of what is kept."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from rfjax.convergence._fair_robust import GREEDY, _fair_smallest
from rfjax.core import Batch, Transform, _check, count
from rfjax.fairness.inprocessing import _cells
from rfjax.selection._elements import ROUNDINGS, Rate, check_rate, rate_at

_NAME = "fair_small_loss"


class FairSmallLossState(NamedTuple):
  """The state of `fair_small_loss`.

  Attributes:
    shares: [C, G], lambda, the share of each group among the rows of a label; rows sum to 1.
  """

  shares: jax.Array


def fair_small_loss(
  forget_rate: Rate,
  shares: ArrayLike | None = None,
  *,
  greedy: str = "prefix",
  rounding: str = "floor",
) -> Transform:
  r"""Keeps rows of small losses of a batch, at a price for groups above their shares.

  Of the kept rows S let S_y have label y, and S_{yg} be of group g too. Then

  $$\mathrm{keep}_i \leftarrow \mathrm{keep}_i\,[i \in S], \qquad
  |S| + \max_{y,g} \bigl(|S_{yg}| - \lambda_{yg} |S_y|\bigr)^+ \le n =
  \lfloor (1 - R)\, B \rfloor,$$

  which is the rule of `fair_robust` as a selection on each batch. It is not the authors' method,
  which selects from the training set and draws batches in shares that follow losses. What a group
  has above its share costs rows. So of no label a group exceeds its share by more than n - |S|
  rows, and more than n / 2 - 1 rows are kept. With one group it is `small_loss`. Of a batch that is
  itself out of shares some rows go at R = 0 too.

  It is a price and no quota: where losses of the groups lie far apart, fewer rows are kept in all,
  and less of the group with the larger losses than by `small_loss`. In FairRobust it is the batches
  that restore the shares; here `inprocessing.fairbatch_reweight` behind it does, by weights.

  Rows are taken in ascending order of losses, equal ones by index:

  - "prefix" ends at the first violation, as the authors' code does for the training set. What it
    keeps are the smallest losses, only fewer of them, and it may exceed the limit by the last row;
  - "skip" leaves out each row with which the limit would be exceeded, and goes on; it visits the
    rows one after the other.

  Soft membership counts in parts, and rows without a group count in |S| only.

  Args:
    forget_rate: R in [0, 1), the share to leave out, usually the noise rate; may be traced, or be a
      function of the epoch, such as `selection.ramp_up`.
    shares: lambda [C, G], rows of probabilities; may be traced. None takes the training set's own,
      so that what is kept looks like it.
    greedy: "prefix" or "skip".
    rounding: of n, "floor" or "ceil".

  Returns:
    The transform; it writes keep, and needs group in training only.

  Raises:
    ValueError: for values out of range, for shares that are not of the data set's labels and
      groups, or where the group is missing.

  References:
    Roh, Lee, Whang, Suh, Sample Selection for Fair and Robust Training, NeurIPS 2021.

  Examples:
    >>> import jax, optax, rfjax
    >>> from rfjax import architectures, convergence
    >>> x = [[-2.0], [-1.5], [-1.0], [1.0], [1.5], [2.0]]
    >>> data = rfjax.Batch.from_arrays(x, [0, 0, 0, 1, 1, 0], [0, 1, 0, 1, 0, 1])
    >>> method = convergence.fair_small_loss(1 / 6)
    >>> state, log = rfjax.fit(architectures.logistic(), method, optax.adam(0.1), data,
    ...                        key=jax.random.key(0), epochs=5)
    >>> state.method.shares.shape
    (2, 2)
  """
  check_rate("forget_rate", forget_rate)
  _check.choice("greedy", greedy, GREEDY)
  _check.choice("rounding", rounding, ROUNDINGS)
  given = None if shares is None else _check_shares(shares)

  def init(data: Batch, **unused: Any) -> FairSmallLossState:
    del unused
    own = _cells.start_shares(data.require("group", by=_NAME))
    if given is None:
      return FairSmallLossState(own)
    if given.shape != own.shape:
      raise ValueError(
        f"shares must be of shape {own.shape}, one of each label and group of the data set, got"
        f" {given.shape}"
      )
    return FairSmallLossState(jnp.asarray(given, own.dtype))

  def update(
    batch: Batch, state: FairSmallLossState, params: Any = None, *, epoch: Any, **unused: Any
  ) -> tuple[Batch, FairSmallLossState]:
    del params, unused
    batch.require("keep", "group", by=_NAME)
    rows = batch.valid & (batch.keep > 0)
    limit = jnp.sum(rows) - count(rate_at(forget_rate, epoch), rows, up=rounding == "floor")
    label = jax.nn.one_hot(batch.y, batch.num_classes) * rows[:, None]
    cell = label.T[:, None] * _cells.with_missing(batch).T[None]
    some, cells = jnp.any(cell > 0, axis=(0, 1)), lambda order: cell[..., order]
    loss, shares = jax.lax.stop_gradient(batch.loss), state.shares
    chosen = _fair_smallest(loss, some, cells, batch.index, shares, limit, skip=greedy == "skip")
    return batch.replace(keep=batch.keep * chosen), state

  return Transform(init, update, writes=("keep",))


def _check_shares(shares: ArrayLike) -> Any:
  """Refuses what is no table of shares, of a traced one by its axes; returns it as an array."""
  given = _check.numbers("shares", shares, 0.0, 1.0)
  if given.ndim != 2:
    raise ValueError(f"shares must have two axes, of labels and groups, got shape {given.shape}")
  if not _check.traced(given) and (abs(given.sum(1) - 1) > 1e-4).any():
    raise ValueError(
      f"shares must have rows with sum 1, got {given.sum(1)}: divide each by its sum"
    )
  return given
