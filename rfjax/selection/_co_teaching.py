"""Co-teaching: two networks that choose for each other what to learn from."""

from typing import Any

from rfjax.core import Batch, Transform, _check, peer, stateless
from rfjax.selection._elements import ROUNDINGS, Rate, check_rate, rate_at, small_losses


def co_teaching(forget_rate: Rate, *, rounding: str = "floor") -> Transform:
  r"""Co-teaching: each network learns from the rows of the smallest losses of the other one.

  $$\mathrm{keep}_i \leftarrow \mathrm{keep}_i\,[\mathrm{rank}(\mathrm{loss}'_i) < n], \qquad
  n = \lfloor (1 - R)\, B \rfloor$$

  with the other network's losses. It needs `peers=2`.

  Args:
    forget_rate: R in [0, 1), the share to leave out, usually the noise rate; may be traced, or be a
      function of the epoch, such as `ramp_up`.
    rounding: of n, "floor" or "ceil".

  Returns:
    The transform; it writes keep.

  Raises:
    ValueError: for values out of range; in training, without peers.

  References:
    Han, Yao, Yu, Niu, Xu, Hu, Tsang, Sugiyama, Co-teaching: Robust Training of Deep Neural Networks
    with Extremely Noisy Labels, NeurIPS 2018.

  Examples:
    >>> import jax, optax, rfjax
    >>> from rfjax import architectures, selection
    >>> data = rfjax.Batch.from_arrays([[-2.0], [-1.0], [1.0], [2.0]], [0, 0, 0, 1])
    >>> method = selection.co_teaching(selection.ramp_up(0.25, 5))
    >>> state, log = rfjax.fit(architectures.logistic(), method, optax.sgd(0.1), data,
    ...                        key=jax.random.key(0), epochs=10, peers=2)
    >>> log.risk.shape
    (2, 10)
  """
  check_rate("forget_rate", forget_rate)
  _check.choice("rounding", rounding, ROUNDINGS)

  def select(batch: Batch, *, epoch: Any, **unused: Any) -> Batch:
    del unused
    batch.require("keep", by="co_teaching")
    mine = small_losses(batch, batch.loss, rate_at(forget_rate, epoch), rounding)
    return batch.replace(keep=batch.keep * peer(mine, by="co_teaching"))

  return stateless(select, writes=("keep",))
