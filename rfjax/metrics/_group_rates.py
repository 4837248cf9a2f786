"""Any statistic by group, and how far apart groups are: what measures and penalties are made of."""

import jax
from jax.typing import ArrayLike

from rfjax.core import Batch, _check
from rfjax.metrics._cells import STATISTICS, Rate, rate
from rfjax.metrics._gap import DIFFERENCE, RATIO, Aggregate, Method
from rfjax.metrics._rows import read


def group_rates(
  statistic: str,
  y_true: ArrayLike | Batch,
  y_pred: ArrayLike | None = None,
  group: ArrayLike | None = None,
  *,
  num_groups: int | None = None,
  num_classes: int | None = None,
  weight: ArrayLike | None = None,
  soft: bool = False,
) -> Rate:
  r"""A statistic of each group, as the two sums that it is the ratio of.

  $$\mathrm{value}_g = \frac{\sum_i w_i\, m_{ig}\,(\alpha_0 + \beta_0\, p_i)}
  {\sum_i w_i\, m_{ig}\,(\alpha_1 + \beta_1\, p_i)}$$

  with membership m and the probability p of the class, which is 0 or 1 for a hard prediction. What
  is measured and penalised is therefore one formula; of probabilities it is differentiable. The
  coefficients may depend on the label y:

  | statistic | numerator | denominator |
  |---|---|---|
  | accuracy, error_rate | p of the label, 1 less it | 1 |
  | selection_rate | p | 1 |
  | true_positive_rate, false_negative_rate | y p, y (1 - p) | y |
  | false_positive_rate, true_negative_rate | (1 - y) p, (1 - y) (1 - p) | 1 - y |
  | precision, false_discovery_rate | y p, (1 - y) p | p |
  | false_omission_rate, negative_predictive_value | y (1 - p), (1 - y) (1 - p) | 1 - p |
  | false_negatives_per_false_positive | y (1 - p) | (1 - y) p |
  | false_negative_share | y (1 - p) | y (1 - p) + (1 - y) p |

  Args:
    statistic: a name of the table.
    y_true: labels [N], integers in [0, C); or a filled `Batch`, and nothing else.
    y_pred: as in `by_group`.
    group: as in `by_group`.
    num_groups: as in `by_group`.
    num_classes: as in `by_group`.
    weight: as in `by_group`.
    soft: as in `by_group`.

  Returns:
    A `Rate` [G, K]: K = 1 of class 1 of two, else K = C one-vs-rest; accuracy and error_rate have
    K = 1. A cell that nothing counts in is not `valid`, and a UserWarning names it outside jit.

  Raises:
    ValueError: for an unknown statistic, bad labels, predictions, groups, weights or lengths.

  References:
    Buyl, Defrance, De Bie, fairret: a framework for differentiable fairness regularization terms,
    ICLR 2024 (linear-fractional statistics).

  Examples:
    >>> from rfjax import metrics
    >>> rates = metrics.group_rates("precision", [1, 0, 1, 0], [1, 1, 1, 0], [0, 0, 1, 1])
    >>> rates.value.tolist(), float(metrics.difference(rates))
    ([[0.5], [1.0]], 0.5)
  """
  _check.choice("statistic", statistic, tuple(STATISTICS))
  rows = read(statistic, y_true, y_pred, group, num_groups, num_classes, weight, soft)
  return rate(rows, statistic)


def difference(
  *rates: Rate, method: Method = "between_groups", agg: Aggregate = "worst_case"
) -> jax.Array:
  r"""How far apart the groups are by their rates.

  $$\max_g r_g - \min_g r_g \quad\text{or}\quad \max_g |r_g - r|$$

  Args:
    *rates: results of `group_rates`, one or more.
    method: "between_groups" compares the lowest with the highest rate; "to_overall" each rate with
      that of all groups together.
    agg: "worst_case" or "mean" of several rates; of several classes always the worst.

  Returns:
    [], at least 0, where 0 is fair; 0 when fewer than two groups have a rate.

  Raises:
    ValueError: for an unknown option.

  Examples:
    >>> import jax.numpy as jnp
    >>> from rfjax import metrics
    >>> rate = metrics.Rate(hits=jnp.array([[1.0], [3.0]]), size=jnp.array([[4.0], [4.0]]))
    >>> float(metrics.difference(rate)), float(metrics.difference(rate, method="to_overall"))
    (0.5, 0.25)
  """
  return DIFFERENCE.of(*rates, method=method, agg=agg)


def ratio(
  *rates: Rate, method: Method = "between_groups", agg: Aggregate = "worst_case"
) -> jax.Array:
  r"""How far apart the groups are by their rates, as a ratio.

  $$\frac{\min_g r_g}{\max_g r_g} \quad\text{or}\quad
  \min_g \min\Big(\frac{r_g}{r}, \frac{r}{r_g}\Big)$$

  Args:
    *rates: as in `difference`.
    method: as in `difference`.
    agg: as in `difference`.

  Returns:
    [], in [0, 1], where 1 is fair; 1 when fewer than two groups have a rate, or all rates are 0.

  Raises:
    ValueError: for an unknown option.

  Examples:
    >>> import jax.numpy as jnp
    >>> from rfjax import metrics
    >>> rate = metrics.Rate(hits=jnp.array([[1.0], [4.0]]), size=jnp.array([[4.0], [4.0]]))
    >>> float(metrics.ratio(rate))
    0.25
  """
  return RATIO.of(*rates, method=method, agg=agg)
