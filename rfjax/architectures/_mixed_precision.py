"""Mixed precision: a network that computes in half of the bits."""

from typing import Any

import jax
import jax.numpy as jnp

from rfjax.core import Network, _check
from rfjax.core._network import Output, as_float

TYPES = ("bfloat16", "float16", "float32")


def mixed_precision(network: Network, dtype: str = "bfloat16") -> Network:
  r"""Lets a network compute in half precision, while all that is kept is in float32.

  $$z = \mathrm{float32}\bigl(f_{\mathrm{half}(\theta)}(\mathrm{half}(x))\bigr)$$

  Parameters, their gradients and the optimizer's state stay as they are, as do statistics of batch
  normalisation; logits and features come back in float32, so that losses, groups' sums, memories
  and choices of a method lose no digits. It is meant for accelerators, whose matrix units take
  bfloat16 at a multiple of the speed; CPUs gain little or lose. Gradients of float16 need a scale
  against underflow, which those of bfloat16 do not.

  Args:
    network: the network.
    dtype: what it computes in, "bfloat16", "float16" or "float32", which changes nothing.

  Returns:
    The network, with the parameters of the one that was given.

  Raises:
    ValueError: for another type.

  References:
    Micikevicius, Narang, Alben, Diamos, Elsen, Garcia, Ginsburg, Houston, Kuchaiev, Venkatesh, Wu,
    Mixed Precision Training, ICLR 2018.

  Examples:
    >>> import jax, jax.numpy as jnp
    >>> from rfjax import architectures
    >>> network = architectures.mixed_precision(architectures.mlp([8], 3))
    >>> params, stats = network.init(jax.random.key(0), jnp.ones((5, 4)))
    >>> logits, features, stats = network.apply(
    ...     params, stats, jnp.ones((5, 4)), key=jax.random.key(1), train=True)
    >>> params[0]["kernel"].dtype, logits.dtype
    (dtype('float32'), dtype('float32'))
  """
  _check.choice("dtype", dtype, TYPES)
  half = jnp.dtype(dtype)

  def narrow(leaf: Any) -> Any:
    wide = jnp.issubdtype(leaf.dtype, jnp.floating) and leaf.dtype.itemsize > half.itemsize
    return leaf.astype(half) if wide else leaf

  def apply(params: Any, stats: Any, x: jax.Array, *, key: jax.Array, train: bool) -> Output:
    seen = narrow(as_float(x) if x.dtype == jnp.uint8 else x)  # other integers are no quantities
    said = network.apply(jax.tree.map(narrow, params), stats, seen, key=key, train=train)
    logits, features, new = said
    back = lambda v: v.astype(jnp.promote_types(v.dtype, jnp.float32))
    kept = jax.tree.map(lambda a, b: a.astype(b.dtype), new, stats)
    return back(logits), None if features is None else back(features), kept

  return Network(network.init, apply)
