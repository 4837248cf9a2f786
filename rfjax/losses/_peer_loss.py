"""Peer loss: less of the loss that labels of other examples would give."""

from typing import Any

import jax
import jax.numpy as jnp

from rfjax.core import Batch, Transform, _check, pointwise, uniform


def _partner_labels(batch: Batch, key: jax.Array) -> jax.Array:
  """For each row the label of a valid row, drawn at random by `index`, int32 [B]."""
  count = jnp.sum(batch.valid)
  drawn = jnp.floor(uniform(key, batch) * count).astype(jnp.int32)
  by_address = jnp.argsort(batch.index)  # padding comes last
  return batch.y[by_address[jnp.clip(drawn, 0, jnp.maximum(count - 1, 0))]]


def peer_loss(alpha: float | jax.Array = 1.0, *, sampled: bool = False) -> Transform:
  r"""Peer loss: takes from a loss what it would be for the label of some other example.

  $$\mathrm{cost}_{ik} \leftarrow \mathrm{cost}_{ik} -
  \alpha \sum_j \hat\pi_j\, \mathrm{cost}_{ij}$$

  where pi-hat are the shares of the given labels in the batch: the mean over all partners, of whom
  the paper draws one a row. A model that agrees with labels blindly gains nothing. With alpha = 1
  and balanced classes the minimiser under class-conditional noise is that of clean labels, without
  a rate. It maps the cost: put it behind a loss, and a bounded one, since it may be negative and
  falls without end behind plain cross-entropy. The authors take `cross_entropy(1e-5)` for
  Fashion-MNIST, a strength that grows, `rfjax.scaled(schedule, peer_loss())`, and a learning rate
  divided by 1 + alpha.

  Args:
    alpha: at least 0; may be traced.
    sampled: whether a partner is drawn for each row, from the batch, as in the paper.

  Returns:
    The transform; it writes cost.

  Raises:
    ValueError: for alpha out of range.

  References:
    Liu, Guo, Peer Loss Functions: Learning from Noisy Labels without Knowing Noise Rates, ICML
    2020.

  Examples:
    >>> import jax.numpy as jnp, rfjax
    >>> from rfjax import losses
    >>> batch = rfjax.Batch.from_arrays([[0.0], [1.0]], [0, 1]).fill(jnp.zeros((2, 2)))
    >>> out, _ = losses.peer_loss(1.0).update(batch, ())
    >>> float(out.risk)
    0.0
  """
  _check.number("alpha", alpha, 0.0, open_high=True)

  def apply(batch: Batch, *, key: Any = None, **unused: Any) -> Batch:
    del unused
    cost = batch.require("cost", by="peer_loss").cost
    if sampled:
      labels = jax.nn.one_hot(_partner_labels(batch, key), batch.num_classes, dtype=cost.dtype)
    else:
      labels = batch.mean(jax.nn.one_hot(batch.y, batch.num_classes, dtype=cost.dtype))
    other = jnp.sum(labels * cost, axis=-1, keepdims=True)
    return batch.replace(cost=cost - alpha * other)

  return pointwise(apply, writes=("cost",))
