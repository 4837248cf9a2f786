"""Generalized entropy: how unequally a classifier deals out benefit, over rows or over groups."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from rfjax.core import Batch, _check, group_sum, ratio
from rfjax.metrics._cells import rate
from rfjax.metrics._rows import Rows, read


def _power(log: jax.Array, exponent: jax.Array) -> jax.Array:
  """(r ** exponent - 1) / exponent of log r, and log r at an exponent of 0."""
  safe = jnp.where(exponent == 0, 1, exponent)
  return jnp.where(exponent == 0, log, jnp.expm1(safe * log) / safe)


def _terms(share: jax.Array, alpha: jax.Array) -> jax.Array:
  """What shares of the mean add: (r^a - 1) / (a (a - 1)), less what has mean 0 where a is large.

  Each form is exact to all digits about one of the limits, a = 0 and a = 1.
  """
  small, positive = alpha < 0.5, share > 0
  low, high = jnp.where(small, alpha, 0), jnp.where(small, 1, alpha)
  log = jnp.log(jnp.where(positive, share, 1))
  of_none = jnp.where(low > 0, 1 / (jnp.where(low > 0, low, 1) * (1 - low)), jnp.inf)
  by_low = jnp.where(positive, _power(log, low) / (low - 1), of_none)
  return jnp.where(small, by_low, share * _power(log, high - 1) / high)


def _entropy(benefit: jax.Array, weight: jax.Array, alpha: Any) -> jax.Array:
  """The largest generalized entropy of columns of benefits [M, K] with weights [M]."""
  alpha = jnp.asarray(alpha, benefit.dtype)
  weight = weight[:, None]
  total = jnp.sum(weight)
  mean = ratio(jnp.sum(weight * benefit, axis=0), total)
  terms = _terms(ratio(benefit, jnp.broadcast_to(mean, benefit.shape), empty=1.0), alpha)
  counted = jnp.where(weight > 0, weight * terms, 0)  # infinite terms of padding would be NaN
  return jnp.max(ratio(jnp.sum(counted, axis=0), total))


def _over_rows(rows: Rows, alpha: Any) -> jax.Array:
  y, p = rows.one_vs_rest()
  return _entropy(p - y + 1, rows.weight, alpha)


def generalized_entropy(
  y_true: ArrayLike | Batch,
  y_pred: ArrayLike | None = None,
  *,
  num_classes: int | None = None,
  weight: ArrayLike | None = None,
  alpha: Any = 2.0,
  soft: bool = False,
) -> jax.Array:
  r"""The inequality of benefit among rows, where a false positive gains and a false negative loses.

  $$\frac{1}{\alpha (\alpha - 1)} \Big( \frac{1}{n} \sum_i
  \Big( \frac{b_i}{\mu} \Big)^\alpha - 1 \Big), \qquad b_i = \hat y_i - y_i + 1, \quad
  \mu = \frac{1}{n} \sum_i b_i$$

  of weighted means. Its limits are the mean of -ln(b / mu) at 0, and at 1 that of
  (b / mu) ln(b / mu), which is `theil_index`; at 2 it is half the square of
  `coefficient_of_variation`.

  Args:
    y_true: labels [N], integers in [0, C); or a filled `Batch`, and nothing else.
    y_pred: as in `accuracy`.
    num_classes: as in `selection_rate`.
    weight: as in `accuracy`.
    alpha: any number, the larger the more it looks at large benefits; may be traced.
    soft: as in `accuracy`.

  Returns:
    [], at least 0, where 0 is equal: the largest over the C classes one-vs-rest if C > 2. Infinite
    for alpha of at most 0 where a benefit is 0, which a hard false negative has.

  Raises:
    ValueError: for bad labels, predictions, weights, lengths or alpha.

  References:
    Speicher, Heidari, Grgic-Hlaca, Gummadi, Singla, Weller, Zafar, A unified approach to
    quantifying algorithmic unfairness: measuring individual and group unfairness via inequality
    indices, KDD 2018.

  Examples:
    >>> from rfjax import metrics
    >>> round(float(metrics.generalized_entropy([1, 0, 1, 0], [1, 1, 0, 0])), 4)
    0.25
  """
  _check.number("alpha", alpha, -np.inf, np.inf, open_low=True, open_high=True)
  rows = read(
    "generalized_entropy", y_true, y_pred, None, None, num_classes, weight, soft, overall=True
  )
  return _over_rows(rows, alpha)


def theil_index(
  y_true: ArrayLike | Batch,
  y_pred: ArrayLike | None = None,
  *,
  num_classes: int | None = None,
  weight: ArrayLike | None = None,
  soft: bool = False,
) -> jax.Array:
  r"""The generalized entropy of benefit at alpha = 1.

  $$\frac{1}{n} \sum_i \frac{b_i}{\mu} \ln \frac{b_i}{\mu}, \qquad b_i = \hat y_i - y_i + 1$$

  Args:
    y_true: as in `generalized_entropy`.
    y_pred: as in `accuracy`.
    num_classes: as in `selection_rate`.
    weight: as in `accuracy`.
    soft: as in `accuracy`.

  Returns:
    [], at least 0, where 0 is equal, and at most ln n of equal weights: the largest over the C
    classes one-vs-rest if C > 2.

  Raises:
    ValueError: for bad labels, predictions, weights or lengths.

  References:
    Speicher, Heidari, Grgic-Hlaca, Gummadi, Singla, Weller, Zafar, A unified approach to
    quantifying algorithmic unfairness: measuring individual and group unfairness via inequality
    indices, KDD 2018.

  Examples:
    >>> from rfjax import metrics
    >>> round(float(metrics.theil_index([1, 0, 1, 0], [1, 1, 0, 0])), 4)
    0.3466
  """
  rows = read("theil_index", y_true, y_pred, None, None, num_classes, weight, soft, overall=True)
  return _over_rows(rows, 1.0)


def coefficient_of_variation(
  y_true: ArrayLike | Batch,
  y_pred: ArrayLike | None = None,
  *,
  num_classes: int | None = None,
  weight: ArrayLike | None = None,
  soft: bool = False,
) -> jax.Array:
  r"""The standard deviation of benefit relative to its mean.

  $$\frac{1}{\mu} \sqrt{\frac{1}{n} \sum_i (b_i - \mu)^2}, \qquad b_i = \hat y_i - y_i + 1$$

  It is the root of twice the generalized entropy at alpha = 2.

  Args:
    y_true: as in `generalized_entropy`.
    y_pred: as in `accuracy`.
    num_classes: as in `selection_rate`.
    weight: as in `accuracy`.
    soft: as in `accuracy`.

  Returns:
    [], at least 0, where 0 is equal: the largest over the C classes one-vs-rest if C > 2.

  Raises:
    ValueError: for bad labels, predictions, weights or lengths.

  References:
    Speicher, Heidari, Grgic-Hlaca, Gummadi, Singla, Weller, Zafar, A unified approach to
    quantifying algorithmic unfairness: measuring individual and group unfairness via inequality
    indices, KDD 2018.

  Examples:
    >>> from rfjax import metrics
    >>> round(float(metrics.coefficient_of_variation([1, 0, 1, 0], [1, 1, 0, 0])), 4)
    0.7071
  """
  rows = read(
    "coefficient_of_variation", y_true, y_pred, None, None, num_classes, weight, soft, overall=True
  )
  twice = 2 * _over_rows(rows, 2.0)
  # The slope of a root at 0 is infinite, and times 0 not a number.
  return jnp.where(twice > 0, jnp.sqrt(jnp.where(twice > 0, twice, 1)), 0)


def between_group_generalized_entropy(
  y_true: ArrayLike | Batch,
  y_pred: ArrayLike | None = None,
  group: ArrayLike | None = None,
  *,
  num_groups: int | None = None,
  num_classes: int | None = None,
  weight: ArrayLike | None = None,
  alpha: Any = 2.0,
  soft: bool = False,
) -> jax.Array:
  r"""The part of the inequality of benefit that lies between groups.

  $$\frac{1}{\alpha (\alpha - 1)} \sum_g \frac{n_g}{n}
  \Big( \Big( \frac{\mu_g}{\mu} \Big)^\alpha - 1 \Big)$$

  with the mean benefit of a group. It is `generalized_entropy` when each row gets what its group
  has on average; the rest lies within groups. Rows without a group do not count.

  Args:
    y_true: as in `demographic_parity_difference`.
    y_pred: as in `demographic_parity_difference`.
    group: as in `demographic_parity_difference`.
    num_groups: as in `demographic_parity_difference`.
    num_classes: as in `demographic_parity_difference`.
    weight: as in `demographic_parity_difference`.
    alpha: as in `generalized_entropy`.
    soft: as in `demographic_parity_difference`.

  Returns:
    [], at least 0, where 0 is fair: the largest over the C classes one-vs-rest if C > 2. A group
    without rows is left out, with a UserWarning outside jit.

  Raises:
    ValueError: for bad labels, predictions, groups, weights, lengths or alpha.

  References:
    Speicher, Heidari, Grgic-Hlaca, Gummadi, Singla, Weller, Zafar, A unified approach to
    quantifying algorithmic unfairness: measuring individual and group unfairness via inequality
    indices, KDD 2018.

  Examples:
    >>> from rfjax import metrics
    >>> y, y_pred, group = [1, 0, 1, 0], [1, 1, 0, 0], [0, 0, 1, 1]
    >>> round(float(metrics.between_group_generalized_entropy(y, y_pred, group)), 4)
    0.125
  """
  _check.number("alpha", alpha, -np.inf, np.inf, open_low=True, open_high=True)
  name = "between_group_generalized_entropy"
  rows = read(name, y_true, y_pred, group, num_groups, num_classes, weight, soft)
  selected, (y, _) = rate(rows, "selection_rate"), rows.one_vs_rest()
  others = group_sum(rows.weight[:, None] * (1 - y), rows.group, rows.num_groups)
  benefit = ratio(selected.hits + others, selected.size)
  return _entropy(benefit, selected.size[:, 0], alpha)
