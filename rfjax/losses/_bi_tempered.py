"""Bi-tempered logistic loss: a bounded loss on a softmax with a heavy tail."""

from typing import Any

import jax
import jax.numpy as jnp

from rfjax.core import Transform, _check
from rfjax.losses._elements import log1p_ratio, loss, power


def _log_exp(v: jax.Array, t: Any) -> jax.Array:
  """log(exp_t(v)), and v at t = 1."""
  return v * log1p_ratio((1 - t) * v)


def tempered_log_softmax(logits: jax.Array, t: Any, *, steps: int = 8) -> jax.Array:
  r"""Logarithm of the tempered softmax.

  $$p_k = \exp_t(z_k - \lambda(z)), \qquad \exp_t(v) = [1 + (1 - t)\, v]_+^{1 / (1 - t)}, \qquad
  \sum_k p_k = 1$$

  The normaliser is found by Newton's method on log_t of the sum, which is concave in it and climbs
  to it from below; the gradient is the implicit one.

  Args:
    logits: z [..., C].
    t: temperature, at least 1; above 1 the tail is heavy. May be traced.
    steps: Newton steps; 8 leave little but rounding up to t = 6 and 1,000 classes.

  Returns:
    log p [..., C].

  Examples:
    >>> import jax.numpy as jnp
    >>> from rfjax.losses import tempered_log_softmax
    >>> jnp.exp(tempered_log_softmax(jnp.array([0.0, 0.0]), 1.5)).tolist()
    [0.5, 0.5]
  """
  shifted = logits - jax.lax.stop_gradient(jnp.max(logits, axis=-1, keepdims=True))

  def step(values: jax.Array, normaliser: jax.Array) -> jax.Array:
    log_terms = _log_exp(values - normaliser, t)
    log_sum = jax.nn.logsumexp(log_terms, axis=-1, keepdims=True)
    log_slope = jax.nn.logsumexp(t * log_terms, axis=-1, keepdims=True)
    error = power(log_sum, 1 - t)  # log_t of the sum
    return normaliser + error * jax.lax.stop_gradient(jnp.exp(t * log_sum - log_slope))

  frozen, start = jax.lax.stop_gradient(shifted), jnp.zeros_like(shifted[..., :1])
  found = jax.lax.fori_loop(0, steps - 1, lambda _, n: step(frozen, n), start)
  # One step more, with its gradient: at the solution that is the gradient of the solution.
  return _log_exp(shifted - step(shifted, jax.lax.stop_gradient(found)), t)


def bi_tempered(
  t1: float | jax.Array = 0.8, t2: float | jax.Array = 1.2, *, steps: int = 8
) -> Transform:
  r"""Bi-tempered logistic loss: its first temperature bounds it, its second gives the tail.

  $$\mathrm{cost}_{ik} = -\log_{t_1} p_{ik} - \frac{1 - \sum_j p_{ij}^{2 - t_1}}{2 - t_1}, \qquad
  p_{ik} = \exp_{t_2}(z_{ik} - \lambda(z_i)), \qquad \log_t u = \frac{u^{1 - t} - 1}{1 - t}$$

  It is cross-entropy at t1 = t2 = 1. Examples far on the wrong side, such as mislabelled ones, have
  a bounded loss where t1 < 1; those near the boundary have a gradient that falls slowly where
  t2 > 1. The probabilities that `predict` gives are those of the ordinary softmax, with the same
  largest one.

  Args:
    t1: in [0, 1]; may be traced.
    t2: at least 1, in the paper up to 4; may be traced.
    steps: as in `tempered_log_softmax`, at least 1.

  Returns:
    The loss; it writes cost.

  Raises:
    ValueError: for temperatures out of range.

  References:
    Amid, Warmuth, Anil, Koren, Robust Bi-Tempered Logistic Loss Based on Bregman Divergences,
    NeurIPS 2019.

  Examples:
    >>> import jax.numpy as jnp, rfjax
    >>> from rfjax import losses
    >>> batch = rfjax.Batch.from_arrays([[0.0]], [1]).fill(jnp.zeros((1, 2)))
    >>> out, _ = losses.bi_tempered(0.5, 1.5).update(batch, ())
    >>> round(float(out.risk), 4)
    0.3905
  """
  _check.number("t1", t1, 0.0, 1.0)
  _check.number("t2", t2, 1.0, open_high=True)
  steps = _check.count("steps", steps)

  def cost(log_probs: jax.Array) -> jax.Array:
    tempered = tempered_log_softmax(log_probs, t2, steps=steps)
    total = jnp.sum(jnp.exp((2 - t1) * tempered), axis=-1, keepdims=True)
    return -power(tempered, 1 - t1) - (1 - total) / (2 - t1)

  return loss(cost)
