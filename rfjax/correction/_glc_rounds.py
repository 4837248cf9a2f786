"""Gold loss correction with its two trainings."""

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
  Truth,
  chain,
  fit,
  identity,
  predict,
)
from rfjax.core._batch import COLUMNS
from rfjax.correction._gold_loss_correction import gold_loss_correction
from rfjax.correction._gold_transition import gold_transition


def glc_rounds(
  network: Network,
  tx: optax.GradientTransformation,
  data: Batch,
  *,
  key: jax.Array,
  epochs: int,
  batch_size: int | None = None,
  after: Transform = identity,
  observe: Callable[[TrainState, Batch], Any] | None = None,
) -> tuple[TrainState, Log]:
  r"""Trains on the given labels, estimates their noise on trusted rows, and trains anew on both.

  $$\hat C_{ij} = \frac{\sum_{n \in \mathrm{gold}} [y_n = i]\, \tilde p_j(x_n)}
  {\sum_{n \in \mathrm{gold}} [y_n = i]}, \qquad
  \mathrm{loss}_n = \begin{cases} -\log p_{y_n} & n \in \mathrm{gold} \\
  -\log \sum_i p_i\, \hat C_{i \tilde y_n} & \text{else} \end{cases}$$

  The first network sees the data without their `trusted` batch. The second starts from a new
  initialisation, and its training set is the data followed by the trusted rows.

  Args:
    network: the network.
    tx: any optax transformation.
    data: the training set, whose `trusted` are the gold rows.
    key: a key from `jax.random.key`; the first training gets it as it is.
    epochs: of each training.
    batch_size: rows a step, as in `fit`.
    after: what stands behind the correction, and in the first training alone, such as a loss.
    observe: `observe(state, view) -> pytree`, called after each epoch of the second training.

  Returns:
    The second training's `TrainState`, whose `method` is the pair of the estimated matrix [C, C]
    and the state of `after`, and its `Log`.

  Raises:
    ValueError: for data without trusted rows, or with such of another type.

  References:
    Hendrycks, Mazeika, Wilson, Gimpel, Using Trusted Data to Train Deep Networks on Labels
    Corrupted by Severe Noise, NeurIPS 2018.

  Examples:
    >>> import jax, optax, rfjax
    >>> from rfjax import architectures, correction
    >>> trusted = rfjax.Batch.from_arrays([[-1.5], [1.5]], [0, 1])
    >>> data = rfjax.Batch.from_arrays([[-2.0], [-1.0], [1.0], [2.0]], [0, 1, 1, 0],
    ...                                trusted=trusted)
    >>> state, log = correction.glc_rounds(
    ...     architectures.logistic(), optax.sgd(1.0), data, key=jax.random.key(0), epochs=5)
    >>> state.method[0].shape, log.risk.shape
    ((2, 2), (5,))
  """
  data.require("trusted", by="glc_rounds")
  joined, gold = _joined(data)
  first, _ = fit(network, after, tx, data, key=key, epochs=epochs, batch_size=batch_size)
  probs = predict(network, first, data.trusted).probs
  matrix = gold_transition(probs, data.trusted.y, data.trusted.valid)
  method = chain(gold_loss_correction(matrix, gold), after)
  return fit(
    network, method, tx, joined, key=jax.random.fold_in(key, 1), epochs=epochs,
    batch_size=batch_size, observe=observe,
  )  # fmt: skip


def _joined(data: Batch) -> tuple[Batch, jax.Array]:
  """The data followed by their trusted rows, and the mask of these."""
  gold = data.trusted
  if gold.x.dtype != data.x.dtype:
    raise ValueError(
      f"trusted must have x of dtype {data.x.dtype} like the data, got {gold.x.dtype}: convert one"
    )
  columns = [n for n in COLUMNS if getattr(data, n) is not None or getattr(gold, n) is not None]
  parts = data.with_columns(*columns), gold.with_columns(*columns)
  stack = lambda name: _stack(*(getattr(part, name) for part in parts))
  truth = None
  if data.truth is not None:
    known = gold.truth or Truth(gold.y, gold.group)
    truth = Truth(*map(_stack, data.truth, known))
  joined = data.replace(
    **{name: stack(name) for name in ("valid", "x", "y", "group", *columns)},
    index=jnp.arange(data.num_rows + gold.num_rows, dtype=jnp.int32),
    truth=truth,
  )
  return joined, jnp.arange(joined.num_rows) >= data.num_rows


def _stack(first: Any, second: Any) -> Any:
  return None if first is None or second is None else jnp.concatenate([first, second])
