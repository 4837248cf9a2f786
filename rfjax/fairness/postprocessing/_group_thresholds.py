"""Group thresholds: a threshold for each group, so that a statistic is at a target in all."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rfjax.core import Batch, Transform, _check
from rfjax.fairness.postprocessing._decide import binary
from rfjax.fairness.postprocessing._elements import choose, cuts, rates, shift
from rfjax.metrics._cells import STATISTICS

_BY = "group_thresholds"


class GroupThresholdsState(NamedTuple):
  """The state of `group_thresholds`.

  Attributes:
    threshold: [G], the log-odds above which a group's rows are decided 1; infinite for nobody and
      everybody.
    rate: [G], the statistic that it gives on the rows that it was fitted on; 0 where there is none.
  """

  threshold: jax.Array
  rate: jax.Array


def group_thresholds(target: float | jax.Array, statistic: str = "selection_rate") -> Transform:
  r"""A threshold for each group that brings any statistic to one target, without lots.

  $$\hat y_i = 1[s_i > \theta_{g_i}], \qquad
  \theta_g \in \operatorname*{arg\,min}_\theta |r_g(\theta) - r|$$

  with the log-odds s of class 1 and the rate $r_g(\theta)$ of `metrics.group_rates`. All cuts of a
  group's sorted scores are tried, and of equally good ones the one that selects fewest is taken.
  Selection rates and true or false positive rates come within half a row's share of the target,
  $|r_g - r| \le 1 / (2 n_g)$ with the n_g rows that the rate is over, where scores are all
  different; equal scores are never parted. Thresholds lie in the middle between two scores.

  "selection_rate" gives demographic parity, "true_positive_rate" equal opportunity, and
  "false_positive_rate" predictive equality. `threshold_optimizer` finds the target of least loss.

  Args:
    target: r, in [0, 1], and at least 0 for "false_negatives_per_false_positive"; may be traced.
    statistic: a name of `metrics.group_rates`.

  Returns:
    The transform of a filled data set, fitted on another: `rfjax.transform(t, test, key=key,
    fitted_on=validation)`. It writes logits, the log-odds less the threshold, and needs group at
    prediction. A group whose rate nothing counts in keeps its decisions; a row of mixed membership
    gets the mean of its groups' thresholds, one without a group keeps its decision.

  Raises:
    ValueError: for values out of range, more than two classes, or where the group is missing.

  References:
    Hardt, Price, Srebro, Equality of opportunity in supervised learning, NIPS 2016.
    Corbett-Davies, Pierson, Feller, Goel, Huq, Algorithmic decision making and the cost of
    fairness, KDD 2017 (why a threshold for each group).

  Examples:
    >>> import jax, jax.numpy as jnp, rfjax
    >>> from rfjax.fairness import postprocessing
    >>> data = rfjax.Batch.from_arrays([[0.0]] * 4, [0, 1, 0, 1], [0, 0, 1, 1])
    >>> said = data.fill(jnp.array([[0.0, 1.0], [0.0, 2.0], [0.0, -2.0], [0.0, -1.0]]))
    >>> half = postprocessing.group_thresholds(0.5)
    >>> rfjax.transform(half, said, key=jax.random.key(0)).logits[:, 1].tolist()
    [-0.5, 0.5, -0.5, 0.5]
  """
  _check.choice("statistic", statistic, tuple(STATISTICS))
  if statistic == "false_negatives_per_false_positive":
    _check.number("target", target, 0.0, open_high=True)
  else:
    _check.number("target", target, 0.0, 1.0)

  def init(data: Batch, **unused: Any) -> GroupThresholdsState:
    del unused
    found = cuts(binary(data, _BY))
    rate = rates(found, statistic)
    away = jnp.where(rate.valid, jnp.abs(rate.value - target), jnp.inf)
    return GroupThresholdsState(*choose(found, rate, away))

  def update(
    batch: Batch, state: GroupThresholdsState, params: Any = None, **unused: Any
  ) -> tuple[Batch, GroupThresholdsState]:
    del params, unused
    return shift(binary(batch, _BY), state.threshold), state

  return Transform(init, update, writes=("logits",))
