"""Cross-entropy with the derivative written down, for players that never read its value."""

import jax
import jax.numpy as jnp


@jax.custom_jvp
def cross_entropy(scores: jax.Array, target: jax.Array) -> jax.Array:
  r"""Cross-entropy of K + 1 classes from scores relative to class 0, features first.

  $$\ell_i = \log\Big(1 + \sum_k e^{s_{ki}}\Big) - \sum_k t_{ki}\, s_{ki}, \qquad
  \frac{\partial \ell_i}{\partial s_{ki}} = \mathrm{softmax}(0, s_i)_k - t_{ki}$$

  With K = 1 it is the binary cross-entropy of a logit. Where only the gradient is asked for, the
  logarithm is never computed. The target is taken as a constant.

  Args:
    scores: [K, B], log-odds of classes 1 to K against class 0.
    target: [K, B], probabilities of classes 1 to K.

  Returns:
    The losses [B].

  Examples:
    >>> import jax.numpy as jnp
    >>> from rfjax.core import cross_entropy
    >>> print(cross_entropy(jnp.zeros((1, 2)), jnp.array([[0.0, 1.0]])))
    [0.6931472 0.6931472]
  """
  if scores.shape[0] == 1:
    normaliser = jax.nn.softplus(scores[0])
  else:
    normaliser = jax.nn.logsumexp(jnp.pad(scores, ((1, 0), (0, 0))), axis=0)
  return normaliser - jnp.sum(target * scores, axis=0)


@cross_entropy.defjvp
def _cross_entropy_jvp(primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
  scores, target = primals
  if scores.shape[0] == 1:
    probs = jax.nn.sigmoid(scores)
  else:
    probs = jax.nn.softmax(jnp.pad(scores, ((1, 0), (0, 0))), axis=0)[1:]
  return cross_entropy(scores, target), jnp.sum((probs - target) * tangents[0], axis=0)
