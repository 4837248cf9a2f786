"""Normalised losses, and pairs of an active and a passive loss."""

from typing import Any

import jax
import jax.numpy as jnp

from rfjax.core import Batch, Transform, _check, ratio
from rfjax.losses._elements import check_loss

State = Any


def normalized(loss: Transform) -> Transform:
  r"""Divides a loss by the sum of what it gives to all labels, which makes any loss symmetric.

  $$\mathrm{cost}_{ik} \leftarrow \frac{\mathrm{cost}_{ik}}{\sum_j \mathrm{cost}_{ij}}$$

  Over all labels it sums to 1, so that it is robust to symmetric noise, and underfits; see
  `active_passive`.

  Args:
    loss: a loss, such as `cross_entropy()` or `focal(0.5)`.

  Returns:
    The loss; it writes cost.

  Raises:
    ValueError: for a transform that is no loss.

  References:
    Ma, Huang, Wang, Romano, Erfani, Bailey, Normalized Loss Functions for Deep Learning with Noisy
    Labels, ICML 2020.

  Examples:
    >>> import jax.numpy as jnp, rfjax
    >>> from rfjax import losses
    >>> batch = rfjax.Batch.from_arrays([[0.0]], [1]).fill(jnp.zeros((1, 2)))
    >>> out, _ = losses.normalized(losses.cross_entropy()).update(batch, ())
    >>> out.cost.tolist()
    [[0.5, 0.5]]
  """
  check_loss("loss", loss)

  def over(apply: Any) -> Any:
    def normalise(
      flow: Batch, state: State, params: Any = None, **extra: Any
    ) -> tuple[Batch, State]:
      new, state = apply(flow, state, params, **extra)
      total = jnp.sum(new.cost, axis=-1, keepdims=True)
      return new.replace(cost=ratio(new.cost, total)), state

    return normalise

  return Transform(loss.init, over(loss.update), over(loss.refresh), loss.writes)


def active_passive(
  active: Transform,
  passive: Transform,
  *,
  alpha: float | jax.Array = 1.0,
  beta: float | jax.Array = 1.0,
) -> Transform:
  r"""Active passive loss: one loss that raises the given label, and one that lowers the others.

  $$\mathrm{cost} = \alpha\, \mathrm{cost}_{\mathrm{active}} +
  \beta\, \mathrm{cost}_{\mathrm{passive}}$$

  Both are to be robust, and together they learn more than either. Active ones are the normalised
  `cross_entropy`, `focal` and `gce`; passive ones are `mae` and `rce`, normalised or not.

  Args:
    active: a loss.
    passive: a loss.
    alpha: weight of the active one, at least 0; may be traced.
    beta: weight of the passive one, at least 0; may be traced.

  Returns:
    The loss; it writes cost.

  Raises:
    ValueError: for transforms that are no losses, and weights out of range.

  References:
    Ma, Huang, Wang, Romano, Erfani, Bailey, Normalized Loss Functions for Deep Learning with Noisy
    Labels, ICML 2020.

  Examples:
    >>> from rfjax import losses
    >>> nce = losses.normalized(losses.cross_entropy())
    >>> nce_rce = losses.active_passive(nce, losses.rce(), alpha=1.0, beta=10.0)
  """
  check_loss("active", active)
  check_loss("passive", passive)
  _check.number("alpha", alpha, 0.0, open_high=True)
  _check.number("beta", beta, 0.0, open_high=True)

  def init(data: Batch, *, key: jax.Array, **extra: Any) -> State:
    keys = jax.random.split(key)
    return tuple(t.init(data, key=k, **extra) for t, k in zip((active, passive), keys, strict=True))

  def both(name: str) -> Any:
    def apply(
      flow: Batch, state: State, params: Any = None, *, key: Any = None, **extra: Any
    ) -> tuple[Batch, State]:
      keys = (None, None) if key is None else jax.random.split(key)
      (a, first), (p, second) = (
        getattr(t, name)(flow, s, params, key=k, **extra)
        for t, s, k in zip((active, passive), state, keys, strict=True)
      )
      return flow.replace(cost=alpha * a.cost + beta * p.cost), (first, second)

    return apply

  return Transform(init, both("update"), both("refresh"), active.writes)
