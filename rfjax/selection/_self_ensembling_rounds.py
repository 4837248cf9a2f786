"""SELF in rounds, each on the labels that the best network of the last one agreed to."""

from collections.abc import Callable
from typing import Any, NamedTuple

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
  read,
  write,
)
from rfjax.core import rounds as run_rounds
from rfjax.selection._elements import refresh_after
from rfjax.selection._self_ensembling import SelfEnsemblingState, renew, self_ensembling


class _Best(NamedTuple):
  accuracy: jax.Array  # []
  params: Any  # the student's
  found: SelfEnsemblingState


class _Memory(NamedTuple):
  accuracy: jax.Array  # [], the best one so far; below 0 before the first round
  going: jax.Array  # bool [], whether every round so far brought a better model
  place: jax.Array  # int32 [], which round is the best one
  turn: jax.Array  # int32 []
  kept: jax.Array  # bool [N]
  start: Any  # the student's parameters and the average of the best epoch; () for new ones


def self_ensembling_rounds(
  network: Network,
  tx: optax.GradientTransformation,
  data: Batch,
  validation: Batch,
  *,
  key: jax.Array,
  epochs: int,
  batch_size: int | None = None,
  rounds: int = 3,
  restart: bool = True,
  of: str = "teacher",
  decay: float | jax.Array = 0.999,
  before: Transform = identity,
  after: Transform = identity,
  observe: Callable[[TrainState, Batch], Any] | None = None,
  **settings: Any,
) -> tuple[TrainState, Log]:
  r"""Trains on all labels, then on those of the given ones that the best model agrees to.

  $$t_r = \arg\max_t \mathrm{accuracy}_{\mathrm{val}}(\theta_{r, t}), \qquad
  L_{r + 1} = \{i : \arg\max_k \bar z^{(r, t_r)}_{ik} = \tilde y_i\}$$

  with all rows in $L_0$, and the first of several epochs. A round that brings no better model ends
  it: it and those after it count no more, though they are run, since their number is fixed. Each
  filter looks at all labels, so that a row that was left out may return.

  Args:
    network: the network.
    tx: any optax transformation; its state starts anew in each round.
    data: the training set.
    validation: the validation set; it may have wrong labels too.
    key: a key from `jax.random.key`.
    epochs: of each round, at least 1.
    batch_size: rows a step, as in `fit`, those that are left out among them.
    rounds: how many trainings there are at most, at least 1.
    restart: whether each round starts with a new network and average, or goes on from the weights
      and the average of the best epoch; the network's statistics start anew in both.
    of: whose predictions are averaged, and who is validated and returned, "teacher" or "student".
    decay: of the teacher, in [0, 1]; may be traced.
    before: transforms in front of the selection, such as a loss.
    after: transforms behind it, such as `metrics.watch`.
    observe: `observe(state, view) -> pytree`, called after each epoch, as in `fit`.
    **settings: further arguments of `self_ensembling`, but for warmup, kept and ensemble.

  Returns:
    The best round's `TrainState`, with the parameters of the best model of its best epoch, and the
    `Log`, each leaf with a leading axis of rounds. Its `method` is the triple of the states of
    `before`, of `self_ensembling` as it was after that epoch, with the rows that the round was
    trained on, and of `after`. All else, also the network's statistics, is from the round's end.

  Raises:
    ValueError: for values out of range.

  References:
    Nguyen, Mummadi, Ngo, Nguyen, Beggel, Brox, SELF: Learning to Filter Noisy Labels with
    Self-Ensembling, ICLR 2020.

  Examples:
    >>> import jax, optax, rfjax
    >>> from rfjax import architectures, selection
    >>> data = rfjax.Batch.from_arrays([[-2.0], [-1.0], [1.0], [2.0]], [0, 0, 0, 1])
    >>> clean = data.replace(y=data.y.at[2].set(1))
    >>> network = architectures.logistic()
    >>> state, log = selection.self_ensembling_rounds(
    ...     network, optax.sgd(1.0), data, clean, key=jax.random.key(0), epochs=10)
    >>> log.risk.shape, rfjax.predict(network, state, data).logits.argmax(-1).tolist()
    ((3, 10), [0, 0, 1, 1])
  """
  epochs, rounds = _check.count("epochs", epochs), _check.count("rounds", rounds)
  self_ensembling(network, of=of, decay=decay, **settings)  # refused before anything compiles

  def turn(memory: _Memory, key: jax.Array) -> tuple[_Memory, tuple[TrainState, Log]]:
    params, ensemble = memory.start or (None, None)
    filtered = self_ensembling(
      network, of=of, decay=decay, warmup=epochs + 1, kept=memory.kept, ensemble=ensemble,
      **settings,
    )  # fmt: skip
    method = chain(before, _with_best(filtered, validation, of, decay), after)
    state, log = fit(
      network, method, tx, data, key=key, epochs=epochs, batch_size=batch_size, params=params,
      observe=unwrapped,
    )  # fmt: skip
    over = refresh_after(
      network, method, tx, state, data, key=key, epoch=epochs, batch_size=batch_size
    )
    best = over[1][1]
    chosen = state._replace(
      params=best.params if of == "student" else best.found.teacher,
      method=(state.method[0], best.found, state.method[2]),
    )
    better = memory.going & (best.accuracy > memory.accuracy)
    said = jnp.argmax(read(best.found.ensemble, data.index), axis=-1)
    agree = write(memory.kept, data.index, said == data.y)
    start = () if restart else (best.params, best.found.ensemble)
    ahead = _Memory(best.accuracy, better, memory.turn, memory.turn, agree, start)
    new = jax.tree.map(lambda a, b: jnp.where(better, a, b), ahead, memory)
    return new._replace(going=better, turn=memory.turn + 1), (chosen, log)

  def unwrapped(state: TrainState, view: Batch) -> Any:
    first, (inner, _), last = state.method
    return () if observe is None else observe(state._replace(method=(first, inner, last)), view)

  start: Any = ()
  if not restart:
    first, _ = fit(network, self_ensembling(network), tx, data, key=key, epochs=0)
    start = first.params, first.method.ensemble
  none, kept = jnp.zeros((), jnp.int32), jnp.ones(data.num_rows, bool)
  memory = _Memory(jnp.float32(-1.0), jnp.array(True), none, none, kept, start)
  memory, (states, log) = run_rounds(turn, memory, key=key, count=rounds)
  return jax.tree.map(lambda leaf: leaf[memory.place], states), log


def _with_best(t: Transform, validation: Batch, of: str, decay: Any) -> Transform:
  """The transform, which remembers what it and the network were like after the best epoch."""

  def init(data: Batch, **extra: Any) -> tuple[SelfEnsemblingState, _Best]:
    inner = t.init(data, **extra)
    return inner, _Best(jnp.float32(-1.0), inner.teacher, inner)

  def update(
    batch: Batch, state: tuple[SelfEnsemblingState, _Best], params: Any, **extra: Any
  ) -> tuple[Batch, tuple[SelfEnsemblingState, _Best]]:
    batch, inner = t.update(batch, state[0], params, **extra)
    return batch, (inner, state[1])

  def refresh(
    data: Batch, state: tuple[SelfEnsemblingState, _Best], params: Any, *, epoch: Any, forward: Any,
    **extra: Any,
  ) -> tuple[Batch, tuple[SelfEnsemblingState, _Best]]:  # fmt: skip
    data, inner = t.refresh(data, state[0], params, epoch=epoch, forward=forward, **extra)
    found = renew(inner, params, decay)
    said = forward(params if of == "student" else found.teacher, validation).logits
    accuracy = validation.mean(jnp.argmax(said, axis=-1) == validation.y)
    now = _Best(accuracy.astype(jnp.float32), params, found)
    better = (jnp.asarray(epoch) > 0) & (now.accuracy > state[1].accuracy)
    return data, (inner, jax.tree.map(lambda a, b: jnp.where(better, a, b), now, state[1]))

  return Transform(init, update, refresh, t.writes)
