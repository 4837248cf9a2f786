"""Moving averages of parameters: the mean teachers of methods."""

from typing import Any

import jax


def follow(average: Any, params: Any, decay: Any, *, by: str) -> Any:
  r"""The moving average of a network's parameters, one step on.

  $$\bar\theta \leftarrow \beta\, \bar\theta + (1 - \beta)\, \theta$$

  Args:
    average: the average so far, any pytree of arrays.
    params: the parameters, without gradient; where there are none the average stays what it is.
    decay: beta in [0, 1]; 0 takes the parameters; may be traced.
    by: the method that has a network as its argument, for the error message.

  Returns:
    The average, in its own types.

  Raises:
    ValueError: for parameters of another network.

  Examples:
    >>> import jax.numpy as jnp
    >>> from rfjax.core import follow
    >>> float(follow(jnp.array(1.0), jnp.array(3.0), 0.75, by="me"))
    1.5
  """
  if not jax.tree.leaves(params):
    return average
  if jax.tree.structure(params) != jax.tree.structure(average):
    raise ValueError(f"network must be the one that is trained: pass to {by} what fit gets")
  mean = lambda a, p: (decay * a + (1 - decay) * p).astype(a.dtype)
  return jax.lax.stop_gradient(jax.tree.map(mean, average, params))
