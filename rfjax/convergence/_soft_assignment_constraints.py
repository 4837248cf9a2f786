"""Rates as constraints for all true groups that agree with what is known of the given ones."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from rfjax.convergence._extreme_rates import ExtremeRates, Extremes, largest
from rfjax.convergence._group_noise import transition_of_groups
from rfjax.core import Batch, Transform, ratio
from rfjax.fairness.inprocessing._constraints import rate_constraints
from rfjax.fairness.inprocessing._lagrangian import ascend
from rfjax.metrics._cells import STATISTICS
from rfjax.metrics._gap import Method
from rfjax.metrics._rows import Rows, read

_NAME = "soft_assignment_constraints"
_OF_ALL_CLASSES = ("accuracy", "error_rate")


def soft_assignment_constraints(
  posterior: ArrayLike,
  bound: float | jax.Array,
  statistics: str | Sequence[str] = "selection_rate",
  *,
  method: Method = "to_overall",
  hard: bool = True,
  radius: float | jax.Array | None = None,
  temperature: float | jax.Array = 1.0,
  tx: optax.GradientTransformation | None = None,
) -> Transform:
  r"""Soft assignments: the rates are within a bound whatever rows the true groups have.

  $$\min_\theta\, \mathrm{risk}(\theta) \quad\text{s.t.}\quad
  \max_{w \in \mathcal W(\theta)} \lvert r_g(w) - r \rvert \le b \text{ for all } g, \qquad
  w_{g \mid h, \hat y, y} = P(z = g \mid \tilde z = h, \hat y, y)$$

  $$\mathcal W(\theta) = \Bigl\{ w \ge 0,\; \sum_g w_{g \mid c} = 1,\;
  \sum_{\hat y, y} P(\hat y, y \mid \tilde z = h)\, w_{g \mid h, \hat y, y}
  = P(z = g \mid \tilde z = h) \Bigr\}$$

  All that is known is how likely each true group is behind a given one; how it hangs on label and
  decision is at its worst. So the bound is met on the true groups, if it can be: where the given
  group says little, the range is wide, and only a model that decides nearly the same for all meets
  it.

  The inner maximum is exact. Each given group fills the share of a true one from four cells, label
  by decision; for a rate r, no w has a larger $\sum (a - r b)$ than that which fills from the cells
  in the order of this term, and with the rate that it has for the next r this is Dinkelbach's
  iteration. The authors' code ascends on the table w, and projects it to its set.

  With "between_groups" each of two rates is at its own extreme, which for two groups happens at
  once and for more groups may be worse than any w.

  Args:
    posterior: P(z = g | given group h), [G, G], a row for each given group, such as
      `group_posterior`. May be traced.
    bound: b, at least 0; may be traced.
    statistics: one or more names of `metrics.group_rates`, of which accuracy and error_rate need
      two classes.
    method: which rates are compared.
    hard: whether multipliers follow decisions, or what is expected of random ones.
    radius: what the multipliers may add up to, at least 0; may be traced. None for no limit.
    temperature: of the probabilities of the network's rates, above 0; may be traced.
    tx: the optimizer of the multipliers; SGD at 0.05 when None.

  Returns:
    The transform, with the state of `inprocessing.lagrangian`; it writes penalty, and needs group
    in training only.

  Raises:
    ValueError: for values out of range, a posterior that is none of the data set's groups, accuracy
      of more than two classes, or where the group is missing.

  References:
    Wang, Guo, Narasimhan, Cotter, Gupta, Jordan, Robust Optimization for Fairness with Noisy
    Protected Groups, NeurIPS 2020.
    Kallus, Mao, Zhou, Assessing algorithmic fairness with unobserved protected class using data
    combination, FAccT 2020.

  Examples:
    >>> import jax, optax, rfjax
    >>> from rfjax import architectures, convergence
    >>> data = rfjax.Batch.from_arrays([[-2.0], [-1.0], [1.0], [2.0]], [0, 0, 1, 1], [0, 0, 1, 1])
    >>> method = convergence.soft_assignment_constraints([[0.9, 0.1], [0.2, 0.8]], 0.05)
    >>> state, log = rfjax.fit(architectures.logistic(), method, optax.adam(0.1), data,
    ...                        key=jax.random.key(0), epochs=5)
    >>> state.method.multipliers.params.shape
    (4,)
  """
  known = jnp.asarray(transition_of_groups(posterior, by_label=False, name="posterior"))

  def bounds(statistic: str, batch: Batch, *, soft: bool) -> Extremes:
    if len(known) != batch.num_groups:
      raise ValueError(
        f"posterior is of {len(known)} groups, but the data set has num_groups {batch.num_groups}"
      )
    if statistic in _OF_ALL_CLASSES and batch.num_classes > 2:
      raise ValueError(
        f"statistics has {statistic!r}, which needs two classes, got num_classes"
        f" {batch.num_classes}: take a rate of a class"
      )
    cells = _cells(read(_NAME, batch, None, None, None, None, None, soft))
    return _extremes(cells, *_counts(statistic, cells.dtype), known.astype(cells.dtype))

  rates = rate_constraints(bound, statistics, method, temperature, _NAME)
  return ascend(ExtremeRates(rates, bounds), hard, radius, tx)


def _cells(rows: Rows) -> jax.Array:
  """The mass of each given group, class, label and decision, [G, K, 4]."""
  y, p = rows.one_vs_rest()
  cells = jnp.stack([(1 - y) * (1 - p), (1 - y) * p, y * (1 - p), y * p], axis=-1)
  return jnp.einsum("ng,nkc->gkc", rows.mass, cells, precision="highest")


def _counts(statistic: str, dtype: Any) -> tuple[jax.Array, jax.Array]:
  """What a row of each cell adds to numerator and denominator, [4] each."""
  labels, decisions = jnp.array([0, 0, 1, 1]), jnp.array([0, 1, 0, 1])
  rows = Rows(_NAME, labels, decisions, jnp.zeros(4, int), jnp.ones(4, dtype), 1, 2)
  hits, size = STATISTICS[statistic].counts(rows)
  return hits[:, 0], size[:, 0]


@jax.jit
def _extremes(cells: jax.Array, hits: jax.Array, size: jax.Array, posterior: jax.Array) -> Extremes:
  """The range of the true groups' rates [G, K], by cells [G, K, 4] of the given ones."""

  def highest(cells: jax.Array, share: jax.Array, hits: jax.Array) -> jax.Array:
    need = share * jnp.sum(cells, axis=1)
    law = largest(_filled, (cells, need), share[:, None] * cells, hits, size)
    return ratio(jnp.sum(law @ hits), jnp.sum(law @ size))

  by_class = jax.vmap(highest, (1, None, None))
  by_group = jax.vmap(by_class, (None, 1, None))
  high, low = by_group(cells, posterior, hits), -by_group(cells, posterior, -hits)
  over = jnp.einsum("hkc,c,hg->gk", cells, size, posterior)
  return Extremes(low, high, over > 0)


def _filled(value: jax.Array, cells: jax.Array, need: jax.Array) -> jax.Array:
  """What each given group [H] takes from its cells [H, 4], those of large value [4] first."""
  order = jnp.argsort(-value)
  held = cells[:, order]
  before = jnp.cumsum(held, axis=1) - held
  taken = jnp.clip(need[:, None] - before, 0, held)
  return jnp.zeros_like(cells).at[:, order].set(taken)
