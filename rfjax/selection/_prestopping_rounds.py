"""Prestopping whose stop is found by the validation error of a first run."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from rfjax.core import Batch, Log, Network, TrainState, Transform, chain, fit, identity, predict
from rfjax.selection._prestopping import prestopping


def prestopping_rounds(
  network: Network,
  tx: optax.GradientTransformation,
  data: Batch,
  validation: Batch,
  *,
  key: jax.Array,
  epochs: int,
  batch_size: int | None = None,
  before: Transform = identity,
  after: Transform = identity,
  observe: Callable[[TrainState, Batch], Any] | None = None,
  **settings: Any,
) -> tuple[TrainState, Log]:
  r"""Prestopping by the validation error: a first run finds the stop, a second one goes on from it.

  $$t_{\mathrm{stop}} = \arg\min_t \mathrm{error}_{\mathrm{val}}(\theta_t)$$

  of the epochs t of ordinary training, the first of several. The second run has the same key, so it
  is the first one to the bit up to there, and then trains on the safe set. The authors' code counts
  only epochs whose training error is still above the noise rate.

  Args:
    network: the network.
    tx: any optax transformation.
    data: the training set.
    validation: the validation set; clean in the paper.
    key: a key from `jax.random.key`.
    epochs: of each of both runs.
    batch_size: rows a step, as in `fit`.
    before: transforms in front of Prestopping, such as a loss.
    after: transforms behind it, such as `metrics.watch`.
    observe: `observe(state, view) -> pytree`, called after each epoch of the second run.
    **settings: further arguments of `prestopping`.

  Returns:
    The second run's `TrainState`, whose `method` is the triple of the states of `before`, of
    Prestopping and of `after`, and its `Log`.

  References:
    Song, Kim, Park, Lee, How Does Early Stopping Help Generalization against Label Noise?, ICML
    Workshop on Uncertainty and Robustness in Deep Learning 2020.

  Examples:
    >>> import jax, optax, rfjax
    >>> from rfjax import architectures, selection
    >>> data = rfjax.Batch.from_arrays([[-2.0], [-1.0], [1.0], [2.0]], [0, 0, 0, 1])
    >>> state, log = selection.prestopping_rounds(
    ...     architectures.logistic(), optax.sgd(1.0), data, data, key=jax.random.key(0), epochs=5)
    >>> int(state.method[1].stopped) >= 1
    True
  """
  prestopping(stop=0, **settings)  # bad settings are refused here, before anything compiles

  def run(stop: Any, observe: Any) -> tuple[TrainState, Log]:
    method = chain(before, prestopping(stop=stop, **settings), after)
    return fit(
      network, method, tx, data, key=key, epochs=epochs, batch_size=batch_size, observe=observe
    )

  def error(state: TrainState, view: Batch) -> jax.Array:
    del view
    said = predict(network, state, validation)
    return validation.mean(jnp.argmax(said.logits, axis=-1) != validation.y)

  _, log = run(epochs, error)
  return run(jnp.argmin(log.observed) + 1, observe)
