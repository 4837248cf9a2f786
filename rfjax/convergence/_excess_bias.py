"""Irreducible bias: what no learner can prevent where a share of its data is malicious."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from rfjax.core import _check

CRITERIA = ("demographic_parity", "equal_opportunity")
ACCURACY = ("lost", "kept")
_SUM = 1e-5  # how far from 1 the shares may add up


class ExcessBias(NamedTuple):
  """Lower bounds on what an adversary takes from the best classifier, [...].

  Attributes:
    risk: of the excess risk.
    bias: of the excess difference of the groups' rates.
  """

  risk: jax.Array
  bias: jax.Array


def excess_bias(
  alpha: ArrayLike,
  shares: ArrayLike,
  *,
  criterion: str = "demographic_parity",
  accuracy: str = "lost",
) -> ExcessBias:
  r"""How biased an adversary can make any proper learner, whatever the number of rows.

  An adversary of power alpha replaces each row with probability alpha as it likes. There is a
  finite class of classifiers for which each proper learner meets a distribution with these shares
  and such an adversary, so that with probability at least a half both bounds hold:

  $$\begin{array}{lll}
  \text{parity, lost:} & \mathrm{risk} \ge \min\bigl(\tfrac{\alpha}{1 - \alpha},\, 2 P_0 P_1\bigr) &
  \mathrm{bias} \ge \min\bigl(\tfrac{\alpha}{2 P_0 P_1 (1 - \alpha)},\, 1\bigr) \\
  \text{parity, kept:} & \mathrm{risk} = 0 &
  \mathrm{bias} \ge \min\bigl(\tfrac{\alpha}{2 P_0},\, 1\bigr) \\
  \text{opportunity, lost:} &
  \mathrm{risk} \ge \min\bigl(\tfrac{\alpha}{1 - \alpha},\, 2 Q_0,\, 2 (1 - Q_0 - Q_1)\bigr) &
  \mathrm{bias} \ge \min\bigl(\tfrac{\alpha}{2 (1 - \alpha) Q_0},\, 1,\,
  \tfrac{1 - Q_0 - Q_1}{Q_0}\bigr) \\
  \text{opportunity, kept:} & \mathrm{risk} = 0 &
  \mathrm{bias} \ge \bigl(1 - \tfrac{Q_0}{Q_1}\bigr)
  \min\bigl(\tfrac{\alpha}{2 (1 - \alpha) Q_0},\, 1\bigr)
  \end{array}$$

  with P the shares of the groups, Q those of the groups' rows with label 1 among all rows, and 0
  the rarer one. The smaller a group, the easier it is to be unfair to it. The bounds are tight up
  to constants. They are of classifiers that decide: with randomised ones the loss of accuracy is of
  order alpha for demographic parity and sqrt(alpha) for equal opportunity (Blum et al.).

  Args:
    alpha: the power of the adversary, in [0, 0.5), of any shape; may be traced.
    shares: of two groups, [2], in any order, above 0: P(z), which add up to 1, or P(z, y = 1) for
      equal opportunity, which add up to at most 1; may be traced.
    criterion: "demographic_parity" or "equal_opportunity"; static.
    accuracy: "lost", where risk and fairness both suffer, or "kept", where fairness alone does;
      static.

  Returns:
    The bounds, of the shape of alpha.

  Raises:
    ValueError: for values out of range.

  References:
    Konstantinov, Lampert, On the Impossibility of Fairness-Aware Learning from Corrupted Data,
    Algorithmic Fairness through the Lens of Causality and Robustness workshop, 2022 (theorems 1 to
    4); Fairness-Aware PAC Learning from Corrupted Data, Journal of Machine Learning Research, 2022.
    Blum, Okoroafor, Saha, Stangl, On the Vulnerability of Fairness Constrained Learning to
    Malicious Noise, arXiv 2307.11892, 2023.

  Examples:
    >>> from rfjax import convergence
    >>> [round(float(v), 3) for v in convergence.excess_bias(0.1, [0.2, 0.8])]
    [0.111, 0.347]
  """
  _check.choice("criterion", criterion, CRITERIA)
  _check.choice("accuracy", accuracy, ACCURACY)
  power = _check.numbers("alpha", alpha, 0.0, 0.5, open_high=True)
  given = _check.numbers("shares", shares, 0.0, 1.0, open_low=True)
  parity = criterion == CRITERIA[0]
  _check_shares(given, parity)
  a, share = jnp.asarray(power, float), jnp.asarray(given, float)
  rare, other = jnp.min(share), jnp.max(share)
  odds = a / (1 - a)
  if parity:
    risk = jnp.minimum(odds, 2 * rare * other)
    bias = risk / (2 * rare * other)
    kept = jnp.minimum(a / (2 * rare), 1)
  else:
    risk = jnp.minimum(odds, 2 * jnp.minimum(rare, jnp.maximum(1 - rare - other, 0)))
    bias = risk / (2 * rare)
    kept = (1 - rare / other) * jnp.minimum(odds / (2 * rare), 1)
  if accuracy == "kept":
    return ExcessBias(jnp.zeros_like(kept), kept)
  return ExcessBias(risk, bias)


def _check_shares(shares: ArrayLike, parity: bool) -> None:
  if jnp.shape(shares) != (2,):
    raise ValueError(f"shares must be of two groups, got shape {jnp.shape(shares)}")
  if _check.traced(shares):
    return
  total = float(np.sum(np.asarray(shares, np.float64)))
  if total > 1 + _SUM or (parity and total < 1 - _SUM):
    raise ValueError(f"shares must add up to {'' if parity else 'at most '}1, got {total:g}")
