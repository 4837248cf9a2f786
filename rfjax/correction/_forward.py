"""Forward correction: the softmax output is sent through the noise."""

from typing import Any

from jax.typing import ArrayLike

from rfjax.core import Batch, Transform, _check, log_transition, pointwise, through


def forward(transition: ArrayLike) -> Transform:
  r"""Forward correction by a known transition matrix.

  $$\log \tilde p_j = \log \sum_i p_i\, T_{ij}, \qquad T_{ij} = P(\tilde y = j \mid y = i)$$

  so that the network fits the true labels where the loss that follows fits the given ones. Put it
  in front of any loss.

  Args:
    transition: T [C, C], rows of probabilities; may be traced.

  Returns:
    The transform; it writes log_probs.

  Raises:
    ValueError: for a matrix that is not row-stochastic, or not of the data set's classes.

  References:
    Patrini, Rozza, Krishna Menon, Nock, Qu, Making Deep Neural Networks Robust to Label Noise: a
    Loss Correction Approach, CVPR 2017.

  Examples:
    >>> import jax, optax, rfjax
    >>> from rfjax import architectures, correction, losses
    >>> data = rfjax.Batch.from_arrays([[-1.0], [1.0]], [0, 1])
    >>> method = rfjax.chain(correction.forward([[0.8, 0.2], [0.3, 0.7]]), losses.gce(0.7))
    >>> state, log = rfjax.fit(architectures.logistic(), method, optax.sgd(0.1), data,
    ...                        key=jax.random.key(0), epochs=3)
  """
  given = _check.transition("transition", transition)
  channel = log_transition(given)

  def correct(batch: Batch, **unused: Any) -> Batch:
    del unused
    _check.classes("transition", channel.shape[0], batch.require("log_probs", by="forward"))
    return batch.replace(log_probs=through(batch.log_probs, channel.astype(batch.log_probs.dtype)))

  return pointwise(correct, writes=("log_probs",))
