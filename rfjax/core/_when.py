"""A transform in a branch: one while a predicate holds, and another otherwise."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rfjax.core._batch import Batch
from rfjax.core._transform import Apply, State, Transform, identity


class DefaultOrder(NamedTuple):
  """The order that `fit` has drawn for an epoch, and how: what reads it in a branch draws it there.

  Attributes:
    order: int32 [steps, batch].
    draw: draws it again, to the bit.
  """

  order: jax.Array
  draw: Callable[[], jax.Array]


def _in_branch(flow: Batch, extra: dict[str, Any]) -> tuple[Batch, dict[str, Any]]:
  """Draws the default order inside a branch: as an operand it would be drawn for the other too."""
  default = extra.get("default_order")
  if default is None or flow.order is not default.order:
    return flow, extra
  order = default.draw()
  return flow.replace(order=order), extra | {"default_order": default._replace(order=order)}


def when(
  predicate: Callable[[Any, Any], Any], a: Transform, otherwise: Transform = identity
) -> Transform:
  """Applies one transform while a predicate holds, and another otherwise.

  It is a real branch, also under `vmap`, as long as the predicate reads only `step` and `epoch`: a
  predicate on a value that differs between runs makes both branches run.

  Args:
    predicate: `predicate(step, epoch) -> bool []`. In refresh `step` is the epoch's first.
    a: applied where it is true.
    otherwise: applied where it is false; does nothing by default.

  Returns:
    The transform; its state is the pair of both states, and only the one in use moves.

  Examples:
    >>> import rfjax
    >>> halve = rfjax.stateless(lambda batch, **_: batch.replace(weight=0.5 * batch.weight))
    >>> late = rfjax.when(lambda step, epoch: epoch >= 10, halve)
  """

  def init(data: Batch, **extra: Any) -> State:
    return a.init(data, **extra), otherwise.init(data, **extra)

  def branch(name: str) -> Apply:
    def apply(
      flow: Batch, state: State, params: Any = None, *, step: Any, epoch: Any, **extra: Any
    ) -> tuple[Batch, State]:
      extra |= {"step": step, "epoch": epoch}
      first, second = state

      def act(t: Transform, state: State) -> tuple[Batch, State]:
        seen, more = _in_branch(flow, extra)
        return getattr(t, name)(seen, state, params, **more)

      def yes() -> tuple[Batch, State]:
        new, new_first = act(a, first)
        return new, (new_first, second)

      def no() -> tuple[Batch, State]:
        new, new_second = act(otherwise, second)
        return new, (first, new_second)

      if name == "refresh":
        yes, no = _align(yes, no, flow.num_rows)
      return jax.lax.cond(predicate(step, epoch), yes, no)

    return apply

  writes = tuple(dict.fromkeys(a.writes + otherwise.writes))
  return Transform(init, branch("update"), branch("refresh"), writes)


def _align(yes: Callable, no: Callable, rows: int) -> tuple[Callable, Callable]:
  """Pads the orders of two refreshes to one shape with empty slots, as cond demands."""
  orders = [jax.eval_shape(f)[0].order for f in (yes, no)]
  if (orders[0] is None) != (orders[1] is None):
    raise ValueError("a sampler inside when needs batches: pass batch_size= to fit")
  if orders[0] is None or orders[0].shape == orders[1].shape:
    return yes, no
  shape = tuple(map(max, orders[0].shape, orders[1].shape))

  def padded(function: Callable) -> Callable:
    def apply() -> tuple[Batch, State]:
      flow, state = function()
      return flow.replace(order=_pad_order(flow.order, shape, rows)), state

    return apply

  return padded(yes), padded(no)


def _pad_order(order: jax.Array | None, shape: tuple[int, ...], empty: int) -> jax.Array | None:
  if order is None:
    return None
  widths = [(0, new - old) for new, old in zip(shape, order.shape, strict=True)]
  return jnp.pad(order, widths, constant_values=empty)
