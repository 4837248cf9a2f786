"""Binary logistic regression by Newton's method, as a function that compiles and vectorises."""

import functools
import os
DOUBLINGS=int(os.environ.get("DB","12"))

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from rfjax.core import _check

# Full precision also where a device would take a shorter one: ranks of margins hang on it.
_dot = functools.partial(jnp.matmul, precision="highest")


def logistic_regression(
  x: ArrayLike,
  y: ArrayLike,
  *,
  weight: ArrayLike | None = None,
  l2: float | jax.Array = 1.0,
  steps: int = 40,
) -> tuple[jax.Array, jax.Array]:
  r"""Fits a binary logistic regression with an L2 penalty on its kernel.

  $$\min_{k, b}\; \sum_i w_i \log\bigl(1 + e^{-s_i (x_i^\top k + b)}\bigr)
  + \frac{\lambda}{2} \lVert k \rVert^2, \qquad s_i = 2 y_i - 1$$

  which is scikit-learn's LogisticRegression with C = 1 / l2. Each of a fixed number of Newton steps
  $\Delta$ is shortened to

  $$t = \log(1 + r) / r, \qquad r = \max_i |x_i^\top \Delta_k + \Delta_b|,$$

  the minimiser of an upper bound of the objective along it, so that none ever increases it, on
  separable data neither, and that the last ones are full steps.

  Args:
    x: features [N, ...], flattened to [N, d].
    y: labels [N], 0 or 1.
    weight: weights [N], at least 0; 1 when None.
    l2: the strength of the penalty, above 0; may be traced.
    steps: number of Newton steps.

  Returns:
    The kernel k, [d], and the intercept b, []; they are finite even where all labels agree, where
    the best intercept is infinite.

  Raises:
    ValueError: for numbers out of range.

  References:
    Bach, Self-concordant analysis for logistic regression, Electronic Journal of Statistics, 2010.
    Sun, Tran-Dinh, Generalized self-concordant functions: a recipe for Newton-type methods,
    Mathematical Programming, 2019 (the step length).

  Examples:
    >>> import jax.numpy as jnp
    >>> from rfjax.core import logistic_regression
    >>> x = jnp.array([[-2.0], [-1.0], [1.0], [2.0]])
    >>> kernel, intercept = logistic_regression(x, jnp.array([0, 0, 1, 1]))
    >>> kernel.shape, abs(float(intercept)) < 1e-6
    ((1,), True)
  """
  _check.number("l2", l2, 0.0, open_low=True)
  steps = _check.count("steps", steps)
  x = jnp.asarray(x)
  x = x.reshape(x.shape[0], -1).astype(jnp.promote_types(x.dtype, jnp.float32))
  sign = 2 * jnp.asarray(y).astype(x.dtype) - 1
  weight = jnp.ones_like(sign) if weight is None else jnp.asarray(weight).astype(x.dtype)
  rows = jnp.pad(x, ((0, 0), (0, 1)), constant_values=1)
  # The intercept is free, but for what keeps the system regular where no row has a weight.
  ridge = jnp.full(rows.shape[1], l2, x.dtype).at[-1].set(jnp.finfo(x.dtype).tiny)

  def newton(_: jax.Array, theta: jax.Array) -> jax.Array:
    score = _dot(rows, theta)
    wrong = jax.nn.sigmoid(-sign * score)
    gradient = ridge * theta - _dot(sign * weight * wrong, rows)
    curvature = weight * wrong * jax.nn.sigmoid(sign * score)
    hessian = _dot(rows.T, curvature[:, None] * rows) + jnp.diag(ridge)
    step = -jnp.linalg.solve(hessian, gradient)
    move = _dot(rows, step)
    reach = jnp.max(jnp.abs(move), initial=0, where=weight > 0)
    safe = jnp.where(reach > 0, jnp.log1p(reach) / jnp.where(reach > 0, reach, 1), 1)
    length = safe * 2.0 ** jnp.arange(DOUBLINGS)
    ahead = jax.nn.sigmoid(-(sign * score)[:, None] - (sign * move)[:, None] * length[None])
    slope = _dot(ridge * step, theta) + length * _dot(ridge * step, step) - _dot(weight * sign * move, ahead)
    best = jnp.maximum(jnp.sum(slope <= 0) - 1, 0)
    return theta + length[best] * step

  theta = jax.lax.fori_loop(0, steps, newton, jnp.zeros(rows.shape[1], x.dtype))
  return theta[:-1], theta[-1]
