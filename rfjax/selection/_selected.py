"""A selection that was made before, and batches of it."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from rfjax.core import Batch, Transform, _check, first_peer, read, write
from rfjax.selection._elements import check_rows


class SelectedState(NamedTuple):
  """The state of `selected`.

  Attributes:
    mask: bool [N], the rows that are learned from.
  """

  mask: jax.Array


def selected(mask: ArrayLike) -> Transform:
  r"""Keeps the rows of a selection that was made before.

  $$\mathrm{keep}_i \leftarrow \mathrm{keep}_i\,[i \in S]$$

  It acts on a data set, by `rfjax.transform`, as well as in training, and so hands a selection of
  one run, such as that of `incv`, to the next.

  Args:
    mask: S, bool [N], in the order of the training set; may be traced.

  Returns:
    The transform; it writes keep.

  Raises:
    ValueError: for a mask that is not one of rows; at the start of training for another number of
      rows than the data has.

  References:
    Chen, Liao, Chen, Zhang, Understanding and Utilizing Deep Neural Networks Trained with Noisy
    Labels, ICML 2019.

  Examples:
    >>> import jax, rfjax
    >>> from rfjax import selection
    >>> data = rfjax.Batch.from_arrays([[-1.0], [0.5], [1.0]], [0, 1, 1])
    >>> rfjax.transform(selection.selected([True, False, True]), data, key=jax.random.key(0)).keep
    Array([1., 0., 1.], dtype=float32)
  """
  given = _check.array("mask", mask)
  if given.dtype != bool or given.ndim != 1:
    raise ValueError(f"mask must be bool with one axis, got {given.dtype} of shape {given.shape}")

  def init(data: Batch, **unused: Any) -> SelectedState:
    del unused
    check_rows("mask", given, data.num_rows)
    return SelectedState(write(jnp.zeros(data.num_rows, bool), data.index, jnp.asarray(given)))

  def update(
    batch: Batch, state: SelectedState, params: Any = None, **unused: Any
  ) -> tuple[Batch, SelectedState]:
    del params, unused
    batch.require("keep", by="selected")
    return batch.replace(keep=batch.keep * read(state.mask, batch.index)), state

  return Transform(init, update, writes=("keep",))


def packed() -> Transform:
  """Packs the kept rows of a data set into full batches, and passes over the others.

  The order stays the random one. Training is then that on a smaller data set: no batch is smaller
  for what was left out, and batch normalisation never sees it. The slots at the end of the epoch
  are empty; their batches change nothing, and count as zeros in the log.

  Returns:
    The transform; it writes order.

  Raises:
    ValueError: in training, without a batch size.

  Examples:
    >>> import jax.numpy as jnp, rfjax
    >>> from rfjax import selection
    >>> data = rfjax.Batch.from_arrays([[0.0]] * 4, [0, 1, 0, 1])
    >>> data = data.replace(keep=jnp.array([1, 0, 0, 1]), order=jnp.array([[1, 3], [2, 0]]))
    >>> selection.packed().refresh(data, ())[0].order.tolist()
    [[3, 0], [4, 4]]
  """

  def refresh(data: Batch, state: Any, params: Any = None, **unused: Any) -> tuple[Batch, Any]:
    del params, unused
    if data.order is None:
      raise ValueError("packed needs batches: pass batch_size= to fit")
    data.require("keep", by="packed")
    rows = data.order.reshape(-1)
    kept = read(data.valid & (data.keep > 0), rows)
    first = jnp.argsort(~kept, stable=True)
    rows = jnp.where(kept, rows, data.num_rows)[first]
    return data.replace(order=first_peer(rows.reshape(data.order.shape))), state

  return Transform(refresh=refresh, writes=("order",))
