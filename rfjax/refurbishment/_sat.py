"""Self-adaptive training: a running mean of the given label and the predictions is the target."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rfjax.core import Batch, Transform, _check, read, write


class SATState(NamedTuple):
  """The state of `sat`.

  Attributes:
    soft: t, the soft label of each example, [N, C].
  """

  soft: jax.Array


def sat(decay: float | jax.Array = 0.9, *, start: float | jax.Array = 60) -> Transform:
  r"""Self-adaptive training.

  From epoch `start` on, in each step first

  $$t_i \leftarrow \alpha\, t_i + (1 - \alpha)\, p_i, \qquad \text{then} \qquad
  \mathrm{target}_i = t_i, \qquad
  \mathrm{weight}_i \leftarrow \mathrm{weight}_i\,
  \frac{\max_k t_{ik} \sum_j \mathrm{keep}_j}{\sum_j \mathrm{keep}_j \max_k t_{jk}}.$$

  The soft labels start as the given ones and drift to what the network says in training, without
  gradient, so that a wrong label is forgotten. The weights have mean 1 over the kept rows of a
  batch; an example whose soft label is undecided counts less.

  Args:
    decay: alpha in [0, 1]; the authors run 0.9; may be traced.
    start: E_s, epochs of plain training, at least 0; the authors run 60 of 200; may be traced.

  Returns:
    The transform; it writes target and weight.

  Raises:
    ValueError: for values out of range.

  References:
    Huang, Zhang, Zhang, Self-Adaptive Training: beyond Empirical Risk Minimization, NeurIPS 2020.

  Examples:
    >>> import jax, optax, rfjax
    >>> from rfjax import architectures, refurbishment
    >>> x = [[-2.0], [-1.0], [1.0], [2.0], [3.0]]
    >>> data = rfjax.Batch.from_arrays(x, [0, 0, 1, 0, 1])
    >>> state, log = rfjax.fit(architectures.logistic(), refurbishment.sat(start=5),
    ...                        optax.sgd(0.5), data, key=jax.random.key(0), epochs=60)
    >>> state.method.soft.argmax(-1).tolist()
    [0, 0, 1, 1, 1]
  """
  _check.number("decay", decay, 0.0, 1.0)
  _check.number("start", start, 0.0)

  def init(data: Batch, **unused: Any) -> SATState:
    del unused
    given = jax.nn.one_hot(data.y, data.num_classes)
    return SATState(write(jnp.zeros_like(given), data.index, given))

  def update(
    batch: Batch, state: SATState, params: Any = None, *, epoch: Any, **unused: Any
  ) -> tuple[Batch, SATState]:
    del params, unused
    batch.require("log_probs", "target", "keep", "weight", by="sat")
    started = jnp.asarray(epoch) >= start
    past, said = read(state.soft, batch.index), jax.lax.stop_gradient(batch.probs)
    soft = jnp.where(started, decay * past + (1 - decay) * said, past)
    largest = jnp.max(soft, axis=-1)
    total = jnp.sum(batch.keep * largest)
    weight = largest * jnp.sum(batch.keep) / jnp.where(total > 0, total, 1)
    state = SATState(write(state.soft, batch.index, soft))
    return batch.replace(
      target=jnp.where((started & batch.valid)[:, None], soft, batch.target),
      weight=batch.weight * jnp.where(started & (total > 0), weight, 1),
    ), state

  return Transform(init, update, writes=("target", "weight"))
