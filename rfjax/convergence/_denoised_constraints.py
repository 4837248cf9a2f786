"""Denoised constraints: ratios of rates of the true groups, from given groups and their noise."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from rfjax.convergence._corrected_groups import corrected_groups
from rfjax.convergence._error_tolerant import ToleratedRates
from rfjax.core import Transform, _check
from rfjax.fairness.inprocessing._lagrangian import ascend
from rfjax.metrics._cells import STATISTICS

_NAME = "denoised_constraints"


def denoised_constraints(
  ratio: float | jax.Array,
  matrix: ArrayLike,
  statistic: str = "selection_rate",
  *,
  slack: float | jax.Array = 0.01,
  least_share: ArrayLike = 0.1,
  hard: bool = True,
  radius: float | jax.Array | None = None,
  temperature: float | jax.Array = 1.0,
  tx: optax.GradientTransformation | None = None,
) -> Transform:
  r"""The denoised program: the constraints are on the true groups, whose rates are estimated.

  $$\min_\theta\, \mathrm{risk}(\theta) \quad\text{s.t.}\quad
  \frac{q_g}{\mu_g} \ge (\tau - \delta)\, \frac{q_h}{\mu_h}, \qquad q_g \ge \lambda_g - \delta,$$
  $$q = \hat q\, H^{-1}, \quad \mu = \hat\mu\, H^{-1}, \qquad
  \hat q_g = P(E, E', \tilde z = g), \quad \hat\mu_g = P(E', \tilde z = g)$$

  for each ordered pair of groups and each group, by multipliers as in `inprocessing.lagrangian`.
  The rates are $P(E \mid E')$: of being accepted for statistical rate, or of any statistic. The
  second constraint keeps the program stable: where hardly anybody of a group is accepted, q is
  mostly noise. For two groups the authors multiply both by 1 - H_01 - H_10.

  The corrected shares are those of the batch: with a full batch they are the authors' constants.
  In small batches a group whose corrected size is not above 0 is left out.

  Args:
    ratio: tau in [0, 1]; may be traced.
    matrix: H [G, G], P(given group | true group), invertible; or one for each label [C, G, G]. May
      be traced.
    statistic: a name of `metrics.group_rates`: "selection_rate" for demographic parity,
      "false_positive_rate" as in the authors' experiments, "true_positive_rate".
    slack: delta, for what sampling adds, at least 0; may be traced.
    least_share: lambda in [0, 1]: a number, or one a group, [G]; may be traced.
    hard: whether multipliers follow decisions, or what is expected of random ones.
    radius: as in `inprocessing.lagrangian`.
    temperature: of the probabilities of the network's rates, above 0; may be traced.
    tx: the optimizer of the multipliers; SGD at 0.05 when None.

  Returns:
    The transform, with the state of `inprocessing.lagrangian`; it writes penalty, and needs group
    in training only.

  Raises:
    ValueError: for values out of range, a matrix that is no transition or not invertible, or where
      the group is missing.

  References:
    Celis, Huang, Keswani, Vishnoi, Fair Classification with Noisy Protected Attributes: A Framework
    with Provable Guarantees, ICML 2021.

  Examples:
    >>> import jax, optax, rfjax
    >>> from rfjax import architectures, convergence
    >>> data = rfjax.Batch.from_arrays([[-2.0], [-1.0], [1.0], [2.0]], [0, 0, 1, 1], [0, 0, 1, 1])
    >>> method = convergence.denoised_constraints(0.8, [[0.9, 0.1], [0.2, 0.8]])
    >>> state, log = rfjax.fit(architectures.logistic(), method, optax.adam(0.1), data,
    ...                        key=jax.random.key(0), epochs=5)
    >>> state.method.multipliers.params.shape
    (4,)
  """
  _check.number("ratio", ratio, 0.0, 1.0)
  _check.choice("statistic", statistic, tuple(STATISTICS))
  _check.number("slack", slack, 0.0, 1.0)
  _check.number("temperature", temperature, 0.0, open_low=True, open_high=True)
  least = _check.numbers("least_share", least_share, 0.0, 1.0)
  if jnp.ndim(least) > 1:
    raise ValueError(f"least_share must be a number, or one a group, got shape {jnp.shape(least)}")
  bound: Any = jnp.maximum(jnp.asarray(ratio, float) - slack, 0)
  floor = jnp.asarray(least, float) - slack
  rates = ToleratedRates(bound, floor, statistic, temperature, _NAME)
  return corrected_groups(ascend(rates, hard, radius, tx), matrix)
