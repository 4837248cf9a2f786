"""VolMinNet: a transition matrix that is learned with the network, and kept small in volume."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from rfjax.core import Batch, Player, Transform, _check, descend, player, through


def vol_min_net(
  strength: float | jax.Array = 1e-4,
  tx: optax.GradientTransformation | None = None,
  *,
  initial: float | jax.Array = -2.0,
) -> Transform:
  r"""VolMinNet: forward correction by a learned matrix of the least volume.

  $$\log \tilde p_j = \log \sum_i p_i\, T_{ij}, \qquad
  T_{ij} = \frac{A_{ij}}{\sum_k A_{ik}}, \qquad A_{ii} = 1, \quad A_{ij} = \sigma(W_{ij}), \qquad
  \mathrm{penalty} \leftarrow \mathrm{penalty} + \lambda \log |\det T|$$

  W takes gradient steps of its own down the cross-entropy of the given labels plus this penalty,
  beside those of the network. Many pairs of a network and a matrix explain the given labels; of
  these the matrix whose columns span the least volume is the true one, if the true probabilities
  are scattered enough, also where no row is surely of its class. The diagonal is the largest of its
  row by construction, which keeps classes from being permuted. `predict` leaves the matrix out.

  Args:
    strength: lambda, at least 0; may be traced.
    tx: the optimizer of W; Adam with a rate of 0.01 when None.
    initial: W at the start, the same for all pairs; may be traced. The authors take -2, and -4.5
      with the 100 classes of CIFAR-100.

  Returns:
    The transform; it writes log_probs and penalty, and its state is a `Player` whose params are W,
    of which `vol_min_matrix` makes the matrix.

  Raises:
    ValueError: for values out of range.

  References:
    Li, Liu, Han, Niu, Sugiyama, Provably End-to-end Label-noise Learning without Anchor Points,
    ICML 2021.

  Examples:
    >>> import jax, optax, rfjax
    >>> from rfjax import architectures, correction
    >>> data = rfjax.Batch.from_arrays([[-1.0], [1.0]], [0, 1])
    >>> state, log = rfjax.fit(architectures.logistic(), correction.vol_min_net(), optax.sgd(0.1),
    ...                        data, key=jax.random.key(0), epochs=3)
    >>> correction.vol_min_matrix(state.method.params).shape
    (2, 2)
  """
  _check.number("strength", strength, 0.0, open_high=True)
  _check.number("initial", initial, open_low=True, open_high=True)

  tx = optax.adam(1e-2) if tx is None else tx

  def init(data: Batch, **unused: Any) -> Player:
    del unused
    return player(jnp.full((data.num_classes,) * 2, initial, jnp.result_type(float)), tx)

  def corrected(batch: Batch, w: jax.Array) -> Batch:
    log_probs = batch.require("log_probs", by="vol_min_net").log_probs
    return batch.replace(log_probs=through(log_probs, _log_matrix(w).astype(log_probs.dtype)))

  def both(w: jax.Array, batch: Batch) -> Batch:
    volume = strength * jnp.linalg.slogdet(vol_min_matrix(w))[1]
    return corrected(batch, w).replace(penalty=batch.penalty + volume.astype(batch.penalty.dtype))

  def update(
    batch: Batch, state: Player, params: Any = None, **unused: Any
  ) -> tuple[Batch, Player]:
    del params, unused
    objective = lambda w, batch: both(w, batch).objective
    return both(jax.lax.stop_gradient(state.params), batch), descend(objective, state, batch, tx)

  def refresh(
    data: Batch, state: Player, params: Any = None, **unused: Any
  ) -> tuple[Batch, Player]:
    del params, unused
    return corrected(data, state.params), state

  return Transform(init, update, refresh, writes=("log_probs", "penalty"))


def vol_min_matrix(params: jax.Array) -> jax.Array:
  r"""The transition matrix of VolMinNet's parameters.

  $$T_{ij} = \frac{A_{ij}}{\sum_k A_{ik}}, \qquad A_{ii} = 1, \quad A_{ij} = \sigma(W_{ij})$$

  Args:
    params: W [C, C]; its diagonal is not read.

  Returns:
    The matrix [C, C].

  References:
    Li, Liu, Han, Niu, Sugiyama, Provably End-to-end Label-noise Learning without Anchor Points,
    ICML 2021.

  Examples:
    >>> import jax.numpy as jnp
    >>> from rfjax import correction
    >>> correction.vol_min_matrix(jnp.zeros((2, 2))).round(3).tolist()
    [[0.66..., 0.33...], [0.33..., 0.66...]]
  """
  return jnp.exp(_log_matrix(params))


def _log_matrix(params: jax.Array) -> jax.Array:
  """log T; the softmax of log A over each row."""
  own = jnp.eye(params.shape[0], dtype=bool)
  return jax.nn.log_softmax(jnp.where(own, 0.0, jax.nn.log_sigmoid(params)), axis=-1)
