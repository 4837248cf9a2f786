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
