"""Oracles: learners of weighted decisions that compile, and mixtures of their answers."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rfjax.core import Batch, _check
from rfjax.core._network import as_float
from rfjax.fairness.postprocessing._decide import decide as write_decision


class Oracle(NamedTuple):
  """A learner that a reduction asks for the best decisions under given costs.

  Attributes:
    init: `init(x) -> hypothesis`, a pytree of arrays to start from.
    fit: `fit(x, y, weight, start) -> hypothesis`, for labels 0 or 1, [N], and weights [N];
      `start` is the answer before.
    decide: `decide(hypothesis, x) -> [N]`, decisions 0 or 1.
  """

  init: Callable[..., Any]
  fit: Callable[..., Any]
  decide: Callable[..., jax.Array]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class RandomizedClassifier:
  r"""A classifier that draws one of its hypotheses for each row that it decides.

  $$P(\hat y = 1 \mid x) = \sum_k Q_k\, h_k(x)$$

  Attributes:
    weights: Q, [S]; 0 where nothing is stored.
    hypotheses: a pytree with a leading axis of S.
    decide: as in `Oracle`; static.
  """

  weights: jax.Array
  hypotheses: Any
  decide: Callable[..., jax.Array] = dataclasses.field(metadata={"static": True})

  def probability(self, x: jax.Array) -> jax.Array:
    """The probability of class 1 for rows x, [N]."""

    def add(total: jax.Array, at: tuple[Any, jax.Array]) -> tuple[jax.Array, None]:
      hypothesis, weight = at
      return total + weight * self.decide(hypothesis, x), None

    start = jnp.zeros(x.shape[0], self.weights.dtype)
    return jnp.clip(jax.lax.scan(add, start, (self.hypotheses, self.weights))[0], 0, 1)

  def predict(self, data: Batch, *, key: jax.Array | None = None) -> Batch:
    """Fills a data set with log-odds of class 1; of decisions by lot where there is a key.

    Measures with `soft=True` are then what is expected of the decisions. Lots are drawn by address.
    """
    probability = self.probability(rows(data))
    filled = data.fill(jnp.zeros((data.num_rows, 2), probability.dtype))
    draw = jax.random.key(0) if key is None else key
    return write_decision(filled, probability, key is not None, draw)


def rows(data: Batch) -> jax.Array:
  """The features as a matrix of floats, [N, d]."""
  return as_float(data.x.reshape(data.num_rows, -1))


def logistic_oracle(*, l2: float | jax.Array = 1.0, steps: int = 10) -> Oracle:
  r"""Weighted logistic regression by a fixed number of Newton steps, from the answer before.

  $$\min_{k, b}\; \sum_i w_i \log\bigl(1 + e^{-s_i (x_i^\top k + b)}\bigr)
  + \frac{\lambda}{2} \lVert k \rVert^2, \qquad s_i = 2 y_i - 1$$

  which is scikit-learn's LogisticRegression with C = 1 / l2. A step is a full one where the
  objective falls by it, and else $\log(1 + r) / r$ of it, with r the largest change of a margin, at
  which it always does. The start is the answer before, or 0 where the objective is smaller there.
  Where all labels agree the answer is the constant.

  Args:
    l2: the strength of the penalty, above 0; may be traced.
    steps: Newton steps, at least 1.

  Returns:
    The `Oracle`; a hypothesis is the kernel and the intercept, [d + 1].

  Raises:
    ValueError: for numbers out of range.

  References:
    Bach, Self-concordant analysis for logistic regression, Electronic Journal of Statistics, 2010.
    Sun, Tran-Dinh, Generalized self-concordant functions: a recipe for Newton-type methods,
    Mathematical Programming, 2019 (the step length).

  Examples:
    >>> import jax.numpy as jnp
    >>> from rfjax.fairness import inprocessing
    >>> oracle = inprocessing.logistic_oracle()
    >>> x = jnp.array([[-2.0], [-1.0], [1.0], [2.0]])
    >>> found = oracle.fit(x, jnp.array([0, 0, 1, 1]), jnp.ones(4), oracle.init(x))
    >>> oracle.decide(found, x).tolist()
    [0.0, 0.0, 1.0, 1.0]
  """
  _check.number("l2", l2, 0.0, open_low=True)
  steps = _check.count("steps", steps)

  def init(x: jax.Array) -> jax.Array:
    return jnp.zeros(x.shape[1] + 1, x.dtype)

  def fit(x: jax.Array, y: jax.Array, weight: jax.Array, start: jax.Array) -> jax.Array:
    signed = jnp.where(y > 0, 1, -1).astype(x.dtype)
    full = jnp.pad(x, ((0, 0), (0, 1)), constant_values=1)
    ridge = jnp.full(start.shape, l2, x.dtype).at[-1].set(jnp.finfo(x.dtype).tiny)
    dot = lambda a, b: jnp.matmul(a, b, precision="highest")

    def value(theta: jax.Array, margin: jax.Array) -> jax.Array:
      return jnp.sum(weight * jax.nn.softplus(-signed * margin)) + jnp.sum(ridge * theta**2) / 2

    def newton(_: Any, at: tuple[jax.Array, jax.Array, jax.Array]) -> Any:
      theta, margin, now = at
      wrong = jax.nn.sigmoid(-signed * margin)
      gradient = ridge * theta - dot(weight * wrong * signed, full)
      curvature = weight * wrong * (1 - wrong)
      hessian = dot(full.T, curvature[:, None] * full) + jnp.diag(ridge)
      direction = -jnp.linalg.solve(hessian, gradient)
      move = dot(full, direction)
      reach = jnp.max(jnp.abs(move), initial=0, where=weight > 0)
      short = jnp.log1p(reach) / jnp.where(reach > 0, reach, 1)
      whole = value(theta + direction, margin + move)
      length = jnp.where((whole <= now) | (reach == 0), 1, short)
      theta, margin = theta + length * direction, margin + length * move
      return theta, margin, value(theta, margin)

    # Where a start is wrong by wide margins its curvature vanishes, and steps are short.
    zero, margin = jnp.zeros_like(start), dot(full, start)
    wrong = value(zero, zero[0]) < value(start, margin)
    start, margin = jnp.where(wrong, 0, start), jnp.where(wrong, 0, margin)
    at = (start, margin, value(start, margin))
    theta = jax.lax.fori_loop(0, steps, newton, at)[0]
    some = lambda label: jnp.any((weight > 0) & (signed == label))
    constant = jnp.zeros_like(start).at[-1].set(jnp.where(some(1), 1, -1))
    return jnp.where(some(1) & some(-1), theta, constant)

  def decide(hypothesis: jax.Array, x: jax.Array) -> jax.Array:
    margin = jnp.matmul(x, hypothesis[:-1], precision="highest") + hypothesis[-1]
    return (margin > 0).astype(x.dtype)

  return Oracle(init, fit, decide)
