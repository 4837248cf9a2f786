"""Learning curves: how a loss falls with the number of training rows, fitted to a few trainings."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from rfjax.core import _check, ratio

_dot = functools.partial(jnp.matmul, precision="highest")
_vdot = functools.partial(jnp.vdot, precision="highest")
_FIRST, _SHRINK, _GROW = 1e-3, 0.2, 4.0  # the damping of the steps
_EXPONENTS = tuple(0.1 * 1.2**i for i in range(20))  # from 0.1 to 3.2


class LearningCurve(NamedTuple):
  """Losses as a function of the number of training rows, b n^-a + c.

  Attributes:
    scale: b [...], at least 0.
    exponent: a [...], at least 0.
    offset: c [...], at least 0, what no amount of data takes away.
  """

  scale: jax.Array
  exponent: jax.Array
  offset: jax.Array

  def at(self, size: ArrayLike) -> jax.Array:
    """The loss with so many rows, above 0, of shapes that broadcast."""
    return self.scale * jnp.asarray(size, float) ** -self.exponent + self.offset


def learning_curve(
  size: ArrayLike,
  loss: ArrayLike,
  *,
  weight: ArrayLike | None = None,
  offset: bool = False,
  steps: int = 60,
) -> LearningCurve:
  r"""Fits inverse power curves to losses after trainings on few and on many rows.

  $$\min_{a, b, c \ge 0}\; \sum_k w_k \bigl(b\, n_k^{-a} + c - \mathrm{loss}_k\bigr)^2,
  \qquad w_k = n_k$$

  by Gauss-Newton steps from the line through the logarithms, or with an offset from the best of a
  few exponents, damped where the sum would not fall.
  An error rate or a loss of a training on n rows has a variance of about 1/n, hence the weights.
  With an offset the three parameters are told apart by at least three sizes that differ by much.

  Args:
    size: n [..., K], how many rows a training had, for instance of a slice; where it is 0 the
      training does not count. May be traced.
    loss: [..., K], at least 0, the losses after them; may be traced.
    weight: w [..., K], at least 0; the sizes when None.
    offset: whether c is fitted; it is 0 else.
    steps: of Gauss and Newton, at least 1.

  Returns:
    The curves, of shape [...].

  Raises:
    ValueError: for values out of range, or arrays that do not match.

  References:
    Tae, Whang, Slice Tuner: a selective data acquisition framework for accurate and fair machine
    learning models, SIGMOD 2021.
    Chen, Johansson, Sontag, Why is my classifier discriminatory?, NeurIPS 2018 (with an offset).

  Examples:
    >>> import jax.numpy as jnp
    >>> from rfjax.fairness import preprocessing
    >>> size = jnp.array([100.0, 200.0, 400.0])
    >>> curve = preprocessing.learning_curve(size, 2 * size**-0.5)
    >>> float(curve.exponent.round(3)), float(curve.at(1600).round(3))
    (0.5, 0.05...)
  """
  n = jnp.asarray(_check.numbers("size", size, 0.0, open_high=True), float)
  values = jnp.asarray(_check.numbers("loss", loss, 0.0, open_high=True), float)
  weights = n if weight is None else jnp.asarray(_check.numbers("weight", weight, 0.0), float)
  _check.count("steps", steps)
  if values.ndim == 0 or not values.shape == n.shape == weights.shape:
    raise ValueError(
      f"size, loss and weight must have one shape [..., K], got {n.shape}, {values.shape}"
      f" and {weights.shape}: broadcast them"
    )
  fit = lambda n, v, w: _fit(n, v, w, offset, steps)
  curves = jnp.vectorize(fit, signature="(k),(k),(k)->(),(),()")(n, values, weights)
  return LearningCurve(*curves)


def _fit(n: jax.Array, loss: jax.Array, weight: jax.Array, offset: bool, steps: int) -> Any:
  """One curve; in units in which size and loss are about 1, so that float32 will do."""
  weight = jnp.where(n > 0, weight, 0)
  weight = ratio(weight, jnp.sum(weight))
  log_n = jnp.log(jnp.where(n > 0, n, 1))
  middle = _vdot(weight, log_n)
  unit = _vdot(weight, loss)
  unit = jnp.where(unit > 0, unit, 1)
  log_r, y = log_n - middle, loss / unit

  def residual(theta: jax.Array) -> jax.Array:
    b, a, c = theta
    return jnp.sqrt(weight) * (b * jnp.exp(-a * log_r) + c - y)

  def step(_: Any, state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
    theta, damping = state
    jacobian, r = jax.jacfwd(residual)(theta), residual(theta)
    gradient = _dot(jacobian.T, r)
    # What is 0 and would fall below is held there.
    free = ((theta > 0) | (gradient < 0)) & jnp.array([True, True, offset])
    curvature = jnp.where(free & free[:, None], _dot(jacobian.T, jacobian), 0)
    scale = jnp.where(free, jnp.maximum(jnp.diag(curvature), jnp.finfo(r.dtype).tiny), 1)
    move = -jnp.linalg.solve(
      curvature + jnp.diag(jnp.where(free, damping * scale, 1)), free * gradient
    )
    new = jnp.maximum(theta + move, 0)
    better = jnp.sum(residual(new) ** 2) < jnp.sum(r**2)  # also no where it is not finite
    theta = jnp.where(better, new, theta)
    return theta, jnp.where(better, damping * _SHRINK, damping * _GROW)

  start = (_best if offset else _line)(log_r, y, weight)
  b, a, c = jax.lax.fori_loop(0, steps, step, (start, jnp.asarray(_FIRST, y.dtype)))[0]
  return unit * b * jnp.exp(a * middle), a, unit * c


def _line(log_r: jax.Array, y: jax.Array, weight: jax.Array) -> jax.Array:
  """The parameters (b, a, 0) of the line through the logarithms."""
  log_y = jnp.log(jnp.where(y > 0, y, 1))
  weight = weight * y**2  # of the logarithm, whose error is that of the loss over the loss
  total = jnp.sum(weight)
  mean_r, mean_y = ratio(_vdot(weight, log_r), total), ratio(_vdot(weight, log_y), total)
  spread = _vdot(weight, (log_r - mean_r) ** 2)
  slope = ratio(_vdot(weight, (log_r - mean_r) * (log_y - mean_y)), spread)
  a = jnp.maximum(-slope, 0)
  b = jnp.where(total > 0, jnp.exp(mean_y + a * mean_r), 0)
  return jnp.stack([b, a, jnp.zeros_like(a)])


def _best(log_r: jax.Array, y: jax.Array, weight: jax.Array) -> jax.Array:
  """The best parameters (b, a, c) for some exponents, each with its least squares in b and c."""

  def at(a: jax.Array) -> tuple[jax.Array, jax.Array]:
    power = jnp.exp(-a * log_r)
    mean_p, mean_y = _vdot(weight, power), _vdot(weight, y)
    spread = _vdot(weight, (power - mean_p) ** 2)
    b = jnp.maximum(ratio(_vdot(weight, (power - mean_p) * (y - mean_y)), spread), 0)
    alone = ratio(_vdot(weight, power * y), _vdot(weight, power**2))
    b = jnp.where(mean_y < b * mean_p, alone, b)
    c = jnp.maximum(mean_y - b * mean_p, 0)
    return _vdot(weight, (b * power + c - y) ** 2), jnp.stack([b, a, c])

  error, theta = jax.vmap(at)(jnp.array(_EXPONENTS, y.dtype))
  return theta[jnp.argmin(error)]
