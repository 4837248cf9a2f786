"""ITLM in rounds, each with a new network."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from rfjax.core import Batch, Log, Network, TrainState, Transform, _check, chain, fit, identity
from rfjax.core import rounds as run_rounds
from rfjax.selection._elements import Rate, check_rate, refresh_after
from rfjax.selection._itlm import itlm


def itlm_rounds(
  network: Network,
  tx: optax.GradientTransformation,
  data: Batch,
  *,
  rate: Rate,
  key: jax.Array,
  epochs: int,
  batch_size: int | None = None,
  rounds: int = 5,
  before: Transform = identity,
  after: Transform = identity,
  observe: Callable[[TrainState, Batch], Any] | None = None,
) -> tuple[TrainState, Log]:
  r"""Trains on all rows, then from new networks on the rows that the last one finds easy.

  $$\theta_t \approx \arg\min_\theta \sum_{i \in S_t} \mathrm{loss}_i(\theta), \qquad
  S_{t+1} = \arg\min_{|S| = \lfloor (1 - \tau) N \rfloor} \sum_{i \in S} \mathrm{loss}_i(\theta_t)$$

  with all rows in the first round. Network and optimizer start anew in each, and the losses that
  select are those of the last epoch's network, in evaluation mode.

  Args:
    network: the network.
    tx: any optax transformation.
    data: the training set.
    rate: tau in [0, 1), the share to leave out; may be traced, or be a function of the number of
      epochs of a round.
    key: a key from `jax.random.key`.
    epochs: of each round, at least 1.
    batch_size: rows a step, as in `fit`, those that are left out among them.
    rounds: how many trainings there are, at least 1.
    before: transforms in front of the selection, such as a loss.
    after: transforms behind it, such as `metrics.watch`.
    observe: `observe(state, view) -> pytree`, called after each epoch, as in `fit`.

  Returns:
    The last round's `TrainState`, whose `method` is the triple of the states of `before`, `itlm`,
    with the rows that it was trained on, and of `after`; and the `Log`, each leaf with a leading
    axis of rounds.

  Raises:
    ValueError: for values out of range.

  References:
    Shen, Sanghavi, Learning with Bad Training Data via Iterative Trimmed Loss Minimization, ICML
    2019.

  Examples:
    >>> import jax, optax, rfjax
    >>> from rfjax import architectures, selection
    >>> data = rfjax.Batch.from_arrays([[-2.0], [-1.0], [1.0], [2.0]], [0, 0, 0, 1])
    >>> state, log = selection.itlm_rounds(
    ...     architectures.logistic(), optax.sgd(1.0), data, rate=0.25, key=jax.random.key(0),
    ...     epochs=10, rounds=2)
    >>> state.method[1].kept.tolist(), log.risk.shape
    ([True, True, False, True], (2, 10))
  """
  check_rate("rate", rate)
  epochs, rounds = _check.count("epochs", epochs), _check.count("rounds", rounds)

  def turn(kept: jax.Array, key: jax.Array) -> Any:
    method = chain(before, itlm(rate, every=epochs, kept=kept), after)
    state, log = fit(
      network, method, tx, data, key=key, epochs=epochs, batch_size=batch_size, observe=observe
    )
    over = refresh_after(
      network, method, tx, state, data, key=key, epoch=epochs, batch_size=batch_size
    )
    return over[1].kept, (state, log)

  _, (states, log) = run_rounds(turn, jnp.ones(data.num_rows, bool), key=key, count=rounds)
  return jax.tree.map(lambda leaf: leaf[-1], states), log
