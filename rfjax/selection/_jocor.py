"""JoCoR: two networks that learn to agree, on the rows where they do."""

from typing import Any

import jax
import jax.numpy as jnp

from rfjax.core import Batch, Transform, _check, peer, stateless
from rfjax.selection._elements import Rate, check_rate, rate_at, small_losses


def jocor(forget_rate: Rate, *, strength: float | jax.Array = 0.1) -> Transform:
  r"""JoCoR: one joint loss trains both networks on the rows where it is small.

  $$l_i = (1 - \lambda)\,(\mathrm{loss}_i + \mathrm{loss}'_i) + \lambda\, d_i, \qquad
  d_i = D_{KL}(p_i \| p_i') + D_{KL}(p_i' \| p_i),$$

  $$\mathrm{keep}_i \leftarrow \mathrm{keep}_i\,[\mathrm{rank}(l_i) < n], \qquad
  n = \lfloor (1 - R)\, B \rfloor, \qquad
  \mathrm{cost}_{ik} \leftarrow (1 - \lambda)\, \mathrm{cost}_{ik} + \lambda\, d_i$$

  with p the softmax, and what is primed of the other network. Both keep the same rows, and each
  network descends along its own part of the gradient of the joint loss, through all of its terms.
  Each has the agreement d in its own cost, so that the sum of both risks counts it twice. It needs
  `peers=2`.

  Args:
    forget_rate: R in [0, 1), the share to leave out, usually the noise rate; may be traced, or be a
      function of the epoch, such as `ramp_up`. The authors take half of an asymmetric noise rate.
    strength: lambda in [0, 1], of the agreement; may be traced. The authors found 0.5 to 0.9 best.

  Returns:
    The transform; it maps cost, whatever loss that is of, and writes keep.

  Raises:
    ValueError: for values out of range; in training, without peers.

  References:
    Wei, Feng, Chen, An, Combating Noisy Labels by Agreement: A Joint Training Method with
    Co-Regularization, CVPR 2020.

  Examples:
    >>> import jax, optax, rfjax
    >>> from rfjax import architectures, selection
    >>> data = rfjax.Batch.from_arrays([[-2.0], [-1.0], [1.0], [2.0]], [0, 0, 0, 1])
    >>> method = selection.jocor(selection.ramp_up(0.25, 5), strength=0.9)
    >>> state, log = rfjax.fit(architectures.logistic(), method, optax.sgd(0.1), data,
    ...                        key=jax.random.key(0), epochs=10, peers=2)
    >>> log.risk.shape
    (2, 10)
  """
  check_rate("forget_rate", forget_rate)
  _check.number("strength", strength, 0.0, 1.0)

  def select(batch: Batch, *, epoch: Any, **unused: Any) -> Batch:
    del unused
    batch.require("logits", "cost", "target", "keep", by="jocor")
    mine = jax.nn.log_softmax(batch.logits)
    others, loss = peer((mine, batch.loss), by="jocor")
    # The sum of both divergences, and the same bits in both networks.
    apart = jnp.sum((jnp.exp(mine) - jnp.exp(others)) * (mine - others), axis=-1)
    joint = (1 - strength) * (batch.loss + loss) + strength * apart
    kept = small_losses(batch, joint, rate_at(forget_rate, epoch))
    cost = (1 - strength) * batch.cost + strength * apart[:, None]
    return batch.replace(cost=cost, keep=batch.keep * kept)

  return stateless(select, writes=("cost", "keep"))
