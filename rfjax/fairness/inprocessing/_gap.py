"""Gap penalties: how far apart the groups are by any statistic, made part of the objective."""

from collections.abc import Sequence
from typing import get_args

import jax

from rfjax import metrics
from rfjax.core import Transform, _check
from rfjax.fairness.inprocessing._elements import rate_penalty
from rfjax.metrics._gap import Method


def gap(
  strength: float | jax.Array,
  statistics: str | Sequence[str] = "selection_rate",
  *,
  method: Method = "between_groups",
  temperature: float | jax.Array = 1.0,
  decay: float | jax.Array = 0.0,
) -> Transform:
  r"""Adds the differences between groups, of what is expected of a random decision.

  $$\mathrm{penalty} \leftarrow \mathrm{penalty} + \lambda \sum_s
  \bigl(\max_g r^s_g - \min_g r^s_g\bigr) \quad\text{or}\quad
  \lambda \sum_s \max_g |r^s_g - r^s|$$

  with the rates r of `metrics.group_rates` by softmax(logits / temperature): "selection_rate" asks
  for demographic parity, "true_positive_rate" for equal opportunity, together with
  "false_positive_rate" for equalized odds. A group without rows is left out.

  A penalty on probabilities leaves a gap between decisions, which a temperature below 1 narrows.
  Small cells are often missing from small batches: with a decay above 0 numerators and denominators
  are moving averages, and the gradient is that of the present batch's share.

  Args:
    strength: lambda, at least 0; may be traced.
    statistics: one or more names of `metrics.group_rates`; static.
    method: as in `metrics.difference`.
    temperature: above 0; may be traced.
    decay: of the averages, in [0, 1); may be traced.

  Returns:
    The transform; it writes penalty, and needs group in training only.

  Raises:
    ValueError: for values out of range, or where the group is missing.

  References:
    Buyl, Defrance, De Bie, fairret: a framework for differentiable fairness regularization terms,
    ICLR 2024 (the statistics).
    Han, Chi, Chen, et al., FFB: a fair fairness benchmark for in-processing group fairness methods,
    ICLR 2024 (the differences).

  Examples:
    >>> import jax, optax, rfjax
    >>> from rfjax import architectures
    >>> from rfjax.fairness import inprocessing
    >>> data = rfjax.Batch.from_arrays([[-2.0], [-1.0], [1.0], [2.0]], [0, 0, 1, 1], [0, 0, 1, 1])
    >>> state, log = rfjax.fit(architectures.logistic(), inprocessing.gap(0.5), optax.adam(0.1),
    ...                        data, key=jax.random.key(0), epochs=5)
  """
  _check.choice("method", method, get_args(Method))
  apart = lambda rate: metrics.difference(rate, method=method)
  return rate_penalty("gap", strength, statistics, temperature, decay, apart)
