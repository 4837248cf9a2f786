"""Soft bootstrapping: the target leans towards what the network says."""

from typing import Any

import jax

from rfjax.core import Batch, Transform, _check, stateless


def bootstrap_soft(beta: float | jax.Array = 0.95, *, differentiable: bool = True) -> Transform:
  r"""Soft bootstrapping: mixes each target with the probabilities that the loss reads.

  $$\mathrm{target}_{ik} \leftarrow \beta\, \mathrm{target}_{ik} + (1 - \beta)\, p_{ik}$$

  With cross-entropy it is $\beta$ times the cross-entropy of the label plus $1 - \beta$ times the
  entropy of the prediction, so that the network may disagree with a label that it is sure is wrong.

  Args:
    beta: how much the given label counts, in [0, 1]; may be traced.
    differentiable: whether the gradient flows through p in the target, which minimises the entropy
      as the paper has it. If not, p is a constant: with cross-entropy, beta then does no more than
      shrink the gradient.

  Returns:
    The transform; it writes target.

  Raises:
    ValueError: for beta out of range.

  References:
    Reed, Lee, Anguelov, Szegedy, Erhan, Rabinovich, Training Deep Neural Networks on Noisy Labels
    with Bootstrapping, ICLR Workshop 2015.

  Examples:
    >>> import jax, optax, rfjax
    >>> from rfjax import architectures, refurbishment
    >>> data = rfjax.Batch.from_arrays([[-2.0], [-1.0], [1.0], [2.0]], [0, 0, 0, 1])
    >>> state, log = rfjax.fit(architectures.logistic(), refurbishment.bootstrap_soft(0.8),
    ...                        optax.sgd(1.0), data, key=jax.random.key(0), epochs=20)
    >>> log.risk.shape
    (20,)
  """
  _check.number("beta", beta, 0.0, 1.0)

  def lean(batch: Batch, **unused: Any) -> Batch:
    del unused
    said = batch.require("log_probs", "target", by="bootstrap_soft").probs
    said = said if differentiable else jax.lax.stop_gradient(said)
    return batch.replace(target=beta * batch.target + (1 - beta) * said)

  return stateless(lean, writes=("target",))
