"""A penalty on batches of one class: the distance of the mean prediction to a uniform prior."""

import math

import jax
import jax.numpy as jnp


def prior_penalty(log_probs: jax.Array, rows: jax.Array) -> jax.Array:
  r"""How far the mean prediction of some rows is from uniform; 0 when there is none.

  $$\sum_k \frac{1}{C} \log \frac{1 / C}{\bar p_k}$$

  Args:
    log_probs: [B, C].
    rows: bool [B], which count.

  Returns:
    The divergence of the mean prediction from the uniform prior, [].
  """
  number = jnp.sum(rows).astype(log_probs.dtype)
  # In logarithms, since a class that no row is given has a mean of 0 in float32.
  counted = jnp.where(rows[:, None], log_probs, -jnp.inf)
  mean = jax.nn.logsumexp(counted, axis=0) - jnp.log(jnp.maximum(number, 1))
  return jnp.where(number > 0, -jnp.mean(mean) - math.log(log_probs.shape[-1]), 0)
