"""O2U-Net: labels whose losses stay high, and rise again, while a network over- and underfits."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rfjax.core import NO_ADDRESS, Batch, Transform, _check, read, write
from rfjax.selection._elements import Rate, check_rate, keep_only, rate_at, smallest_of_all


class O2UState(NamedTuple):
  """The state of `o2u`.

  Attributes:
    total: [N], the sum over epochs of the losses, each less the mean loss of its epoch.
    times: int32 [N], how many epochs are in it.
    loss: [N], the losses of the running epoch.
    seen: bool [N], which of them are known.
    kept: bool [N], the rows that are learned from.
  """

  total: jax.Array
  times: jax.Array
  loss: jax.Array
  seen: jax.Array
  kept: jax.Array

  @property
  def score(self) -> jax.Array:
    """The mean centred loss, [N]; the higher, the more likely a wrong label."""
    return self.total / jnp.maximum(self.times, 1)


def o2u(
  rate: Rate,
  *,
  stop: int | jax.Array,
  start: int | jax.Array = 0,
  score: jax.Array | None = None,
) -> Transform:
  r"""O2U-Net's detection: the rows whose losses were highest over some epochs are left out.

  $$s_i = \frac{1}{|E|} \sum_{e \in E} \Bigl(\mathrm{loss}_i^{(e)} - \frac{1}{N} \sum_j
  \mathrm{loss}_j^{(e)}\Bigr), \qquad
  \mathrm{keep}_i \leftarrow \mathrm{keep}_i\,[\mathrm{rank}(s_i) < \lfloor (1 - \tau) N \rfloor]$$

  over the epochs E from `start` to before `stop`, from which on it selects; until then all rows are
  kept. The losses are those of training, before each step. Where every row is seen in every epoch,
  centring changes no rank. Train with a `cyclical` learning rate meanwhile; `o2u_rounds` does all
  stages.

  Args:
    rate: tau in [0, 1), the share to leave out, usually the noise rate; may be traced, or be a
      function of the epoch.
    stop: the first epoch that is not recorded, at least `start`; may be traced.
    start: the first epoch that is, at least 0; may be traced.
    score: [N], the scores of an earlier run, which count as one epoch; with `stop=0` the selection
      is by them alone.

  Returns:
    The transform; it writes keep.

  Raises:
    ValueError: for values out of range.

  References:
    Huang, Qu, Jia, Zhao, O2U-Net: A Simple Noisy Label Detection Approach for Deep Neural Networks,
    ICCV 2019.

  Examples:
    >>> import jax, optax, rfjax
    >>> from rfjax import architectures, selection
    >>> data = rfjax.Batch.from_arrays([[-2.0], [-1.0], [1.0], [2.0]], [0, 0, 0, 1])
    >>> method, tx = selection.o2u(0.25, stop=15), optax.sgd(selection.cyclical(1.0, 0.1, 5))
    >>> state, log = rfjax.fit(architectures.logistic(), method, tx, data,
    ...                        key=jax.random.key(0), epochs=20)
    >>> state.method.kept.tolist()
    [True, True, False, True]
  """
  check_rate("rate", rate)
  _check.number("stop", stop, 0.0, open_high=True)
  _check.number("start", start, 0.0, float("inf") if _check.traced(stop) else float(stop))

  def init(data: Batch, **unused: Any) -> O2UState:
    del unused
    zeros, rows = jnp.zeros(data.num_rows), (data.num_rows,)
    if score is not None and jnp.shape(score) != rows:
      raise ValueError(
        f"score must have one entry for each of the {rows[0]} rows, got shape {jnp.shape(score)}"
      )
    total = zeros if score is None else jnp.asarray(score, zeros.dtype)
    times = jnp.full(rows, int(score is not None), jnp.int32)
    return O2UState(total, times, zeros, zeros > 0, zeros == 0)

  def refresh(
    data: Batch, state: O2UState, params: Any = None, *, epoch: Any, **unused: Any
  ) -> tuple[Batch, O2UState]:
    del params, unused
    mean = jnp.sum(state.loss * state.seen) / jnp.maximum(jnp.sum(state.seen), 1)
    state = state._replace(
      total=state.total + jnp.where(state.seen, state.loss - mean, 0),
      times=state.times + state.seen,
      seen=jnp.zeros_like(state.seen),
    )
    found = smallest_of_all(data, read(state.score, data.index), rate_at(rate, epoch))
    state = state._replace(kept=jnp.where(epoch >= stop, found, state.kept))
    return keep_only(data, state.kept), state

  def update(
    batch: Batch, state: O2UState, params: Any = None, *, epoch: Any, **unused: Any
  ) -> tuple[Batch, O2UState]:
    del params, unused
    batch.require("keep", by="o2u")
    recorded = batch.valid & (epoch >= start) & (epoch < stop)
    index = jnp.where(recorded, batch.index, NO_ADDRESS)
    loss = write(state.loss, index, jax.lax.stop_gradient(batch.loss))
    return keep_only(batch, state.kept), state._replace(
      loss=loss, seen=write(state.seen, index, recorded)
    )

  return Transform(init, update, refresh, writes=("keep",))
