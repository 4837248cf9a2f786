"""Projection of the risk's gradient: descending on the risk does not undo the penalty's work."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from rfjax.core import _check, ratio


def project_against(*, per_leaf: bool = False) -> optax.GradientTransformationExtraArgs:
  r"""Takes away from the risk's gradient what it has along the penalty's.

  $$g \leftarrow g - \frac{\langle g_r, g_p\rangle}{\lVert g_p \rVert^2}\, g_p, \qquad
  g_r = \nabla\,\mathrm{risk}, \quad g_p = \nabla\,\mathrm{penalty}$$

  After `adversarial_debiasing(alpha)`, whose penalty is -alpha L_A, what is left of g = g_r + g_p
  is the published direction g_r - proj g_r - alpha grad L_A: a step never helps the adversary, as
  far as its slope tells. It serves any penalty, and all penalties of the method count together.
  What stands in front of it in the optimizer's chain is kept, such as weight decay.

  Args:
    per_leaf: project each array of the parameters by itself, as AIF360 and fairlearn do, and not
      all of them as one vector, as it is published; static.

  Returns:
    The optax transformation, for `optax.chain` in front of the optimizer's scaling; it works inside
    `train_step` and `fit`, which give it `grad_of`. Where the penalty has no slope it does nothing.

  Raises:
    ValueError: for a value out of range; when applied, without `grad_of`.

  References:
    Zhang, Lemoine, Mitchell, Mitigating unwanted biases with adversarial learning, AIES 2018.

  Examples:
    >>> import jax.numpy as jnp, optax
    >>> from rfjax.fairness import inprocessing
    >>> grad_of = lambda risk=1.0, penalty=0.0: jnp.array([3.0 * risk, 4.0 * risk + 2.0 * penalty])
    >>> tx = inprocessing.project_against()
    >>> tx.update(grad_of(1.0, 1.0), tx.init(None), grad_of=grad_of)[0].tolist()
    [3.0, 2.0]
  """
  _check.choice("per_leaf", per_leaf, (False, True))

  def update(
    updates: Any, state: Any, params: Any = None, *, grad_of: Any = None, **unused: Any
  ) -> tuple[Any, Any]:
    del params, unused
    risk, penalty = pulls(grad_of, "project_against")
    if per_leaf:
      share = jax.tree.map(along, risk, penalty)
    else:
      whole = along(risk, penalty)
      share = jax.tree.map(lambda way: whole, penalty)
    return jax.tree.map(lambda g, s, way: g - s * way, updates, share, penalty), state

  return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)


def pulls(grad_of: Callable[..., Any] | None, by: str) -> tuple[Any, Any]:
  """The gradients of risk and penalty."""
  if grad_of is None:
    raise ValueError(f"{by} needs grad_of: use it inside train_step or fit")
  return grad_of(1.0, 0.0), grad_of(0.0, 1.0)


def along(gradient: Any, way: Any) -> jax.Array:
  """How many times `way` the part of a gradient along it is; 0 where it leads nowhere."""
  leaves = jax.tree.leaves(way)
  # Scaled by its largest entry, a short way has a square that does not vanish.
  largest = jnp.max(jnp.stack([jnp.max(jnp.abs(leaf)) for leaf in leaves]))
  unit = [ratio(leaf, largest) for leaf in leaves]
  pairs = zip(jax.tree.leaves(gradient), unit, strict=True)
  dot = sum(jnp.sum(g * u) for g, u in pairs)
  return ratio(jnp.asarray(dot), largest * sum(jnp.sum(u * u) for u in unit))
