"""Label noise that depends on the class alone: a transition matrix says it all."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from rfjax.core import Batch, Transform, _check, stateless, uniform
from rfjax.noise._draws import categorical, relabel, select


def move(batch: Batch, rows: jax.Array, key: jax.Array) -> Batch:
  """Draws each row's label from its own distribution over the labels, rows [B, C].

  Whether a row leaves its label is one draw, and where it goes another one: so the rows that leave
  at one rate leave at any higher one too, and go to the same place.
  """
  leave_key, goal_key = jax.random.split(key)
  others = rows * (1 - jax.nn.one_hot(batch.y, batch.num_classes, dtype=rows.dtype))
  leaves = jnp.sum(others, axis=-1)
  struck = select(uniform(leave_key, batch), leaves, batch, exact_count=False)
  return relabel(batch, struck, categorical(uniform(goal_key, batch), others))


def mix(batch: Batch, rate: Any, goals: jax.Array, key: jax.Array, exact_count: bool) -> Batch:
  """Strikes rows at one rate for all classes and draws their new labels from goals [C, C]."""
  strike_key, goal_key = jax.random.split(key)
  struck = select(uniform(strike_key, batch), rate, batch, exact_count)
  return relabel(batch, struck, categorical(uniform(goal_key, batch), goals[batch.y]))


def class_conditional(matrix: ArrayLike) -> Transform:
  r"""Label noise by a transition matrix.

  $$P(\tilde y = j \mid y = i) = T_{ij}$$

  The true labels are kept in `truth`, unless they are there already. Apply it by
  `rfjax.transform`; with one key, all matrices strike from the same draws.

  Args:
    matrix: T [C, C], rows of probabilities; may be traced.

  Returns:
    The transform, of data sets with C classes.

  Raises:
    ValueError: for a matrix that is not square, or a row that has no sum of 1, with that row and
      its sum; when applied, for a data set with another number of classes.

  References:
    Patrini, Rozza, Menon, Nock, Qu, Making Deep Neural Networks Robust to Label Noise: A Loss
    Correction Approach, CVPR 2017.

  Examples:
    >>> import jax, rfjax
    >>> from rfjax import noise
    >>> clean = rfjax.Batch.from_arrays([[0.0]] * 4, [0, 0, 1, 1])
    >>> flip_ones = noise.class_conditional([[1.0, 0.0], [1.0, 0.0]])
    >>> rfjax.transform(flip_ones, clean, key=jax.random.key(0)).y.tolist()
    [0, 0, 0, 0]
  """
  given = _check.transition("matrix", matrix)

  def apply(batch: Batch, *, key: jax.Array, **unused: Any) -> Batch:
    del unused
    table = jnp.asarray(given, float)
    _check.classes("matrix", table.shape[0], batch)
    return move(batch, table[batch.y], key)

  return stateless(apply, writes=("y",))
