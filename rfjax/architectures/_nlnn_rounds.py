"""The noisy labels neural network with a new network in each round."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from rfjax.architectures._nlnn import NLNNState, em, learn, start
from rfjax.architectures._s_model import confusion
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
  rounds,
)


def nlnn_rounds(
  network: Network,
  tx: optax.GradientTransformation,
  data: Batch,
  *,
  key: jax.Array,
  epochs: int,
  batch_size: int | None = None,
  initial: ArrayLike | None = None,
  restarts: int = 5,
  before: Transform = identity,
  observe: Callable[[TrainState, Batch], Any] | None = None,
) -> tuple[TrainState, Log]:
  r"""Trains on the given labels, and then new networks on the posteriors of the true ones.

  $$c_{ti} \propto \theta_{i \tilde y_t}\, p_i(x_t), \qquad
  \theta_{ij} = \frac{\sum_t c_{ti}\, [\tilde y_t = j]}{\sum_t c_{ti}}$$

  after each round, with what its network says in evaluation.

  Args:
    network: the network.
    tx: any optax transformation.
    data: the training set.
    key: a key from `jax.random.key`.
    epochs: of each round.
    batch_size: rows a step, as in `fit`.
    initial: theta_0 [C, C], rows of probabilities; the `confusion` of the first network when None.
    restarts: rounds after the first, at least 0.
    before: transforms in front, such as a loss.
    observe: `observe(state, view) -> pytree`, called after each epoch, as in `fit`.

  Returns:
    The last round's `TrainState`, whose `method` is the `NLNNState` after it, and the `Log`, each
    leaf with a leading axis of rounds.

  Raises:
    ValueError: for values out of range.

  References:
    Bekker, Goldberger, Training deep neural-networks based on unreliable labels, ICASSP 2016.

  Examples:
    >>> import jax, optax, rfjax
    >>> from rfjax import architectures
    >>> data = rfjax.Batch.from_arrays([[-2.0], [-1.0], [1.0], [2.0]], [0, 0, 0, 1])
    >>> state, log = architectures.nlnn_rounds(
    ...     architectures.logistic(), optax.sgd(1.0), data, key=jax.random.key(0), epochs=10,
    ...     restarts=2)
    >>> log.risk.shape, state.method.posterior.shape
    ((3, 10), (4, 2))
  """
  restarts = _check.count("restarts", restarts, 0)
  given = None if initial is None else _check.transition("initial", initial)
  if given is not None:
    _check.classes("initial", given.shape[0], data)

  def turn(memory: tuple[NLNNState, jax.Array], key: jax.Array) -> Any:
    known, first = memory
    method = chain(before, Transform(lambda data, **_: known, learn, writes=("target",)))
    state, log = fit(
      network, method, tx, data, key=key, epochs=epochs, batch_size=batch_size, observe=observe
    )
    said = predict(network, state, data)
    if given is None:
      seen = confusion(said.log_probs, data.y, data.valid).astype(known.transition.dtype)
      known = known._replace(transition=jnp.where(first, seen, known.transition))
    known = em(said, known)
    return (known, jnp.zeros_like(first)), (state._replace(method=known), log)

  known = start(data, jnp.eye(data.num_classes) if given is None else given)
  _, (states, log) = rounds(turn, (known, jnp.array(True)), key=key, count=restarts + 1)
  return jax.tree.map(lambda leaf: leaf[-1], states), log
