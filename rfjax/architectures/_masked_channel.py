"""A masked channel: a learned transition matrix some of whose entries are known to be zero."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike

from rfjax.architectures._adaptation import adaptation
from rfjax.core import Batch, Transform, _check, log_transition

_STAY = 0.9


def masked_channel(
  mask: ArrayLike,
  initial: ArrayLike | None = None,
  tx: optax.GradientTransformation | None = None,
) -> Transform:
  r"""A noise adaptation layer in which only some mistakes are possible.

  $$\tilde p_j = \sum_i p_i\, Q_{ij}, \qquad
  Q = \mathrm{softmax}_{\mathrm{rows}}(U + \log M), \qquad M \in \{0, 1\}^{C \times C}$$

  It is the structure of Masking, people's knowledge of which classes are mistaken for which, as a
  constraint: entries that the mask excludes are exactly 0, and the others are learned as in
  `s_model`. The generative adversarial network by which Masking turns the mask into a prior of Q is
  left out. `predict` leaves the layer out.

  Args:
    mask: M [C, C], 1 where class i may be given the label j; every row allows something.
    initial: Q_0 [C, C], rows of probabilities, of which the part inside the mask is scaled to sum
      to 1; when None 0.9 on the diagonal, the rest shared by all that the mask allows. May be
      traced.
    tx: the optimizer of U; Adam with a rate of 0.001 when None.

  Returns:
    The transform; it writes log_probs, and its state is a `Player` whose params are U. The matrix
    is `masked_transition(U, mask)`.

  Raises:
    ValueError: for a bad mask or matrix, or one that is not of the data set's classes.

  References:
    Han, Yao, Niu, Zhou, Tsang, Zhang, Sugiyama, Masking: A New Perspective of Noisy Supervision,
    NeurIPS 2018.

  Examples:
    >>> import jax, optax, rfjax
    >>> from rfjax import architectures
    >>> data = rfjax.Batch.from_arrays([[-1.0], [1.0]], [0, 1])
    >>> mask = [[1, 1], [0, 1]]
    >>> method = architectures.masked_channel(mask)
    >>> state, log = rfjax.fit(architectures.logistic(), method, optax.sgd(0.1), data,
    ...                        key=jax.random.key(0), epochs=3)
    >>> architectures.masked_transition(state.method.params, mask)[1].tolist()
    [0.0, 1.0]
  """
  allowed = _mask(mask)
  given = None if initial is None else _check.transition("initial", initial)
  if given is not None and given.shape != allowed.shape:
    raise ValueError(f"initial must have the shape of mask, {allowed.shape}, got {given.shape}")

  def start(data: Batch, **unused: Any) -> jax.Array:
    del unused
    _check.classes("mask", allowed.shape[0], data)
    if given is not None:
      return log_transition(given)
    rest = allowed / allowed.sum(1, keepdims=True)
    return log_transition(jnp.asarray(_STAY * np.eye(len(allowed)) + (1 - _STAY) * rest))

  def channel(params: jax.Array, batch: Batch) -> jax.Array:
    del batch
    inside = jax.nn.log_softmax(jnp.where(allowed, params, -jnp.inf), axis=-1)
    # A label that nothing can become has a large cost, not an infinite one.
    return jnp.where(allowed, inside, log_transition(jnp.zeros(())).astype(params.dtype))

  return adaptation(start, channel, tx or optax.adam(1e-3), by="masked_channel")


def masked_transition(logits: jax.Array, mask: ArrayLike) -> jax.Array:
  r"""The matrix of a `masked_channel`.

  $$Q = \mathrm{softmax}_{\mathrm{rows}}(U + \log M)$$

  Args:
    logits: U [C, C], the params of the state.
    mask: M [C, C], as given to `masked_channel`.

  Returns:
    Q [C, C], rows of probabilities, exactly 0 where the mask is.

  Raises:
    ValueError: for a bad mask.

  Examples:
    >>> import jax.numpy as jnp
    >>> from rfjax import architectures
    >>> architectures.masked_transition(jnp.zeros((2, 2)), [[1, 1], [0, 1]]).tolist()
    [[0.5, 0.5], [0.0, 1.0]]
  """
  return jax.nn.softmax(jnp.where(_mask(mask), logits, -jnp.inf), axis=-1)


def _mask(mask: ArrayLike) -> np.ndarray:
  """The mask, checked, bool [C, C]."""
  given = np.asarray(mask)
  if given.ndim != 2 or given.shape[0] != given.shape[1] or not np.isin(given, (0, 1)).all():
    raise ValueError(
      f"mask must be a square matrix of 0 and 1, got shape {given.shape} with values"
      f" {np.unique(given)[:3].tolist()}"
    )
  empty = np.flatnonzero(~given.any(1))
  if empty.size:
    raise ValueError(f"mask must allow a label in every row, got none in row {empty[0]}")
  return given.astype(bool)
