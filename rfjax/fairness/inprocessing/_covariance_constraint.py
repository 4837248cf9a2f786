"""Covariance constraint: the boundary leans towards no group by more than is allowed."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rfjax.core import Batch, Transform, _check, ratio
from rfjax.fairness.inprocessing._elements import check_strength, covariances, decisions

_NAME = "covariance_constraint"


class CovarianceConstraintState(NamedTuple):
  """The state of `covariance_constraint`: a multiplier for each bound.

  Attributes:
    upper: [J, K], at least 0, of covariances that must not exceed the tolerance; J is 1 for two
      groups and else G, K is 1 for two classes and else C.
    lower: [J, K], at least 0, of those that must not fall below minus the tolerance.
  """

  upper: jax.Array
  lower: jax.Array


def covariance_constraint(
  tolerance: float | jax.Array = 0.0,
  *,
  strength: float | jax.Array = 1.0,
  rate: float | jax.Array = 0.5,
) -> Transform:
  r"""Holds the covariance of group and signed distance to the boundary within bounds.

  $$\min_\theta \mathrm{risk} \quad \text{such that} \quad \Bigl|
  \frac{1}{n} \sum_i (m_{ig} - \bar m_g)\, d_i \Bigr| \le c \quad \text{for all } g$$

  by an augmented Lagrangian: each bound h <= 0 adds $\mu t + \rho t^2 / 2$ with
  $t = \max(h, -\mu / \rho)$ to the penalty, and at the start of each epoch but the first its
  multiplier becomes $\mu \leftarrow [\mu + \eta \rho\, h]_+$ by the covariances of the whole
  training set. So the bound is met in the limit at any fixed strength, where a penalty would have
  to grow. The covariances are those of `covariance`.

  A rate of 1 is for epochs that train to the end. With a full batch an epoch is one step: gradient
  descent then needs a rate below 1, and the more momentum it has the lower, or both diverge. In
  small batches covariances are noisy, and add their variance to the penalty.

  Args:
    tolerance: c, at least 0; may be traced.
    strength: rho, at least 0; may be traced. At 0 nothing is constrained.
    rate: eta in (0, 2), how fast the multipliers move; may be traced.

  Returns:
    The transform; it writes penalty, and needs group in training only.

  Raises:
    ValueError: for values out of range, or where the group is missing.

  References:
    Zafar, Valera, Gomez Rodriguez, Gummadi, Fairness constraints: mechanisms for fair
    classification, AISTATS 2017 (the constraint).
    Rockafellar, The multiplier method of Hestenes and Powell applied to convex programming, Journal
    of Optimization Theory and Applications, 1973 (the algorithm).

  Examples:
    >>> import jax, optax, rfjax
    >>> from rfjax import architectures
    >>> from rfjax.fairness import inprocessing
    >>> data = rfjax.Batch.from_arrays([[-2.0], [-1.0], [1.0], [2.0]], [0, 0, 1, 1], [0, 0, 1, 1])
    >>> method = inprocessing.covariance_constraint(0.5)
    >>> state, log = rfjax.fit(architectures.logistic(), method, optax.sgd(0.1), data,
    ...                        key=jax.random.key(0), epochs=3)
    >>> state.method.upper.shape
    (1, 1)
  """
  _check.number("tolerance", tolerance, 0.0)
  check_strength(strength)
  _check.number("rate", rate, 0.0, 2.0, open_low=True, open_high=True)

  def bounds(batch: Batch) -> tuple[jax.Array, jax.Array]:
    batch.require("logits", "group", by=_NAME)
    found = covariances(decisions(batch), batch.membership)
    return found - tolerance, -found - tolerance

  def init(data: Batch, **unused: Any) -> CovarianceConstraintState:
    del unused
    data.require("group", by=_NAME)
    empty = data.fill(jnp.zeros((data.num_rows, data.num_classes)))
    shape = jax.eval_shape(lambda: bounds(empty)[0]).shape
    return CovarianceConstraintState(jnp.zeros(shape), jnp.zeros(shape))

  def refresh(
    data: Batch, state: CovarianceConstraintState, params: Any = None, *, epoch: Any, **unused: Any
  ) -> tuple[Batch, CovarianceConstraintState]:
    del params, unused
    move = lambda mu, h: (jax.nn.relu(mu + rate * strength * h)).astype(mu.dtype)
    moved = CovarianceConstraintState(*map(move, state, bounds(data)))
    return data, jax.tree.map(lambda new, old: jnp.where(epoch > 0, new, old), moved, state)

  def update(
    batch: Batch, state: CovarianceConstraintState, params: Any = None, **unused: Any
  ) -> tuple[Batch, CovarianceConstraintState]:
    del params, unused
    added = sum(jnp.sum(_lagrangian(h, mu)) for h, mu in zip(bounds(batch), state, strict=True))
    return batch.replace(penalty=batch.penalty + added), state

  def _lagrangian(h: jax.Array, mu: jax.Array) -> jax.Array:
    t = jnp.maximum(h, -ratio(mu, jnp.broadcast_to(strength, mu.shape)))
    return mu * t + strength * t**2 / 2

  return Transform(init, update, refresh, writes=("penalty",))
