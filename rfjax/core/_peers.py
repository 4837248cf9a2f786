"""Peers: two or more runs of one method that look at each other, as co-teaching's networks do."""

from typing import Any

import jax

AXIS = "peer"


def peer(tree: Any, *, by: str = "this method") -> Any:
  """What the other run has in the place of `tree`, without its gradient.

  With more than two peers, the next one around the ring.

  Args:
    tree: any pytree of arrays, such as a selection mask or the parameters.
    by: the method that asks, for the error message.

  Returns:
    The other's tree.

  Raises:
    ValueError: outside a `fit` with peers=2.
  """
  try:
    size = jax.lax.axis_size(AXIS)
  except NameError:
    raise ValueError(f"{by} needs peers=2: pass peers=2 to fit") from None
  ring = [(i, (i - 1) % size) for i in range(size)]
  swap = lambda v: jax.lax.ppermute(jax.lax.stop_gradient(v), AXIS, ring)
  return jax.tree.map(swap, tree)


def first_peer(tree: Any) -> Any:
  """What the first of all runs has in the place of `tree`; outside of a `fit` with peers, itself.

  Methods that hand on selections row by row need peers that see the same rows. So a sampler lets
  the first one decide what all are served, as `predict` lets it speak.

  Args:
    tree: any pytree of arrays, such as an order.

  Returns:
    The first one's tree.

  Examples:
    >>> import jax, jax.numpy as jnp
    >>> from rfjax.core import first_peer
    >>> jax.vmap(first_peer, axis_name="peer")(jnp.array([3, 5])).tolist()
    [3, 3]
  """
  try:
    jax.lax.axis_size(AXIS)
  except NameError:
    return tree
  return jax.tree.map(lambda v: jax.lax.all_gather(v, AXIS)[0], tree)
