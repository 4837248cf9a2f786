"""Early-learning regularisation: what the network said early on pulls against wrong labels."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rfjax.core import Batch, Transform, _check, read, write


class ELRState(NamedTuple):
  """The state of `elr`.

  Attributes:
    memory: t, the running mean of what the network has said of each example, [N, C].
  """

  memory: jax.Array


def elr(
  strength: float | jax.Array = 3.0,
  *,
  decay: float | jax.Array = 0.7,
  clip: float | jax.Array = 1e-4,
) -> Transform:
  r"""Early-learning regularisation.

  $$t_i \leftarrow \beta\, t_i + (1 - \beta)\, p_i, \qquad \mathrm{penalty} \leftarrow
  \mathrm{penalty} + \lambda\, \frac{\sum_i \mathrm{keep}_i \log(1 - \langle t_i, p_i \rangle)}
  {\max(\sum_i \mathrm{keep}_i, 1)}$$

  Networks learn from the true labels first. The penalty falls without bound as the prediction
  agrees with its own past, which keeps the gradient of such examples alive and cancels that of
  wrong labels. The memory starts at 0 and takes in predictions of training, without gradient.

  Args:
    strength: lambda, at least 0; 3 for CIFAR-10 with symmetric and 1 with asymmetric noise; may be
      traced.
    decay: beta in [0, 1); 0.7 and 0.9 there; may be traced.
    clip: p is cut to [clip, 1 - clip], in (0, 0.5); may be traced.

  Returns:
    The transform; it writes penalty.

  Raises:
    ValueError: for values out of range.

  References:
    Liu, Niles-Weed, Razavian, Fernandez-Granda, Early-Learning Regularization Prevents Memorization
    of Noisy Labels, NeurIPS 2020.

  Examples:
    >>> import jax, optax, rfjax
    >>> from rfjax import architectures, losses
    >>> data = rfjax.Batch.from_arrays([[-1.0], [1.0]], [0, 1])
    >>> state, log = rfjax.fit(architectures.logistic(), losses.elr(1.0), optax.sgd(0.1), data,
    ...                        key=jax.random.key(0), epochs=5)
    >>> state.method.memory.shape, bool(log.penalty[-1] < 0)
    ((2, 2), True)
  """
  _check.number("strength", strength, 0.0, open_high=True)
  _check.number("decay", decay, 0.0, 1.0, open_high=True)
  _check.number("clip", clip, 0.0, 0.5, open_low=True, open_high=True)

  def init(data: Batch, **unused: Any) -> ELRState:
    del unused
    return ELRState(jnp.zeros((data.num_rows, data.num_classes)))

  def update(
    batch: Batch, state: ELRState, params: Any = None, **unused: Any
  ) -> tuple[Batch, ELRState]:
    del params, unused
    batch.require("log_probs", "keep", "penalty", by="elr")
    # In the type of the memory: in half precision 1 - clip is 1.
    probs = jnp.clip(batch.probs.astype(state.memory.dtype), clip, 1 - clip)
    said = jax.lax.stop_gradient(probs / jnp.sum(probs, axis=-1, keepdims=True))
    past = decay * read(state.memory, batch.index) + (1 - decay) * said
    agreement = jnp.log1p(-jnp.sum(past * probs, axis=-1))
    mean = jnp.sum(batch.keep * agreement) / jnp.maximum(jnp.sum(batch.keep), 1)
    memory = write(state.memory, batch.index, past)
    return batch.replace(penalty=batch.penalty + strength * mean), ELRState(memory)

  return Transform(init, update, writes=("penalty",))
