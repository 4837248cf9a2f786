"""The error-tolerant program: a ratio of rates that holds though some groups were perturbed."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike

from rfjax import metrics
from rfjax.core import Batch, Transform, _check
from rfjax.core import ratio as divide
from rfjax.fairness.inprocessing._constraints import how_many
from rfjax.fairness.inprocessing._lagrangian import ascend
from rfjax.metrics._cells import STATISTICS

_ROUNDING = 1e-6


def tolerated_ratio(
  ratio: Any, eta: Any, least_share: ArrayLike, sizes: ArrayLike | None = None
) -> jax.Array:
  r"""What is left of a ratio of rates, at worst, where a share of the groups is perturbed.

  A rate is $P(E \mid E')$, such as of being accepted. A classifier has a ratio of at least tau,
  $\min_g r_g / \max_g r_g$, on true data, on which each group has a share of at least $\lambda_g$
  of all rows in both events, $P(E, E', z = g) \ge \lambda_g$. On data of which a share $\eta$ of
  the rows has any other group, its ratio is at least

  $$\tau\, \Bigl(\frac{1 - \eta / \lambda}{1 + \eta / \lambda}\Bigr)^2, \qquad
  \lambda = \min_g \lambda_g,$$

  and where the shares $\gamma_g = P(E', z = g)$ of the denominators are known, at least

  $$\tau\, \min_{g \ne h}\; \min_{0 \le a \le \eta}\;
  \frac{1 - a / \lambda_g}{1 + (b - a) / \gamma_g} \cdot
  \frac{1 + (a - b) / \gamma_h}{1 + a / \lambda_h}, \qquad b = \eta - a,$$

  which is larger, and as large as it can be: a share a of the rows moves from g to h, among those
  that E has, and a share b back, among the others. The inner minimum is at an end or at a root of a
  quadratic equation. The first one is the paper's; its power may be 1 as well, as an enumeration
  has shown, since the second one is never smaller than that.

  Args:
    ratio: tau, in [0, 1]; may be traced.
    eta: the share of perturbed rows, at least 0 and at most the least of lambda; may be traced.
    least_share: lambda, in (0, 1]: a number, or one a group, [G]; may be traced.
    sizes: gamma, [G], at least lambda; may be traced. None where they are not known, as where what
      a denominator counts hangs on decisions.

  Returns:
    [], in [0, tau].

  Raises:
    ValueError: for values out of range, or shapes that do not match.

  References:
    Celis, Mehrotra, Vishnoi, Fair Classification with Adversarial Perturbations, NeurIPS 2021.

  Examples:
    >>> from rfjax import convergence
    >>> round(float(convergence.tolerated_ratio(0.8, 0.05, 0.2)), 3)
    0.288
    >>> round(float(convergence.tolerated_ratio(0.8, 0.05, [0.2, 0.2], [0.5, 0.5])), 3)
    0.587
  """
  least, sizes = _check_shares(ratio, eta, 0.0, least_share, sizes)
  return _tolerated(ratio, eta, least, sizes)


def _check_shares(
  tau: Any, eta: Any, slack: Any, least_share: Any, sizes: Any
) -> tuple[jax.Array, jax.Array | None]:
  _check.number("ratio", tau, 0.0, 1.0)
  _check.number("eta", eta, 0.0, 1.0)
  _check.number("slack", slack, 0.0, 1.0)
  least = _check.numbers("least_share", least_share, 0.0, 1.0, open_low=True)
  if np.ndim(least) > 1:
    raise ValueError(f"least_share must be a number, or one a group, got shape {np.shape(least)}")
  if not _check.traced(eta, slack, least):
    low, lost = np.min(least), np.asarray(eta) + np.asarray(slack)
    if lost > low + _ROUNDING:
      raise ValueError(
        f"eta + slack must be at most the least of least_share, {low:g}, got {lost:g}: more than a"
        " whole group would be perturbed"
      )
  if sizes is None:
    return jnp.asarray(least, float), None
  sizes = _check.numbers("sizes", sizes, 0.0, 1.0, open_low=True)
  if np.ndim(sizes) != 1 or np.shape(least) not in ((), np.shape(sizes)):
    raise ValueError(
      f"sizes must be given as one share of each group, got shape {np.shape(sizes)} where"
      f" least_share has {np.shape(least)}"
    )
  if not _check.traced(least, sizes) and np.any(np.asarray(sizes) < np.asarray(least) - _ROUNDING):
    raise ValueError("sizes must be at least least_share: a numerator counts less than all rows")
  return jnp.broadcast_to(jnp.asarray(least, float), sizes.shape), jnp.asarray(sizes, float)


def _tolerated(tau: Any, lost: Any, least: jax.Array, sizes: jax.Array | None) -> jax.Array:
  if sizes is None:
    low = jnp.min(least)
    return tau * (jnp.maximum(low - lost, 0) / (low + lost)) ** 2
  first, second = np.nonzero(~np.eye(sizes.size, dtype=bool))
  part, other, size, of = least[first], least[second], sizes[first], sizes[second]

  def left(a: jax.Array) -> jax.Array:
    """Of each pair [m], what is left of its ratio."""
    b = lost - a
    falls = divide(jnp.maximum(part - a, 0) * size, part * (size + b - a))
    return falls * jnp.maximum(of + a - b, 0) * other / (of * (other + a))

  u, v = 2 * part - size - lost, 2 * other - of + lost
  square = 2 * (u + v)
  linear = u * (2 * other + of - lost) - v * (size + lost + 2 * part)
  constant = u * other * (of - lost) + v * part * (size + lost)
  root = jnp.sqrt(jnp.maximum(linear**2 - 4 * square * constant, 0))
  sum_ = -(linear + jnp.where(linear < 0, -root, root)) / 2
  stationary = [divide(sum_, square), divide(constant, sum_)]
  ends = [jnp.zeros_like(part), jnp.full_like(part, lost)]
  return tau * jnp.min(jnp.stack([left(jnp.clip(a, 0, lost)) for a in ends + stationary]))


class ToleratedRates(NamedTuple):
  """Ratios of rates and shares, as constraints.

  Attributes:
    ratio: what a rate may be of another one.
    floor: what share of all rows each group must have in the numerator, [] or [G].
    statistic: a name of `metrics.group_rates`.
    temperature: of what is expected of a random decision.
    by: the method, for messages.
  """

  ratio: jax.Array
  floor: jax.Array
  statistic: str
  temperature: Any
  by: str

  def values(self, batch: Batch, *, soft: bool) -> jax.Array:
    """The constraints [m], each at most 0 where it holds, and 0 where a group has no rows."""
    batch.require("logits", "group", by=self.by)
    if self.floor.shape not in ((), (batch.num_groups,)):
      raise ValueError(
        f"least_share is of {self.floor.size} groups, but the data set has num_groups"
        f" {batch.num_groups}"
      )
    if soft:
      batch = batch.replace(logits=batch.logits / self.temperature)
    rate = metrics.group_rates(self.statistic, batch, soft=soft)
    value, valid = rate.value, rate.valid
    low, high = np.nonzero(~np.eye(len(value), dtype=bool))
    apart = jnp.where(valid[low] & valid[high], self.ratio * value[high] - value[low], 0)
    share = rate.hits / jnp.maximum(jnp.sum(batch.valid), 1)
    missing = jnp.where(valid, jnp.reshape(self.floor, (-1, 1)) - share, 0)
    return jnp.concatenate([apart.ravel(), missing.ravel()])

  def count(self, data: Batch) -> int:
    """The number m of constraints on a data set."""
    return how_many(lambda batch: self.values(batch, soft=True), data, self.by)


def tolerated_rates(
  tau: Any,
  eta: Any,
  least_share: Any,
  sizes: Any,
  statistic: str,
  slack: Any,
  temperature: Any,
  by: str,
) -> ToleratedRates:
  """Checks the settings."""
  least, sizes = _check_shares(tau, eta, slack, least_share, sizes)
  _check.choice("statistic", statistic, tuple(STATISTICS))
  _check.number("temperature", temperature, 0.0, open_low=True, open_high=True)
  lost = eta + slack
  bound = _tolerated(tau, lost, least, sizes)
  return ToleratedRates(bound, least - lost, statistic, temperature, by)


def error_tolerant(
  ratio: float | jax.Array,
  eta: float | jax.Array,
  least_share: ArrayLike,
  statistic: str = "selection_rate",
  *,
  sizes: ArrayLike | None = None,
  slack: float | jax.Array = 0.0,
  hard: bool = True,
  radius: float | jax.Array | None = None,
  temperature: float | jax.Array = 1.0,
  tx: optax.GradientTransformation | None = None,
) -> Transform:
  r"""The error-tolerant program: fair enough on given groups that what is fair on true ones passes.

  An adversary has seen the data and given a share eta of the rows any other group. Of the rates
  $r_g = P(E \mid E', \hat z = g)$ of the given groups, by multipliers as in
  `inprocessing.lagrangian`,

  $$\min_\theta\, \mathrm{risk}(\theta) \quad\text{s.t.}\quad
  \frac{\min_g r_g}{\max_g r_g} \ge \hat\tau(\tau, \eta + \Delta, \lambda), \qquad
  P(E, E', \hat z = g) \ge \lambda_g - \eta - \Delta,$$

  with the $\hat\tau$ of `tolerated_ratio`: the network of least risk that has a ratio of tau on the
  true groups, and shares of at least lambda in both events, meets the constraints whatever the
  adversary did, so what is found has no larger risk; and what meets them can be unfair on the true
  groups only as far as eta and lambda allow. Without perturbation, eta = 0, it is the plain ratio
  of tau. The constraints are $\hat\tau r_h - r_g \le 0$ for each ordered pair of groups, and one of
  the share for each group; one-vs-rest for each class if there are more than two. A constraint of
  a group without rows in the batch is 0 there.

  For equalized odds, chain two of them, of true and of false positive rates.

  Args:
    ratio: tau, in [0, 1]; may be traced.
    eta: the share of perturbed rows, at least 0; may be traced.
    least_share: lambda, in (0, 1], at least eta + slack: a number, or one a group, [G]; may be
      traced.
    statistic: a name of `metrics.group_rates`: "selection_rate" for demographic parity,
      "true_positive_rate" for equal opportunity.
    sizes: gamma, [G], as in `tolerated_ratio`, for the larger bound; may be traced.
    slack: Delta, what sampling may add to eta, at least 0; may be traced.
    hard: whether multipliers follow decisions, or what is expected of random ones.
    radius: as in `inprocessing.lagrangian`.
    temperature: of the probabilities of the network's rates, above 0; may be traced.
    tx: the optimizer of the multipliers; SGD at 0.05 when None.

  Returns:
    The transform, with the state of `inprocessing.lagrangian`; it writes penalty, and needs group
    in training only.

  Raises:
    ValueError: for values out of range, or where the group is missing.

  References:
    Celis, Mehrotra, Vishnoi, Fair Classification with Adversarial Perturbations, NeurIPS 2021.
    Cotter, Jiang, Sridharan, Two-player games for efficient non-convex constrained optimization,
    ALT 2019.

  Examples:
    >>> import jax, optax, rfjax
    >>> from rfjax import architectures, convergence
    >>> data = rfjax.Batch.from_arrays([[-2.0], [-1.0], [1.0], [2.0]], [0, 0, 1, 1], [0, 0, 1, 1])
    >>> method = convergence.error_tolerant(0.8, 0.05, 0.2)
    >>> state, log = rfjax.fit(architectures.logistic(), method, optax.adam(0.1), data,
    ...                        key=jax.random.key(0), epochs=5)
    >>> state.method.multipliers.params.shape
    (4,)
  """
  rates = tolerated_rates(
    ratio, eta, least_share, sizes, statistic, slack, temperature, "error_tolerant"
  )
  return ascend(rates, hard, radius, tx)
