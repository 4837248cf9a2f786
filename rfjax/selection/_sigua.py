"""SIGUA: gradient ascent on what looks wrong, so that the network forgets it."""

from typing import Any

import jax
import jax.numpy as jnp

from rfjax.core import Batch, Transform, _check, count, smallest, stateless
from rfjax.selection._elements import Rate, check_rate, rate_at, small_losses


def sigua(
  forget_rate: Rate,
  *,
  ascent: float | jax.Array = 0.01,
  ascend_rate: float | jax.Array = 1.0,
) -> Transform:
  r"""SIGUA on small losses: descent on the rows of small losses, and a little ascent on others.

  $$\mathrm{risk} = \frac{1}{n} \sum_{\mathrm{rank}(i) < n} \mathrm{loss}_i
  - \frac{\gamma}{m} \sum_{n \le \mathrm{rank}(i) < n + m} \mathrm{loss}_i, \qquad
  n = \lfloor (1 - R)\, B \rfloor, \quad m = \max(\lfloor \rho\, (B - n) \rfloor, 1)$$

  as two means, written as a selection of n + m rows with signed weights. Of the rows that are left
  out the m with the smallest losses ascend, as in the authors' code: those just above the cut, and
  not those whose loss is already large.

  Args:
    forget_rate: R in [0, 1), the share to leave out, usually the noise rate; may be traced, or be a
      function of the epoch, such as `ramp_up`.
    ascent: gamma, at least 0; may be traced. 0 gives `small_loss`.
    ascend_rate: rho in [0, 1], the share of the left out rows that ascend; may be traced. The
      authors run 0.3 to 0.7.

  Returns:
    The transform; it writes keep and weight, which has negative entries.

  Raises:
    ValueError: for values out of range.

  References:
    Han, Niu, Yu, Yao, Xu, Tsang, Sugiyama, SIGUA: Forgetting May Make Learning with Noisy Labels
    More Robust, ICML 2020.

  Examples:
    >>> import jax.numpy as jnp, rfjax
    >>> from rfjax import selection
    >>> logits = jnp.array([[3.0, 0.0], [0.0, 3.0], [1.0, 0.0], [0.0, 1.0]])
    >>> batch = rfjax.Batch.from_arrays(jnp.zeros((4, 1)), [0, 0, 0, 1]).fill(logits)
    >>> method = selection.sigua(0.5, ascent=0.5, ascend_rate=0.5)
    >>> batch, _ = method.update(batch, (), epoch=0)
    >>> batch.keep.tolist(), batch.weight.tolist()
    ([1.0, 0.0, 1.0, 1.0], [1.5, 1.0, 1.5, -1.5])
  """
  check_rate("forget_rate", forget_rate)
  _check.number("ascent", ascent, 0.0, open_high=True)
  _check.number("ascend_rate", ascend_rate, 0.0, 1.0)

  def select(batch: Batch, *, epoch: Any, **unused: Any) -> Batch:
    del unused
    batch.require("keep", "weight", by="sigua")
    small = small_losses(batch, batch.loss, rate_at(forget_rate, epoch))
    rest = (batch.keep > 0) & batch.valid & ~small
    number = jnp.maximum(count(ascend_rate, rest), 1)
    big = smallest(jax.lax.stop_gradient(batch.loss), number, rest, batch.index)
    keep = batch.keep * (small | big)
    # The risk divides by the sum of keep, and here each mean by its own.
    size = lambda rows: jnp.maximum(jnp.sum(keep * rows), 1)
    whole = size(True)
    factor = jnp.where(small, whole / size(small), jnp.where(big, -ascent * whole / size(big), 1))
    return batch.replace(keep=keep, weight=batch.weight * factor.astype(batch.weight.dtype))

  return stateless(select, writes=("keep", "weight"))
