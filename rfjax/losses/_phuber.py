"""Partially Huberised losses: linear where the model thinks little of the label."""

import jax
import jax.numpy as jnp

from rfjax.core import Transform, _check
from rfjax.losses._elements import loss, power


def phuber(tau: float | jax.Array = 10.0, *, q: float | jax.Array = 0.0) -> Transform:
  r"""Partially Huberised cross-entropy, whose slope in the probability is at most tau.

  $$\mathrm{cost}_{ik} = \begin{cases} \ell(p_{ik}) & p_{ik} > p_0 \\
  \ell(p_0) + \tau\,(p_0 - p_{ik}) & \text{else} \end{cases}, \qquad
  \ell(p) = \frac{1 - p^q}{q}, \qquad p_0 = \tau^{1 / (q - 1)}$$

  With q = 0, l is cross-entropy, p0 = 1 / tau and the linear part 1 + log(tau) - tau p. It is what
  clipping the gradient by the probability does, and unlike clipping the gradient by the parameters
  it is robust to symmetric noise.

  Args:
    tau: the largest slope, above 1; may be traced. 10 for MNIST and 2 for CIFAR-10 in the paper.
    q: in [0, 1], which Huberises `gce`; may be traced.

  Returns:
    The loss; it writes cost.

  Raises:
    ValueError: for values out of range.

  References:
    Menon, Rawat, Reddi, Kumar, Can Gradient Clipping Mitigate Label Noise?, ICLR 2020.

  Examples:
    >>> import jax.numpy as jnp, rfjax
    >>> from rfjax import losses
    >>> batch = rfjax.Batch.from_arrays([[0.0]], [1]).fill(jnp.array([[9.0, -9.0]]))
    >>> out, _ = losses.phuber(2.0).update(batch, ())
    >>> round(float(out.risk), 4)  # 1 + log(2), where cross-entropy is 18
    1.6931
  """
  _check.number("tau", tau, 1.0, open_low=True, open_high=True)
  _check.number("q", q, 0.0, 1.0)

  def cost(log_probs: jax.Array) -> jax.Array:
    knee = -jnp.log(tau) / (1 - jnp.asarray(q, log_probs.dtype))
    start = jnp.maximum(knee, jnp.finfo(log_probs.dtype).min)  # at q = 1 there is no linear part
    linear = tau * (jnp.exp(start) - jnp.exp(log_probs)) - power(start, q)
    return jnp.where(log_probs > knee, -power(log_probs, q), linear)

  return loss(cost)
