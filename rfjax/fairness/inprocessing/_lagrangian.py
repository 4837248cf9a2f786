"""Lagrangian constraints on rates: multipliers that grow while groups are too far apart."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import optax

from rfjax.core import Batch, Player, Transform, _check, descend, player
from rfjax.fairness.inprocessing._constraints import rate_constraints, within
from rfjax.metrics._gap import Method


class LagrangianState(NamedTuple):
  """The state of `lagrangian`, and of what else has multipliers that ascend.

  Attributes:
    multipliers: the dual player; its parameters are the multipliers [m], at least 0.
    constraints: [m], what the multipliers saw in the last step; above 0 where violated.
  """

  multipliers: Player
  constraints: jax.Array


def lagrangian(
  bound: float | jax.Array,
  statistics: str | Sequence[str] = "selection_rate",
  *,
  method: Method = "between_groups",
  hard: bool = True,
  radius: float | jax.Array | None = None,
  temperature: float | jax.Array = 1.0,
  tx: optax.GradientTransformation | None = None,
) -> Transform:
  r"""Keeps the groups' rates within a bound of each other, by multipliers that ascend.

  $$\min_\theta \max_{\lambda \ge 0}\; \mathrm{risk}(\theta)
  + \sum_j \lambda_j\, \tilde c_j(\theta), \qquad
  c_{gh} = r_g - r_h - b \quad\text{or}\quad c_{g\pm} = \pm(r_g - r) - b$$

  with a constraint for every ordered pair of groups ("between_groups"), or two for every group
  ("to_overall"); for each statistic, and for each class if there are more than two. The network
  descends on rates of probabilities, softmax(logits / temperature). The multipliers ascend on
  rates of decisions (`hard`), so that it is decisions that meet the bound, where a penalty
  on probabilities leaves a gap; or on the same rates as the network, and then a fixed point is one
  of Karush, Kuhn and Tucker. A constraint of a group without rows in the batch is 0 there:
  it has no gradient, and what momentum makes of that is up to the optimizer.

  Args:
    bound: b, at least 0; may be traced.
    statistics: one or more names of `metrics.group_rates`: "selection_rate" for demographic parity,
      "true_positive_rate" for equal opportunity, with "false_positive_rate" for equalized odds.
    method: which rates are compared.
    hard: whether multipliers follow decisions, or what is expected of random ones.
    radius: what the multipliers may add up to, at least 0; may be traced. None for no limit.
    temperature: above 0; may be traced.
    tx: the optimizer of the multipliers; SGD at 0.05 when None. Their own learning rate should be
      well below the network's.

  Returns:
    The transform; it writes penalty, and needs group in training only.

  Raises:
    ValueError: for values out of range, or where the group is missing.

  References:
    Cotter, Jiang, Sridharan, Two-player games for efficient non-convex constrained optimization,
    ALT 2019.

  Examples:
    >>> import jax, optax, rfjax
    >>> from rfjax import architectures
    >>> from rfjax.fairness import inprocessing
    >>> data = rfjax.Batch.from_arrays([[-2.0], [-1.0], [1.0], [2.0]], [0, 0, 1, 1], [0, 0, 1, 1])
    >>> state, log = rfjax.fit(architectures.logistic(), inprocessing.lagrangian(0.1),
    ...                        optax.adam(0.1), data, key=jax.random.key(0), epochs=5)
    >>> state.method.multipliers.params.shape
    (2,)
  """
  rates = rate_constraints(bound, statistics, method, temperature, "lagrangian")
  return ascend(rates, hard, radius, tx)


class Constraints(Protocol):
  """What has to be at most 0."""

  def values(self, batch: Batch, *, soft: bool) -> jax.Array:
    """The constraints [m], of probabilities or of decisions."""
    ...

  def count(self, data: Batch) -> int:
    """The number m of constraints on a data set."""
    ...


def ascend(
  rates: Constraints, hard: bool, radius: Any, tx: optax.GradientTransformation | None
) -> Transform:
  """The network descends on the constraints by multipliers that ascend; see `lagrangian`."""
  if radius is not None:
    _check.number("radius", radius, 0.0, open_high=True)
  dual_tx = optax.sgd(0.05) if tx is None else tx

  def init(data: Batch, **unused: Any) -> LagrangianState:
    del unused
    zeros = jnp.zeros(rates.count(data))
    return LagrangianState(player(zeros, dual_tx), zeros)

  def update(
    batch: Batch, state: LagrangianState, params: Any = None, **unused: Any
  ) -> tuple[Batch, LagrangianState]:
    del params, unused
    old, soft = state.multipliers, rates.values(batch, soft=True)
    seen = jax.lax.stop_gradient(rates.values(batch, soft=False) if hard else soft)
    new = descend(lambda multipliers, c: -jnp.sum(multipliers * c), old, seen, dual_tx)
    inside = jnp.maximum(new.params, 0) if radius is None else within(new.params, radius)
    penalty = jnp.sum(old.params * soft)
    state = LagrangianState(new._replace(params=inside), seen.astype(state.constraints.dtype))
    return batch.replace(penalty=batch.penalty + penalty.astype(batch.penalty.dtype)), state

  return Transform(init, update, writes=("penalty",))
