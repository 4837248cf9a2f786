"""The one shape of every method, and the combinators that make methods of methods."""

import dataclasses
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from rfjax.core import _check
from rfjax.core._batch import Batch

State = Any
Apply = Callable[..., tuple[Batch, State]]
Schedule = Callable[[Any], Any]

# The order in which a chain is read; "loss" is a cost that is set anew and not mapped.
READING_ORDER = ("logits", "log_probs", "loss", "cost", "target", "keep", "weight", "penalty")
_POINTWISE = ("log_probs", "loss", "cost")
_BEFORE_SELECTION = ("logits", *_POINTWISE)
_AFTER_LOSS = ("keep", "weight")
_WRITABLE = (*READING_ORDER, "order", "x", "y", "group", "valid", "trusted")


class Spec(NamedTuple):
  """Shapes of what the network says about the training set.

  Attributes:
    logits: ShapeDtypeStruct [N, C].
    features: ShapeDtypeStruct [N, d], or None where the network offers none.
  """

  logits: jax.ShapeDtypeStruct
  features: jax.ShapeDtypeStruct | None = None


def no_state(data: Batch, **unused: Any) -> tuple[()]:
  """The init of a transform that remembers nothing."""
  del data, unused
  return ()


def unchanged(flow: Batch, state: State, params: Any = None, **unused: Any) -> tuple[Batch, State]:
  """The update, or refresh, of a transform that does nothing there."""
  del params, unused
  return flow, state


class Transform(NamedTuple):
  """A method: optax's pair with the batch in the place of the updates, and one scale up a refresh.

  All three functions must accept and ignore keyword arguments that they do not know.

  Attributes:
    init: `init(data, *, key, spec) -> state`; `spec` is the `Spec` of the network's outputs.
    update: `update(batch, state, params, *, key, step, epoch, forward) -> (batch, state)`, once a
      step. `params` are live: `forward(params, batch)` is a second, differentiable, filled batch,
      and with `key=` one of new dropout.
    refresh: `refresh(data, state, params, *, key, step, epoch, forward) -> (data, state)`, at the
      start of each epoch, on the whole training set, filled by the network in evaluation mode. What
      it returns is seen by the coming epoch only; the next starts from the pristine data.
    writes: the fields of `Batch` that it maps, and "loss" if it sets the cost anew. `chain` reads
      it to refuse an order in which something would be lost.
  """

  init: Callable[..., State] = no_state
  update: Apply = unchanged
  refresh: Apply = unchanged
  writes: tuple[str, ...] = ()


identity = Transform()


def _apply(function: Callable[..., Batch]) -> Apply:
  def apply(flow: Batch, state: State, params: Any = None, **extra: Any) -> tuple[Batch, State]:
    del params
    return function(flow, **extra), state

  return apply


def pointwise(function: Callable[..., Batch], *, writes: tuple[str, ...] = ()) -> Transform:
  """Makes a transform of a function of a batch that acts in update and in refresh.

  It is the form of losses and corrections, so that a sampler balances on the chain's own loss.

  Args:
    function: `function(batch, **extra) -> batch`, free of state.
    writes: as in `Transform`; only log_probs, loss and cost, which no epoch's view keeps.

  Returns:
    The transform.

  Raises:
    ValueError: when `writes` names a field that would be changed twice, in refresh and in update.

  Examples:
    >>> import rfjax
    >>> double = rfjax.pointwise(lambda batch, **_: batch.replace(cost=2 * batch.cost))
  """
  twice = [name for name in writes if name not in _POINTWISE]
  if twice:
    raise ValueError(f"pointwise would change {twice[0]} in refresh and again: use stateless")

  def refresh(flow: Batch, state: State, params: Any = None, **extra: Any) -> tuple[Batch, State]:
    del params
    new = function(flow, **extra)
    return flow.replace(log_probs=new.log_probs, cost=new.cost), state

  return Transform(update=_apply(function), refresh=refresh, writes=writes)


def stateless(function: Callable[..., Batch], *, writes: tuple[str, ...] = ()) -> Transform:
  """Makes a transform of a function of a batch that acts in update only.

  Args:
    function: `function(batch, **extra) -> batch`, free of state.
    writes: as in `Transform`.

  Returns:
    The transform.

  Examples:
    >>> import rfjax
    >>> halve = rfjax.stateless(lambda batch, **_: batch.replace(weight=0.5 * batch.weight))
  """
  return Transform(update=_apply(function), writes=writes)


def _check_order(transforms: tuple[Transform, ...]) -> None:
  written: set[str] = set()
  for position, t in enumerate(transforms):
    for name in t.writes:
      _check.choice(f"writes of transform {position}", name, _WRITABLE)
    late = [name for name in t.writes if name in _BEFORE_SELECTION]
    if late and written.intersection(_AFTER_LOSS):
      what = "loss" if "loss" in late else late[0]
      raise ValueError(
        f"transform {position} of the chain sets the {what} after a selection or reweighting has"
        " read it: put it in front of them"
      )
    if "loss" in t.writes and "cost" in written:
      raise ValueError(
        f"transform {position} of the chain is a loss, and would overwrite the cost that was"
        " corrected before it: put it in front of the correction"
      )
    if "loss" in t.writes and "loss" in written:
      raise ValueError(
        f"transform {position} of the chain is a second loss, and the first would be lost: keep one"
      )
    if "logits" in t.writes and written.intersection(("log_probs", "loss", "cost")):
      raise ValueError(
        f"transform {position} of the chain decides anew after the logits have been read: put it in"
        " front"
      )
    if "log_probs" in t.writes and written.intersection(("loss", "cost")):
      raise ValueError(
        f"transform {position} of the chain corrects log_probs after the loss has read them:"
        " put it in front of the loss"
      )
    written.update(t.writes)


def chain(*transforms: Transform) -> Transform:
  """Applies transforms in turn; each sees what the ones before it have written.

  A chain reads log_probs, cost, target, keep and weight, penalty, in this order. Several writers of
  one field: log_probs and cost are mapped on, the last target wins, keep and weight multiply,
  penalties add.

  Args:
    *transforms: the methods, in reading order.

  Returns:
    One transform, whose state is the tuple of their states.

  Raises:
    ValueError: for a second loss, or a correction or loss placed after what has read the loss.

  References:
    DeepMind et al., `The DeepMind JAX Ecosystem` (optax.chain), 2020.

  Examples:
    >>> import rfjax
    >>> halve = rfjax.stateless(lambda batch, **_: batch.replace(weight=0.5 * batch.weight))
    >>> method = rfjax.chain(halve, halve)
  """
  _check_order(transforms)

  def init(data: Batch, *, key: jax.Array, **extra: Any) -> State:
    return tuple(
      t.init(data, key=jax.random.fold_in(key, i), **extra) for i, t in enumerate(transforms)
    )

  def walk(name: str) -> Apply:
    def apply(
      flow: Batch, states: State, params: Any = None, *, key: jax.Array, **extra: Any
    ) -> tuple[Batch, State]:
      new = []
      for i, (t, state) in enumerate(zip(transforms, states, strict=True)):
        step = getattr(t, name)
        flow, state = step(flow, state, params, key=jax.random.fold_in(key, i), **extra)
        new.append(state)
      return flow, tuple(new)

    return apply

  writes = tuple(dict.fromkeys(name for t in transforms for name in t.writes))
  return Transform(init, walk("update"), walk("refresh"), writes)


_MIXABLE = ("cost", "target", "keep", "weight", "penalty")


def _changed(flow: Batch, new: Batch) -> list[str]:
  names = [field.name for field in dataclasses.fields(flow)]
  return [name for name in names if getattr(new, name) is not getattr(flow, name)]


def scaled(schedule: Schedule | Any, t: Transform) -> Transform:
  r"""Lets a transform act at a strength that may change over the steps.

  $$\mathrm{field} \leftarrow \mathrm{field} + s\,(t(\mathrm{field}) - \mathrm{field})$$

  for cost, target, keep, weight and penalty, so that 0 is the identity and 1 is `t`. A selection
  that drops rows for whole epochs is refused: it drops them in their steps too, and would act
  twice.

  Args:
    schedule: the strength s, or a function of the step that gives it; optax's schedules will do.
    t: the transform; it must not map log_probs, whose mixtures are no log-probabilities.

  Returns:
    The transform, with the state of `t`.

  Raises:
    ValueError: if `t` writes anything else.

  Examples:
    >>> import optax, rfjax
    >>> halve = rfjax.stateless(lambda batch, **_: batch.replace(weight=0.5 * batch.weight))
    >>> ramp = rfjax.scaled(optax.linear_schedule(0.0, 1.0, 100), halve)
  """
  if "log_probs" in t.writes:
    raise ValueError("scaled cannot mix log_probs: give the correction itself a strength")
  if not callable(schedule):
    _check.number("schedule", schedule)

  def mix(apply: Apply, mixable: tuple[str, ...]) -> Apply:
    def mixed(
      flow: Batch, state: State, params: Any = None, *, step: Any, **extra: Any
    ) -> tuple[Batch, State]:
      strength = schedule(step) if callable(schedule) else schedule
      new, state = apply(flow, state, params, step=step, **extra)
      fields = {}
      for name in _changed(flow, new):
        if name not in mixable:
          raise ValueError(f"scaled cannot mix {name}: give the transform itself a strength")
        old = getattr(flow, name)
        fields[name] = old + strength * (getattr(new, name) - old)
      return flow.replace(**fields), state

    return mixed

  for_epochs = tuple(name for name in _MIXABLE if name != "keep")
  return Transform(t.init, mix(t.update, _MIXABLE), mix(t.refresh, for_epochs), t.writes)


_DATA = 0x64617461  # sets the draws of `transform` apart from those of `fit` with the same key


def _data_key(key: jax.Array, writes: tuple[str, ...]) -> jax.Array:
  """A key for what writes these fields of a data set."""
  tag = zlib.crc32(",".join(writes).encode())
  return jax.random.fold_in(jax.random.fold_in(key, _DATA), tag)


def transform(
  t: Transform, data: Batch, *, key: jax.Array, fitted_on: Batch | None = None
) -> Batch:
  """Applies a transform to a data set: noise and repairs before training, adjustments after it.

  With one key, transforms that write different fields draw independently, such as noise of labels
  and of groups. Those that write the same fields share their draws: so label noise of two kinds or
  rates strikes the same rows. For independent draws give them two keys, or put them in a `chain`.

  Args:
    t: the transform; its `init` sees `fitted_on`, its `update` sees `data`.
    data: the data set.
    key: a key from `jax.random.key`.
    fitted_on: the data that its state is made of, such as a validation set; `data` when None.

  Returns:
    The transformed data set.

  Examples:
    >>> import jax, rfjax
    >>> data = rfjax.Batch.from_arrays([[0.0], [1.0]], [0, 1])
    >>> flip = rfjax.stateless(lambda batch, **_: batch.replace(y=1 - batch.y))
    >>> rfjax.transform(flip, data, key=jax.random.key(0)).y.tolist()
    [1, 0]
  """
  init_key, update_key = jax.random.split(_data_key(key, t.writes))
  state = t.init(data if fitted_on is None else fitted_on, key=init_key, spec=None)
  filled = data.with_columns("keep", "weight")
  new, _ = t.update(filled, state, None, key=update_key, step=0, epoch=0, forward=None)
  return new.without_columns(data, filled)
