"""The simple noise adaptation layer: a second softmax layer that hangs on the class alone."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from rfjax.architectures._adaptation import adaptation
from rfjax.core import Batch, Transform, _check, conditional, log_transition


def s_model(initial: ArrayLike, tx: optax.GradientTransformation | None = None) -> Transform:
  r"""The s-model, a softmax layer behind the softmax, which learns how labels go wrong.

  $$\tilde p_j = \sum_i p_i\, Q_{ij}, \qquad Q = \mathrm{softmax}_{\mathrm{rows}}(U), \qquad
  U_0 = \log Q_0$$

  U takes gradient steps of its own, down the cross-entropy of the given labels, beside those of the
  network. Its start decides whether it finds the noise or a permutation of the classes; the authors
  take the confusion of a network that was trained without it, see `confusion`. `predict` leaves it
  out.

  Args:
    initial: Q_0 [C, C], rows of probabilities; may be traced.
    tx: the optimizer of U; Adam with a rate of 0.001 when None.

  Returns:
    The transform; it writes log_probs, and its state is a `Player` whose params are U.

  Raises:
    ValueError: for a matrix that is not row-stochastic, or not of the data set's classes.

  References:
    Goldberger, Ben-Reuven, Training deep neural-networks using a noise adaptation layer, ICLR 2017.

  Examples:
    >>> import jax, optax, rfjax
    >>> from rfjax import architectures
    >>> data = rfjax.Batch.from_arrays([[-1.0], [1.0]], [0, 1])
    >>> method = architectures.s_model([[0.9, 0.1], [0.2, 0.8]])
    >>> state, log = rfjax.fit(architectures.logistic(), method, optax.sgd(0.1), data,
    ...                        key=jax.random.key(0), epochs=3)
    >>> bool(jax.nn.softmax(state.method.params)[0, 0] < 0.9)
    True
  """
  given = _check.transition("initial", initial)

  def start(data: Batch, **unused: Any) -> jax.Array:
    del unused
    _check.classes("initial", given.shape[0], data)
    return log_transition(given)

  def channel(params: Any, batch: Batch) -> jax.Array:
    del batch
    return jax.nn.log_softmax(params, axis=-1)

  return adaptation(start, channel, tx or optax.adam(1e-3), by="s_model")


def confusion(
  log_probs: jax.Array, y: jax.Array, valid: jax.Array | None = None, *, hard: bool = False
) -> jax.Array:
  r"""The confusion of a trained network, from which the s-model starts.

  $$Q_{ij} = \frac{\sum_t p_t(i)\,[\tilde y_t = j]}{\sum_t p_t(i)}$$

  Args:
    log_probs: [N, C], of the network on its training set, such as `predict(...).log_probs`.
    y: int32 [N], the given labels.
    valid: bool [N], which rows count; all when None.
    hard: count decisions, p of 0 or 1, as the authors' code does. Probabilities of a network that
      has learned the noise, and no label by heart, are T of the true class: they give T twice.

  Returns:
    The matrix [C, C]; the row of a class that was never predicted is that of the identity.

  References:
    Goldberger, Ben-Reuven, Training deep neural-networks using a noise adaptation layer, ICLR 2017.

  Examples:
    >>> import jax.numpy as jnp
    >>> from rfjax import architectures
    >>> log_probs = jnp.log(jnp.array([[0.5, 0.5], [0.5, 0.5], [1.0, 0.0]]))
    >>> architectures.confusion(log_probs, jnp.array([0, 1, 1])).tolist()
    [[0.25, 0.75], [0.5, 0.5]]
  """
  classes = log_probs.shape[-1]
  probs = jnp.exp(log_probs)
  if hard:
    probs = jax.nn.one_hot(jnp.argmax(log_probs, axis=-1), classes, dtype=log_probs.dtype)
  probs = probs if valid is None else probs * valid[:, None]
  return conditional(probs, jax.nn.one_hot(y, classes, dtype=probs.dtype))
