"""The dropout noise model: a second softmax behind a linear layer that drops some units."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from rfjax.architectures._adaptation import layer
from rfjax.core import Batch, Transform, _check, uniform


def dropout_noise_model(
  rate: float | jax.Array = 0.1,
  *,
  on: str = "outputs",
  tx: optax.GradientTransformation | None = None,
) -> Transform:
  r"""A noise model with dropout, a linear layer and a second softmax behind the softmax.

  $$\tilde p = \mathrm{softmax}\bigl(m \odot (p\, W) / (1 - r)\bigr), \qquad
  m_j = [\,u_j \ge r\,], \quad u_j \sim U(0, 1), \quad W_0 = I$$

  The network and the layer together are overdetermined, and the dropout keeps the layer from the
  trivial solution. W takes gradient steps of its own beside those of the network. The second
  softmax is one of probabilities: with W = I it gives no class more than e / (e + C - 1), so that
  at rate 0 this is not the linear noise layer. `predict` leaves it out.

  Args:
    rate: r in [0, 1), the share of units to drop; may be traced.
    on: what is dropped: "outputs" of the linear layer, for each row anew, as the authors' code
      does, or its "weights", one mask a step, as their abstract says.
    tx: the optimizer of W; Adam with a rate of 0.001 when None.

  Returns:
    The transform; it writes log_probs, and its state is a `Player` whose params are W.

  Raises:
    ValueError: for values out of range.

  References:
    Jindal, Nokleby, Chen, Learning Deep Networks from Noisy Labels with Dropout Regularization,
    ICDM 2016.

  Examples:
    >>> import jax, optax, rfjax
    >>> from rfjax import architectures
    >>> data = rfjax.Batch.from_arrays([[-1.0], [1.0]], [0, 1])
    >>> method = architectures.dropout_noise_model(0.1)
    >>> state, log = rfjax.fit(architectures.logistic(), method, optax.sgd(0.1), data,
    ...                        key=jax.random.key(0), epochs=3)
    >>> state.method.params.shape
    (2, 2)
  """
  _check.number("rate", rate, 0.0, 1.0, open_high=True)
  _check.choice("on", on, ("outputs", "weights"))

  def start(data: Batch, **unused: Any) -> jax.Array:
    del unused
    return jnp.eye(data.num_classes)

  def correct(weights: jax.Array, batch: Batch, key: jax.Array | None) -> jax.Array:
    if key is not None and on == "weights":
      weights = _drop(weights, jax.random.uniform(key, weights.shape), rate)
    mixed = jnp.matmul(batch.probs, weights, precision=jax.lax.Precision.HIGHEST)
    if key is not None and on == "outputs":
      mixed = _drop(mixed, uniform(key, batch, (batch.num_classes,)), rate)
    return jax.nn.log_softmax(mixed)

  return layer(start, correct, tx or optax.adam(1e-3), by="dropout_noise_model")


def _drop(values: jax.Array, drawn: jax.Array, rate: Any) -> jax.Array:
  """The values with a share of zeros, and the mean that they had."""
  return jnp.where(drawn >= rate, values / (1 - rate), 0)
