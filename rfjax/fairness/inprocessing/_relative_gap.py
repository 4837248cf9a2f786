"""Relative gap penalty: how far the rate of each group is from that of all, as a share of it."""

from collections.abc import Sequence
from typing import Literal, get_args

import jax
import jax.numpy as jnp

from rfjax.core import Transform, _check, ratio
from rfjax.fairness.inprocessing._elements import rate_penalty
from rfjax.metrics import Rate

Violation = Literal["norm", "log_sum_exp"]


def relative_gap(
  strength: float | jax.Array,
  statistics: str | Sequence[str] = "selection_rate",
  *,
  violation: Violation = "norm",
  order: float | jax.Array = 1.0,
  temperature: float | jax.Array = 1.0,
  decay: float | jax.Array = 0.0,
) -> Transform:
  r"""Adds how far the rates of the groups are from that of all, relative to it.

  $$v_g = \Bigl| \frac{r_g}{r} - 1 \Bigr|, \qquad \mathrm{penalty} \leftarrow \mathrm{penalty} +
  \lambda \Bigl(\sum_g v_g^p\Bigr)^{1/p} \quad\text{or}\quad
  \lambda \Bigl(\ln \sum_g e^{v_g} - \ln G\Bigr)$$

  with the rates of `gap`, and the rate r of all rows that have a group. Other than a difference it
  weighs the same gap more where rates are low. A group without rows is left out, also of G; of
  several statistics, and of more than two classes one-vs-rest, the violations add. There is none
  where r is 0.

  Args:
    strength: lambda, at least 0; may be traced.
    statistics: one or more names of `metrics.group_rates`; static.
    violation: "norm" or "log_sum_exp", a smooth maximum; static.
    order: p of the norm, at least 1; may be traced.
    temperature: as in `gap`.
    decay: as in `gap`.

  Returns:
    The transform; it writes penalty, and needs group in training only.

  Raises:
    ValueError: for values out of range, or where the group is missing.

  References:
    Buyl, Defrance, De Bie, fairret: a framework for differentiable fairness regularization terms,
    ICLR 2024.

  Examples:
    >>> import rfjax
    >>> from rfjax.fairness import inprocessing
    >>> fair = inprocessing.relative_gap(0.5, "true_positive_rate", violation="log_sum_exp")
  """
  _check.choice("violation", violation, get_args(Violation))
  _check.number("order", order, 1.0, open_high=True)

  def apart(rate: Rate) -> jax.Array:
    overall = Rate(*(jnp.sum(part, axis=0, keepdims=True) for part in rate)).value
    gaps = jnp.where(rate.valid, jnp.abs(ratio(rate.value, overall, empty=1.0) - 1), 0)
    if violation == "norm":
      return jnp.sum(_norm(gaps, order))
    return jnp.sum(_smooth_maximum(gaps, rate.valid))

  return rate_penalty("relative_gap", strength, statistics, temperature, decay, apart)


def _norm(gaps: jax.Array, order: float | jax.Array) -> jax.Array:
  """The norm of gaps [G, K] over the groups, [K], with a slope of 0 where all of them are 0."""
  largest = jax.lax.stop_gradient(jnp.max(gaps, axis=0))
  scale = jnp.where(largest > 0, largest, 1)
  total = jnp.sum((gaps / scale) ** order, axis=0)
  return jnp.where(largest > 0, scale * jnp.where(largest > 0, total, 1) ** (1 / order), 0)


def _smooth_maximum(gaps: jax.Array, valid: jax.Array) -> jax.Array:
  """The logarithm of the mean exponential over valid groups, [K]."""
  some = jnp.any(valid, axis=0)
  counted = jnp.where(valid | ~some, gaps, -jnp.inf)
  number = jnp.where(some, jnp.sum(valid, axis=0), gaps.shape[0])
  return jax.nn.logsumexp(counted, axis=0) - jnp.log(number.astype(gaps.dtype))
