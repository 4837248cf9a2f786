"""Rates as constraints for all groups near the given ones, in total variation."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from rfjax.convergence._extreme_rates import ExtremeRates, Extremes, largest
from rfjax.convergence._group_noise import group_posterior, transition_of_groups
from rfjax.core import Batch, Transform, _check, ratio, stable_order
from rfjax.fairness.inprocessing._constraints import rate_constraints
from rfjax.fairness.inprocessing._lagrangian import ascend
from rfjax.metrics._cells import STATISTICS
from rfjax.metrics._gap import Method
from rfjax.metrics._rows import read

_NAME = "tv_robust_constraints"


def tv_radius(matrix: ArrayLike, shares: ArrayLike) -> jax.Array:
  r"""How far a given group may be from the true one, in total variation.

  $$\mathrm{TV}\bigl(P(\cdot \mid z = g), P(\cdot \mid \tilde z = g)\bigr)
  \le \max\bigl(P(\tilde z \ne g \mid z = g),\, P(z \ne g \mid \tilde z = g)\bigr)$$

  The paper's lemma has the first of the two alone, to which the second is equal where the given
  group is as large as the true one; elsewhere the distance may be larger.

  Args:
    matrix: H [G, G], P(given group | true group), rows of probabilities. May be traced.
    shares: shares or counts of the true groups, [G].

  Returns:
    The radius of each group, [G], in [0, 1].

  Raises:
    ValueError: for a matrix that is no transition.

  References:
    Wang, Guo, Narasimhan, Cotter, Gupta, Jordan, Robust Optimization for Fairness with Noisy
    Protected Groups, NeurIPS 2020.

  Examples:
    >>> from rfjax import convergence
    >>> convergence.tv_radius([[0.75, 0.25], [0.0, 1.0]], [0.5, 0.5]).round(3).tolist()
    [0.25, 0.2...]
  """
  given = jnp.asarray(transition_of_groups(matrix, by_label=False))
  stay, back = (jnp.diagonal(t) for t in (given, group_posterior(given, shares)))
  return jnp.maximum(1 - stay, 1 - back)


def tv_robust_constraints(
  radius: ArrayLike,
  bound: float | jax.Array,
  statistics: str | Sequence[str] = "selection_rate",
  *,
  method: Method = "to_overall",
  hard: bool = True,
  multiplier_radius: float | jax.Array | None = None,
  temperature: float | jax.Array = 1.0,
  tx: optax.GradientTransformation | None = None,
) -> Transform:
  r"""DRO for noisy groups: the rates are within a bound for all groups near the given ones.

  $$\min_\theta\, \mathrm{risk}(\theta) \quad\text{s.t.}\quad
  \max_{\mathrm{TV}(\tilde p_g,\, \hat p_g) \le \gamma_g}
  \lvert r(\tilde p_g) - r \rvert \le b \text{ for all } g, \qquad
  r(p) = \frac{\sum_i p_i\, a_i}{\sum_i p_i\, b_i}$$

  with $\hat p_g$ equal on the rows of the given group, and $\tilde p_g$ any distribution over the
  batch, whose rows should be many: with a full batch it is the authors' problem. A true group
  within the radius meets the bound. The rates are of being accepted, or any statistic a / b of
  `metrics.group_rates`.

  The inner maximum is exact. For a rate r, no $\tilde p$ has a larger
  $\sum_i \tilde p_i (a_i - r b_i)$ than that which moves $\gamma$ from the rows where the term is
  least to one where it is largest; with the rate that it has for the next r, this is Dinkelbach's
  iteration. The network descends through the rates at the maximum. The authors' code ascends on
  weights of all rows by projected gradients instead.

  Args:
    radius: gamma, in [0, 1], such as `tv_radius`: a number, or one a group, [G]; may be traced.
      The authors' bound on the L1 distance is twice as large.
    bound: b, at least 0; may be traced.
    statistics: one or more names of `metrics.group_rates`.
    method: which rates are compared.
    hard: whether multipliers follow decisions, or what is expected of random ones.
    multiplier_radius: what the multipliers may add up to; 1 in the authors' code, None for no
      limit. May be traced.
    temperature: of the probabilities of the network's rates, above 0; may be traced.
    tx: the optimizer of the multipliers; SGD at 0.05 when None.

  Returns:
    The transform, with the state of `inprocessing.lagrangian`; it writes penalty, and needs group
    in training only.

  Raises:
    ValueError: for values out of range, a radius of other groups, or where the group is missing.

  References:
    Wang, Guo, Narasimhan, Cotter, Gupta, Jordan, Robust Optimization for Fairness with Noisy
    Protected Groups, NeurIPS 2020.
    Dinkelbach, On nonlinear fractional programming, Management Science, 1967.

  Examples:
    >>> import jax, optax, rfjax
    >>> from rfjax import architectures, convergence
    >>> data = rfjax.Batch.from_arrays([[-2.0], [-1.0], [1.0], [2.0]], [0, 0, 1, 1], [0, 0, 1, 1])
    >>> method = convergence.tv_robust_constraints(0.1, 0.05)
    >>> state, log = rfjax.fit(architectures.logistic(), method, optax.adam(0.1), data,
    ...                        key=jax.random.key(0), epochs=5)
    >>> state.method.multipliers.params.shape
    (4,)
  """
  given = _check.numbers("radius", radius, 0.0, 1.0)
  if jnp.ndim(given) > 1:
    raise ValueError(f"radius must be a number, or one a group, got shape {jnp.shape(given)}")

  def bounds(statistic: str, batch: Batch, *, soft: bool) -> Extremes:
    if jnp.ndim(given) and len(given) != batch.num_groups:
      raise ValueError(
        f"radius has {len(given)} entries, but the data set has num_groups {batch.num_groups}"
      )
    rows = read(_NAME, batch, None, None, None, None, None, soft)
    hits, size = STATISTICS[statistic].counts(rows)
    near = jnp.broadcast_to(jnp.asarray(given, hits.dtype), rows.num_groups)
    return _extremes(hits, size, rows.mass, rows.weight > 0, near)

  rates = rate_constraints(bound, statistics, method, temperature, _NAME)
  return ascend(ExtremeRates(rates, bounds), hard, multiplier_radius, tx)


@jax.jit
def _extremes(
  hits: jax.Array, size: jax.Array, mass: jax.Array, counts: jax.Array, radius: jax.Array
) -> Extremes:
  """The range of the rates [G, K] of hits and size [N, K], by mass [N, G]."""
  share = ratio(mass, jnp.sum(mass, axis=0))

  def highest(hits: jax.Array, size: jax.Array, share: jax.Array, radius: jax.Array) -> jax.Array:
    held = jax.lax.stop_gradient((share, radius))
    law = largest(functools.partial(_moved, counts), held, held[0], hits, size)
    return ratio(law @ hits, law @ size)

  by_class = jax.vmap(highest, (1, 1, None, None))
  by_group = jax.vmap(by_class, (None, None, 1, 0))
  high, low = by_group(hits, size, share, radius), -by_group(-hits, size, share, radius)
  return Extremes(low, high, jnp.matmul(mass.T, size) > 0)


def _moved(counts: jax.Array, value: jax.Array, share: jax.Array, radius: Any) -> jax.Array:
  """The law [N] within a radius of `share` [N] that has the largest mean of values [N]."""
  order = stable_order(value)
  held = share[order]
  before = jnp.cumsum(held) - held
  taken = jnp.zeros_like(share).at[order].set(jnp.clip(radius - before, 0, held))
  best = jnp.argmax(jnp.where(counts, value, -jnp.inf))
  return (share - taken).at[best].add(jnp.sum(taken))
