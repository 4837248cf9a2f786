"""Joint optimisation in its two steps."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from rfjax.core import Batch, Log, Network, TrainState, Transform, _check, chain, fit, identity
from rfjax.refurbishment._joint_optimization import joint_optimization


def joint_optimization_rounds(
  network: Network,
  tx: optax.GradientTransformation,
  data: Batch,
  *,
  key: jax.Array,
  epochs: int,
  second_tx: optax.GradientTransformation | None = None,
  second_epochs: int | None = None,
  batch_size: int | None = None,
  before: Transform = identity,
  after: Transform = identity,
  observe: Callable[[TrainState, Batch], Any] | None = None,
  **settings: Any,
) -> tuple[TrainState, Log]:
  r"""Learns labels and network jointly, and then a new network from the labels alone.

  $$\theta, s = \arg\min_{\theta, s} L_c + \alpha L_p + \beta L_e \qquad \longrightarrow \qquad
  \theta' = \arg\min_{\theta'} -\frac{1}{N} \sum_i \sum_k s_{ik} \log p_{ik}$$

  The second step has neither penalties nor corrections. Its labels are those of the first step's
  end, with the last epoch's predictions.

  Args:
    network: the network.
    tx: the optax transformation of the first step; the authors run a constant, high learning rate.
    data: the training set.
    key: a key from `jax.random.key`.
    epochs: of the first step; the authors run 200.
    second_tx: of the second step; `tx` when None. The authors run stochastic gradient descent with
      a rate of 0.2, divided by 10 after each third.
    second_epochs: of the second step; `epochs` when None. The authors run 120.
    batch_size: rows a step, as in `fit`.
    before: transforms in front of the method, such as a loss.
    after: transforms behind it, such as `metrics.watch`.
    observe: `observe(state, view) -> pytree`, called after each epoch, as in `fit`.
    **settings: further arguments of `joint_optimization`.

  Returns:
    The second step's `TrainState`, whose `method` is the triple of the states of `before`, of the
    method, with the labels, and of `after`, and the `Log` of all epochs, step after step.

  Raises:
    ValueError: for values out of range.

  References:
    Tanaka, Ikami, Yamasaki, Aizawa, Joint Optimization Framework for Learning with Noisy Labels,
    CVPR 2018.

  Examples:
    >>> import jax, optax, rfjax
    >>> from rfjax import architectures, refurbishment
    >>> x = [[-2.0], [-1.0], [1.0], [2.0], [3.0]]
    >>> data = rfjax.Batch.from_arrays(x, [0, 0, 1, 0, 1])
    >>> state, log = refurbishment.joint_optimization_rounds(
    ...     architectures.logistic(), optax.sgd(1.0), data, key=jax.random.key(0), epochs=40,
    ...     second_epochs=20, start=20)
    >>> log.risk.shape, state.method[1].labels.argmax(-1).tolist()
    ((60,), [0, 0, 1, 1, 1])
  """
  epochs = _check.count("epochs", epochs, 0)
  second_epochs = epochs if second_epochs is None else second_epochs
  second_epochs = _check.count("second_epochs", second_epochs, 0)
  first = joint_optimization(**settings)

  def step(
    method: Transform, tx: optax.GradientTransformation, key: jax.Array, epochs: int
  ) -> tuple[TrainState, Log]:
    return fit(
      network, chain(before, method, after), tx, data, key=key, epochs=epochs,
      batch_size=batch_size, observe=observe,
    )  # fmt: skip

  state, log = step(first, tx, key, epochs)
  _, learned = first.refresh(data, state.method[1], epoch=epochs)
  settings |= {"labels": learned.labels, "start": jnp.inf}
  settings |= {"prior_strength": 0.0, "entropy_strength": 0.0}
  second = joint_optimization(**settings)
  state, second_log = step(
    second, tx if second_tx is None else second_tx, jax.random.fold_in(key, 1), second_epochs
  )
  return state, jax.tree.map(lambda *v: jnp.concatenate(v), log, second_log)
