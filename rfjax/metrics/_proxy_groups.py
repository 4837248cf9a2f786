"""Disparities where only probabilities of the groups are known, and the bias of such estimates."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from rfjax.core import Batch, _check
from rfjax.core import ratio as divide
from rfjax.metrics._cells import STATISTICS, Rate, drop_single, rate
from rfjax.metrics._rows import Rows, read, read_array, read_codes

_BIAS = "proxy_bias"


class ProxyBias(NamedTuple):
  """What `proxy_bias` found: one bias, divided in two ways.

  Attributes:
    covariance: [G], or [G, C] one-vs-rest for C > 2 classes, as all others; what the decision has
      to do with the true group where the proxies are the same, if the proxies are calibrated.
    assignment: what comes of taking a group for sure, by a threshold; 0 without one.
    false_members: what comes of rows that count for a group which they are not of.
    missed_members: what comes of rows of a group that do not count for it.
  """

  covariance: jax.Array
  assignment: jax.Array
  false_members: jax.Array
  missed_members: jax.Array

  @property
  def total(self) -> jax.Array:
    """The estimate less the true one, the sum of either two parts."""
    return self.covariance + self.assignment


def weighted_estimator(
  y_true: ArrayLike | Batch,
  y_pred: ArrayLike | None = None,
  group: ArrayLike | None = None,
  *,
  statistic: str = "selection_rate",
  reference: int | None = 0,
  num_groups: int | None = None,
  num_classes: int | None = None,
  weight: ArrayLike | None = None,
  soft: bool = False,
) -> jax.Array:
  r"""The disparity of each group by rows that count for it as much as they are likely to be of it.

  $$\hat\delta_g = \hat\mu_g - \hat\mu_0, \qquad
  \hat\mu_g = \frac{\sum_i p_{ig}\, \hat y_i}{\sum_i p_{ig}}$$

  With calibrated proxies $p_g(w) = P(z = g \mid w)$ the rate of a group has the bias
  $-E[\mathrm{Cov}(1_{z = g}, \hat y \mid w)] / P(z = g)$, and the disparity of two groups

  $$-\frac{E[\mathrm{Cov}(z, \hat y \mid w)]}{P(z = 1)\, P(z = 0)}.$$

  So it is unbiased if the decision does not hang on the group but by w, and says too little where
  decisions favour a group within w. `proxy_bias` measures it where the groups are known.

  Args:
    y_true: as in `demographic_parity_difference`.
    y_pred: as in `demographic_parity_difference`.
    group: probabilities of the groups [N, G], where a row of zeros is missing; or known ones [N].
    statistic: a name of `group_rates`; of one that is of some labels only, the proxies must be
      calibrated among these.
    reference: the group with which others are compared; None gives the rates themselves. The
      authors subtract the others from it.
    num_groups: as in `demographic_parity_difference`.
    num_classes: as in `demographic_parity_difference`.
    weight: as in `demographic_parity_difference`.
    soft: as in `demographic_parity_difference`.

  Returns:
    [G], in [-1, 1], or [G, C] one-vs-rest for C > 2 classes. The disparity of a group without rows
    is 0, with a UserWarning outside jit.

  Raises:
    ValueError: for bad labels, predictions, groups, weights, lengths or options.

  References:
    Chen, Kallus, Mao, Svacha, Udell, Fairness Under Unawareness: Assessing Disparity When Protected
    Class Is Unobserved, FAT* 2019.

  Examples:
    >>> from rfjax import metrics
    >>> proxies = [[0.75, 0.25], [0.25, 0.75]]
    >>> metrics.weighted_estimator([0, 0], [0, 1], proxies).tolist()
    [0.0, 0.5]
  """
  rows = read("weighted_estimator", y_true, y_pred, group, num_groups, num_classes, weight, soft)
  _check_options(rows, statistic, reference)
  return _compared(rate(rows, statistic), reference)


def threshold_estimator(
  y_true: ArrayLike | Batch,
  y_pred: ArrayLike | None = None,
  group: ArrayLike | None = None,
  *,
  threshold: float | jax.Array = 0.5,
  statistic: str = "selection_rate",
  reference: int | None = 0,
  num_groups: int | None = None,
  num_classes: int | None = None,
  weight: ArrayLike | None = None,
  soft: bool = False,
) -> jax.Array:
  r"""The disparity of each group by rows that are likely enough to be of it.

  $$\hat\delta_g = \hat\mu_g - \hat\mu_0, \qquad
  \hat\mu_g = \frac{\sum_i [p_{ig} > q]\, \hat y_i}{\sum_i [p_{ig} > q]}$$

  Rows that are not likely enough of any group are dropped. Its bias has no fixed sign: often it
  says too much, since rows for which the proxies are sure are not like the others; `proxy_bias`
  parts it into its sources.

  Args:
    y_true: as in `demographic_parity_difference`.
    y_pred: as in `demographic_parity_difference`.
    group: as in `weighted_estimator`.
    threshold: q, in [1/2, 1), so that a row counts for one group at most; may be traced.
    statistic: a name of `group_rates`.
    reference: as in `weighted_estimator`.
    num_groups: as in `demographic_parity_difference`.
    num_classes: as in `demographic_parity_difference`.
    weight: as in `demographic_parity_difference`.
    soft: as in `demographic_parity_difference`.

  Returns:
    As `weighted_estimator`.

  Raises:
    ValueError: for bad labels, predictions, groups, weights, lengths or options.

  References:
    Chen, Kallus, Mao, Svacha, Udell, Fairness Under Unawareness: Assessing Disparity When Protected
    Class Is Unobserved, FAT* 2019 (their code takes p >= q, and of two groups at q the first).

  Examples:
    >>> from rfjax import metrics
    >>> proxies = [[0.75, 0.25], [0.25, 0.75], [0.5, 0.5]]
    >>> metrics.threshold_estimator([0, 0, 0], [0, 1, 1], proxies).tolist()
    [0.0, 1.0]
  """
  rows = read("threshold_estimator", y_true, y_pred, group, num_groups, num_classes, weight, soft)
  _check_options(rows, statistic, reference)
  taken = rows.replace(group=_assigned(_membership(rows), threshold))
  return _compared(rate(taken, statistic), reference)


def proxy_bias(
  y_true: ArrayLike | Batch,
  y_pred: ArrayLike | None = None,
  group: ArrayLike | None = None,
  *,
  true_group: ArrayLike | None = None,
  threshold: float | jax.Array | None = None,
  statistic: str = "selection_rate",
  reference: int | None = 0,
  num_groups: int | None = None,
  num_classes: int | None = None,
  weight: ArrayLike | None = None,
  soft: bool = False,
) -> ProxyBias:
  r"""The bias of `weighted_estimator` or `threshold_estimator`, on rows whose groups are known.

  With the proxies p, the membership m that an estimator counts by (p, or $[p > q]$), and the true
  one z, the bias of a group's rate is, exactly on the rows given,

  $$\hat\mu_g - \mu_g = -\frac{\sum_i (z_{ig} - p_{ig})(\hat y_i - \mu_g)}{\sum_i m_{ig}}
  + \frac{\sum_i (m_{ig} - p_{ig})(\hat y_i - \mu_g)}{\sum_i m_{ig}}.$$

  The first part, the `covariance`, has the mean
  $-E[\mathrm{Cov}(1_{z = g}, \hat y \mid w)] / E[m_g]$ for calibrated proxies of w, and else also
  what their error adds; the second, the `assignment`, is 0 without a threshold. The authors part
  the same bias by who is counted wrongly:

  $$P(\text{not } g \mid m_g)\,(\mu_{m, \text{not } g} - \mu_{m, g})
  + P(\text{not } m_g \mid g)\,(\mu_{m, g} - \mu_{\text{not } m, g})$$

  with the rates of the rows that are counted, or not, and are of the group, or not. An estimate on
  other rows less the `total` is corrected for its bias, as far as the rows known are like them.

  Args:
    y_true: as in `demographic_parity_difference`.
    y_pred: as in `demographic_parity_difference`.
    group: the proxies, as in `weighted_estimator`.
    true_group: integers [N], or membership [N, G]; rows of zeros there or in the proxies are left
      out. That in `truth` of a Batch when None.
    threshold: q of `threshold_estimator`; None is the `weighted_estimator`. May be traced.
    statistic: a name of `group_rates`.
    reference: as in `weighted_estimator`; each part is that of a group less that of this one.
    num_groups: as in `demographic_parity_difference`.
    num_classes: as in `demographic_parity_difference`.
    weight: as in `demographic_parity_difference`.
    soft: as in `demographic_parity_difference`.

  Returns:
    A `ProxyBias`; 0 of a group without rows, by the estimator or in truth.

  Raises:
    ValueError: for bad labels, predictions, groups, weights, lengths or options.

  References:
    Chen, Kallus, Mao, Svacha, Udell, Fairness Under Unawareness: Assessing Disparity When Protected
    Class Is Unobserved, FAT* 2019.

  Examples:
    >>> from rfjax import metrics
    >>> proxies = [[0.5, 0.5], [0.5, 0.5]]
    >>> bias = metrics.proxy_bias([0, 0], [0, 1], proxies, true_group=[0, 1])
    >>> bias.total.tolist()  # both groups seem to be alike, and are 1 apart
    [0.0, -1.0]
  """
  rows = read(_BIAS, y_true, y_pred, group, num_groups, num_classes, weight, soft)
  _check_options(rows, statistic, reference)
  likely, true = _membership(rows), _true(y_true, true_group, rows)
  known = jnp.any(true > 0, axis=1) & jnp.any(likely != 0, axis=1)
  rows = rows.replace(weight=rows.weight * known)
  taken = likely if threshold is None else _assigned(likely, threshold)
  of = lambda member: rate(rows.replace(group=member), statistic, warn=False)
  p, m, z, both = of(likely), of(taken), of(true), of(taken * true)
  less = lambda a, b, value: (a.hits - b.hits) - value * (a.size - b.size)
  parts = ProxyBias(
    divide(less(p, z, z.value), m.size),
    divide(less(m, p, z.value), m.size),
    divide(less(m, both, both.value), m.size),
    -divide(less(z, both, both.value), z.size),
  )
  valid = m.valid & z.valid
  return ProxyBias(*(_relative(part, valid, reference) for part in parts))


def _check_options(rows: Rows, statistic: str, reference: int | None) -> None:
  _check.choice("statistic", statistic, tuple(STATISTICS))
  if reference is not None and _check.count("reference", reference, 0) >= rows.num_groups:
    raise ValueError(f"reference must lie in [0, {rows.num_groups}), got {reference}")


def _membership(rows: Rows) -> jax.Array:
  if rows.group.ndim == 2:
    return rows.group
  return jax.nn.one_hot(rows.group, rows.num_groups, dtype=rows.weight.dtype)


def _assigned(membership: jax.Array, threshold: Any) -> jax.Array:
  """Whole membership of the group that is likelier than the threshold, or of none."""
  _check.number("threshold", threshold, 0.5, 1.0, open_high=True)
  return (membership > threshold).astype(membership.dtype)


def _true(y_true: Any, true_group: Any, rows: Rows) -> jax.Array:
  """The true membership [N, G]."""
  if true_group is None and isinstance(y_true, Batch) and y_true.truth is not None:
    true_group = y_true.truth.group
  if true_group is None:
    raise ValueError(f"{_BIAS} needs the true groups: pass true_group=, or a Batch with truth")
  given = read_array("true_group", true_group, (1, 2), len(rows.y))
  dtype, groups = rows.weight.dtype, rows.num_groups
  if given.ndim == 1:
    return jax.nn.one_hot(
      read_codes("true_group", given, len(given), groups)[0], groups, dtype=dtype
    )
  if given.shape[1] != groups:
    raise ValueError(f"true_group has {given.shape[1]} columns, but there are {groups} groups")
  _check.numbers("true_group", given, 0.0, 1.0)
  return jnp.asarray(given, dtype)


def _compared(found: Rate, reference: int | None) -> jax.Array:
  return _relative(found.value, found.valid, reference)


def _relative(values: jax.Array, valid: jax.Array, reference: int | None) -> jax.Array:
  """Values of the groups [G, K], less that of the reference."""
  if reference is not None:
    values, valid = values - values[reference], valid & valid[reference]
  return drop_single(jnp.where(valid, values, 0))
