"""O2U-Net in its three stages."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from rfjax.core import Batch, Log, Network, TrainState, Transform, _check, chain, fit, identity
from rfjax.core._network import going_on
from rfjax.selection._elements import Rate, check_rate, refresh_after
from rfjax.selection._o2u import o2u


def o2u_rounds(
  network: Network,
  tx: optax.GradientTransformation,
  data: Batch,
  *,
  rate: Rate,
  key: jax.Array,
  epochs: int,
  cycle_tx: optax.GradientTransformation,
  cycle_epochs: int,
  batch_size: int | None = None,
  cycle_batch_size: int | None = None,
  restart: bool = False,
  before: Transform = identity,
  after: Transform = identity,
  observe: Callable[[TrainState, Batch], Any] | None = None,
) -> tuple[TrainState, Log]:
  r"""Trains on all rows, records losses under a cyclical learning rate, and trains on what is left.

  $$\theta \xrightarrow{\text{all rows}} \theta_1 \xrightarrow{\text{cyclical rate}} s, \qquad
  \theta_1 \xrightarrow{\mathrm{rank}(s_i) < \lfloor (1 - \tau) N \rfloor} \theta_3$$

  with the scores s of `o2u`, of all epochs of the second stage. The last stage goes on from the
  network of the first one, as the authors' code does, or from a new one; a network's statistics,
  such as the averages of batch normalisation, go with its parameters. Each stage has an optimizer
  of its own.

  Args:
    network: the network.
    tx: the optax transformation of the first and last stage.
    data: the training set.
    rate: tau in [0, 1), the share to leave out, usually the noise rate; may be traced.
    key: a key from `jax.random.key`.
    epochs: of the first stage, and of the last one.
    cycle_tx: the optax transformation of the second stage, with a `cyclical` learning rate.
    cycle_epochs: of the second stage, at least 1. The authors run 250.
    batch_size: rows a step, as in `fit`.
    cycle_batch_size: the same of the second stage. The authors run 16, against 128.
    restart: whether the last stage starts with a new network.
    before: transforms in front of the selection, such as a loss.
    after: transforms behind it, such as `metrics.watch`.
    observe: `observe(state, view) -> pytree`, called after each epoch, as in `fit`.

  Returns:
    The last stage's `TrainState`, whose `method` is the triple of the states of `before`, of `o2u`,
    with the scores and the rows that are left, and of `after`; and the `Log` of all epochs, stage
    after stage.

  Raises:
    ValueError: for values out of range.

  References:
    Huang, Qu, Jia, Zhao, O2U-Net: A Simple Noisy Label Detection Approach for Deep Neural Networks,
    ICCV 2019.

  Examples:
    >>> import jax, optax, rfjax
    >>> from rfjax import architectures, selection
    >>> data = rfjax.Batch.from_arrays([[-2.0], [-1.0], [1.0], [2.0]], [0, 0, 0, 1])
    >>> state, log = selection.o2u_rounds(
    ...     architectures.logistic(), optax.sgd(1.0), data, rate=0.25, key=jax.random.key(0),
    ...     epochs=5, cycle_tx=optax.sgd(selection.cyclical(1.0, 0.1, 5)), cycle_epochs=10)
    >>> state.method[1].kept.tolist(), log.risk.shape
    ([True, True, False, True], (20,))
  """
  check_rate("rate", rate)
  epochs = _check.count("epochs", epochs, 0)
  cycle_epochs = _check.count("cycle_epochs", cycle_epochs)
  keys = [key, jax.random.fold_in(key, 1), jax.random.fold_in(key, 2)]
  stage = lambda **settings: chain(before, o2u(rate, **settings), after)

  def plain(network: Network, method: Transform, key: jax.Array) -> tuple[TrainState, Log]:
    how = {"epochs": epochs, "batch_size": batch_size, "observe": observe}
    return fit(network, method, tx, data, key=key, **how)

  first, log = plain(network, stage(start=epochs, stop=epochs), keys[0])
  trained, cycles = going_on(network, first.params, first.stats), stage(stop=cycle_epochs)
  second, cycle_log = fit(
    trained,
    cycles,
    cycle_tx,
    data,
    key=keys[1],
    epochs=cycle_epochs,
    batch_size=cycle_batch_size,
    observe=observe,
  )
  over = refresh_after(
    trained, cycles, cycle_tx, second, data,
    key=keys[1], epoch=cycle_epochs, batch_size=cycle_batch_size,
  )  # fmt: skip
  start = network if restart else trained
  last, last_log = plain(start, stage(stop=0, score=over[1].score), keys[2])
  return last, jax.tree.map(lambda *v: jnp.concatenate(v), log, cycle_log, last_log)
