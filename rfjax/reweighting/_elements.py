"""What methods that learn from trusted examples share: their rows, and a virtual step."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from rfjax.core import Batch, _check, uniform

Rate = float | jax.Array | Callable[[Any], Any]


def check_rate(name: str, rate: Rate) -> None:
  """Refuses a negative learning rate, unless it is traced or a schedule, a function of the step."""
  if not callable(rate):
    _check.number(name, rate, 0.0, open_high=True)


def check_size(size: int | None) -> int | None:
  """Refuses a number of trusted rows below 1; None means all."""
  return None if size is None else _check.count("trusted_batch_size", size)


def check_trusted(data: Batch, size: int | None, by: str) -> None:
  """Refuses a data set without, or with too few, trusted examples."""
  rows = data.require("trusted", by=by).trusted.num_rows
  if size is not None and size > rows:
    raise ValueError(f"trusted_batch_size must be at most the {rows} trusted rows, got {size}")


def draw_trusted(batch: Batch, size: int | None, key: jax.Array, by: str) -> Batch:
  """The trusted examples of a step: all, or `size` of them without repetition."""
  trusted = batch.require("trusted", by=by).trusted
  if size is None:
    return trusted
  draws = jnp.where(trusted.valid, uniform(key, trusted), jnp.inf)
  return trusted.take(jnp.argsort(draws)[:size])


def trusted_slope(
  params: Any,
  batch: Batch,
  shares: jax.Array | None,
  trusted: Batch,
  forward: Callable[..., Batch],
  rate: Any,
) -> jax.Array:
  r"""How the trusted risk after a virtual step of SGD changes with the shares of that step.

  $$\frac{d}{d s_{ik}}\, L\Bigl(\theta - \alpha \nabla_\theta \sum_{ik} s_{ik} c_{ik}\Bigr)
  = -\alpha\, \langle \nabla_\theta c_{ik}, \nabla L(\theta') \rangle$$

  The step is linear in the shares, so the whole matrix is one derivative of c along the gradient
  at theta'; no gradient is differentiated.

  Args:
    params: theta; no gradient flows back into it.
    batch: the rows.
    shares: s [B, C], or None for 0, where theta' = theta.
    trusted: the examples of L, their mean cross-entropy.
    forward: as `Transform.update` gets it.
    rate: alpha.

  Returns:
    The slopes [B, C], where c is the cross-entropy of each label by the network itself, whatever
    loss and correction the chain has.
  """
  params = jax.lax.stop_gradient(params)
  cost = lambda params: -forward(params, batch).log_probs
  ahead = params
  if shares is not None:
    step = jax.grad(lambda params: jnp.sum(shares * cost(params)))(params)
    ahead = jax.tree.map(lambda p, g: p - jnp.asarray(rate, p.dtype) * g, params, step)
  pull = jax.grad(lambda params: forward(params, trusted).risk)(ahead)
  _, along = jax.jvp(cost, (params,), (pull,))
  return jax.lax.stop_gradient(-rate * along)
