"""Equal opportunity of a trained classifier: its decisions are mixed until recalls are equal."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rfjax.core import Batch, Transform, group_sum, ratio
from rfjax.fairness.postprocessing._decide import binary, check_costs
from rfjax.fairness.postprocessing._equalized_odds import group_rates, mix
from rfjax.fairness.postprocessing._scores import weighted_membership

_BY = "equal_opportunity"


class EqualOpportunityState(NamedTuple):
  """The state of `equal_opportunity`.

  Attributes:
    accept: [G, 2], the probability of deciding 1 where the classifier said 0, and where it said 1.
    rates: [G, 2], the false and the true positive rate of each group; the latter is one for all.
  """

  accept: jax.Array
  rates: jax.Array


def equal_opportunity(
  objective: str = "balanced",
  *,
  false_positive_cost: float | jax.Array = 1.0,
  false_negative_cost: float | jax.Array = 1.0,
  randomize: bool = False,
) -> Transform:
  r"""Hardt's derived predictor of least loss with equal true positive rates.

  As in `equalized_odds` group g decides 1 with probability $a_g$ where the classifier said 1, and
  $b_g$ where it said 0, but false positive rates may differ:

  $$f'_g = a_g f_g + b_g (1 - f_g), \qquad t = a_g t_g + b_g (1 - t_g), \qquad
  \min_{a, b \in [0, 1]}\; \sum_g p_g \bigl(c_0 f'_g + c_1 (1 - t)\bigr)$$

  with the share p_g of rows. The least $f'_g$ that a group can have is convex in t and bends once,
  where the group keeps its decisions, or inverts them if they are worse than chance. So the best t
  is at one of these bends, at 0 or at 1, which are all tried. A group without rows of both labels
  is left out, and keeps its decisions. Of scores instead of decisions, `threshold_optimizer` with
  "true_positive_rate_parity" has a smaller loss.

  Args:
    objective: "balanced" weighs both rates of a group alike; "error" counts rows, so that c_0 and
      c_1 are multiplied by the shares of negatives and positives in the group.
    false_positive_cost: c_0, at least 0; may be traced.
    false_negative_cost: c_1, at least 0; may be traced.
    randomize: draw each decision by lot, by the key of `rfjax.transform`; otherwise the logits are
      the log-odds of the decision, and measures with `soft=True` are what is expected of it.

  Returns:
    The transform of a filled data set, fitted on another: `rfjax.transform(t, test, key=key,
    fitted_on=validation)`. It writes logits, and needs group at prediction.

  Raises:
    ValueError: for values out of range, more than two classes, or where the group is missing.

  References:
    Hardt, Price, Srebro, Equality of opportunity in supervised learning, NIPS 2016.

  Examples:
    >>> import jax, jax.numpy as jnp, rfjax
    >>> from rfjax.fairness import postprocessing
    >>> data = rfjax.Batch.from_arrays([[0.0]] * 6, [0, 1, 1, 0, 1, 1], [0, 0, 0, 1, 1, 1])
    >>> said = data.fill(jnp.eye(2)[jnp.array([0, 1, 0, 0, 1, 1])])
    >>> fair = rfjax.transform(postprocessing.equal_opportunity(), said, key=jax.random.key(0))
    >>> jax.nn.softmax(fair.logits)[:, 1].tolist()
    [0.0, 1.0, 0.0, 0.0, 0.5, 0.5]
  """
  check_costs(objective, false_positive_cost, false_negative_cost)

  def init(data: Batch, **unused: Any) -> EqualOpportunityState:
    del unused
    rates, usable, _ = group_rates(binary(data, _BY))
    weight = weighted_membership(data)
    count = group_sum(jax.nn.one_hot(data.y, 2, dtype=rates.dtype), weight) * usable[:, None]
    share = ratio(count, jnp.sum(count))
    if objective == "balanced":
      share = jnp.sum(share, axis=1, keepdims=True)
    cost = share * jnp.stack([jnp.asarray(false_positive_cost), jnp.asarray(false_negative_cost)])
    return _best(rates, usable, cost.astype(rates.dtype))

  def update(
    batch: Batch, state: EqualOpportunityState, params: Any = None, *, key: jax.Array, **unused: Any
  ) -> tuple[Batch, EqualOpportunityState]:
    del params, unused
    return mix(binary(batch, _BY), state.accept, randomize, key), state

  return Transform(init, update, writes=("logits",))


def _best(rates: jax.Array, usable: jax.Array, cost: jax.Array) -> EqualOpportunityState:
  """Tries every bend: how each group gets to the true positive rate of least loss."""
  inverted = rates[:, 1] < rates[:, 0]
  bend_f, bend_t = jnp.where(inverted[:, None], 1 - rates, rates).T

  def mixture(t: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The shares accepted of better and worse rows, and the false positive rate, [G] each."""
    better = jnp.minimum(ratio(t, bend_t, empty=1.0), 1)
    worse = jnp.maximum(ratio(t - bend_t, 1 - bend_t), 0)
    return better, worse, better * bend_f + worse * (1 - bend_f)

  bends = jnp.append(bend_t, jnp.array([1.0, 0.0], rates.dtype))
  known = jnp.append(usable, jnp.array([True, True]))
  loss = lambda t: jnp.sum(cost[:, 0] * mixture(t)[2] + cost[:, 1] * (1 - t))
  t = bends[jnp.argmin(jnp.where(known, jax.vmap(loss)(bends), jnp.inf))]
  better, worse, f = mixture(t)
  accept = jnp.where(
    inverted[:, None], jnp.stack([better, worse], 1), jnp.stack([worse, better], 1)
  )
  accept = jnp.where(usable[:, None], accept, jnp.arange(2.0))
  reached = jnp.stack([f, jnp.broadcast_to(t, f.shape)], axis=1)
  return EqualOpportunityState(accept, jnp.where(usable[:, None], reached, rates))
