"""The linear noise layer: a stochastic matrix behind the softmax, of the least trace."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from rfjax.architectures._adaptation import adaptation, layer
from rfjax.core import Batch, Transform, _check, log_transition, through

_LIMIT = 30.0  # of log(p_i / p~_j), in derivatives by entries of the matrix that are 0
_STAY = 0.99


def noise_layer(
  strength: float | jax.Array,
  *,
  initial: ArrayLike | None = None,
  warmup: float | jax.Array = 0,
  param: str = "projected",
  tx: optax.GradientTransformation | None = None,
) -> Transform:
  r"""The linear noise layer with a penalty on its trace.

  $$\tilde p_j = \sum_i p_i\, Q_{ij}, \qquad
  \min_Q\; -\frac{1}{n} \sum_t \log \tilde p_t(\tilde y_t) + \lambda\, \mathrm{tr}(Q), \qquad
  Q \ge 0,\; Q \mathbf{1} = \mathbf{1}$$

  Q takes gradient steps of its own beside those of the network. If the network errs by a matrix A,
  then A Q is the noise T, and tr(T) <= tr(Q) wherever each diagonal entry of Q is the largest of
  its column: at the least trace Q is T, and the network does not err. Q starts at the identity and
  stays there while the network learns what it learns first. `predict` leaves it out.

  Args:
    strength: lambda, at least 0; may be traced. No published value was found.
    initial: Q_0 [C, C], rows of probabilities; the identity when None; may be traced.
    warmup: epochs before Q learns, at least 0; may be traced.
    param: "projected" takes steps of Q itself, each followed by the nearest rows of probabilities;
      "softmax" steps of U with Q the softmax of its rows. A softmax cannot leave the identity, so
      without `initial` it starts at 0.99 on the diagonal.
    tx: the optimizer. When None "projected" has gradient descent with a rate of 0.01, of gradients
      cut to norm 1, since those by entries that are 0 can be large, and "softmax" Adam with one of
      0.001. Adam's steps of equal length along a row are lost in the projection.

  Returns:
    The transform; it writes log_probs, and its state is a `Player` whose params are Q or U.

  Raises:
    ValueError: for values out of range, or a matrix that is not of the data set's classes.

  References:
    Sukhbaatar, Bruna, Paluri, Bourdev, Fergus, Training Convolutional Networks with Noisy Labels,
    ICLR Workshop 2015.

  Examples:
    >>> import jax, optax, rfjax
    >>> from rfjax import architectures
    >>> data = rfjax.Batch.from_arrays([[-1.0], [-1.0], [1.0], [1.0]], [0, 1, 1, 1])
    >>> method = architectures.noise_layer(0.1, warmup=5, tx=optax.sgd(0.1))
    >>> state, log = rfjax.fit(architectures.logistic(), method, optax.sgd(0.1), data,
    ...                        key=jax.random.key(0), epochs=20)
    >>> bool(state.method.params[0, 0] < 1), state.method.params.sum(1).tolist()
    (True, [1.0, 1.0])
  """
  _check.number("strength", strength, 0.0, open_high=True)
  _check.number("warmup", warmup, 0.0)
  _check.choice("param", param, ("projected", "softmax"))
  given = None if initial is None else _check.transition("initial", initial)
  if tx is None and param == "projected":
    tx = optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(0.01))
  tx = optax.adam(1e-3) if tx is None else tx

  def matrix(data: Batch) -> jax.Array:
    if given is not None:
      _check.classes("initial", given.shape[0], data)
      return jnp.asarray(given, jnp.promote_types(jnp.asarray(given).dtype, jnp.float32))
    identity = jnp.eye(data.num_classes)
    if param == "projected":
      return identity
    return _STAY * identity + (1 - _STAY) / (data.num_classes - 1) * (1 - identity)

  if param == "softmax":
    return adaptation(
      lambda data, **_: log_transition(matrix(data)),
      lambda logits, batch: jax.nn.log_softmax(logits, axis=-1),
      tx,
      by="noise_layer",
      regularize=lambda logits: strength * jnp.trace(jax.nn.softmax(logits, axis=-1)),
      warmup=warmup,
    )
  return layer(
    lambda data, **_: matrix(data),
    lambda q, batch, key: _behind(batch.log_probs, q),
    optax.chain(tx, _on_the_simplex()),
    by="noise_layer",
    regularize=lambda q: strength * jnp.trace(q),
    warmup=warmup,
  )


def _behind(log_probs: jax.Array, q: jax.Array) -> jax.Array:
  """log(p Q) [B, C], with its derivative by Q also at entries that are 0."""
  value = jax.lax.stop_gradient(through(log_probs, log_transition(q)))
  # The mean of these under Q is 1, so that its logarithm adds a derivative and no value.
  apart = jnp.minimum(log_probs[:, :, None] - value[:, None, :], _LIMIT)
  mean = jnp.sum(q * jnp.exp(apart), axis=1)
  mean = mean + jax.lax.stop_gradient(jnp.where(mean > 0, 0, 1))
  return value + jnp.log(mean) - jax.lax.stop_gradient(jnp.log(mean))


def _on_the_simplex() -> optax.GradientTransformation:
  """Ends an optimizer: the parameters that come out are the nearest with rows of probabilities."""

  def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
    nearest = jax.vmap(optax.projections.projection_simplex)(params + updates)
    return nearest - params, state

  return optax.GradientTransformation(lambda params: optax.EmptyState(), update)
