"""A run: epochs of steps in two nested scans, and the prediction of what came out."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from rfjax.core import _check, _peers
from rfjax.core._batch import Batch
from rfjax.core._draws import permutation
from rfjax.core._network import Network
from rfjax.core._parts import scan_epochs
from rfjax.core._spread import spread
from rfjax.core._step import Step, TrainState, train_step
from rfjax.core._transform import Transform
from rfjax.core._when import DefaultOrder


class Log(NamedTuple):
  """What a run tells of its epochs.

  Attributes:
    risk: [epochs], the mean risk of the epoch's steps.
    penalty: [epochs], their mean penalty.
    observed: what `observe` returned, with a leading axis of epochs; () without it.
  """

  risk: jax.Array
  penalty: jax.Array
  observed: Any = ()


def random_order(key: jax.Array, rows: int, batch_size: int) -> jax.Array:
  """A permutation of the rows in batches, int32 [ceil(rows / batch_size), batch_size]."""
  steps = -(-rows // batch_size)
  order = permutation(key, rows)
  return jnp.pad(order, (0, steps * batch_size - rows), constant_values=rows).reshape(steps, -1)


def _default_order(key: jax.Array, rows: int, batch_size: int) -> DefaultOrder:
  draw = lambda: random_order(key, rows, batch_size)
  return DefaultOrder(draw(), draw)


def _epoch(step: Step, view: Batch, state: TrainState, key: jax.Array, epoch: Any, first: Any):
  """The steps of one epoch; full batch where nobody has written an order."""
  if view.order is None:
    state, metrics = step.update(
      state, spread(view), key=jax.random.fold_in(key, 1), step=first, epoch=epoch
    )
    return state, metrics, 1

  def body(state: TrainState, at: Any) -> tuple[TrainState, Any]:
    i, rows = at
    batch = spread(view.take(rows))
    return step.update(
      state, batch, key=jax.random.fold_in(key, i + 1), step=first + i, epoch=epoch
    )

  steps = view.order.shape[0]
  state, metrics = jax.lax.scan(body, state, (jnp.arange(steps), view.order))
  return state, jax.tree.map(jnp.mean, metrics), steps


def fit(
  network: Network,
  method: Transform,
  tx: optax.GradientTransformation,
  data: Batch,
  *,
  key: jax.Array,
  epochs: int,
  batch_size: int | None = None,
  params: Any = None,
  peers: int = 1,
  observe: Callable[[TrainState, Batch], Any] | None = None,
) -> tuple[TrainState, Log]:
  """Trains a network by a method: one run, pure from end to end.

  Args:
    network: the network.
    method: the method, a `Transform`.
    tx: any optax transformation.
    data: the training set.
    key: a key from `jax.random.key`; initialisation, batches and methods draw from it.
    epochs: passes over the data.
    batch_size: rows a step, from 1 to the number of rows; None takes all rows in one step.
    params: initial parameters, instead of the network's own; with peers, with a leading axis.
    peers: runs trained side by side that may look at each other by `rfjax.core.peer`. They share
      the data and the batches, and differ in initialisation and method keys.
    observe: `observe(state, view) -> pytree`, called after each epoch, with that epoch's data.

  Returns:
    The last `TrainState`, with a leading axis if there are peers, and the `Log`.

  Raises:
    ValueError: for counts out of range.

  Examples:
    >>> import jax, optax, rfjax
    >>> from rfjax import architectures
    >>> data = rfjax.Batch.from_arrays([[-1.0], [0.5], [1.0]], [0, 1, 1])
    >>> state, log = rfjax.fit(architectures.logistic(), rfjax.chain(), optax.sgd(1.0), data,
    ...                        key=jax.random.key(0), epochs=20)
    >>> rfjax.predict(architectures.logistic(), state, data).logits.argmax(-1).tolist()
    [0, 1, 1]
  """
  epochs, peers = _check.count("epochs", epochs, 0), _check.count("peers", peers)
  rows = data.num_rows
  if batch_size is not None and _check.count("batch_size", batch_size) > rows:
    raise ValueError(f"batch_size must be at most the {rows} rows of data, got {batch_size}")
  step = train_step(network, method, tx)
  wary = train_step(network, method, tx, skip_empty=True)  # a sampler may serve empty batches
  init_key, order_key, run_key = jax.random.split(key, 3)

  def start(params: Any, lane: Any) -> TrainState:
    network_key, method_key = jax.random.split(jax.random.fold_in(init_key, lane))
    fresh, stats = network.init(network_key, data.x)
    return step.init(fresh if params is None else params, data, key=method_key, stats=stats)

  def advance(state: TrainState, lane: Any, first: Any, epoch: Any) -> tuple[TrainState, Any, Log]:
    epoch_key = jax.random.fold_in(jax.random.fold_in(run_key, lane), epoch)
    shuffled, extra = data, {}
    if batch_size is not None:
      default = _default_order(jax.random.fold_in(order_key, epoch), rows, batch_size)
      shuffled, extra = data.replace(order=default.order), {"default_order": default}
    refresh_key = jax.random.fold_in(epoch_key, 0)
    view, state = step.refresh(state, shuffled, key=refresh_key, epoch=epoch, step=first, **extra)
    sampled = view.order is not shuffled.order
    state, metrics, steps = _epoch(wary if sampled else step, view, state, epoch_key, epoch, first)
    observed = () if observe is None else observe(state, view)
    return state, first + steps, Log(metrics["risk"], metrics["penalty"], observed)

  lane: Any = 0
  if peers > 1:
    if any(leaf.shape[:1] != (peers,) for leaf in jax.tree.leaves(params)):
      raise ValueError(f"params must have a leading axis of {peers} peers: stack one for each")
    lane = jnp.arange(peers)
    start = jax.vmap(start, (None if params is None else 0, 0), axis_name=_peers.AXIS)
    advance = jax.vmap(advance, (0, 0, None, None), (0, None, 0), axis_name=_peers.AXIS)

  def body(carry: tuple[TrainState, Any], epoch: Any) -> Any:
    state, first, log = advance(carry[0], lane, carry[1], epoch)
    return (state, first), log

  carry = start(params, lane), jnp.zeros((), jnp.int32)
  (state, _), log = scan_epochs(body, carry, epochs)
  if peers > 1:
    log = jax.tree.map(lambda told: jnp.moveaxis(told, 1, 0), log)
  return state, log


def predict(network: Network, state: TrainState, data: Batch) -> Batch:
  """Fills a data set with what a trained network says, in evaluation mode.

  Noise layers belong to the method and are gone; of several peers the first one speaks.

  Args:
    network: the network.
    state: the state that `fit` returned.
    data: any data set of the same kind of examples.

  Returns:
    The data with `logits` and all that follows from them.
  """
  key = jax.random.key(0)
  expected = jax.eval_shape(network.init, key, data.x)
  variables = (state.params, state.stats)
  shapes = [leaf.shape for leaf in jax.tree.leaves(variables)]
  if [s[1:] for s in shapes] == [leaf.shape for leaf in jax.tree.leaves(expected)] and all(shapes):
    variables = jax.tree.map(lambda leaf: leaf[0], variables)
  logits, features, _ = network.apply(*variables, data.x, key=key, train=False)
  return data.fill(logits, features)
