"""Hard bootstrapping: the target leans towards the label that the network would give."""

from typing import Any

import jax
import jax.numpy as jnp

from rfjax.core import Batch, Transform, _check, stateless


def bootstrap_hard(beta: float | jax.Array = 0.8) -> Transform:
  r"""Hard bootstrapping: mixes each target with the network's own label.

  $$\mathrm{target}_{ik} \leftarrow \beta\, \mathrm{target}_{ik} + (1 - \beta)\,
  [k = \arg\max_j p_{ij}]$$

  with the probabilities p that the loss reads; of equal ones the lowest label is taken. No gradient
  flows through the target.

  Args:
    beta: how much the given label counts, in [0, 1]; may be traced.

  Returns:
    The transform; it writes target.

  Raises:
    ValueError: for beta out of range.

  References:
    Reed, Lee, Anguelov, Szegedy, Erhan, Rabinovich, Training Deep Neural Networks on Noisy Labels
    with Bootstrapping, ICLR Workshop 2015.

  Examples:
    >>> import jax.numpy as jnp, rfjax
    >>> from rfjax import refurbishment
    >>> data = rfjax.Batch.from_arrays([[0.0]], [0]).fill(jnp.array([[-1.0, 1.0]]))
    >>> out, _ = refurbishment.bootstrap_hard(0.75).update(data, ())
    >>> out.target.tolist()
    [[0.75, 0.25]]
  """
  _check.number("beta", beta, 0.0, 1.0)

  def lean(batch: Batch, **unused: Any) -> Batch:
    del unused
    batch.require("log_probs", "target", by="bootstrap_hard")
    said = jnp.argmax(batch.log_probs, axis=-1)
    said = jax.nn.one_hot(said, batch.num_classes, dtype=batch.target.dtype)
    return batch.replace(target=beta * batch.target + (1 - beta) * said)

  return stateless(lean, writes=("target",))
