"""Calibrated equalized odds: the scores of better served groups are withheld, at random."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rfjax.core import Batch, Transform, _check, group_mean, ratio, uniform
from rfjax.fairness.postprocessing._decide import binary
from rfjax.fairness.postprocessing._scores import of_groups, weighted_membership, with_probs

_BY = "calibrated_equalized_odds"
_COSTS = ("false_negative_rate", "false_positive_rate", "weighted")


class CalibratedEqualizedOddsState(NamedTuple):
  """The state of `calibrated_equalized_odds`.

  Attributes:
    mix: [G], the share of scores that is withheld, in [0, 1].
    base_rate: [G], the share of positives, which takes their place.
    cost: [G], the cost of each group before.
    needed: [G], the share that would make all costs equal: above 1, or negative where withholding
      lowers the cost, it cannot be had.
    feasible: bool [], whether all groups get what they need.
  """

  mix: jax.Array
  base_rate: jax.Array
  cost: jax.Array
  needed: jax.Array
  feasible: jax.Array


def calibrated_equalized_odds(cost: str = "weighted", *, randomize: bool = False) -> Transform:
  r"""Equal costs for calibrated scores: a share of each group's scores becomes its base rate.

  With the generalised rates of group g,

  $$f_g = \mathbb{E}[p \mid g, y = 0], \qquad n_g = \mathbb{E}[1 - p \mid g, y = 1], \qquad
  c_g = f_g,\; n_g \;\text{or}\; (1 - \mu_g) f_g + \mu_g n_g,$$

  its base rate $\mu_g$ and the cost $\bar c_g$ of saying $\mu_g$ to everybody, the share

  $$m_g = \frac{\max_h c_h - c_g}{\bar c_g - c_g}, \quad \text{within } [0, 1],$$

  of the scores p of a group is withheld, so that all groups cost as much as the worst served one.
  Scores that were calibrated stay so. Where the share falls outside of [0, 1] the costs cannot be
  made equal: it is clipped, and `feasible` of the state is False. A group without the rows that its
  cost is made of is left out, and keeps its scores.

  Args:
    cost: "false_negative_rate", "false_positive_rate", or "weighted" by the share of each label.
    randomize: draw by lot which scores are withheld, by the key of `rfjax.transform`; otherwise
      every score is the mean of the draw, which has the same costs, and is no longer calibrated.

  Returns:
    The transform of a filled data set, fitted on another; it writes logits, and needs group at
    prediction.

  Raises:
    ValueError: for an unknown cost, more than two classes, or where the group is missing.

  References:
    Pleiss, Raghavan, Wu, Kleinberg, Weinberger, On fairness and calibration, NIPS 2017.

  Examples:
    >>> import jax, jax.numpy as jnp, rfjax
    >>> from rfjax.fairness import postprocessing
    >>> data = rfjax.Batch.from_arrays([[0.0]] * 8, [0, 1] * 4, [0, 0, 0, 0, 1, 1, 1, 1])
    >>> score = jnp.array([0.1, 0.9, 0.1, 0.9, 0.3, 0.7, 0.3, 0.7])
    >>> said = data.fill(jnp.log(jnp.stack([1 - score, score], axis=1)))
    >>> method = postprocessing.calibrated_equalized_odds("false_positive_rate")
    >>> fair = rfjax.transform(method, said, key=jax.random.key(0))
    >>> [round(p, 3) for p in fair.probs[:, 1].tolist()]
    [0.3, 0.7, 0.3, 0.7, 0.3, 0.7, 0.3, 0.7]
  """
  _check.choice("cost", cost, _COSTS)

  def init(data: Batch, **unused: Any) -> CalibratedEqualizedOddsState:
    del unused
    weight = weighted_membership(binary(data, _BY))
    score = jax.nn.softmax(data.logits)[:, 1]
    false, negatives = group_mean(score, weight * (data.y == 0)[:, None])
    missed, positives = group_mean(1 - score, weight * (data.y == 1)[:, None])
    base = ratio(positives, negatives + positives)
    of, usable = {
      "false_negative_rate": ((0.0, 1.0), positives > 0),
      "false_positive_rate": ((1.0, 0.0), negatives > 0),
      "weighted": ((1 - base, base), negatives + positives > 0),
    }[cost]
    now, trivial = of[0] * false + of[1] * missed, of[0] * base + of[1] * (1 - base)
    behind = jnp.where(usable, jnp.max(now, where=usable, initial=-jnp.inf) - now, 0)
    needed = ratio(behind, trivial - now)
    slack = 10 * jnp.finfo(now.dtype).eps  # of a group that just can be as bad as the worst
    reached = (behind == 0) | ((needed > 0) & (needed <= 1 + slack))
    return CalibratedEqualizedOddsState(jnp.clip(needed, 0, 1), base, now, needed, jnp.all(reached))

  def update(
    batch: Batch,
    state: CalibratedEqualizedOddsState,
    params: Any = None,
    *,
    key: jax.Array,
    **unused: Any,
  ) -> tuple[Batch, CalibratedEqualizedOddsState]:
    del params, unused
    probs = jax.nn.softmax(binary(batch, _BY).logits)
    base = jnp.stack([1 - state.base_rate, state.base_rate], axis=1)
    if not randomize:
      each = probs[:, None] + state.mix[:, None] * (base - probs[:, None])
      return with_probs(batch, of_groups(batch, each, probs, rows=True)), state
    withheld = of_groups(batch, state.mix, jnp.zeros(()))
    said = of_groups(batch, state.mix[:, None] * base, probs)
    said = ratio(said, withheld[:, None])
    chosen = uniform(key, batch) < withheld
    logits = jnp.where(chosen[:, None], with_probs(batch, said).logits, batch.logits)
    return batch.replace(logits=logits), state

  return Transform(init, update, writes=("logits",))
