"""Channels: what becomes of a label on its way from the true to the given one."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

_LOG_ZERO = -1e30  # and not minus infinity, so that a label that nothing leads to has finite slopes


def log_transition(transition: ArrayLike) -> jax.Array:
  """The logarithm of probabilities, finite also where they are 0.

  Args:
    transition: [..., C, C] in [0, 1].

  Returns:
    The logarithm; -1e30 of 0, which no logit outweighs.
  """
  t = jnp.asarray(transition)
  t = t.astype(jnp.promote_types(t.dtype, jnp.float32))
  return jnp.where(t > 0, jnp.log(jnp.where(t > 0, t, 1)), _LOG_ZERO)


def conditional(first: jax.Array, second: jax.Array) -> jax.Array:
  r"""How the classes of one labelling are spread over those of another one.

  $$P(j \mid i) = \frac{\sum_n a_{ni}\, b_{nj}}{\sum_{nk} a_{ni}\, b_{nk}}$$

  Args:
    first: a [N, C], one-hot or probabilities; a row of zeros does not count.
    second: b [N, C], likewise.

  Returns:
    The matrix [C, C], rows of probabilities; that of a class without mass is the identity's.

  Examples:
    >>> import jax, jax.numpy as jnp
    >>> from rfjax.core import conditional
    >>> true, given = (jax.nn.one_hot(jnp.array(y), 2) for y in ([0, 0, 1], [0, 1, 1]))
    >>> conditional(true, given).tolist()
    [[0.5, 0.5], [0.0, 1.0]]
  """
  joint = jnp.matmul(first.T, second, precision="highest")
  mass = jnp.sum(joint, axis=-1, keepdims=True)
  known = mass > 0
  return jnp.where(
    known, joint / jnp.where(known, mass, 1), jnp.eye(joint.shape[0], dtype=joint.dtype)
  )


def through(log_probs: jax.Array, log_channel: jax.Array) -> jax.Array:
  r"""The log-probabilities of labels behind a channel.

  $$\log \tilde p_j = \log \sum_i p_i\, T_{ij}$$

  Args:
    log_probs: [B, C].
    log_channel: log T, [C, C], or [B, C, C] for a channel of each row.

  Returns:
    The log-probabilities [B, C].

  Examples:
    >>> import jax.numpy as jnp
    >>> from rfjax.core import log_transition, through
    >>> log_probs = jnp.log(jnp.array([[0.9, 0.1]]))
    >>> jnp.exp(through(log_probs, log_transition([[0.8, 0.2], [0.0, 1.0]]))).round(3).tolist()
    [[0.72..., 0.28...]]
  """
  return jax.nn.logsumexp(log_probs[:, :, None] + log_channel, axis=1)
