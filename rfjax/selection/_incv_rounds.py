"""INCV with the training that follows it."""

from collections.abc import Callable
from typing import Any

import jax
import optax

from rfjax.core import Batch, Log, Network, TrainState, Transform, chain, fit, identity
from rfjax.selection._incv import Incv, incv
from rfjax.selection._selected import packed, selected


def incv_rounds(
  network: Network,
  tx: optax.GradientTransformation,
  data: Batch,
  *,
  key: jax.Array,
  epochs: int,
  final_epochs: int | None = None,
  batch_size: int | None = None,
  method: Transform | Callable[[Incv], Transform] = identity,
  peers: int = 1,
  observe: Callable[[TrainState, Batch], Any] | None = None,
  **settings: Any,
) -> tuple[TrainState, Log]:
  r"""Selects rows by `incv`, and trains a new network on them.

  $$\mathrm{keep}_i = [i \in S]$$

  The authors train two networks on them by Co-teaching, which forgets the rate of wrong labels that
  is left: pass `method=lambda found: co_teaching(ramp_up(found.remaining_rate(C)))` with `peers=2`.
  That later batches are filled up with candidates is left out.

  Args:
    network: the network.
    tx: any optax transformation.
    data: the training set.
    key: a key from `jax.random.key`.
    epochs: of each training of `incv`.
    final_epochs: of the last training, at least 0; as many when None.
    batch_size: rows a step, as in `fit`; with it batches are packed, see `packed`.
    method: what the last network is trained by, or a function of the `Incv` that makes it.
    peers: of the last training, as in `fit`.
    observe: `observe(state, view) -> pytree`, called after each epoch of the last training.
    **settings: further arguments of `incv`, but for its method.

  Returns:
    The last `TrainState`, whose `method` is the state of the method and a `SelectedState`, and the
    `Log` of the last training.

  Raises:
    ValueError: for values out of range.

  References:
    Chen, Liao, Chen, Zhang, Understanding and Utilizing Deep Neural Networks Trained with Noisy
    Labels, ICML 2019.

  Examples:
    >>> import jax, optax, rfjax
    >>> from rfjax import architectures, selection
    >>> data = rfjax.Batch.from_arrays([[-2.0], [-1.0], [1.0], [2.0]], [0, 0, 1, 1])
    >>> state, log = selection.incv_rounds(
    ...     architectures.logistic(), optax.sgd(1.0), data, key=jax.random.key(0), epochs=5,
    ...     iterations=2)
    >>> state.method[1].mask.shape
    (4,)
  """
  search_key, final_key = jax.random.split(key)
  found = incv(
    network, tx, data, key=search_key, epochs=epochs, batch_size=batch_size, **settings
  )  # fmt: skip
  chosen = data.with_columns("keep")
  chosen = chosen.replace(keep=chosen.keep * found.selected)
  last = method if isinstance(method, Transform) else method(found)
  whole = chain(last, selected(found.selected), *([] if batch_size is None else [packed()]))
  return fit(
    network, whole, tx, chosen, key=final_key, batch_size=batch_size, peers=peers,
    epochs=epochs if final_epochs is None else final_epochs, observe=observe,
  )  # fmt: skip
