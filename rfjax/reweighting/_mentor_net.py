"""MentorNet PD: a predefined curriculum, which goes over to small losses as training goes on."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rfjax.core import Batch, Transform, _check, count, quantile, smallest, uniform

DROPOUT = ((0.5, 17), (0.05, 78), (1.0, 5))


class MentorNetState(NamedTuple):
  """The state of `mentor_net`.

  Attributes:
    average: [], the moving average of the percentile of the losses.
  """

  average: jax.Array


def mentor_net(
  *,
  epochs: int | jax.Array | None = None,
  steps: int | jax.Array | None = None,
  percentile: float | jax.Array = 0.7,
  decay: float | jax.Array = 0.5,
  gamma: float | jax.Array = 1.0,
  burn_in: float | jax.Array = 0.0,
  dropout: tuple[tuple[float | jax.Array, int], ...] = DROPOUT,
) -> Transform:
  r"""MentorNet PD, the predefined one of MentorNet's curricula.

  $$\lambda \leftarrow d\, \lambda + (1 - d)\, \mathrm{percentile}_p(\mathrm{loss}), \qquad
  v_i = \begin{cases} 1 & e \le 18 \\ [\mathrm{loss}_i \le \lambda] & e < 90 \\
  \min(\max(1 - (\mathrm{loss}_i - \lambda) / \gamma,\, 0),\, 1) & \text{else} \end{cases}$$

  where e counts from 0 to 99 percent of the run. All examples at first, then the easy ones only, as
  in self-paced learning, and at last those of medium loss by their share. v is then set to 0 on
  random rows, all but floor((1 - rate) B) of them. It multiplies the weight. This is the closed
  form that the authors' network was fitted to; the network itself, and the data-driven one, which
  learns from clean labels, are left out.

  Args:
    epochs: the length of the run, by which e advances once an epoch; may be traced.
    steps: the length of the run in steps instead, as in the authors' code; may be traced.
    percentile: p in [0, 1], interpolated, where the authors' code takes the nearest loss; may be
      traced.
    decay: d in [0, 1); the average starts at 0; may be traced.
    gamma: at least 0, and 0 is the threshold; may be traced.
    burn_in: all rows count while e is below it; may be traced.
    dropout: (rate, percent) in turn, which add up to 100 percent; rates may be traced. The default
      is that of the authors' code, where the last 5 percent train on nothing; the runs of its
      README have ((0.5, 17), (0.05, 83)).

  Returns:
    The transform; it writes weight.

  Raises:
    ValueError: for values out of range; without, or with both of, epochs and steps.

  References:
    Jiang, Zhou, Leung, Li, Fei-Fei, MentorNet: Learning Data-Driven Curriculum for Very Deep Neural
    Networks on Corrupted Labels, ICML 2018.

  Examples:
    >>> import jax, optax, rfjax
    >>> from rfjax import architectures, reweighting
    >>> data = rfjax.Batch.from_arrays([[-2.0], [-1.0], [1.0], [2.0]], [0, 0, 1, 0])
    >>> method = reweighting.mentor_net(epochs=10, dropout=((0.0, 100),))
    >>> state, log = rfjax.fit(architectures.logistic(), method, optax.sgd(1.0), data,
    ...                        key=jax.random.key(0), epochs=10)
    >>> bool(state.method.average > 0)
    True
  """
  if (epochs is None) == (steps is None):
    raise ValueError("mentor_net must know the length of the run: pass one of epochs and steps")
  for name, length in (("epochs", epochs), ("steps", steps)):
    if length is not None and not _check.traced(length):
      _check.count(name, length)
  _check.number("percentile", percentile, 0.0, 1.0)
  _check.number("decay", decay, 0.0, 1.0, open_high=True)
  _check.number("gamma", gamma, 0.0, open_high=True)
  _check.number("burn_in", burn_in, 0.0)
  _check_dropout(dropout)

  def init(data: Batch, **unused: Any) -> MentorNetState:
    del data, unused
    return MentorNetState(jnp.zeros(()))

  def update(
    batch: Batch, state: MentorNetState, params: Any = None, *, key: jax.Array, **extra: Any
  ) -> tuple[Batch, MentorNetState]:
    del params
    batch.require("keep", "weight", by="mentor_net")
    percent = _percent(extra["step"] if epochs is None else extra["epoch"], epochs, steps)
    rows, loss = (batch.keep > 0) & batch.valid, jax.lax.stop_gradient(batch.loss)
    now = decay * state.average + (1 - decay) * quantile(loss, percentile, rows)
    average = jnp.where(jnp.any(rows), now, state.average).astype(state.average.dtype)
    all_count = (percent <= 18) | (percent < burn_in)
    weight = jnp.where(all_count, 1, _self_paced(loss - average, percent, gamma))
    dropped = jnp.concatenate([jnp.full(part, jnp.asarray(rate)) for rate, part in dropout])
    number = jnp.sum(rows) - count(dropped[percent], rows, up=True)
    weight = weight * smallest(uniform(key, batch), number, rows, batch.index)
    weight = batch.weight * weight.astype(batch.weight.dtype)
    return batch.replace(weight=weight), MentorNetState(average)

  return Transform(init, update, writes=("weight",))


def _check_dropout(dropout: Any) -> None:
  for rate, part in dropout:
    _check.number("the rates of dropout", rate, 0.0, 1.0)
    _check.count("the parts of dropout", part)
  if sum(part for _, part in dropout) != 100:
    raise ValueError(f"dropout must add up to 100 percent, got {dropout!r}")


def _percent(at: Any, epochs: Any, steps: Any) -> jax.Array:
  """The percentage of the run, int32 from 0 to 99."""
  length = jnp.asarray(steps if epochs is None else epochs, jnp.int32)
  return jnp.clip(100 * jnp.asarray(at, jnp.int32) // length, 0, 99)


def _self_paced(difference: jax.Array, percent: jax.Array, gamma: Any) -> jax.Array:
  """The weight of losses by how far they are above the average."""
  gamma = jnp.asarray(gamma, difference.dtype)
  steep = jnp.maximum(gamma, jnp.finfo(difference.dtype).tiny)
  linear = jnp.clip(1 - difference / steep, 0, 1)
  return jnp.where((percent < 90) | (gamma == 0), difference <= 0, linear)
