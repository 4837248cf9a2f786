"""Binary logistic regression by Newton's method, as a function that compiles and vectorises."""

import functools

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from rfjax.core import _check

_DOUBLINGS = 12

# Full precision also where a device would take a shorter one: ranks of margins hang on it.
_dot = functools.partial(jnp.matmul, precision="highest")


def logistic_regression(
  x: ArrayLike,
  y: ArrayLike,
  *,
  weight: ArrayLike | None = None,
  l2: float | jax.Array = 1.0,
  steps: int = 25,
) -> tuple[jax.Array, jax.Array]:
  r"""Fits a binary logistic regression with an L2 penalty on its kernel.

  $$\min_{k, b}\; \sum_i w_i \log\bigl(1 + e^{-s_i (x_i^\top k + b)}\bigr)
  + \frac{\lambda}{2} \lVert k \rVert^2, \qquad s_i = 2 y_i - 1$$

  which is scikit-learn's LogisticRegression with C = 1 / l2. Along each Newton direction $\Delta$
  the step length is the largest of

  $$t \in \{1, 2, 4, \ldots\} \cdot \log(1 + r) / r, \qquad
  r = \max_i |x_i^\top \Delta_k + \Delta_b|,$$

  at which the objective still falls. It does at the first of them, by self-concordance, so that
  every step lowers the objective, on separable data too, and the last ones are full steps.

  Args:
    x: features [N, ...], flattened to [N, d].
    y: labels [N], 0 or 1.
    weight: weights [N], at least 0; 1 when None.
    l2: the strength of the penalty, above 0; may be traced.
    steps: number of Newton steps, at least 1. About 6 will do on most data; separable data with a
      weak penalty needs up to 25.

  Returns:
    The kernel k, [d], and the intercept b, []. Where all labels agree the best intercept is
    infinite, and a large one comes back.

  Raises:
    ValueError: for numbers out of range.

  References:
    Bach, Self-concordant analysis for logistic regression, Electronic Journal of Statistics, 2010.
    Sun, Tran-Dinh, Generalized self-concordant functions: a recipe for Newton-type methods,
    Mathematical Programming, 2019 (the first step length).

  Examples:
    >>> import jax.numpy as jnp
    >>> from rfjax.core import logistic_regression
    >>> x = jnp.array([[-2.0], [-1.0], [1.0], [2.0]])
    >>> kernel, intercept = logistic_regression(x, jnp.array([0, 0, 1, 1]))
    >>> kernel.shape, abs(float(intercept)) < 1e-6
    ((1,), True)
  """
  _check.number("l2", l2, 0.0, open_low=True)
  _check.count("steps", steps)
  x = jnp.asarray(x)
  x = x.reshape(x.shape[0], -1).astype(jnp.promote_types(x.dtype, jnp.float32))
  sign = 2 * jnp.asarray(y).astype(x.dtype) - 1
  weight = jnp.ones_like(sign) if weight is None else jnp.asarray(weight).astype(x.dtype)
  rows = jnp.pad(x, ((0, 0), (0, 1)), constant_values=1)
  # The intercept is free, but for what keeps the system regular where no row has a weight.
  ridge = jnp.full(rows.shape[1], l2, x.dtype).at[-1].set(jnp.finfo(x.dtype).tiny)
  newton = functools.partial(_newton, rows * sign[:, None], weight, ridge)
  theta = jax.lax.fori_loop(0, steps, newton, jnp.zeros(rows.shape[1], x.dtype))
  return theta[:-1], theta[-1]


def _newton(
  rows: jax.Array, weight: jax.Array, ridge: jax.Array, step: jax.Array, theta: jax.Array
) -> jax.Array:
  """One damped Newton step on sum(weight * log(1 + exp(-rows theta))) + ridge theta^2 / 2."""
  del step
  margin = _dot(rows, theta)
  wrong = jax.nn.sigmoid(-margin)
  gradient = ridge * theta - _dot(weight * wrong, rows)
  curvature = weight * wrong * (1 - wrong)
  hessian = _dot(rows.T, curvature[:, None] * rows) + jnp.diag(ridge)
  direction = -jnp.linalg.solve(hessian, gradient)
  return theta + _length(rows, weight, ridge, theta, direction) * direction


def _length(
  rows: jax.Array, weight: jax.Array, ridge: jax.Array, theta: jax.Array, direction: jax.Array
) -> jax.Array:
  """The largest candidate at which the objective still falls along the direction, []."""
  margin, move = _dot(rows, theta), _dot(rows, direction)
  reach = jnp.max(jnp.abs(move), initial=0, where=weight > 0)
  positive = jnp.where(reach > 0, reach, 1)
  first = jnp.where(reach > 0, jnp.log1p(positive) / positive, 1)
  lengths = first * 2.0 ** jnp.arange(_DOUBLINGS)
  wrong = jax.nn.sigmoid(-margin[:, None] - lengths * move[:, None])
  pull = _dot(ridge * direction, theta) + lengths * _dot(ridge * direction, direction)
  slope = pull - _dot(weight * move, wrong)
  # The objective is convex: its slopes ascend, so that their signs say where to stop.
  return lengths[jnp.maximum(jnp.sum(slope <= 0) - 1, 0)]
