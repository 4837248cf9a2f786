"""Proxy-Lagrangian constraints on rates: a distribution over the risk and the constraints."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from rfjax.core import Batch, Player, Transform, _check, descend, player
from rfjax.fairness.inprocessing._constraints import at_least, rate_constraints, stationary
from rfjax.metrics._gap import Method

REGRETS = ("swap", "external")


class ProxyLagrangianState(NamedTuple):
  """The state of `proxy_lagrangian`.

  Attributes:
    log_weights: the dual player; its parameters are logarithms, of a matrix [m + 1, m + 1] whose
      columns sum to 1 for "swap", of a distribution [m + 1] for "external".
    constraints: [m], rates of decisions in the last step; above 0 where violated.
  """

  log_weights: Player
  constraints: jax.Array

  @property
  def weights(self) -> jax.Array:
    """The weights of the risk and of the constraints, [m + 1], which sum to 1."""
    weights = jnp.exp(self.log_weights.params)
    return weights if weights.ndim == 1 else stationary(weights)


def proxy_lagrangian(
  bound: float | jax.Array,
  statistics: str | Sequence[str] = "selection_rate",
  *,
  method: Method = "between_groups",
  regret: str = "swap",
  floor: float | jax.Array = 1e-3,
  temperature: float | jax.Array = 1.0,
  tx: optax.GradientTransformation | None = None,
) -> Transform:
  r"""Keeps the groups' rates within a bound: soft rates for the network, hard ones for the weights.

  $$\min_\theta\; \alpha_0\, \mathrm{risk}(\theta) + \sum_j \alpha_j\, \tilde c_j(\theta), \qquad
  \max_\alpha\; \sum_j \alpha_j\, c_j(\theta), \qquad \alpha \in \Delta^{m+1}$$

  with the constraints of `lagrangian`: $\tilde c$ of probabilities, which have a gradient, c of
  decisions, which are what is meant. The weights move by multiplicative updates. For "external"
  regret, $\log \alpha \leftarrow \log \alpha + \eta\,(0, c)$. For "swap" regret the state is a
  matrix with columns that sum to 1, $\alpha$ is the distribution that it leaves as it is, and

  $$\log M \leftarrow \log M + \eta\,(0, c)\, \alpha^\top, \qquad M \alpha = \alpha.$$

  Afterwards columns are projected to those of sum 1 with entries of at least floor / (m + 1). The
  sum of the weights is bounded, so neither a constraint that cannot be met nor a proxy that does
  not see it makes the objective diverge. The risk of a chain gets its weight by the examples',
  other penalties of a chain keep theirs.

  Args:
    bound: b, at least 0; may be traced.
    statistics: as in `lagrangian`.
    method: as in `lagrangian`.
    regret: "swap" or "external"; static.
    floor: in [0, 1); may be traced. At 0 the weights never leave the risk.
    temperature: of the probabilities, above 0; may be traced.
    tx: the optimizer of the logarithms of the weights; SGD at 0.1 when None.

  Returns:
    The transform; it writes weight and penalty, and needs group in training only.

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
    >>> state, log = rfjax.fit(architectures.logistic(), inprocessing.proxy_lagrangian(0.1),
    ...                        optax.adam(0.1), data, key=jax.random.key(0), epochs=5)
    >>> state.method.weights.shape
    (3,)
  """
  rates = rate_constraints(bound, statistics, method, temperature, "proxy_lagrangian")
  _check.choice("regret", regret, REGRETS)
  _check.number("floor", floor, 0.0, 1.0, open_high=True)
  dual_tx = optax.sgd(0.1) if tx is None else tx

  def init(data: Batch, **unused: Any) -> ProxyLagrangianState:
    del unused
    count = rates.count(data)
    first = jnp.full(count + 1, floor / (count + 1)).at[0].set(1 - floor * count / (count + 1))
    first = jnp.log(first)
    if regret == "swap":
      first = jnp.tile(first[:, None], (1, count + 1))
    return ProxyLagrangianState(player(first, dual_tx), jnp.zeros(count))

  def update(
    batch: Batch, state: ProxyLagrangianState, params: Any = None, **unused: Any
  ) -> tuple[Batch, ProxyLagrangianState]:
    del params, unused
    batch.require("weight", by="proxy_lagrangian")
    weights, soft = state.weights, rates.values(batch, soft=True)
    seen = jax.lax.stop_gradient(rates.values(batch, soft=False))
    gain = jnp.concatenate([jnp.zeros(1), seen.astype(weights.dtype)])
    if regret == "swap":
      gain = gain[:, None] * weights

    def loss(logs: jax.Array, gain: jax.Array) -> jax.Array:
      # Where a weight is 0, and its logarithm infinite, it stays.
      return -jnp.sum(jnp.where(jnp.isfinite(logs), logs, 0) * gain)

    new = descend(loss, state.log_weights, gain, dual_tx)
    inside = jnp.log(at_least(jax.nn.softmax(new.params, axis=0), floor / len(weights)))
    penalty = jnp.sum(weights[1:] * soft).astype(batch.penalty.dtype)
    batch = batch.replace(
      weight=batch.weight * weights[0].astype(batch.weight.dtype), penalty=batch.penalty + penalty
    )
    return batch, ProxyLagrangianState(
      new._replace(params=inside), seen.astype(state.constraints.dtype)
    )

  return Transform(init, update, writes=("weight", "penalty"))
