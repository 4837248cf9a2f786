"""Watching what a method chooses, example by example, and whether it collapses."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rfjax.core import Batch, Transform, label_type, write


class WatchState(NamedTuple):
  """The state of `watch`, of each example as its last batch left it.

  Attributes:
    kept: [N], `keep`; 0 of what was never seen.
    weight: [N], `weight`.
    label: the likeliest label of `target`, [N], -1 of what was never seen.
    empty_step: int32 [], the first step that kept no row; -1 for none.
    diverged_step: int32 [], the first step whose objective was not finite; -1 for none.
  """

  kept: jax.Array
  weight: jax.Array
  label: jax.Array
  empty_step: jax.Array
  diverged_step: jax.Array


def watch() -> Transform:
  r"""Remembers what the transforms in front of it chose; it changes nothing.

  $$\mathrm{kept}_i = \mathrm{keep}_i, \qquad \mathrm{label}_i = \arg\max_k \mathrm{target}_{ik}$$

  Put it at the end of a chain, and read its state after an epoch, with the measures of noisy
  labels. It also tells the first step of a run that kept nothing or diverged; other runs of a sweep
  go on.

  Returns:
    The transform; it writes nothing.

  Examples:
    >>> import jax, optax, rfjax
    >>> from rfjax import architectures, metrics, selection
    >>> data = rfjax.Batch.from_arrays([[-2.0], [-1.0], [1.0], [2.0]], [0, 0, 1, 1])
    >>> method = rfjax.chain(selection.small_loss(0.25), metrics.watch())
    >>> state, log = rfjax.fit(architectures.logistic(), method, optax.sgd(0.1), data,
    ...                        key=jax.random.key(0), epochs=3)
    >>> float(state.method[-1].kept.sum()), int(state.method[-1].empty_step)
    (3.0, -1)
  """

  def init(data: Batch, **unused: Any) -> WatchState:
    del unused
    zeros, none = jnp.zeros(data.num_rows), jnp.array(-1, jnp.int32)
    labels = jnp.full(data.num_rows, -1, label_type(data.num_classes))
    return WatchState(zeros, zeros, labels, none, none)

  def update(
    batch: Batch, state: WatchState, params: Any = None, *, step: Any, **unused: Any
  ) -> tuple[Batch, WatchState]:
    del params, unused
    batch.require("target", "keep", "weight", by="watch")
    first = lambda known, now: jnp.where(now & (known < 0), jnp.asarray(step, jnp.int32), known)
    some = jnp.any(batch.valid)
    rows = (batch.keep, batch.weight, jnp.argmax(batch.target, axis=-1))
    kept, weight, label = write((state.kept, state.weight, state.label), batch.index, rows)
    return batch, WatchState(
      kept,
      weight,
      label,
      first(state.empty_step, some & ~jnp.any(batch.keep > 0)),
      first(state.diverged_step, ~jnp.isfinite(batch.objective)),
    )

  return Transform(init, update)
