"""Learning to reweight: examples count as far as they help on trusted ones."""

from typing import Any

import jax
import jax.numpy as jnp

from rfjax.core import Batch, Transform, _check
from rfjax.reweighting._elements import check_size, check_trusted, draw_trusted, trusted_slope

_NAME = "l2rw"


def l2rw(*, minimum: float | jax.Array = 0.0, trusted_batch_size: int | None = None) -> Transform:
  r"""Learning to reweight examples (L2RW).

  $$u_i = -\frac{\partial}{\partial \epsilon_i} L_{\mathrm{trusted}}\Bigl(\theta -
  \nabla_\theta \sum_j \epsilon_j \ell_j\Bigr)\Big|_{\epsilon = 0}
  = \langle \nabla \ell_i, \nabla L_{\mathrm{trusted}} \rangle, \qquad
  \mathrm{weight}_i \leftarrow \mathrm{weight}_i \cdot
  \frac{\max(u_i, m) \sum_j \mathrm{keep}_j}{\sum_j \mathrm{keep}_j \max(u_j, m)}$$

  An example whose gradient points the way of the trusted examples' counts for as much as it does
  so, and one that points the other way not at all. The weighted losses of a batch have shares with
  sum 1; where no example helps, they all have weight 0. Both losses are the cross-entropy of
  `target` by the network itself, whatever loss and correction the chain has. The learning rate of
  the virtual step cancels. It costs a gradient of the trusted batch and one directional derivative
  of the losses.

  Args:
    minimum: m, at least 0: the larger, the more alike are the weights; may be traced.
    trusted_batch_size: how many trusted examples a step draws, without repetition; all when None.

  Returns:
    The transform; it writes weight, and needs trusted.

  Raises:
    ValueError: for values out of range; where trusted examples are missing.

  References:
    Ren, Zeng, Yang, Urtasun, Learning to Reweight Examples for Robust Deep Learning, ICML 2018.

  Examples:
    >>> import jax, optax, rfjax
    >>> from rfjax import architectures, reweighting
    >>> clean = rfjax.Batch.from_arrays([[-1.0], [1.0]], [0, 1])
    >>> data = rfjax.Batch.from_arrays([[-2.0], [-1.0], [2.0]], [0, 1, 1], trusted=clean)
    >>> state, log = rfjax.fit(architectures.logistic(), reweighting.l2rw(), optax.sgd(1.0), data,
    ...                        key=jax.random.key(0), epochs=10)
    >>> rfjax.predict(architectures.logistic(), state, data).logits.argmax(-1).tolist()
    [0, 0, 1]
  """
  _check.number("minimum", minimum, 0.0, open_high=True)
  size = check_size(trusted_batch_size)

  def init(data: Batch, **unused: Any) -> tuple[()]:
    del unused
    check_trusted(data, size, _NAME)
    return ()

  def update(
    batch: Batch, state: Any, params: Any, *, key: jax.Array, forward: Any, **unused: Any
  ) -> tuple[Batch, Any]:
    del unused
    batch.require("target", "keep", "weight", by=_NAME)
    trusted = draw_trusted(batch, size, key, _NAME)
    slope = trusted_slope(params, batch, None, trusted, forward, 1.0)
    help_of = jnp.maximum(-jnp.sum(batch.target * slope, axis=-1), minimum)
    total = jnp.sum(batch.keep * help_of)
    weight = jnp.sum(batch.keep) * help_of / jnp.where(total > 0, total, 1)
    weight = jax.lax.stop_gradient(weight).astype(batch.weight.dtype)
    return batch.replace(weight=batch.weight * weight), state

  return Transform(init, update, writes=("weight",))
