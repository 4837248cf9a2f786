"""Robust early-learning: only critical parameters follow the gradient."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from rfjax.core import _check, count, kth_largest


def _is_kernel(leaf: jax.Array) -> bool:
  return leaf.ndim >= 2


def cdr(rate: float | jax.Array, *, scale: bool = True) -> optax.GradientTransformationExtraArgs:
  r"""Robust early-learning, which keeps the gradient of critical parameters only.

  $$g_j \leftarrow (1 - \tau)\, g_j\, [c_j \ge c_{(m)}], \qquad c_j = |\theta_j\, g_j|, \qquad
  m = \lfloor (1 - \tau)\, n \rfloor$$

  over the n entries of all kernels, parameters of two axes or more, together, where c_(m) is the
  m-th largest; other parameters follow their gradient. Parameters that are not critical fit noise:
  put it in front of weight decay, so that these decay.

  Args:
    rate: tau, the share of wrong labels, in [0, 1); may be traced.
    scale: whether the kept gradient is multiplied by 1 - tau.

  Returns:
    The optax transformation, for `optax.chain`; its `update` needs params.

  Raises:
    ValueError: for a rate out of range; when applied, without params or kernels.

  References:
    Xia, Liu, Han, Gong, Wang, Ge, Chang, Robust Early-learning: Hindering the Memorization of Noisy
    Labels, ICLR 2021.

  Examples:
    >>> import jax.numpy as jnp, optax
    >>> from rfjax import losses
    >>> tx = optax.chain(losses.cdr(0.5), optax.add_decayed_weights(1e-3), optax.sgd(0.1))
    >>> params, grads = {"kernel": jnp.array([[1.0, 3.0]])}, {"kernel": jnp.array([[1.0, 1.0]])}
    >>> losses.cdr(0.5).update(grads, optax.EmptyState(), params)[0]["kernel"].tolist()
    [[0.0, 0.5]]
  """
  _check.number("rate", rate, 0.0, 1.0, open_high=True)

  def init(params: Any) -> optax.EmptyState:
    del params
    return optax.EmptyState()

  def update(updates: Any, state: Any, params: Any = None, **unused: Any) -> tuple[Any, Any]:
    del unused
    if params is None:
      raise ValueError("cdr needs params: pass them to update, as train_step does")
    critical = jax.tree.map(lambda g, p: jnp.abs(g * p), updates, params)
    kernels = [leaf.ravel() for leaf in jax.tree.leaves(critical) if _is_kernel(leaf)]
    if not kernels:
      raise ValueError("cdr finds no kernel among params, an array of two axes or more")
    every = jnp.concatenate(kernels)
    lowest = kth_largest(every, every.size - count(rate, every.size, up=True))
    factor = 1 - rate if scale else 1.0

    def keep(gradient: jax.Array, c: jax.Array) -> jax.Array:
      if not _is_kernel(gradient):
        return gradient
      return jnp.where(c < lowest, 0, factor * gradient).astype(gradient.dtype)

    return jax.tree.map(keep, updates, critical), state

  return optax.GradientTransformationExtraArgs(init, update)
