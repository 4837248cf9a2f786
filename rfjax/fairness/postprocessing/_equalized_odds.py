"""Equalized odds of a trained classifier: its decisions are mixed, group by group."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rfjax.core import Batch, Transform, group_mean, ratio
from rfjax.fairness.postprocessing._decide import binary, check_costs, decide
from rfjax.fairness.postprocessing._scores import of_groups, weighted_membership

_BY = "equalized_odds"


class EqualizedOddsState(NamedTuple):
  """The state of `equalized_odds`.

  Attributes:
    accept: [G, 2], the probability of deciding 1 where the classifier said 0, and where it said 1.
    rates: [2], the false and the true positive rate that all groups get.
  """

  accept: jax.Array
  rates: jax.Array


def equalized_odds(
  objective: str = "balanced",
  *,
  false_positive_cost: float | jax.Array = 1.0,
  false_negative_cost: float | jax.Array = 1.0,
  randomize: bool = False,
) -> Transform:
  r"""Hardt's derived predictor of least loss with equal true and false positive rates.

  Group g decides 1 with probability $a_g$ where the classifier said 1, and $b_g$ where it said 0,
  so that its false and true positive rates $(f_g, t_g)$ become

  $$f = a_g f_g + b_g (1 - f_g), \qquad t = a_g t_g + b_g (1 - t_g), \qquad
  \min_{a, b \in [0, 1]}\; c_0 f + c_1 (1 - t)$$

  with the same (f, t) for all groups. What a group can reach is a parallelogram; the best point
  that all can reach is a corner of their intersection, which is found exactly, by trying all of
  them. A group without rows of both labels is left out, and keeps its decisions.

  Groups may be noisy where it is fitted and where it decides: `convergence.group_noise_audit` tells
  of their noise, and `convergence.equalized_odds_bias_factor` how much of a bias it leaves.

  Args:
    objective: "balanced" weighs both rates alike; "error" counts rows, so that $c_0$ and $c_1$ are
      multiplied by the shares of negatives and positives.
    false_positive_cost: $c_0$, at least 0; may be traced.
    false_negative_cost: $c_1$, at least 0; may be traced.
    randomize: draw each decision by lot, by the key of `rfjax.transform`; otherwise the logits are
      the log-odds of the decision, and measures with `soft=True` are what is expected of it.

  Returns:
    The transform of a filled data set, fitted on another: `rfjax.transform(t, test, key=key,
    fitted_on=validation)`. It writes logits, and needs group at prediction.

  Raises:
    ValueError: for values out of range, more than two classes, or where the group is missing.

  References:
    Hardt, Price, Srebro, Equality of opportunity in supervised learning, NIPS 2016.
    Awasthi, Kleindessner, Morgenstern, Equalized Odds Postprocessing under Imperfect Group
    Information, AISTATS 2020.

  Examples:
    >>> import jax, jax.numpy as jnp, rfjax
    >>> from rfjax.fairness import postprocessing
    >>> data = rfjax.Batch.from_arrays([[0.0]] * 6, [0, 1, 1, 0, 0, 1], [0, 0, 0, 1, 1, 1])
    >>> said = data.fill(jnp.eye(2)[jnp.array([0, 1, 0, 0, 0, 1])])
    >>> fair = rfjax.transform(postprocessing.equalized_odds(), said, key=jax.random.key(0))
    >>> jax.nn.softmax(fair.logits)[:, 1].tolist()
    [0.0, 1.0, 0.0, 0.0, 0.0, 0.5]
  """
  check_costs(objective, false_positive_cost, false_negative_cost)

  def init(data: Batch, **unused: Any) -> EqualizedOddsState:
    del unused
    rates, usable, positive = group_rates(binary(data, _BY))
    share = jnp.stack([1 - positive, positive]) if objective == "error" else jnp.ones(2)
    cost = share * jnp.stack([jnp.asarray(false_positive_cost), jnp.asarray(false_negative_cost)])
    point = _best_corner(rates, usable, cost)
    return EqualizedOddsState(_mixture(rates, usable, point), point)

  def update(
    batch: Batch, state: EqualizedOddsState, params: Any = None, *, key: jax.Array, **unused: Any
  ) -> tuple[Batch, EqualizedOddsState]:
    del params, unused
    return mix(binary(batch, _BY), state.accept, randomize, key), state

  return Transform(init, update, writes=("logits",))


def group_rates(data: Batch) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Rates (f, t) of the decisions of each group [G, 2], where both exist [G], and P(y = 1)."""
  said = jnp.argmax(data.logits, axis=1).astype(jnp.promote_types(data.logits.dtype, jnp.float32))
  weight = weighted_membership(data)
  of = lambda y: group_mean(said, weight * (data.y == y)[:, None])
  (false, negatives), (true, positives) = of(0), of(1)
  usable = (negatives > 0) & (positives > 0)
  share = ratio(jnp.sum(positives), jnp.sum(positives) + jnp.sum(negatives))
  return jnp.stack([false, true], axis=1), usable, share


def mix(batch: Batch, accept: jax.Array, randomize: bool, key: jax.Array) -> Batch:
  """Decides 1 with the probabilities [G, 2] of a row's groups where the classifier said 0 and 1."""
  said = jnp.argmax(batch.logits, axis=1)
  return decide(batch, of_groups(batch, accept.T[said], said, rows=True), randomize, key)


def _edges(rates: jax.Array) -> tuple[jax.Array, jax.Array]:
  """The four edges of each parallelogram, normals [G, 4, 2] and offsets [G, 4]: n (f, t) <= c."""
  f, t = rates[:, 0], rates[:, 1]
  sign = jnp.where(t >= f, 1.0, -1.0).astype(f.dtype)
  one = sign[:, None] * jnp.stack([t - 1, 1 - f], axis=1)  # |t - f| times a
  zero = sign[:, None] * jnp.stack([t, -f], axis=1)  # |t - f| times b
  size = jnp.abs(t - f)
  normals = jnp.stack([one, -one, zero, -zero], axis=1)
  return normals, jnp.stack([size, 0 * size, size, 0 * size], axis=1)


def _best_corner(rates: jax.Array, usable: jax.Array, cost: jax.Array) -> jax.Array:
  """The cheapest point (f, t) in all parallelograms, [2]: the best crossing of two edges."""
  normals, offsets = (v.reshape(-1, *v.shape[2:]) for v in _edges(rates))
  usable = jnp.repeat(usable, 4)
  first, second = (jnp.asarray(v) for v in jnp.triu_indices(len(offsets), 1))
  a, b = normals[first], normals[second]
  determinant = a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
  slack = 100 * jnp.finfo(rates.dtype).eps
  crossing = jnp.abs(determinant) > slack
  safe = jnp.where(crossing, determinant, 1)
  f = (offsets[first] * b[:, 1] - offsets[second] * a[:, 1]) / safe
  t = (a[:, 0] * offsets[second] - b[:, 0] * offsets[first]) / safe
  always = jnp.array([[0.0, 0.0], [1.0, 1.0]], f.dtype)  # to accept nobody, or everybody
  corners = jnp.concatenate([jnp.stack([f, t], axis=1), always])
  crossing = jnp.append(crossing & usable[first] & usable[second], jnp.array([True, True]))
  inside = jnp.all((corners @ normals.T <= offsets + slack) | ~usable, axis=1)
  loss = corners @ (cost * jnp.array([1.0, -1.0])).astype(f.dtype)
  return jnp.clip(corners[jnp.argmin(jnp.where(crossing & inside, loss, jnp.inf))], 0, 1)


def _mixture(rates: jax.Array, usable: jax.Array, point: jax.Array) -> jax.Array:
  """How each group gets to the point: P(1 | said 0), P(1 | said 1), [G, 2]."""
  f, t, apart = rates[:, 0], rates[:, 1], rates[:, 1] - rates[:, 0]
  tiny = jnp.abs(apart) <= 100 * jnp.finfo(rates.dtype).eps
  safe = jnp.where(tiny, 1, apart)
  zero = (t * point[0] - f * point[1]) / safe
  one = ((1 - f) * point[1] - (1 - t) * point[0]) / safe
  mixed = jnp.where(tiny[:, None], jnp.mean(point), jnp.stack([zero, one], axis=1))
  return jnp.where(usable[:, None], jnp.clip(mixed, 0, 1), jnp.arange(2.0))
