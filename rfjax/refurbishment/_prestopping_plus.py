"""Prestopping+: SELFIE with Prestopping's safe set for its clean examples."""

from collections.abc import Callable
from typing import Any

import jax
import optax

from rfjax.core import Batch, Log, Network, TrainState, fit
from rfjax.refurbishment._selfie_rounds import selfie_rounds
from rfjax.selection import prestopping


def prestopping_plus(
  network: Network,
  tx: optax.GradientTransformation,
  data: Batch,
  *,
  rate: float | jax.Array | None = None,
  stop: int | jax.Array | None = None,
  key: jax.Array,
  epochs: int,
  batch_size: int | None = None,
  restarts: int = 3,
  observe: Callable[[TrainState, Batch], Any] | None = None,
  **settings: Any,
) -> tuple[TrainState, Log]:
  r"""Prestopping+, which trains by Prestopping and then anew by SELFIE.

  $$\min_\theta \frac{1}{|R \cup S|} \Bigl( \sum_{i \in R \setminus S} \mathrm{cost}_{i r_i} +
  \sum_{i \in S} \mathrm{cost}_{i \tilde y_i} \Bigr)$$

  in each batch, with the last safe set S in the place of small losses, and R what SELFIE
  refurbishes. Its rounds start with a warm-up on all examples.

  Args:
    network: the network.
    tx: any optax transformation.
    data: the training set.
    rate: of Prestopping, the share of wrong labels in [0, 1); may be traced.
    stop: of Prestopping, the number of epochs before the stop, instead of a rate; may be traced.
    key: a key from `jax.random.key`.
    epochs: of Prestopping, and of each of SELFIE's rounds.
    batch_size: rows a step, as in `fit`.
    restarts: of SELFIE, after its first round, at least 0.
    observe: `observe(state, view) -> pytree`, called after each epoch of SELFIE, as in `fit`.
    **settings: further arguments of `selfie_rounds` and `selfie`.

  Returns:
    What `selfie_rounds` returns.

  Raises:
    ValueError: for values out of range.

  References:
    Song, Kim, Park, Lee, How Does Early Stopping Help Generalization against Label Noise?, ICML
    Workshop on Uncertainty and Robustness in Deep Learning 2020.

  Examples:
    >>> import jax, optax, rfjax
    >>> from rfjax import architectures, refurbishment
    >>> data = rfjax.Batch.from_arrays([[-2.0], [-1.0], [1.0], [2.0]], [0, 0, 0, 1])
    >>> state, log = refurbishment.prestopping_plus(
    ...     architectures.logistic(), optax.sgd(1.0), data, stop=2, key=jax.random.key(0), epochs=5,
    ...     restarts=0, length=3, warmup=3)
    >>> log.risk.shape
    (1, 5)
  """
  first_key, rounds_key = jax.random.split(key)
  first, _ = fit(
    network,
    prestopping(rate=rate, stop=stop),
    tx,
    data,
    key=first_key,
    epochs=epochs,
    batch_size=batch_size,
  )
  return selfie_rounds(
    network,
    tx,
    data,
    rate=0.0,  # SELFIE's own rate serves small losses only, which the safe set replaces
    clean=first.method.safe,
    key=rounds_key,
    epochs=epochs,
    batch_size=batch_size,
    restarts=restarts,
    observe=observe,
    **settings,
  )
