"""Label smoothing: targets that are never quite sure."""

from typing import Any

import jax

from rfjax.core import Batch, Transform, _check, stateless


def label_smoothing(rate: float | jax.Array = 0.1) -> Transform:
  r"""Label smoothing: mixes the target with the uniform distribution.

  $$\mathrm{target}_i \leftarrow (1 - \epsilon)\, \mathrm{target}_i + \epsilon / C$$

  Under symmetric noise it is what `symmetric(rate, inclusive=True)` does to a target on average.

  Args:
    rate: epsilon in [0, 1]; may be traced.

  Returns:
    The transform; it writes target.

  Raises:
    ValueError: for a rate out of range.

  References:
    Szegedy, Vanhoucke, Ioffe, Shlens, Wojna, Rethinking the Inception Architecture for Computer
    Vision, CVPR 2016.
    Lukasik, Bhojanapalli, Menon, Kumar, Does Label Smoothing Mitigate Label Noise?, ICML 2020.

  Examples:
    >>> import jax.numpy as jnp, rfjax
    >>> from rfjax import losses
    >>> batch = rfjax.Batch.from_arrays([[0.0]], [1]).fill(jnp.zeros((1, 2)))
    >>> out, _ = losses.label_smoothing(0.5).update(batch, ())
    >>> out.target.tolist()
    [[0.25, 0.75]]
  """
  _check.number("rate", rate, 0.0, 1.0)

  def apply(batch: Batch, **unused: Any) -> Batch:
    del unused
    target = batch.require("target", by="label_smoothing").target
    return batch.replace(target=(1 - rate) * target + rate / batch.num_classes)

  return stateless(apply, writes=("target",))
