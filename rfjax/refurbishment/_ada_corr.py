"""AdaCorr: labels that fail a likelihood ratio test are corrected."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rfjax.core import Batch, Transform, _check, read
from rfjax.refurbishment._recent import given_labels, recent, rejected, relabelled, remember

_ANCHOR, _OTHERS = 0.9, 1e-4  # of the retroactive loss, as the authors run it


class AdaCorrState(NamedTuple):
  """The state of `ada_corr`.

  Attributes:
    recent: what the network said of each example in the last epochs, [N, window, C].
    labels: the labels in use, [N], in the smallest type that holds the classes.
    anchors: the labels of the retroactive loss, likewise.
  """

  recent: jax.Array
  labels: jax.Array
  anchors: jax.Array


def ada_corr(
  *,
  start: float | jax.Array = 30,
  ratio: float | jax.Array = 1.2,
  growth: float | jax.Array = 0.02,
  window: int = 10,
  retroactive: float | jax.Array = 1.0,
  retroactive_start: float | jax.Array = 25,
  retroactive_interval: float | jax.Array = 40,
) -> Transform:
  r"""AdaCorr, label correction by a likelihood ratio test with a retroactive loss.

  With p the mean of the softmax over the last epochs, at the end of each epoch e from s on,

  $$y_i \leftarrow \arg\max_k p_{ik} \quad \text{if} \quad
  \frac{\max_k p_{ik}}{p_{i y_i}} > \delta_e = \delta + \gamma\,(e - s + 1).$$

  The retroactive loss holds on to the anchor $a_i$, the label that was in use some epochs ago,

  $$\mathrm{penalty} \leftarrow \mathrm{penalty} + \lambda\,
  \frac{\sum_i \mathrm{keep}_i\, \mathrm{weight}_i \bigl(
  (0.9 - \tfrac{\epsilon}{C - 1})\, \mathrm{cost}_{i a_i} +
  \epsilon \sum_{k \ne a_i} \mathrm{cost}_{ik}\bigr)}
  {\max(\sum_i \mathrm{keep}_i,\, 1)}, \qquad \epsilon = 10^{-4},$$

  which is what the products of correction matrices and smoothed labels in the authors' code come
  to. The predictions are those of training; they take 4 N C `window` bytes, 20 MB for CIFAR-10 and
  200 MB for CIFAR-100, in each run of a sweep. Rows with their given label keep their targets.

  Args:
    start: s, the epoch, counted from 0, at whose end labels are first corrected, at least 0; may be
      traced.
    ratio: delta, at least 1; with infinity no label changes; may be traced.
    growth: gamma, at least 0; may be traced.
    window: how many epochs are averaged, at least 1.
    retroactive: lambda, at least 0; may be traced.
    retroactive_start: the first epoch of the retroactive loss, whose anchors are the labels in use
      at the end of the last epoch before it, a whole number of at least 0; may be traced.
    retroactive_interval: so many epochs later the anchors are taken once more, a whole number of at
      least 1; may be traced.

  Returns:
    The transform; it writes target and penalty.

  Raises:
    ValueError: for values out of range.

  References:
    Zheng, Wu, Goswami, Goswami, Metaxas, Chen, Error-Bounded Correction of Noisy Labels, ICML 2020.

  Examples:
    >>> import jax, optax, rfjax
    >>> from rfjax import architectures, refurbishment
    >>> x = [[-2.0], [-1.0], [1.0], [2.0], [3.0]]
    >>> data = rfjax.Batch.from_arrays(x, [0, 0, 1, 0, 1])
    >>> method = refurbishment.ada_corr(start=10, retroactive=0.0)
    >>> state, log = rfjax.fit(architectures.logistic(), method, optax.sgd(1.0), data,
    ...                        key=jax.random.key(0), epochs=40)
    >>> state.method.labels.tolist()
    [0, 0, 1, 1, 1]
  """
  lows = {"start": 0, "ratio": 1, "growth": 0, "retroactive": 0, "retroactive_start": 0}
  values = (start, ratio, growth, retroactive, retroactive_start)
  for (name, low), value in zip(lows.items(), values, strict=True):
    _check.number(name, value, low)
  _check.number("retroactive_interval", retroactive_interval, 1.0)
  for name, value in (
    ("retroactive_start", retroactive_start), ("retroactive_interval", retroactive_interval)
  ):  # fmt: skip
    if not _check.traced(value) and float(value) % 1 > 0:
      raise ValueError(f"{name} must be a whole number of epochs, got {value}")
  window = _check.count("window", window)

  def init(data: Batch, **unused: Any) -> AdaCorrState:
    del unused
    given = given_labels(data)
    return AdaCorrState(recent(data, window), given, given)

  def refresh(
    data: Batch, state: AdaCorrState, params: Any = None, *, epoch: Any, **unused: Any
  ) -> tuple[Batch, AdaCorrState]:
    del params, unused
    ended = jnp.asarray(epoch) - 1
    since = ended + 1 - retroactive_start
    anchors = jnp.where((since == 0) | (since == retroactive_interval), state.labels, state.anchors)
    limit = ratio + growth * jnp.maximum(ended - start + 1, 0)
    _, labels = rejected(state.recent, state.labels, data, 1 / limit)
    labels = jnp.where((ended >= 0) & (ended >= start), labels, state.labels)
    return data, state._replace(labels=labels, anchors=anchors)

  def update(
    batch: Batch, state: AdaCorrState, params: Any = None, *, epoch: Any, **unused: Any
  ) -> tuple[Batch, AdaCorrState]:
    del params, unused
    batch.require("cost", "target", "keep", "weight", "penalty", by="ada_corr")
    strength = jnp.where(jnp.asarray(epoch) >= retroactive_start, retroactive, 0)
    penalty = batch.penalty + strength * _retroactive(batch, read(state.anchors, batch.index))
    state = state._replace(recent=remember(state.recent, batch, epoch))
    return batch.replace(target=relabelled(batch, state.labels), penalty=penalty), state

  return Transform(init, update, refresh, writes=("target", "penalty"))


def _retroactive(batch: Batch, anchors: jax.Array) -> jax.Array:
  """The retroactive loss of a batch, []."""
  here = anchors[:, None] == jnp.arange(batch.num_classes)
  share = jnp.where(here, _ANCHOR - _OTHERS / (batch.num_classes - 1), _OTHERS)
  loss = jnp.sum(share * batch.cost, axis=-1)
  return jnp.sum(batch.keep * batch.weight * loss) / jnp.maximum(jnp.sum(batch.keep), 1)
