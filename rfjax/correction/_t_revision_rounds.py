"""T-revision with its three trainings."""

from collections.abc import Callable
from typing import Any

import jax
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
  predict,
)
from rfjax.core._network import going_on
from rfjax.correction._anchor_transition import anchor_transition
from rfjax.correction._t_revision import t_revision
from rfjax.reweighting import importance


def t_revision_rounds(
  network: Network,
  tx: optax.GradientTransformation,
  data: Batch,
  *,
  key: jax.Array,
  epochs: int,
  batch_size: int | None = None,
  estimate_epochs: int = 20,
  revision_epochs: int | None = None,
  revision_tx: optax.GradientTransformation | None = None,
  percentile: float | jax.Array = 97.0,
  largest: float | jax.Array = 100.0,
  differentiable: bool = False,
  before: Transform = identity,
  observe: Callable[[TrainState, Batch], Any] | None = None,
) -> tuple[TrainState, Log]:
  r"""Estimates a transition matrix by anchors, trains by it, and then revises both.

  $$\hat T_{ij} = \tilde p_j(x^i), \qquad
  w_n = \frac{p_n(\tilde y_n)}{\sum_k p_n(k)\, (\hat T + \Delta T)_{k \tilde y_n}}$$

  with the slack 0 in the second training, and learned in the third. Each training goes on with the
  parameters of the one before it, and starts its optimizer anew. The authors take from each
  training the epoch of the highest accuracy on noisy validation data; this takes the last one.

  Args:
    network: the network.
    tx: any optax transformation, for the first two trainings.
    data: the training set.
    key: a key from `jax.random.key`; the first training gets it as it is.
    epochs: of the second training.
    batch_size: rows a step, as in `fit`.
    estimate_epochs: of the first training, on the given labels as they are.
    revision_epochs: of the third training; as many as `epochs` when None.
    revision_tx: the optimizer of network and slack in the third training; Adam with a rate of 5e-7
      when None.
    percentile: as in `anchor_transition`.
    largest: the weights are cut at it.
    differentiable: as in `t_revision`, in the third training.
    before: what stands in front of the weights, and in the first training alone, such as a loss.
    observe: `observe(state, view) -> pytree`, called after each epoch of the third training.

  Returns:
    The third training's `TrainState`, whose `method` is the pair of the state of `before` and a
    `TRevisionState`, and its `Log`.

  Raises:
    ValueError: for values out of range.

  References:
    Xia, Liu, Wang, Han, Gong, Niu, Sugiyama, Are Anchor Points Really Indispensable in Label-Noise
    Learning?, NeurIPS 2019.

  Examples:
    >>> import jax, optax, rfjax
    >>> from rfjax import architectures, correction
    >>> data = rfjax.Batch.from_arrays([[-2.0], [-1.0], [1.0], [2.0]], [0, 0, 1, 1])
    >>> state, log = correction.t_revision_rounds(
    ...     architectures.logistic(), optax.sgd(1.0), data, key=jax.random.key(0), epochs=2,
    ...     estimate_epochs=5, revision_epochs=3)
    >>> state.method[1].transition.shape, log.risk.shape
    ((2, 2), (3,))
  """
  estimate_epochs = _check.count("estimate_epochs", estimate_epochs)
  if revision_epochs is not None:
    revision_epochs = _check.count("revision_epochs", revision_epochs)
  _check.number("percentile", percentile, 0.0, 100.0)
  _check.number("largest", largest, 0.0, open_low=True)
  slow = optax.adam(5e-7) if revision_tx is None else revision_tx
  first, _ = fit(network, before, tx, data, key=key, epochs=estimate_epochs, batch_size=batch_size)
  probs = predict(network, first, data).probs
  matrix = anchor_transition(probs, percentile=percentile, mask=data.valid)

  second_key, third_key = (jax.random.fold_in(key, i) for i in (1, 2))
  weighted = chain(before, importance(matrix, largest=largest))
  second, _ = fit(
    going_on(network, first.params, first.stats), weighted, tx, data,
    key=second_key, epochs=epochs, batch_size=batch_size,
  )  # fmt: skip
  revised = chain(before, t_revision(matrix, slow, largest=largest, differentiable=differentiable))
  return fit(
    going_on(network, second.params, second.stats), revised, slow, data,
    key=third_key, epochs=epochs if revision_epochs is None else revision_epochs,
    batch_size=batch_size, observe=observe,
  )  # fmt: skip
