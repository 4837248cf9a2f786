"""The s-model from its start: a network without it, its confusion, and a network with it."""

from collections.abc import Callable
from typing import Any

import jax
import optax

from rfjax.architectures._s_model import confusion, s_model
from rfjax.core import Batch, Log, Network, TrainState, Transform, chain, fit, identity, predict
from rfjax.core._network import going_on


def s_model_rounds(
  network: Network,
  tx: optax.GradientTransformation,
  data: Batch,
  *,
  key: jax.Array,
  epochs: int,
  batch_size: int | None = None,
  channel_tx: optax.GradientTransformation | None = None,
  first_epochs: int | None = None,
  hard: bool = True,
  go_on: bool = False,
  before: Transform = identity,
  after: Transform = identity,
  observe: Callable[[TrainState, Batch], Any] | None = None,
) -> tuple[TrainState, Log]:
  r"""Trains a network, and then one behind the s-model that the confusion of the first starts.

  $$U_0 = \log \frac{\sum_t p_t(i)\,[\tilde y_t = j]}{\sum_t p_t(i)}$$

  with p of the first network, in evaluation mode: its decisions, or its probabilities. The first
  training should end before labels are learned by heart, which would hide the noise.

  Args:
    network: the network.
    tx: any optax transformation, for both trainings.
    data: the training set.
    key: a key from `jax.random.key`.
    epochs: of the second training.
    batch_size: rows a step, as in `fit`.
    channel_tx: the optimizer of U, as in `s_model`.
    first_epochs: of the first training; `epochs` when None.
    hard: whether p are decisions, as in the authors' code, or probabilities, as in their formula;
      see `confusion`.
    go_on: whether the second training goes on with the first network instead of a new one.
    before: transforms in front of the s-model.
    after: transforms behind it, such as a loss or `metrics.watch`.
    observe: `observe(state, view) -> pytree`, called after each epoch of the second training.

  Returns:
    The second `TrainState`, whose `method` is the triple of the states of `before`, of the s-model
    and of `after`, and its `Log`.

  References:
    Goldberger, Ben-Reuven, Training deep neural-networks using a noise adaptation layer, ICLR 2017.

  Examples:
    >>> import jax, optax, rfjax
    >>> from rfjax import architectures
    >>> data = rfjax.Batch.from_arrays([[-2.0], [-1.0], [1.0], [2.0]], [0, 0, 0, 1])
    >>> state, log = architectures.s_model_rounds(
    ...     architectures.logistic(), optax.sgd(0.1), data, key=jax.random.key(0), epochs=5)
    >>> state.method[1].params.shape
    (2, 2)
  """
  early = epochs if first_epochs is None else first_epochs
  first, _ = fit(
    network, chain(before, after), tx, data, key=key, epochs=early, batch_size=batch_size
  )
  start = confusion(predict(network, first, data).log_probs, data.y, data.valid, hard=hard)
  return fit(
    going_on(network, first.params, first.stats) if go_on else network,
    chain(before, s_model(start, channel_tx), after),
    tx,
    data,
    key=jax.random.fold_in(key, 1),
    observe=observe,
    epochs=epochs,
    batch_size=batch_size,
  )
