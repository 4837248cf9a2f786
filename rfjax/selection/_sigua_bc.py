"""SIGUA on backward-corrected losses: what has become negative is turned round."""

from typing import Any

import jax
import jax.numpy as jnp

from rfjax.core import Batch, Transform, _check, stateless


def sigua_bc(
  ascent: float | jax.Array = 0.01,
  *,
  threshold: float | jax.Array = 0.0,
  warmup: int | jax.Array = 0,
) -> Transform:
  r"""SIGUA behind a backward correction: gradient ascent where the corrected loss is too small.

  $$\mathrm{weight}_i \leftarrow \mathrm{weight}_i \cdot
  \begin{cases} -\gamma & \mathrm{loss}_i < \beta \\ 1 & \text{otherwise} \end{cases}$$

  A backward-corrected loss has no lower bound, and a network that can fit anything drives it below
  zero where it fits wrong labels. With gamma 1 and beta 0 the risk is the mean of the absolute
  losses; with gamma 0 such rows rest. Put it behind `correction.backward`: a loss that is never
  negative stays what it is.

  Args:
    ascent: gamma, at least 0; may be traced. The authors run 1.
    threshold: beta; may be traced.
    warmup: so many epochs come first in which no row is turned round, at least 0; may be traced.

  Returns:
    The transform; it writes weight, which has negative entries.

  Raises:
    ValueError: for values out of range.

  References:
    Han, Niu, Yu, Yao, Xu, Tsang, Sugiyama, SIGUA: Forgetting May Make Learning with Noisy Labels
    More Robust, ICML 2020.

  Examples:
    >>> import jax, jax.numpy as jnp, rfjax
    >>> from rfjax import correction, selection
    >>> method = rfjax.chain(correction.backward([[0.8, 0.2], [0.2, 0.8]]), selection.sigua_bc(0.5))
    >>> batch = rfjax.Batch.from_arrays(jnp.zeros((2, 1)), [0, 1])
    >>> batch = batch.fill(jnp.array([[4.0, 0.0], [4.0, 0.0]]))
    >>> method.update(batch, ((), ()), key=jax.random.key(0), epoch=0)[0].weight.tolist()
    [-0.5, 1.0]
  """
  _check.number("ascent", ascent, 0.0, open_high=True)
  _check.number("threshold", threshold)
  _check.number("warmup", warmup, 0.0, open_high=True)

  def turn(batch: Batch, *, epoch: Any, **unused: Any) -> Batch:
    del unused
    batch.require("weight", by="sigua_bc")
    turned = (batch.loss < threshold) & (epoch >= warmup)
    factor = jnp.where(turned, -jnp.asarray(ascent, batch.weight.dtype), 1)
    return batch.replace(weight=batch.weight * factor)

  return stateless(turn, writes=("weight",))
