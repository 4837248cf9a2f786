"""Small-loss selection: what the network finds hard is taken for wrong."""

from typing import Any

from rfjax.core import Batch, Transform, _check, stateless
from rfjax.selection._elements import ROUNDINGS, Rate, check_rate, rate_at, small_losses


def small_loss(forget_rate: Rate, *, rounding: str = "floor") -> Transform:
  r"""Keeps the rows of a batch with the smallest losses.

  $$\mathrm{keep}_i \leftarrow \mathrm{keep}_i\,[\mathrm{rank}(\mathrm{loss}_i) < n], \qquad
  n = \lfloor (1 - R)\, B \rfloor$$

  where B counts the rows that are still kept, and equal losses go by index. It is one lane of
  Co-teaching, which teaches itself.

  Args:
    forget_rate: R in [0, 1), the share to leave out, usually the noise rate; may be traced, or be a
      function of the epoch, such as `ramp_up`.
    rounding: of n, "floor" or "ceil".

  Returns:
    The transform; it writes keep.

  Raises:
    ValueError: for values out of range.

  References:
    Han, Yao, Yu, Niu, Xu, Hu, Tsang, Sugiyama, Co-teaching: Robust Training of Deep Neural Networks
    with Extremely Noisy Labels, NeurIPS 2018.

  Examples:
    >>> import jax.numpy as jnp, rfjax
    >>> from rfjax import selection
    >>> logits = jnp.array([[3.0, 0.0], [0.0, 3.0], [1.0, 0.0], [0.0, 1.0]])
    >>> batch = rfjax.Batch.from_arrays(jnp.zeros((4, 1)), [0, 0, 0, 1]).fill(logits)
    >>> selection.small_loss(0.25).update(batch, (), epoch=0)[0].keep.tolist()
    [1.0, 0.0, 1.0, 1.0]
  """
  check_rate("forget_rate", forget_rate)
  _check.choice("rounding", rounding, ROUNDINGS)

  def select(batch: Batch, *, epoch: Any, **unused: Any) -> Batch:
    del unused
    batch.require("keep", by="small_loss")
    kept = small_losses(batch, batch.loss, rate_at(forget_rate, epoch), rounding)
    return batch.replace(keep=batch.keep * kept)

  return stateless(select, writes=("keep",))
