"""SELFIE with its restarts."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from rfjax.core import (
  Batch,
  Log,
  Network,
  TrainState,
  Transform,
  _check,
  chain,
  fit,
  identity,
  label_type,
  read,
  rounds,
)
from rfjax.refurbishment._selfie import _earlier, selfie


def selfie_rounds(
  network: Network,
  tx: optax.GradientTransformation,
  data: Batch,
  *,
  rate: float | jax.Array,
  key: jax.Array,
  epochs: int,
  batch_size: int | None = None,
  restarts: int = 2,
  before: Transform = identity,
  after: Transform = identity,
  observe: Callable[[TrainState, Batch], Any] | None = None,
  **settings: Any,
) -> tuple[TrainState, Log]:
  r"""Trains by SELFIE, and again from new networks with the labels that were refurbished.

  $$\tau \leftarrow \min\Bigl(\tau,\; 1 - \frac{|\{i : r_i \ne -1\}|}{N}\Bigr)$$

  after each round. The labels r stay; the network, the optimizer and the history of predictions
  start anew.

  Args:
    network: the network.
    tx: any optax transformation.
    data: the training set.
    rate: tau of the first round, in [0, 1); may be traced.
    key: a key from `jax.random.key`.
    epochs: of each round.
    batch_size: rows a step, as in `fit`.
    restarts: rounds after the first, at least 0; 2 in the authors' description, 3 in their code.
    before: transforms in front of SELFIE, such as a loss.
    after: transforms behind it, such as `metrics.watch`.
    observe: `observe(state, view) -> pytree`, called after each epoch, as in `fit`.
    **settings: further arguments of `selfie`.

  Returns:
    The last round's `TrainState`, whose `method` is the triple of the states of `before`, of SELFIE
    and of `after`, and the `Log`, each leaf with a leading axis of rounds.

  Raises:
    ValueError: for values out of range.

  References:
    Song, Kim, Lee, SELFIE: Refurbishing Unclean Samples for Robust Deep Learning, ICML 2019.

  Examples:
    >>> import jax, optax, rfjax
    >>> from rfjax import architectures, refurbishment
    >>> data = rfjax.Batch.from_arrays([[-2.0], [-1.0], [1.0], [2.0]], [0, 0, 0, 1])
    >>> state, log = refurbishment.selfie_rounds(
    ...     architectures.logistic(), optax.sgd(1.0), data, rate=0.25, key=jax.random.key(0),
    ...     epochs=5, restarts=1, length=3, warmup=3)
    >>> log.risk.shape
    (2, 5)
  """
  restarts = _check.count("restarts", restarts, 0)
  given = _earlier(settings.pop("refurbished", None), data)
  selfie(rate, **settings)  # bad settings are refused here, before anything compiles
  labels = jnp.full(data.num_rows, -1) if given is None else jnp.asarray(given)

  def turn(memory: tuple[jax.Array, jax.Array], key: jax.Array) -> Any:
    rate, labels = memory
    method = chain(before, selfie(rate, refurbished=labels, **settings), after)
    state, log = fit(
      network, method, tx, data, key=key, epochs=epochs, batch_size=batch_size, observe=observe
    )
    labels = state.method[1].refurbished
    wrong = _unsettled(labels, data)
    return (jnp.minimum(rate, wrong.astype(rate.dtype)), labels), (state, log)

  memory = (jnp.asarray(rate, jnp.float32), labels.astype(label_type(data.num_classes)))
  _, (states, log) = rounds(turn, memory, key=key, count=restarts + 1)
  return jax.tree.map(lambda leaf: leaf[-1], states), log


def _unsettled(labels: jax.Array, data: Batch) -> jax.Array:
  """The share of rows that no round has refurbished: counted, as 1 - share would lose digits."""
  left = (read(labels, data.index) < 0) & data.valid
  return jnp.sum(left) / jnp.maximum(jnp.sum(data.valid), 1)
