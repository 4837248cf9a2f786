"""Levelling up: a threshold for each group, so that a statistic has a minimum in all of them."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rfjax.core import Batch, Transform, _check
from rfjax.fairness.postprocessing._decide import binary, check_costs
from rfjax.fairness.postprocessing._elements import choose, cuts, losses, rates, shift

_BY = "level_up"
# Statistics of which more is better.
_STATISTICS = (
  "true_positive_rate",
  "true_negative_rate",
  "selection_rate",
  "precision",
  "negative_predictive_value",
  "accuracy",
)


class LevelUpState(NamedTuple):
  """The state of `level_up`.

  Attributes:
    threshold: [G], the log-odds above which a group's rows are decided 1; infinite for nobody and
      everybody.
    rate: [G], the statistic that it gives on the rows that it was fitted on; below the minimum
      where no threshold reaches it, and 0 where there is none.
  """

  threshold: jax.Array
  rate: jax.Array


def level_up(
  minimum: float | jax.Array,
  statistic: str = "true_positive_rate",
  objective: str = "error",
  *,
  false_positive_cost: float | jax.Array = 1.0,
  false_negative_cost: float | jax.Array = 1.0,
) -> Transform:
  r"""A threshold for each group of least loss, with at least a minimum rate, and without lots.

  $$\hat y_i = 1[s_i > \theta_{g_i}], \qquad
  \theta_g \in \operatorname*{arg\,min}_\theta\;
  c_0 \pi_{0g} f_g(\theta) + c_1 \pi_{1g} \bigl(1 - t_g(\theta)\bigr)
  \quad\text{with}\quad r_g(\theta) \ge r$$

  with the log-odds s of class 1, false and true positive rates f and t, and the rate
  $r_g(\theta)$ of `metrics.group_rates`. A gap may also be closed by harming whoever is better off;
  here no group is asked to be worse than its best threshold makes it, and those that are below the
  minimum are raised. All cuts of a group's sorted scores are tried, but for those after which
  nothing counts in the rate. Where none reaches the minimum, the highest rate is the minimum; of
  equally good cuts the one that selects fewest is taken.

  Args:
    minimum: r, in [0, 1]; 0 asks for the least loss alone. May be traced.
    statistic: of which more is better: "true_positive_rate", "true_negative_rate",
      "selection_rate", "precision", "negative_predictive_value" or "accuracy".
    objective: "error" counts rows, so that $\pi$ are the shares of negatives and positives in a
      group; "balanced" weighs both rates alike, $\pi = 1$.
    false_positive_cost: $c_0$, at least 0; may be traced.
    false_negative_cost: $c_1$, at least 0; may be traced.

  Returns:
    The transform of a filled data set, fitted on another: `rfjax.transform(t, test, key=key,
    fitted_on=validation)`. It writes logits, the log-odds less the threshold, and needs group at
    prediction. A group whose rate nothing counts in keeps its decisions; a row of mixed membership
    gets the mean of its groups' thresholds, one without a group keeps its decision.

  Raises:
    ValueError: for values out of range, more than two classes, or where the group is missing.

  References:
    Mittelstadt, Wachter, Russell, The unfairness of fair machine learning: levelling down and
    strict egalitarianism by default, 2023.
    Delaney, Fu, Wachter, Mittelstadt, Russell, OxonFair: a flexible toolkit for algorithmic
    fairness, NeurIPS 2024 (minimum rates, with loss).

  Examples:
    >>> import jax, jax.numpy as jnp, rfjax
    >>> from rfjax.fairness import postprocessing
    >>> data = rfjax.Batch.from_arrays([[0.0]] * 4, [1, 0, 1, 1], [0, 0, 0, 0])
    >>> said = data.fill(jnp.array([[0.0, -3.0], [0.0, -2.0], [0.0, 1.0], [0.0, 2.0]]))
    >>> high = postprocessing.level_up(0.9)
    >>> rfjax.transform(high, said, key=jax.random.key(0)).logits.argmax(1).tolist()
    [1, 1, 1, 1]
  """
  _check.number("minimum", minimum, 0.0, 1.0)
  _check.choice("statistic", statistic, _STATISTICS)
  check_costs(objective, false_positive_cost, false_negative_cost)

  def init(data: Batch, **unused: Any) -> LevelUpState:
    del unused
    found = cuts(binary(data, _BY))
    rate = rates(found, statistic)
    value = jnp.where(rate.valid, rate.value, -jnp.inf)
    slack = 4 * jnp.finfo(value.dtype).eps
    bar = jnp.minimum(minimum, jnp.max(value, axis=1, keepdims=True)) - slack
    costs = (false_positive_cost, false_negative_cost)
    loss = jnp.where(value >= bar, losses(found, objective == "balanced", costs), jnp.inf)
    return LevelUpState(*choose(found, rate, jnp.where(rate.valid, loss, jnp.inf)))

  def update(
    batch: Batch, state: LevelUpState, params: Any = None, **unused: Any
  ) -> tuple[Batch, LevelUpState]:
    del params, unused
    return shift(binary(batch, _BY), state.threshold), state

  return Transform(init, update, writes=("logits",))
