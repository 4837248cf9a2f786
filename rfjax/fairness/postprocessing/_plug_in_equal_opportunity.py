"""Equal opportunity by plugging probabilities into the best rule there is, without labels."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rfjax.core import Batch, Transform, ratio
from rfjax.fairness.postprocessing._decide import binary, decide
from rfjax.fairness.postprocessing._scores import weighted_membership

_BY = "plug_in_equal_opportunity"
_STEPS = 30  # halvings; what is left of the interval is then widened to a whole plateau


class PlugInEqualOpportunityState(NamedTuple):
  """The state of `plug_in_equal_opportunity`.

  Attributes:
    theta: [], how far the thresholds of the groups part.
    positives: [2], q, the share of all rows that is positive and of the group.
    difference: [], the expected true positive rate of group 1 less that of group 0, as far as the
      rows that it was fitted on can be told apart.
  """

  theta: jax.Array
  positives: jax.Array
  difference: jax.Array


def plug_in_equal_opportunity() -> Transform:
  r"""The most accurate rule of equal true positive rates, for two groups, from unlabelled data.

  $$\hat y = \Bigl[1 \le \eta(x) \Bigl(2 + \theta \Bigl(\frac{m_0(x)}{q_0} -
  \frac{m_1(x)}{q_1}\Bigr)\Bigr)\Bigr], \qquad q_g = \mathbb{E}[\eta\, m_g]$$

  with what the network says, $\eta = P(y = 1 \mid x)$, and membership m, which is 0 or 1 where the
  group is known, and $P(g \mid x)$ where it is predicted: the authors' rule for an attribute that
  may not be used, if label and group are independent given x. Theta makes

  $$\frac{\mathbb{E}[\eta\, m_1 \hat y]}{\mathbb{E}[\eta\, m_1]} -
  \frac{\mathbb{E}[\eta\, m_0 \hat y]}{\mathbb{E}[\eta\, m_0]}$$

  zero, or as small as rows allow. It falls in theta, which is found by bisection. As all that is
  plugged in comes from the network, it should be calibrated. Where the group is missing, the
  threshold is one half.

  Returns:
    The transform of a filled data set, fitted on another, whose labels are not read; it writes
    logits, the log-odds of the decision, and needs group at prediction.

  Raises:
    ValueError: for more than two classes or groups, or where the group is missing.

  References:
    Chzhen, Denis, Hebiri, Oneto, Pontil, Leveraging labeled and unlabeled data for consistent fair
    binary classification, NeurIPS 2019. Their code takes another q for group 0.

  Examples:
    >>> import jax, jax.numpy as jnp, rfjax
    >>> from rfjax.fairness import postprocessing
    >>> data = rfjax.Batch.from_arrays([[0.0]] * 6, [0] * 6, [0, 0, 0, 1, 1, 1])
    >>> score = jnp.array([0.1, 0.2, 0.45, 0.3, 0.6, 0.9])
    >>> said = data.fill(jnp.log(jnp.stack([1 - score, score], axis=1)))
    >>> method = postprocessing.plug_in_equal_opportunity()
    >>> rfjax.transform(method, said, key=jax.random.key(0)).logits.argmax(1).tolist()
    [0, 0, 1, 0, 0, 1]
  """

  def init(data: Batch, **unused: Any) -> PlugInEqualOpportunityState:
    del unused
    weight = weighted_membership(_checked(data))
    eta = jax.nn.softmax(data.logits)[:, 1]
    mass = eta[:, None] * weight
    positives = ratio(jnp.sum(mass, axis=0), jnp.sum(weight))
    ends = jnp.array([-2.0, 2.0], positives.dtype) * positives
    jump, rising = _jumps(data, positives)
    counts = jnp.any(weight > 0, axis=1) & (jump > ends[0]) & (jump < ends[1])

    def gap(theta: jax.Array) -> jax.Array:
      said = jnp.where(rising, theta >= jump, theta <= jump)
      true = ratio(jnp.sum(mass * said[:, None], axis=0), jnp.sum(mass, axis=0))
      return true[1] - true[0]

    def halve(_: Any, interval: jax.Array) -> jax.Array:
      middle = jnp.mean(interval)
      low, high = jnp.where(gap(middle) > 0, middle, interval[0]), interval[1]
      return jnp.stack([low, jnp.where(gap(middle) > 0, high, middle)])

    def plateau(theta: jax.Array) -> jax.Array:
      """The middle of the thetas that decide alike: far from where rounding decides."""
      left = jnp.max(jump, where=counts & (jump <= theta), initial=ends[0])
      return (left + jnp.min(jump, where=counts & (jump > theta), initial=ends[1])) / 2

    found = jax.vmap(plateau)(jax.lax.fori_loop(0, _STEPS, halve, ends))
    gaps = jax.vmap(gap)(found)
    best = jnp.argmin(jnp.abs(gaps))
    return PlugInEqualOpportunityState(found[best], positives, gaps[best])

  def update(
    batch: Batch,
    state: PlugInEqualOpportunityState,
    params: Any = None,
    *,
    key: jax.Array,
    **unused: Any,
  ) -> tuple[Batch, PlugInEqualOpportunityState]:
    del params, unused
    jump, rising = _jumps(_checked(batch), state.positives)
    said = jnp.where(rising, state.theta >= jump, state.theta <= jump)
    return decide(batch, said.astype(batch.logits.dtype), False, key), state

  return Transform(init, update, writes=("logits",))


def _checked(data: Batch) -> Batch:
  """The data, or ValueError where it is not of two classes and two groups."""
  if binary(data, _BY).num_groups != 2:
    raise ValueError(
      f"num_groups must be 2 for {_BY}, got {data.num_groups}: take linear_post for more"
    )
  return data


def _jumps(batch: Batch, positives: jax.Array) -> tuple[jax.Array, jax.Array]:
  """The theta at which the decision on a row changes, [B], and whether it is then accepted, [B].

  A row that theta does not reach has a jump at minus or plus infinity.
  """
  eta = jax.lax.stop_gradient(jax.nn.softmax(batch.logits)[:, 1])
  slope = ratio(batch.membership, positives) @ jnp.array([1.0, -1.0], positives.dtype)
  lacks = 1 / eta - 2  # accepted where it is at most theta * slope
  never = jnp.where(lacks <= 0, -jnp.inf, jnp.inf)
  return jnp.where(slope != 0, lacks / jnp.where(slope != 0, slope, 1), never), slope >= 0
