"""T-revision: importance reweighting by a transition matrix that is revised on the way."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from rfjax.core import Batch, Player, Transform, _check, descend, player

_FAR = 30.0  # no farther apart are log-probabilities taken: exp stays finite, also its square


class TRevisionState(NamedTuple):
  """The state of `t_revision`.

  Attributes:
    transition: T [C, C], as it was given.
    revision: a `Player` whose params are the slack, [C, C].
  """

  transition: jax.Array
  revision: Player


def t_revision(
  transition: ArrayLike,
  tx: optax.GradientTransformation | None = None,
  *,
  largest: float | jax.Array = 100.0,
  differentiable: bool = False,
) -> Transform:
  r"""T-revision: importance reweighting by T plus a slack that is learned with the network.

  $$\mathrm{weight}_i \leftarrow \mathrm{weight}_i \cdot
  \frac{p_i(\tilde y_i)}{\sum_k p_i(k)\, (T + \Delta T)_{k \tilde y_i}}$$

  with the slack 0 at the start. It descends the weighted risk, through the weights, beside the
  network: both take their steps from the same values. Nothing ties T + slack to be a matrix of
  probabilities, and no entry of the slack has a positive derivative, so that plain gradient steps
  let all of them grow and all weights shrink: the optimizer of the slack must be slow, as the
  authors' is. The first version of their loss adds the slack once more for each row of a batch,
  and the second one stops its gradient; this does neither.

  Args:
    transition: T [C, C], rows of probabilities, such as from `anchor_transition`; may be traced.
    tx: the optimizer of the slack; Adam with a rate of 5e-7 when None, as the authors'.
    largest: the ratio is cut at it, above 0, also where the denominator is not positive; may be
      traced.
    differentiable: whether the gradient of the network flows through the weight too, as in the
      authors' revision.

  Returns:
    The transform; it writes weight, and its state is a `TRevisionState`.

  Raises:
    ValueError: for a matrix that is not row-stochastic, or not of the data set's classes; for
      values out of range.

  References:
    Xia, Liu, Wang, Han, Gong, Niu, Sugiyama, Are Anchor Points Really Indispensable in Label-Noise
    Learning?, NeurIPS 2019.

  Examples:
    >>> import jax, optax, rfjax
    >>> from rfjax import architectures, correction
    >>> data = rfjax.Batch.from_arrays([[-1.0], [1.0]], [0, 1])
    >>> method = correction.t_revision([[0.9, 0.1], [0.2, 0.8]], optax.adam(1e-4))
    >>> state, log = rfjax.fit(architectures.logistic(), method, optax.sgd(0.1), data,
    ...                        key=jax.random.key(0), epochs=3)
    >>> bool((state.method.revision.params > 0).any())
    True
  """
  given = _check.transition("transition", transition)
  _check.number("largest", largest, 0.0, open_low=True)
  tx = optax.adam(5e-7) if tx is None else tx

  def init(data: Batch, **unused: Any) -> TRevisionState:
    del unused
    _check.classes("transition", given.shape[0], data)
    start = jnp.asarray(given, jnp.promote_types(jnp.result_type(given), jnp.float32))
    return TRevisionState(start, player(jnp.zeros_like(start), tx))

  def weighed(batch: Batch, matrix: jax.Array, stop: bool) -> Batch:
    weight = _ratio(batch, matrix.astype(batch.log_probs.dtype), largest)
    weight = jax.lax.stop_gradient(weight) if stop else weight
    return batch.replace(weight=batch.weight * weight.astype(batch.weight.dtype))

  def update(
    batch: Batch, state: TRevisionState, params: Any = None, **unused: Any
  ) -> tuple[Batch, TRevisionState]:
    del params, unused
    batch.require("log_probs", "weight", "target", "cost", "keep", by="t_revision")
    known, slack = jax.lax.stop_gradient((state.transition, state.revision.params))
    risk = lambda slack, batch: weighed(batch, known + slack, False).risk
    revision = descend(risk, state.revision, batch, tx)
    return weighed(batch, known + slack, not differentiable), state._replace(revision=revision)

  return Transform(init, update, writes=("weight",))


def _ratio(batch: Batch, matrix: jax.Array, largest: Any) -> jax.Array:
  """p_y / (p A)_y for A that may have negative entries, [B]; cut at `largest`."""
  own = jnp.take_along_axis(batch.log_probs, batch.y[:, None], axis=-1)
  others = jnp.exp(jnp.minimum(batch.log_probs - own, _FAR))
  return 1 / jnp.maximum(jnp.sum(others * matrix.T[batch.y], axis=-1), 1 / largest)
