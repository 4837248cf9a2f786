"""Chi-square DRO: the worst mean loss of all groups that are large enough, whoever is in them."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from rfjax.core import Batch, Transform, _check, ratio, stateless

BOUNDS = ("tight", "paper")


class ChiSquareRisk(NamedTuple):
  """The worst mean over a chi-square ball.

  Attributes:
    value: [], the mean; its gradient by the losses is that of the minimised dual.
    eta: [], the threshold at which the dual is least; minus infinity for c = 1.
    weight: [n], how much each loss counts, at least 0, of mean 1; 0 for a loss that is not there.
  """

  value: jax.Array
  eta: jax.Array
  weight: jax.Array


def chi_square_risk(
  losses: ArrayLike, c: ArrayLike, weight: ArrayLike | None = None
) -> ChiSquareRisk:
  r"""The worst mean of losses over all distributions that are not too far from the given one.

  $$\sup_{q:\; \mathbb E_p (q/p - 1)^2 \le c^2 - 1} \mathbb E_q[\ell]
  = \min_\eta\; c \sqrt{\mathbb E_p (\ell - \eta)_+^2} + \eta, \qquad
  \frac{q_i}{p_i} = \frac{(\ell_i - \eta)_+}{\mathbb E_p (\ell - \eta)_+}$$

  Where no loss is below eta, eta has a closed form, and q / p is 1 + sqrt(c^2 - 1) times the loss
  in units of its deviation. Else eta is found by bisection of the dual's derivative. Once c^2 times
  the share of the largest losses reaches 1, eta is the largest loss and q has nothing else. Losses
  that are equal but for rounding have q = p.

  Args:
    losses: [n].
    c: at least 1, which gives the mean; may be traced.
    weight: what p is proportional to, [n], at least 0; equal when None. A loss of weight 0 is not
      there.

  Returns:
    The value, eta and the ratios q / p. Gradients flow from the value to the losses only.

  Raises:
    ValueError: for c out of range, or losses of more than one axis.

  References:
    Hashimoto, Srivastava, Namkoong, Liang, Fairness Without Demographics in Repeated Loss
    Minimization, ICML 2018.

  Examples:
    >>> import jax.numpy as jnp
    >>> from rfjax import convergence
    >>> found = convergence.chi_square_risk(jnp.array([0.0, 0.0, 1.0, 3.0]), 1.25)
    >>> [round(float(v), 3) for v in (found.value, found.eta)]
    [1.919, -0.633]
    >>> found.weight.round(2).tolist()
    [0.38..., 0.38..., 1.0, 2.22...]
  """
  _check.number("c", c, 1.0, open_high=True)
  loss = jnp.asarray(losses)
  loss = loss.astype(jnp.promote_types(loss.dtype, jnp.float32))
  if loss.ndim != 1:
    raise ValueError(f"losses must have one axis, got shape {loss.shape}")
  mass = jnp.ones_like(loss) if weight is None else jnp.asarray(weight).astype(loss.dtype)
  c = jnp.asarray(c, loss.dtype)
  share, eta, worst = _worst(loss, mass, (c - 1) * (c + 1))
  return ChiSquareRisk(jnp.sum(share * worst * loss), eta, worst)


def chi_square_dro(
  alpha_min: float | jax.Array | None = None,
  *,
  bound: str = "tight",
  radius: float | jax.Array | None = None,
  eta: float | jax.Array | None = None,
) -> Transform:
  r"""Chi-square DRO: learns from the worst groups of a size, without being told who is in them.

  $$\min_\theta \sup_{q:\; \mathbb E_p (q/p - 1)^2 \le r} \mathbb E_q[\ell], \qquad
  \mathrm{weight}_i \leftarrow \mathrm{weight}_i\, \frac{q_i}{p_i}
  = \mathrm{weight}_i\, C\, \frac{(\ell_i - \eta)_+}{\sqrt{\mathbb E_p (\ell - \eta)_+^2}},
  \qquad C = \sqrt{1 + r}$$

  with `chi_square_risk` solved in each batch, where p has the rows that are kept by their weights.
  So the mean weight stays, and the gradient is that of the minimised dual. With r = 1 / alpha - 1,
  the least, the ball holds every group of at least a share alpha of p, so that no such group has a
  larger mean loss than the objective. The authors' r = 2 (1 / alpha - 1)^2 ("paper") holds them for
  alpha up to 2 / 3 only, and is larger than the least below. Zhai et al. take
  `radius=(1 / alpha - 1) ** 2`.

  It is a robust answer to a group attribute that is missing, and not to labels that are wrong:
  these have large losses too, and are what it learns from most. A batch of n rows knows of no
  group below one n-th: where C reaches sqrt(n), only its largest loss counts.

  With eta given the gradient is that of the mean of (loss - eta)_+^2, the authors' inner problem,
  of which eta is a hyper-parameter: weights are 2 (loss - eta)_+, all of them 0 once no loss is
  above eta.

  Args:
    alpha_min: the share of the smallest group, in (0, 1]; 1 is the plain risk; may be traced.
    bound: "tight" or "paper", the radius that belongs to alpha_min; static.
    radius: r instead, at least 0; may be traced.
    eta: a fixed threshold instead; may be traced.

  Returns:
    The transform; it writes weight, and needs no group. It reads the loss: losses, corrections and
    selections stand in front.

  Raises:
    ValueError: for values out of range, or unless one of alpha_min, radius and eta is given.

  References:
    Hashimoto, Srivastava, Namkoong, Liang, Fairness Without Demographics in Repeated Loss
    Minimization, ICML 2018.
    Zhai, Dan, Kolter, Ravikumar, DORO: Distributional and Outlier Robust Optimization, ICML 2021.

  Examples:
    >>> import jax, optax, rfjax
    >>> from rfjax import architectures, convergence
    >>> data = rfjax.Batch.from_arrays([[-2.0], [-1.0], [1.0], [2.0]], [0, 1, 0, 1])
    >>> state, log = rfjax.fit(architectures.logistic(), convergence.chi_square_dro(0.25),
    ...                        optax.adam(0.1), data, key=jax.random.key(0), epochs=5)
  """
  if sum(value is not None for value in (alpha_min, radius, eta)) != 1:
    raise ValueError("chi_square_dro must be told one of alpha_min, radius and eta")
  _check.choice("bound", bound, BOUNDS)
  if alpha_min is not None:
    _check.number("alpha_min", alpha_min, 0.0, 1.0, open_low=True)
    rest = 1 / alpha_min - 1
    radius = rest if bound == "tight" else 2 * rest**2
  elif radius is not None:
    _check.number("radius", radius, 0.0, open_high=True)
  else:
    _check.number("eta", eta)

  def weigh(batch: Batch, **unused: Any) -> Batch:
    del unused
    batch.require("cost", "target", "keep", "weight", by="chi_square_dro")
    loss = jax.lax.stop_gradient(batch.loss)
    if radius is None:
      factor = 2 * jnp.maximum(loss - jnp.asarray(eta, loss.dtype), 0)
    else:
      _, _, factor = _worst(loss, batch.keep * batch.weight, radius)
    return batch.replace(weight=batch.weight * factor.astype(batch.weight.dtype))

  return stateless(weigh, writes=("weight",))


def _worst(
  loss: jax.Array, mass: jax.Array, radius: ArrayLike
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """p [n], the threshold [], and q / p [n] over the ball E(q / p - 1)^2 <= radius.

  Everything is in terms of how far a loss is below the largest one, in units of their range.
  """
  loss = jax.lax.stop_gradient(loss.astype(jnp.promote_types(loss.dtype, jnp.float32)))
  mass = jax.lax.stop_gradient(jnp.maximum(mass.astype(loss.dtype), 0))
  radius = jax.lax.stop_gradient(jnp.asarray(radius, loss.dtype))
  share, some = ratio(mass, jnp.sum(mass)), mass > 0
  top = jnp.max(loss, where=some, initial=-jnp.inf)
  top = jnp.where(jnp.any(some), top, 0)
  # A compiler may round a loss anew for this difference, so that the largest is not quite the top.
  rounding = 4 * jnp.finfo(loss.dtype).eps * jnp.abs(top)
  below = jnp.where(some & (top - loss > rounding), top - loss, 0)
  scale = jnp.max(below)
  below = ratio(below, scale)

  mean = jnp.sum(share * below)
  spread = jnp.sqrt(jnp.sum(share * (below - mean) ** 2))
  root = jnp.sqrt(radius)
  all_count = root * (jnp.max(below) - mean) <= spread
  linear = 1 + root * ratio(mean - below, spread)
  linear_at = mean + jnp.where(spread > 0, spread / root, 0)

  def halve(_: Any, bracket: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
    low, high = bracket
    middle = (low + high) / 2
    tail = jnp.maximum(middle - below, 0)
    far = (1 + radius) * jnp.sum(share * tail) ** 2 >= jnp.sum(share * tail**2)
    return jnp.where(far, low, middle), jnp.where(far, middle, high)

  steps = jnp.finfo(loss.dtype).nmant + 8
  _, at = jax.lax.fori_loop(0, steps, halve, (jnp.zeros_like(top), jnp.ones_like(top)))
  tail = jnp.maximum(at - below, 0)
  worst = jnp.where(all_count, linear, ratio(tail, jnp.sum(share * tail)))
  found = top - scale * jnp.where(all_count, linear_at, at)
  return share, found, jnp.where(some, jnp.maximum(worst, 0), 0)
