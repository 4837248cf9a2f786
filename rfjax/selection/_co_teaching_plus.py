"""Co-teaching+: small losses among disagreements."""

from typing import Any

import jax
import jax.numpy as jnp

from rfjax.core import Batch, Transform, _check, peer, stateless
from rfjax.selection._decoupling import disagree
from rfjax.selection._elements import Rate, check_rate, rate_at, small_losses


def co_teaching_plus(forget_rate: Rate, *, warmup: int | jax.Array = 0) -> Transform:
  r"""Co-teaching+: of the rows on which the predictions differ, each network teaches the easy ones.

  $$\mathrm{keep}_i \leftarrow \mathrm{keep}_i\,[i \in D,\ \mathrm{rank}_D(\mathrm{loss}'_i) < n],
  \qquad n = \lfloor (1 - R)\, |D| \rfloor, \qquad
  D = \{i : \arg\max_k z_{ik} \ne \arg\max_k z'_{ik}\}$$

  with the losses of the other network, as in `co_teaching`. The disagreement keeps both networks
  from becoming one. Where n is 0 all of D is kept, and where D is empty all rows are, as the
  authors' code does. It needs `peers=2`.

  Args:
    forget_rate: R in [0, 1), the share to leave out, usually the noise rate; may be traced, or be a
      function of the epoch, such as `ramp_up`.
    warmup: so many epochs of `co_teaching` come first, at least 0; may be traced.

  Returns:
    The transform; it writes keep.

  Raises:
    ValueError: for values out of range; in training, without peers.

  References:
    Yu, Han, Yao, Niu, Tsang, Sugiyama, How does Disagreement Help Generalization against Label
    Corruption?, ICML 2019.

  Examples:
    >>> import jax, optax, rfjax
    >>> from rfjax import architectures, selection
    >>> data = rfjax.Batch.from_arrays([[-2.0], [-1.0], [1.0], [2.0]], [0, 0, 0, 1])
    >>> method = selection.co_teaching_plus(selection.ramp_up(0.25, 5), warmup=2)
    >>> state, log = rfjax.fit(architectures.mlp([4], 2), method, optax.sgd(0.1), data,
    ...                        key=jax.random.key(0), epochs=10, peers=2)
    >>> log.risk.shape
    (2, 10)
  """
  check_rate("forget_rate", forget_rate)
  _check.number("warmup", warmup, 0.0, open_high=True)

  def select(batch: Batch, *, epoch: Any, **unused: Any) -> Batch:
    del unused
    batch.require("logits", "keep", by="co_teaching_plus")
    pool = (batch.keep > 0) & (disagree(batch, "co_teaching_plus") | (epoch < warmup))
    mine = small_losses(batch, batch.loss, rate_at(forget_rate, epoch), among=pool)
    mine = jnp.where(jnp.any(mine), mine, pool)
    kept = jnp.where(jnp.any(pool), peer(mine, by="co_teaching_plus"), True)
    return batch.replace(keep=batch.keep * kept)

  return stateless(select, writes=("keep",))
