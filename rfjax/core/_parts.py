"""Runs in parts: what a training carries from one epoch to the next, so that it can be set down."""

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import get_opaque_trace_state

_PARTS: contextvars.ContextVar["Parts | None"] = contextvars.ContextVar("parts", default=None)


class Parts:
  """Cuts the trainings of a run into parts of some epochs while the run is traced.

  In each part a run is traced from its start to its end, with every training at the epoch that the
  part is at: those before it are over, those behind it have not begun. So the result is the run's
  in the last part only.

  Attributes:
    count: how many parts there are, of all trainings so far.
    left: what each training carries, and its log, after the part.
    trace: where the run is traced.
  """

  def __init__(self, every: int, part: Any = None, given: list | None = None):
    """Starts to cut.

    Args:
      every: the epochs of a part.
      part: which part, from 0; may be traced.
      given: what was `left` by the part before; None where only shapes are asked for.
    """
    self.count, self.left = 0, []
    self.trace: Any = None
    self._every, self._part, self._given = every, part, given

  def scan(self, body: Callable[[Any, Any], tuple[Any, Any]], carry: Any, epochs: int) -> Any:
    """What `jax.lax.scan(body, carry, arange(epochs))` returns, as far as this part goes.

    Raises:
      ValueError: inside a loop or another transformation, out of which nothing can be carried.
    """
    if get_opaque_trace_state() != self.trace:
      raise ValueError(
        "checkpoint_every needs trainings that follow each other, but one is inside a loop or"
        " another transformation of train: leave checkpoint_every out"
      )
    first, self.count = self.count, self.count + max(-(-epochs // self._every), 1)
    shapes = jax.eval_shape(body, carry, jnp.int32(0))[1]
    log = jax.tree.map(lambda s: jnp.zeros((epochs, *s.shape), s.dtype), shapes)
    start = jax.tree.map(jnp.asarray, (carry, log))
    if self._given is None:
      self.left.append(_raw(start))
      return start
    begin, end = (
      jnp.clip((self._part - first + i) * self._every, 0, epochs).astype(jnp.int32) for i in (0, 1)
    )

    def epoch(at: Any, both: tuple[Any, Any]) -> tuple[Any, Any]:
      carry, told = body(both[0], at)
      return carry, jax.tree.map(lambda a, b: a.at[at].set(b), both[1], told)

    before = _like(start, self._given[len(self.left)])
    before = jax.tree.map(lambda a, b: jnp.where(self._part > first, a, b), before, start)
    done = jax.lax.fori_loop(begin, end, epoch, before)
    self.left.append(_raw(done))
    return done


def scan_epochs(body: Callable[[Any, Any], tuple[Any, Any]], carry: Any, epochs: int) -> Any:
  """Scans over the epochs of a training, or over those of the part at hand."""
  parts = _PARTS.get()
  if parts is None:
    return jax.lax.scan(body, carry, jnp.arange(epochs))
  return parts.scan(body, carry, epochs)


def scan_trainings(turn: Callable[[Any, Any], tuple[Any, Any]], carry: Any, xs: Any) -> Any:
  """Scans over trainings, compiled once, or each by itself where they are cut into parts."""
  if _PARTS.get() is None:
    return jax.lax.scan(turn, carry, xs)
  outs = []
  for i in range(jax.tree.leaves(xs)[0].shape[0]):
    carry, out = turn(carry, jax.tree.map(lambda v: v[i], xs))
    outs.append(out)
  return carry, jax.tree.map(lambda *leaves: jnp.stack(leaves), *outs)


def map_trainings(one: Callable[[Any], Any], xs: Any, lanes: int) -> Any:
  """Maps over trainings, so many side by side, or one after the other where they are cut."""
  if _PARTS.get() is None:
    return jax.lax.map(one, xs, batch_size=lanes if lanes > 1 else None)
  return scan_trainings(lambda none, x: (none, one(x)), (), xs)[1]


@contextlib.contextmanager
def cut(parts: Parts) -> Iterator[Parts]:
  """Within it, trainings are cut into parts."""
  parts.trace = get_opaque_trace_state()
  token = _PARTS.set(parts)
  try:
    yield parts
  finally:
    _PARTS.reset(token)


def _is_key(leaf: Any) -> bool:
  return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _raw(tree: Any) -> Any:
  """The tree with the data of keys in their place, which a file can hold."""
  return jax.tree.map(lambda leaf: jax.random.key_data(leaf) if _is_key(leaf) else leaf, tree)


def _like(tree: Any, raw: Any) -> Any:
  """The raw tree with keys where the other one has them."""
  return jax.tree.map(
    lambda leaf, data: (
      jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf)) if _is_key(leaf) else data
    ),
    tree,
    raw,
  )
