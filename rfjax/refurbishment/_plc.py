"""PLC: labels that the network finds unlikely are corrected, the surest ones first."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rfjax.core import Batch, Transform, _check
from rfjax.refurbishment._recent import given_labels, recent, rejected, relabelled, remember


class PLCState(NamedTuple):
  """The state of `plc`.

  Attributes:
    recent: what the network said of each example in the last epochs, [N, window, C].
    labels: the labels in use, [N], in the smallest type that holds the classes.
    threshold: theta, [].
  """

  recent: jax.Array
  labels: jax.Array
  threshold: jax.Array


def plc(
  *,
  threshold: float | jax.Array = 0.3,
  increment: float | jax.Array = 0.1,
  cap: float | jax.Array = 0.9,
  few: float | jax.Array = 0.001,
  warmup: float | jax.Array = 8,
  window: int = 5,
) -> Transform:
  r"""Progressive label correction, by a likelihood ratio test with a rising threshold.

  With f the mean of the softmax over the last epochs, at the end of each epoch from `warmup` on,

  $$y_i \leftarrow \arg\max_k f_{ik} \quad \text{if} \quad
  \frac{f_{i y_i}}{\max_k f_{ik}} < \theta; \qquad
  \theta \leftarrow \min(\theta + \beta, \theta_{\max}) \quad
  \text{if fewer than } \gamma N \text{ labels changed.}$$

  So first only labels are corrected of which the network is certain, and as soon as none of these
  is left it gets to be bolder. A corrected label is tested again in each epoch. The predictions are
  those of training; they take 4 N C `window` bytes. Rows with their given label keep their targets.

  Args:
    threshold: theta at first, in [0, 1]; with 0 and no increment no label changes; may be traced.
    increment: beta in [0, 1]; may be traced.
    cap: theta_max in [0, 1]; a higher first threshold stays as it is; may be traced.
    few: gamma in [0, 1]; may be traced.
    warmup: the epoch, counted from 0, at whose end labels are first corrected, at least 0; may be
      traced.
    window: how many epochs are averaged, at least 1.

  Returns:
    The transform; it writes target.

  Raises:
    ValueError: for values out of range.

  References:
    Zhang, Zheng, Wu, Goswami, Chen, Learning with Feature-Dependent Label Noise: A Progressive
    Approach, ICLR 2021.

  Examples:
    >>> import jax, optax, rfjax
    >>> from rfjax import architectures, refurbishment
    >>> x = [[-2.0], [-1.0], [1.0], [2.0], [3.0]]
    >>> data = rfjax.Batch.from_arrays(x, [0, 0, 1, 0, 1])
    >>> state, log = rfjax.fit(architectures.logistic(), refurbishment.plc(), optax.sgd(1.0), data,
    ...                        key=jax.random.key(0), epochs=40)
    >>> state.method.labels.tolist()
    [0, 0, 1, 1, 1]
  """
  settings = {"threshold": threshold, "increment": increment, "cap": cap, "few": few}
  for name, value in settings.items():
    _check.number(name, value, 0.0, 1.0)
  _check.number("warmup", warmup, 0.0)
  window = _check.count("window", window)

  def init(data: Batch, **unused: Any) -> PLCState:
    del unused
    memory = recent(data, window)
    return PLCState(memory, given_labels(data), jnp.asarray(threshold, memory.dtype))

  def refresh(
    data: Batch, state: PLCState, params: Any = None, *, epoch: Any, **unused: Any
  ) -> tuple[Batch, PLCState]:
    del params, unused
    now = (jnp.asarray(epoch) > 0) & (jnp.asarray(epoch) > warmup)  # an epoch less is over
    flips, labels = rejected(state.recent, state.labels, data, state.threshold)
    bolder = jnp.maximum(state.threshold, jnp.minimum(state.threshold + increment, cap))
    done = now & (jnp.sum(flips) < few * jnp.sum(data.valid))
    return data, state._replace(
      labels=jnp.where(now, labels, state.labels),
      threshold=jnp.where(done, bolder, state.threshold).astype(state.threshold.dtype),
    )

  def update(
    batch: Batch, state: PLCState, params: Any = None, *, epoch: Any, **unused: Any
  ) -> tuple[Batch, PLCState]:
    del params, unused
    batch.require("log_probs", "target", by="plc")
    state = state._replace(recent=remember(state.recent, batch, epoch))
    return batch.replace(target=relabelled(batch, state.labels)), state

  return Transform(init, update, refresh, writes=("target",))
