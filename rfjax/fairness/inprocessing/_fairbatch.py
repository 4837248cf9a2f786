"""FairBatch: batches that hold more of the groups that a model serves worse."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rfjax.core import Batch, Transform, _check, first_peer, read
from rfjax.fairness.inprocessing import _cells


class FairBatchState(NamedTuple):
  """The state of `fairbatch`.

  Attributes:
    shares: [C, G], lambda, the share of each group among the rows of a label; rows sum to 1.
    kept: bool [N], the rows that were kept when they were last served; at first all.
  """

  shares: jax.Array
  kept: jax.Array


def fairbatch(
  criterion: str = "equal_opportunity",
  rate: float | jax.Array = 0.005,
  *,
  official_wrap: bool = False,
) -> Transform:
  r"""FairBatch: draws batches by label and group, in shares that follow the losses of the groups.

  A batch of B rows has of label y and group g

  $$\mathrm{round}\bigl(\lambda_{yg}\, B\, n_y / n\bigr), \qquad \sum_g \lambda_{yg} = 1, \qquad
  \lambda_{yg} \leftarrow \lambda_{yg} + \alpha\,([g = g^+] - [g = g^-])$$

  Once an epoch, and by the losses of the whole training set, one label's shares move from the group
  of the smallest to that of the largest loss:

  - "equal_opportunity": of label 1, by the mean losses of its groups;
  - "equalized_odds": of the label whose groups' mean losses are the furthest apart;
  - "demographic_parity": likewise, by the sum of the costs of label 1 over the rows of y and g,
    divided by the size of g; of labels other than 1 in the opposite direction.

  Shares start as in the data, and a group gives no more than it has. With two groups that is the
  rule of the authors' code. Each group and label is shuffled and served in turn without
  replacement, from its start again after its end; an epoch has floor(n / B) batches, whose sizes
  differ from B by rounding. Rows without a group are served in proportion.

  The losses are those of the chain: losses, corrections and selections stand in front. Shares
  follow the losses of the rows that were kept when they were last served. Batches are drawn of all
  rows but those that a selection in front drops for the whole epoch, as `selection.itlm` does. Of
  several peers the first one's shares and batches are everybody's.

  Args:
    criterion: what is to be made equal; static.
    rate: alpha, at least 0; 0 gives stratified batches; may be traced.
    official_wrap: at the end of a group's rows go on, as the authors' code does, as many rows from
      the start as the last batch has taken before the end; by default, from the next row.

  Returns:
    The transform; it writes order, and needs group in training only. Without `batch_size` in `fit`
    an epoch is one batch of as many rows as there are.

  Raises:
    ValueError: for values out of range, or where the group is missing.

  References:
    Roh, Lee, Whang, Suh, FairBatch: batch selection for model fairness, ICLR 2021.

  Examples:
    >>> import jax, optax, rfjax
    >>> from rfjax import architectures
    >>> from rfjax.fairness import inprocessing
    >>> x = [[-2.0], [-1.0], [1.0], [2.0]]
    >>> data = rfjax.Batch.from_arrays(x, [0, 1, 0, 1], [0, 0, 1, 1])
    >>> method = inprocessing.fairbatch("equalized_odds", 0.01)
    >>> state, log = rfjax.fit(architectures.logistic(), method, optax.adam(0.1), data,
    ...                        key=jax.random.key(0), epochs=5, batch_size=2)
    >>> state.method.shares.shape
    (2, 2)
  """
  _check.choice("criterion", criterion, _cells.CRITERIA)
  _check.number("rate", rate, 0.0, open_high=True)

  def init(data: Batch, **unused: Any) -> FairBatchState:
    del unused
    shares = _cells.start_shares(data.require("group", by="fairbatch"))
    return FairBatchState(shares, jnp.ones(data.num_rows, bool))

  def update(
    batch: Batch, state: FairBatchState, params: Any = None, **unused: Any
  ) -> tuple[Batch, FairBatchState]:
    del params, unused
    return batch, state._replace(kept=_cells.remember(state.kept, batch, "fairbatch"))

  def refresh(
    data: Batch, state: FairBatchState, params: Any = None, *, key: jax.Array, **unused: Any
  ) -> tuple[Batch, FairBatchState]:
    del params, unused
    data.require("group", "cost", "target", by="fairbatch")
    learned = _cells.among(data, read(state.kept, data.index))
    shares = first_peer(_cells.move_shares(state.shares, learned, criterion, rate))
    size = data.num_rows if data.order is None else data.order.shape[1]
    lot_key, shuffle_key = jax.random.split(key)
    order = _cells.draw_batches(
      shares, data, lot_key, shuffle_key, size, width=size, official_wrap=official_wrap
    )
    return data.replace(order=first_peer(order)), state._replace(shares=shares)

  return Transform(init, update, refresh, writes=("order",))
