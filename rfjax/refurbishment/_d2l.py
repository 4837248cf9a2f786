"""D2L: labels give way to predictions once the representation's dimension rises."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rfjax.core import Batch, Transform, _check, uniform
from rfjax.refurbishment._lid import lid


class D2LState(NamedTuple):
  """The state of `d2l`.

  Attributes:
    lids: [window + 1], the dimensions at the start of the last epochs, the newest at the end; 0
      where there was none.
    least: [], the least dimension so far.
    alpha: [], how much the label counts in the running epoch.
    turned: int32 [], the epoch of the turning point; -1 before it.
  """

  lids: jax.Array
  least: jax.Array
  alpha: jax.Array
  turned: jax.Array


def d2l(
  epochs: float | jax.Array,
  *,
  warmup: float | jax.Array = 5,
  window: int = 5,
  deviations: float | jax.Array = 2.0,
  neighbours: int = 20,
  batches: int = 10,
  batch_size: int = 128,
) -> Transform:
  r"""Dimensionality-driven learning.

  At the start of each epoch e the mean local intrinsic dimensionality $d_e$ of the features is
  estimated on some rows, without those whose neighbours are all at one distance. It falls while the
  network learns, and rises when it begins to fit noise. The turning point is the first epoch, after
  a warm-up and a window of w epochs, with

  $$d_e - \mathrm{mean}(d_{e-w}, \dots, d_{e-1}) > 2\, \mathrm{std}(d_{e-w}, \dots, d_{e-1}).$$

  Before it the targets stay. From it on

  $$\mathrm{target}_i \leftarrow \alpha_e\, \mathrm{target}_i + (1 - \alpha_e)\,
  e_{\arg\max_k p_{ik}}, \qquad
  \alpha_e = \exp\Bigl(-\frac{e}{E} \frac{d_e}{\min_{j \le e} d_j}\Bigr).$$

  The authors' code loads its last checkpoint at the turning point. As that is of the end of the
  last epoch, it changes nothing, and this one goes on with the network that it has.

  Args:
    epochs: E, of the run, above 0; may be traced.
    warmup: epochs before the first window, at least 0; may be traced. The authors run 5 for MNIST,
      20 for SVHN, 40 for CIFAR-10 and 60 for CIFAR-100.
    window: w, at least 1.
    deviations: standard deviations that make the turning point, 2 above; may be traced.
    neighbours: k of `lid`, at least 2.
    batches: how many batches are drawn, each of which holds the neighbours of its rows, at least 1.
    batch_size: rows of such a batch, at least 3.

  Returns:
    The transform; it writes target.

  Raises:
    ValueError: for values out of range; in training, for data of fewer rows than are drawn, or a
      network without features.

  References:
    Ma, Wang, Houle, Zhou, Erfani, Xia, Wijewickrema, Bailey, Dimensionality-Driven Learning with
    Noisy Labels, ICML 2018.

  Examples:
    >>> import jax, optax, rfjax
    >>> from rfjax import architectures, refurbishment
    >>> x = [[-2.0], [-1.0], [1.0], [2.0], [3.0]]
    >>> data = rfjax.Batch.from_arrays(x, [0, 0, 1, 0, 1])
    >>> method = refurbishment.d2l(20, warmup=1, neighbours=2, batches=1, batch_size=5)
    >>> state, log = rfjax.fit(architectures.mlp([4]), method, optax.sgd(0.5), data,
    ...                        key=jax.random.key(0), epochs=20)
    >>> state.method.lids.shape, bool(state.method.alpha <= 1)
    ((6,), True)
  """
  _check.number("epochs", epochs, 0.0, open_low=True, open_high=True)
  _check.number("warmup", warmup, 0.0)
  _check.number("deviations", deviations)
  window = _check.count("window", window)
  neighbours = _check.count("neighbours", neighbours, 2)
  batches, batch_size = _check.count("batches", batches), _check.count("batch_size", batch_size, 3)

  def init(data: Batch, **unused: Any) -> D2LState:
    del unused
    if data.num_rows < batches * batch_size:
      raise ValueError(
        f"batches and batch_size must be of no more than the {data.num_rows} rows of the data, got"
        f" {batches} and {batch_size}: lower them"
      )
    lids = jnp.zeros(window + 1)
    return D2LState(lids, jnp.full_like(lids[0], jnp.inf), lids[0] + 1, jnp.array(-1, jnp.int32))

  def refresh(
    data: Batch, state: D2LState, params: Any, *, key: Any, epoch: Any, forward: Any, **unused: Any
  ) -> tuple[Batch, D2LState]:
    del unused
    data.require("features", by="d2l")
    epoch = jnp.asarray(epoch, jnp.int32)
    found = _dimension(data, params, key, forward, (batches, batch_size, neighbours))
    newest = jnp.where(found > 0, found, state.lids[-1]).astype(state.lids.dtype)
    lids = jnp.append(state.lids[1:], newest)
    rise = newest - jnp.mean(lids[:-1]) > deviations * jnp.std(lids[:-1])
    now = (state.turned < 0) & (epoch >= warmup + window) & rise
    turned = jnp.where(now, epoch, state.turned)
    least = jnp.minimum(state.least, jnp.where(newest > 0, newest, jnp.inf))
    alpha = jnp.exp(-epoch / epochs * newest / least)
    alpha = jnp.where(turned >= 0, alpha, 1).astype(state.alpha.dtype)
    return data, D2LState(lids, least, alpha, turned)

  def update(
    batch: Batch, state: D2LState, params: Any = None, **unused: Any
  ) -> tuple[Batch, D2LState]:
    del params, unused
    batch.require("log_probs", "target", by="d2l")
    said = jnp.argmax(batch.log_probs, axis=-1)
    said = jax.nn.one_hot(said, batch.num_classes, dtype=batch.target.dtype)
    return batch.replace(target=state.alpha * batch.target + (1 - state.alpha) * said), state

  return Transform(init, update, refresh, writes=("target",))


def _dimension(
  data: Batch, params: Any, key: jax.Array, forward: Callable[..., Batch], sizes: tuple[int, ...]
) -> jax.Array:
  """The mean finite dimension of some rows, each among those of its batch, []; 0 without any."""
  batches, batch_size, neighbours = sizes
  draws = jnp.where(data.valid, uniform(key, data), 2.0)  # other rows come last
  chosen = jax.lax.top_k(-draws, batches * batch_size)[1]
  rows = forward(params, data.take(chosen))
  valid = rows.valid.reshape(batches, batch_size)
  features = rows.features.reshape(batches, batch_size, -1)
  found = jax.lax.map(lambda some: lid(some[0], neighbours, mask=some[1]), (features, valid))
  counts = valid & jnp.isfinite(found)
  return jnp.sum(jnp.where(counts, found, 0)) / jnp.maximum(jnp.sum(counts), 1)
