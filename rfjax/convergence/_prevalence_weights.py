"""Weights of equal prevalence in all groups, as near as can be to those of the target domain."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from rfjax.core import Batch, Transform, _check, ratio, stateless

_NAME = "prevalence_weights"
_STEPS, _LENGTHS = 40, 16
_dot = functools.partial(jnp.matmul, precision="highest")


def prevalence_weights(
  prevalence: ArrayLike | None = None, *, nonnegative: bool = True
) -> Transform:
  r"""Prevalence-constrained covariate shift: every label is as frequent in all groups.

  The weights v that a data set has, those of a covariate shift, are changed as little as can be:

  $$\min_{w \ge 0} \sum_i (w_i - v_i)^2 \quad\text{where}\quad
  \sum_i m_{ig}\, w_i\, ([y_i = k] - \pi_k) = 0 \;\text{ for all } g, k, \qquad
  \pi_k = \frac{\sum_i v_i [y_i = k]}{\sum_i v_i}$$

  with membership m. For hard groups, two labels, and without w >= 0 that is

  $$w_i = v_i - (y_i - \pi)\, \frac{\sum_{j \in g} v_j (y_j - \pi)}{\sum_{j \in g} (y_j - \pi)^2}.$$

  The groups are known in the source, which is the data set, and not in the target. A model that is
  trained on it is then meant to give scores at parity in the target. Weights for a target come from

      rfjax.chain(preprocessing.density_ratio_weights(), convergence.prevalence_weights())

  on a data set whose `trusted` rows are the target's features. The paper asks for weights that are
  near to these and have equal prevalences; the distance that it takes is in no public text. Squares
  are ours, and so is that the common prevalence stays what it was.

  Rows of weight 0 and rows without a group keep theirs. With w >= 0 they are found by 40 steps of
  Newton's method on the dual, which meet the constraints to rounding, unless weights span some
  orders of magnitude.

  Args:
    prevalence: pi [C], positive and of sum 1, in the place of the data's own; may be traced.
    nonnegative: whether w >= 0 is asked for. Without it weights may fall below 0, where a label is
      rare in a group.

  Returns:
    The transform of a data set; it writes weight, and needs group in training only.

  Raises:
    ValueError: for values out of range; outside of compiled code, where a group lacks a label. In
      compiled code such a group keeps its weights.

  References:
    Coston, Ramamurthy, Wei, Varshney, Speakman, Mustahsan, Chakraborty, Fair Transfer Learning with
    Missing Protected Attributes, AIES 2019.

  Examples:
    >>> import jax, rfjax
    >>> from rfjax import convergence
    >>> x = [[0.0], [1.0], [2.0], [3.0], [4.0]]
    >>> data = rfjax.Batch.from_arrays(x, [0, 1, 0, 1, 1], [0, 0, 1, 1, 1])
    >>> method = convergence.prevalence_weights()
    >>> rfjax.transform(method, data, key=jax.random.key(0)).weight.round(3).tolist()
    [0.769..., 1.154..., 1.17..., 0.882..., 0.882...]
  """
  given = None if prevalence is None else _check_prevalence(prevalence)
  _check.choice("nonnegative", nonnegative, (False, True))

  def reweigh(data: Batch, **unused: Any) -> Batch:
    del unused
    data.require("group", "weight", by=_NAME)
    if given is not None:
      _check.classes("prevalence", given.shape[0], data)
    kind = jnp.promote_types(data.weight.dtype, jnp.float32)
    counted = data.valid & (data.weight != 0)
    old = jnp.where(counted, data.weight, 0).astype(kind)
    label = jax.nn.one_hot(data.y, data.num_classes, dtype=kind)
    own = ratio(_dot(old, label), jnp.sum(old))
    wanted = own if given is None else jnp.asarray(given, kind)
    member = data.membership.astype(kind) * counted[:, None]
    some = jnp.all((_dot(member.T, label) > 0) | (wanted <= 0), axis=1)
    _refuse_empty(some, jnp.sum(member, axis=0) > 0)
    apart = (label - wanted)[:, 1:]  # the first label's follows from the others
    rows = jnp.einsum("ng,nk->gkn", member * some, apart).reshape(-1, data.num_rows)
    new = _nearest(old, rows) if nonnegative else old - _dot(_price(rows, _dot(rows, old)), rows)
    touched = jnp.any(rows != 0, axis=0)
    return data.replace(weight=jnp.where(touched, new.astype(data.weight.dtype), data.weight))

  return stateless(reweigh, writes=("weight",))


def _price(rows: jax.Array, missed: jax.Array) -> jax.Array:
  """The multipliers [K] that make up for what constraints [K, N] are missed by, [K]."""
  gram = _dot(rows, rows.T)
  inverse = jnp.linalg.pinv(gram, hermitian=True)
  price = _dot(inverse, missed)
  return price + _dot(inverse, missed - _dot(gram, price))  # what rounding has left


def _nearest(old: jax.Array, rows: jax.Array) -> jax.Array:
  """The nearest weights [N] of at least 0 that meet the constraints [K, N]."""
  lengths = 0.5 ** jnp.arange(_LENGTHS)

  def at(price: jax.Array) -> jax.Array:
    return jnp.maximum(old - _dot(price, rows), 0)

  def newton(_: Any, price: jax.Array) -> jax.Array:
    weight = at(price)
    missed = _dot(rows, weight)
    move = _price(rows * (weight > 0), missed)
    # The dual is convex, and least where its slope is 0: of all lengths the one that is nearest.
    tried = price + lengths[:, None] * move
    slope = jnp.abs(_dot(at(tried), _dot(move, rows)))
    best = jnp.argmin(slope)
    return jnp.where(slope[best] < jnp.abs(jnp.vdot(move, missed)), tried[best], price)

  price = jax.lax.fori_loop(0, _STEPS, newton, jnp.zeros(rows.shape[0], old.dtype))
  # On the rows that are left the constraints are met but for rounding, which this takes away.
  weight = at(price)
  left = rows * (weight > 0)
  return jnp.maximum(weight - _dot(_price(left, _dot(left, weight)), left), 0)


def _refuse_empty(some: jax.Array, there: jax.Array) -> None:
  """Refuses groups that lack a label, where that is known."""
  if _check.traced(some, there):
    return
  lacking = np.flatnonzero(np.asarray(there) & ~np.asarray(some))
  if lacking.size:
    raise ValueError(
      f"data must have rows of every label in every group, but group {lacking[0]} lacks one, and no"
      " weights give it its prevalence: merge groups, or drop its rows"
    )


def _check_prevalence(prevalence: ArrayLike) -> Any:
  """Refuses what are no shares of labels, of traced ones by their axes; returns an array."""
  given = _check.numbers("prevalence", prevalence, 0.0, 1.0, open_low=True)
  if given.ndim != 1:
    raise ValueError(f"prevalence must have one axis, of labels, got shape {given.shape}")
  if not _check.traced(given) and abs(given.sum() - 1) > 1e-4:
    raise ValueError(f"prevalence must have sum 1, got {given.sum():g}: divide it by its sum")
  return given
