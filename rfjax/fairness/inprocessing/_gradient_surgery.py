"""Gradient surgery: where risk and penalty pull against each other, neither undoes the other."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from rfjax.fairness.inprocessing._project_against import along, pulls


def gradient_surgery() -> optax.GradientTransformationExtraArgs:
  r"""PCGrad for two tasks: risk and penalty lose what of their gradients harms the other.

  $$g \leftarrow g - \frac{\min(\langle g_r, g_p\rangle, 0)}{\lVert g_p \rVert^2}\, g_p
  - \frac{\min(\langle g_r, g_p\rangle, 0)}{\lVert g_r \rVert^2}\, g_r, \qquad
  g_r = \nabla\,\mathrm{risk}, \quad g_p = \nabla\,\mathrm{penalty}$$

  So g = g_r + g_p stays as it is where both agree, and becomes the sum of the projection of each
  onto the normal plane of the other where they conflict. Of two tasks the order does not matter.
  All penalties of the method are one task, and what stands in front in the optimizer's chain is
  kept. `project_against` projects the risk's gradient only, and whether they conflict or not.

  Returns:
    The optax transformation, for `optax.chain` in front of the optimizer's scaling; it works inside
    `train_step` and `fit`, which give it `grad_of`.

  Raises:
    ValueError: when applied, without `grad_of`.

  References:
    Yu, Kumar, Gupta, Levine, Hausman, Finn, Gradient surgery for multi-task learning, NeurIPS 2020.

  Examples:
    >>> import jax.numpy as jnp, optax
    >>> from rfjax.fairness import inprocessing
    >>> grad_of = lambda risk=1.0, penalty=0.0: jnp.array([risk - penalty, 2.0 * penalty])
    >>> tx = inprocessing.gradient_surgery()
    >>> tx.update(grad_of(1.0, 1.0), tx.init(None), grad_of=grad_of)[0].round(3).tolist()
    [0.800000011920929, 2.4000000953674316]
  """

  def update(
    updates: Any, state: Any, params: Any = None, *, grad_of: Any = None, **unused: Any
  ) -> tuple[Any, Any]:
    del params, unused
    risk, penalty = pulls(grad_of, "gradient_surgery")
    against_penalty = jnp.minimum(along(risk, penalty), 0)
    against_risk = jnp.minimum(along(penalty, risk), 0)
    mend = lambda g, r, p: g - against_penalty * p - against_risk * r
    return jax.tree.map(mend, updates, risk, penalty), state

  return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)
