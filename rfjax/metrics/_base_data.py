"""How unequal the data are before any model: sizes of groups, and their labels."""

from collections.abc import Callable
from typing import Literal, get_args

import jax
import jax.numpy as jnp
from jax.scipy.special import rel_entr
from jax.typing import ArrayLike

from rfjax.core import Batch, _check, ratio
from rfjax.metrics._cells import outcomes, rate
from rfjax.metrics._gap import DIFFERENCE, RATIO, Method
from rfjax.metrics._rows import read_labels

Divergence = Literal["kl", "js", "tvd", "lp", "ks"]


def base_rate_difference(
  y_true: ArrayLike | Batch,
  group: ArrayLike | None = None,
  *,
  num_groups: int | None = None,
  num_classes: int | None = None,
  weight: ArrayLike | None = None,
  method: Method = "between_groups",
) -> jax.Array:
  r"""How far apart the shares of positive labels of the groups are.

  $$\max_g b_g - \min_g b_g \quad\text{or}\quad \max_g |b_g - b|, \qquad
  b_g = P(y = 1 \mid g), \quad b = P(y = 1)$$

  It is the `demographic_parity_difference` that a perfect model has.

  Args:
    y_true: labels [N], integers in [0, C); or a `Batch`, and nothing else.
    group: sensitive attribute [N], integers in [0, G), or soft membership [N, G], where a row of
      zeros is missing and counts nowhere.
    num_groups: G; needed inside jit for a group of integers, and seen outside it when None.
    num_classes: C; needed inside jit, and seen outside it when None.
    weight: [N], at least 0, where 0 is padding; all 1 when None.
    method: as in `demographic_parity_difference`.

  Returns:
    [], in [0, 1], where 0 is equal: the largest over the C classes one-vs-rest if C > 2. A group
    without rows is left out, with a UserWarning outside jit; 0 when fewer than two remain.

  Raises:
    ValueError: for bad labels, groups, weights, lengths or options.

  References:
    Bellamy et al., AI Fairness 360: an extensible toolkit for detecting and mitigating algorithmic
    bias, IBM Journal of Research and Development, 2019.

  Examples:
    >>> from rfjax import metrics
    >>> float(metrics.base_rate_difference([1, 1, 1, 0], [0, 0, 1, 1]))
    0.5
  """
  rows = read_labels("base_rate_difference", y_true, group, num_groups, num_classes, weight)
  return DIFFERENCE.of(rate(rows, "selection_rate"), method=method)


def base_rate_ratio(
  y_true: ArrayLike | Batch,
  group: ArrayLike | None = None,
  *,
  num_groups: int | None = None,
  num_classes: int | None = None,
  weight: ArrayLike | None = None,
  method: Method = "between_groups",
) -> jax.Array:
  r"""How far apart the shares of positive labels of the groups are, as a ratio.

  $$\frac{\min_g b_g}{\max_g b_g} \quad\text{or}\quad
  \min_g \min\Big(\frac{b_g}{b}, \frac{b}{b_g}\Big), \qquad
  b_g = P(y = 1 \mid g), \quad b = P(y = 1)$$

  Args:
    y_true: as in `base_rate_difference`.
    group: as in `base_rate_difference`.
    num_groups: as in `base_rate_difference`.
    num_classes: as in `base_rate_difference`.
    weight: as in `base_rate_difference`.
    method: as in `demographic_parity_difference`.

  Returns:
    [], in [0, 1], where 1 is equal: the smallest over the C classes one-vs-rest if C > 2. A group
    without rows is left out, with a UserWarning outside jit; 1 when fewer than two remain, and when
    all rates are 0.

  Raises:
    ValueError: for bad labels, groups, weights, lengths or options.

  References:
    Bellamy et al., AI Fairness 360: an extensible toolkit for detecting and mitigating algorithmic
    bias, IBM Journal of Research and Development, 2019.

  Examples:
    >>> from rfjax import metrics
    >>> float(metrics.base_rate_ratio([1, 1, 1, 0], [0, 0, 1, 1]))
    0.5
  """
  rows = read_labels("base_rate_ratio", y_true, group, num_groups, num_classes, weight)
  return RATIO.of(rate(rows, "selection_rate"), method=method)


def class_imbalance(
  y_true: ArrayLike | Batch,
  group: ArrayLike | None = None,
  *,
  num_groups: int | None = None,
  num_classes: int | None = None,
  weight: ArrayLike | None = None,
) -> jax.Array:
  r"""How unequal the sizes of the groups are, where the field calls a group a class.

  $$\max_{g, h} \frac{n_g - n_h}{n_g + n_h}
  = \frac{\max_g n_g - \min_g n_g}{\max_g n_g + \min_g n_g}$$

  Args:
    y_true: labels [N], which are not read beyond a check; or a `Batch`, and nothing else.
    group: as in `base_rate_difference`.
    num_groups: as in `base_rate_difference`.
    num_classes: as in `base_rate_difference`.
    weight: as in `base_rate_difference`.

  Returns:
    [], in [0, 1], where 0 is equal and 1 means that a group has no rows, which a UserWarning says
    outside jit; 0 when no row counts.

  Raises:
    ValueError: for bad labels, groups, weights or lengths.

  References:
    Hardt et al., Amazon SageMaker Clarify: machine learning bias detection and explainability in
    the cloud, KDD 2021.

  Examples:
    >>> from rfjax import metrics
    >>> float(metrics.class_imbalance([1, 1, 1, 0], [0, 0, 0, 1]))
    0.5
  """
  rows = read_labels("class_imbalance", y_true, group, num_groups, num_classes, weight)
  size = rate(rows, "accuracy").size[:, 0]
  return ratio(jnp.max(size) - jnp.min(size), jnp.max(size) + jnp.min(size))


def _kl(p: jax.Array, q: jax.Array) -> jax.Array:
  return jnp.sum(rel_entr(p, q), axis=-1)


_DIVERGENCES: dict[str, Callable[[jax.Array, jax.Array], jax.Array]] = {
  "kl": _kl,
  "js": lambda p, q: (_kl(p, (p + q) / 2) + _kl(q, (p + q) / 2)) / 2,
  "tvd": lambda p, q: jnp.sum(jnp.abs(p - q), axis=-1) / 2,
  "lp": lambda p, q: jnp.sqrt(jnp.sum((p - q) ** 2, axis=-1)),
  "ks": lambda p, q: jnp.max(jnp.abs(p - q), axis=-1),
}


def label_divergence(
  y_true: ArrayLike | Batch,
  group: ArrayLike | None = None,
  *,
  num_groups: int | None = None,
  num_classes: int | None = None,
  weight: ArrayLike | None = None,
  kind: Divergence = "kl",
) -> jax.Array:
  r"""How much the distributions of labels of two groups differ, of the two that differ most.

  $$\max_{g, h} \sum_k p_{gk} \ln \frac{p_{gk}}{p_{hk}}, \qquad p_{gk} = P(y = k \mid g)$$

  for "kl", and for other kinds, with m the mean of p and q,

  | kind | of distributions p and q |
  |---|---|
  | kl | Kullback-Leibler divergence, sum of p ln(p / q) |
  | js | Jensen-Shannon divergence, (KL(p, m) + KL(q, m)) / 2, in [0, ln 2] |
  | tvd | total variation, half the sum of abs(p - q), in [0, 1] |
  | lp | Euclidean norm of p - q |
  | ks | largest abs(p - q), in [0, 1] |

  Args:
    y_true: as in `base_rate_difference`.
    group: as in `base_rate_difference`.
    num_groups: as in `base_rate_difference`.
    num_classes: as in `base_rate_difference`.
    weight: as in `base_rate_difference`.
    kind: a name of the table.

  Returns:
    [], at least 0, where 0 is equal; infinite for "kl" where a group lacks a class that another
    has. A group without rows is left out, with a UserWarning outside jit.

  Raises:
    ValueError: for bad labels, groups, weights, lengths or kinds.

  References:
    Hardt et al., Amazon SageMaker Clarify: machine learning bias detection and explainability in
    the cloud, KDD 2021.

  Examples:
    >>> from rfjax import metrics
    >>> float(metrics.label_divergence([1, 1, 1, 0], [0, 0, 1, 1], kind="tvd"))
    0.5
  """
  _check.choice("kind", kind, get_args(Divergence))
  rows = read_labels("label_divergence", y_true, group, num_groups, num_classes, weight)
  rates = outcomes(rate(rows, "selection_rate"))
  apart = _DIVERGENCES[kind](rates.value[:, None], rates.value)
  both = rates.valid[:, :1] & rates.valid[:, 0]
  return jnp.max(apart, where=both, initial=0)
