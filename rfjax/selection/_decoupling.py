"""Decoupling: two networks learn where they disagree."""

from typing import Any

import jax
import jax.numpy as jnp

from rfjax.core import Batch, Transform, _check, peer, stateless


def decoupling(*, warmup: int | jax.Array = 0) -> Transform:
  r"""Decoupling: both networks learn from the rows on which their predicted labels differ.

  $$\mathrm{keep}_i \leftarrow \mathrm{keep}_i\,
  [\arg\max_k z_{ik} \ne \arg\max_k z'_{ik}]$$

  with the logits z' of the other network. The given labels say how to learn from a row, and no
  longer when: where both networks agree, right or wrong, a wrong label cannot pull. Without any
  disagreement the risk of a batch is zero. It needs `peers=2`.

  Args:
    warmup: so many epochs train on all rows first, at least 0; may be traced. Networks that start
      alike would never disagree.

  Returns:
    The transform; it writes keep.

  Raises:
    ValueError: for values out of range; in training, without peers.

  References:
    Malach, Shalev-Shwartz, Decoupling "When to Update" from "How to Update", NeurIPS 2017.

  Examples:
    >>> import jax, optax, rfjax
    >>> from rfjax import architectures, selection
    >>> data = rfjax.Batch.from_arrays([[-2.0], [-1.0], [1.0], [2.0]], [0, 0, 0, 1])
    >>> state, log = rfjax.fit(architectures.mlp([4], 2), selection.decoupling(warmup=2),
    ...                        optax.sgd(0.1), data, key=jax.random.key(0), epochs=10, peers=2)
    >>> log.risk.shape
    (2, 10)
  """
  _check.number("warmup", warmup, 0.0, open_high=True)

  def select(batch: Batch, *, epoch: Any, **unused: Any) -> Batch:
    del unused
    batch.require("logits", "keep", by="decoupling")
    return batch.replace(keep=batch.keep * (disagree(batch, "decoupling") | (epoch < warmup)))

  return stateless(select, writes=("keep",))


def disagree(batch: Batch, by: str) -> jax.Array:
  """Whether the two networks predict different labels, bool [B]."""
  label = jnp.argmax(batch.logits, axis=-1)
  return label != peer(label, by=by)
