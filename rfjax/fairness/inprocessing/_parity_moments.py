"""Parity constraints as moments, linear in decisions, which turn fairness into costs of rows."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from rfjax.core import Batch, _check, ratio

CONSTRAINTS = (
  "demographic_parity",
  "equalized_odds",
  "true_positive_rate_parity",
  "false_positive_rate_parity",
  "error_rate_parity",
)


class ParityMoments(NamedTuple):
  r"""Constraints $\gamma \le c$ on decisions h, of every event e and group g, from both sides.

  $$\gamma_+(e, g) = \rho\, \bar u_{eg} - \bar u_e, \qquad
  \gamma_-(e, g) = \rho\, \bar u_e - \bar u_{eg}$$

  with the mean utility u(h) of the event, and of the group in it. Multipliers have the shape of
  $\gamma$, [2, E, G], the side first.

  Attributes:
    cells: [N, E, G], the weight of a row in each event and group; 0 where the group is missing.
    weight: [N], the weight of a row in the error; 0 of padding.
    y: [N], 0 or 1.
    utility: [N, 2], what a decision for 0, and for 1, is worth.
    ratio_bound: rho, [].
  """

  cells: jax.Array
  weight: jax.Array
  y: jax.Array
  utility: jax.Array
  ratio_bound: jax.Array

  @property
  def total(self) -> jax.Array:
    """The weight of all rows, []."""
    return jnp.sum(self.weight)

  @property
  def rows(self) -> jax.Array:
    """How many rows have a weight, []."""
    return jnp.sum(self.weight > 0).astype(self.weight.dtype)

  @property
  def size(self) -> jax.Array:
    """The weight of each event and group, [E, G]."""
    return jnp.sum(self.cells, axis=0)

  @property
  def valid(self) -> jax.Array:
    """Which events and groups have rows, bool [2, E, G]."""
    return jnp.broadcast_to(self.size > 0, (2, *self.cells.shape[1:]))

  @property
  def matrix(self) -> jax.Array:
    """U, [N, 2, E, G]: gamma is -U u / n."""
    in_group = self.total * ratio(self.cells, self.size)
    in_event = jnp.sum(self.cells, axis=2, keepdims=True)
    in_event = self.total * ratio(in_event, jnp.sum(self.size, axis=1, keepdims=True))
    plus, minus = in_event - self.ratio_bound * in_group, in_group - self.ratio_bound * in_event
    return jnp.where(self.valid, jnp.stack([plus, minus], axis=1), 0)

  def gamma(self, decision: jax.Array) -> jax.Array:
    """How far decisions, or probabilities of 1, [N], are from parity, [2, E, G]; 0 where empty."""
    utility = self.utility[:, 0] + (self.utility[:, 1] - self.utility[:, 0]) * decision
    sums = jnp.einsum("neg,n->eg", self.cells, utility, precision="highest")
    in_group = ratio(sums, self.size)
    in_event = ratio(jnp.sum(sums, axis=1), jnp.sum(self.size, axis=1))[:, None]
    plus, minus = self.ratio_bound * in_group - in_event, self.ratio_bound * in_event - in_group
    return jnp.where(self.valid, jnp.stack([plus, minus]), 0)

  def error(self, decision: jax.Array) -> jax.Array:
    """The share of wrong decisions, or what is expected of it by probabilities of 1, []."""
    return jnp.sum(self.weight * jnp.abs(decision - self.y)) / self.total

  def costs(self, multipliers: jax.Array) -> jax.Array:
    r"""What a row gains by the decision 1 instead of 0, [N].

    $$s_i = 2 y_i - 1 + (u_i(1) - u_i(0))\, (U \lambda)_i$$

    The best response to the multipliers decides 1 where s is positive; a learner gets these labels,
    with |s| as weights. The weights of the rows themselves are not part of s.
    """
    plus, minus = jnp.where(self.valid, multipliers, 0)
    event = jnp.sum(plus - self.ratio_bound * minus, axis=1, keepdims=True)
    event = ratio(event, jnp.sum(self.size, axis=1, keepdims=True))
    each = event + ratio(minus - self.ratio_bound * plus, self.size)
    share = ratio(self.cells, self.weight[:, None, None])
    pull = jnp.einsum("neg,eg->n", share, self.total * each, precision="highest")
    return 2 * self.y - 1 + (self.utility[:, 1] - self.utility[:, 0]) * pull

  def project(self, multipliers: jax.Array) -> jax.Array:
    r"""The multipliers of least sum that say the same, [2, E, G], where the ratio bound is 1.

    The weighted $\gamma_+$ of the groups of an event add up to 0, so that a multiple of the
    groups' shares may be taken from $\lambda_+ - \lambda_-$; the best one is a weighted median.
    """
    signed = jnp.where(self.valid[0], multipliers[0] - multipliers[1], 0)
    share = ratio(self.size, jnp.sum(self.size, axis=1, keepdims=True))
    scaled = ratio(signed, share)
    order = jnp.argsort(scaled, axis=1)
    reached = jnp.cumsum(jnp.take_along_axis(share, order, axis=1), axis=1)
    middle = jnp.sum(reached < jnp.sum(share, axis=1, keepdims=True) / 2, axis=1, keepdims=True)
    median = jnp.take_along_axis(jnp.take_along_axis(scaled, order, axis=1), middle, axis=1)
    signed = signed - share * median
    projected = jnp.maximum(jnp.stack([signed, -signed]), 0)
    return jnp.where(self.ratio_bound == 1, projected, multipliers)


def parity_moments(
  data: Batch, constraint: str, *, ratio_bound: float | jax.Array = 1.0
) -> ParityMoments:
  r"""The moments of a constraint on a data set, as reductions to weighted learning need them.

  $$|\bar u_{eg} - \bar u_e| \le c, \qquad \text{or} \qquad
  \rho\, \bar u_{eg} - \bar u_e \le c,\quad \rho\, \bar u_e - \bar u_{eg} \le c$$

  | constraint | utility u(h) | events |
  |---|---|---|
  | demographic_parity | h | all rows |
  | equalized_odds | h | y = 0, y = 1 |
  | true_positive_rate_parity | h | y = 1 |
  | false_positive_rate_parity | h | y = 0 |
  | error_rate_parity | wrong or not | all rows |

  A row with soft membership counts in its groups in part, and one without a group in the error
  only. The weights of the data set count everywhere.

  Args:
    data: the training set, of two classes.
    constraint: a name of the table.
    ratio_bound: rho, in (0, 1]; may be traced.

  Returns:
    The `ParityMoments`.

  Raises:
    ValueError: for an unknown constraint, values out of range, more than two classes, or where the
      group is missing.

  References:
    Agarwal, Beygelzimer, Dudik, Langford, Wallach, A reductions approach to fair classification,
    ICML 2018.

  Examples:
    >>> import jax.numpy as jnp, rfjax
    >>> from rfjax.fairness import inprocessing
    >>> data = rfjax.Batch.from_arrays([[0.0]] * 4, [0, 1, 1, 0], [0, 0, 1, 1])
    >>> moments = inprocessing.parity_moments(data, "demographic_parity")
    >>> moments.gamma(jnp.array([1.0, 1.0, 1.0, 0.0])).tolist()  # of rates 1 and 0.5
    [[[0.25, -0.25]], [[-0.25, 0.25]]]
  """
  _check.choice("constraint", constraint, CONSTRAINTS)
  _check.number("ratio_bound", ratio_bound, 0.0, 1.0, open_low=True)
  data = data.require("group", by="parity_moments").with_columns("keep", "weight")
  if data.num_classes != 2:
    raise ValueError(
      f"num_classes must be 2 for parity_moments, got {data.num_classes}: make the labels binary"
    )
  dtype = jnp.promote_types(data.weight.dtype, data.membership.dtype)
  y = data.y.astype(dtype)
  weight = jnp.where(data.valid, data.keep * data.weight, 0).astype(dtype)
  events = {
    "equalized_odds": [1 - y, y],
    "true_positive_rate_parity": [y],
    "false_positive_rate_parity": [1 - y],
  }.get(constraint, [jnp.ones_like(y)])
  cells = weight[:, None, None] * jnp.stack(events, axis=1)[:, :, None] * data.membership[:, None]
  wrong = constraint == "error_rate_parity"
  utility = jnp.stack([y, 1 - y] if wrong else [jnp.zeros_like(y), jnp.ones_like(y)], axis=1)
  return ParityMoments(cells, weight, y, utility, jnp.asarray(ratio_bound, dtype))
