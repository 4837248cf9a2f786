"""Massaging: the labels nearest to the boundary change until all groups have them alike."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from rfjax.core import Batch, Transform, _check, stateless
from rfjax.fairness.preprocessing import _elements

_NAME = "massaging"


def massaging(scores: ArrayLike | None = None, *, strength: float | jax.Array = 1.0) -> Transform:
  r"""Massaging: gives new labels to the rows nearest to the boundary, until base rates are equal.

  $$M_g = \mathrm{round}\Bigl(s\, n_g \Bigl(\frac{n^+}{n} - \frac{n_g^+}{n_g}\Bigr)\Bigr)$$

  In a group with $M_g > 0$ the $M_g$ negatives with the highest scores become positive, and in one
  with $M_g < 0$ the $-M_g$ positives with the lowest scores become negative. For two groups that is
  $M = (n_d n_f^+ - n_f n_d^+) / n$ promotions in the deprived group and as many demotions in the
  favoured one, so that the number of positives stays; for more groups it stays within half a row a
  group. Halves go away from zero; the base rates then differ by no more than
  $\frac12 (1 / n_g + 1 / n_h)$ at s = 1. Equal scores go by `index`. Rows are counted, whatever
  their weight above 0; of soft membership more than half decides, and rows without it stay.

  Args:
    scores: what a ranker says of each label, [N, 2], such as logits, a row for each `Batch.index`;
      may be traced. The logits of the data set when None.
    strength: s in [0, 1], the share of the difference that is taken away; may be traced.

  Returns:
    The transform of a data set; it writes y, and needs group in training only.

  Raises:
    ValueError: for values out of range; when applied, for other than two classes, or where the
      group or scores are missing, of single rows outside of compiled code only.

  References:
    Kamiran, Calders, Data preprocessing techniques for classification without discrimination,
    Knowledge and Information Systems, 2012.

  Examples:
    >>> import jax, jax.numpy as jnp, rfjax
    >>> from rfjax.fairness import preprocessing
    >>> data = rfjax.Batch.from_arrays([[0.0]] * 6, [0, 0, 0, 1, 1, 1], [0, 0, 0, 1, 1, 1])
    >>> scores = jnp.array([[0, -3], [0, -1], [0, -2], [0, 2], [0, 1], [0, 3]])
    >>> rfjax.transform(preprocessing.massaging(scores), data, key=jax.random.key(0)).y.tolist()
    [0, 1, 1, 0, 0, 1]
  """
  table = _elements.check_scores(scores)
  _check.number("strength", strength, 0.0, 1.0)

  def apply(batch: Batch, **unused: Any) -> Batch:
    del unused
    if batch.num_classes != 2:
      raise ValueError(
        f"num_classes must be 2 for massaging, got {batch.num_classes}: make the labels binary"
      )
    group, groups = _elements.hard_group(batch, _NAME), batch.num_groups
    said = _elements.read_scores(table, batch, _NAME)
    margin = said[:, 1] - said[:, 0]
    cell, size = _elements.cells(batch, group)
    worst = jnp.where(batch.y == 1, margin, -margin)
    place = _elements.rank_within(worst, cell, 2 * groups, batch.index)
    promoted = _promotions(size.reshape(groups, 2), strength)
    number = jnp.stack([promoted, -promoted], axis=1).reshape(-1)[cell]
    flip = (cell < 2 * groups) & (place < number)
    return batch.replace(y=jnp.where(flip, 1 - batch.y, batch.y))

  return stateless(apply, writes=("y",))


def _promotions(size: jax.Array, strength: Any) -> jax.Array:
  """How many negatives of each group become positive, or fewer than 0, [G], of counts [G, 2]."""
  of_group, positive = jnp.sum(size, axis=1), size[:, 1]
  rows = jnp.maximum(jnp.sum(size), 1)
  fair, rest = _divided(of_group, jnp.sum(positive), rows)
  # In whole rows and a fraction, which are exactly the same in both of two groups.
  fewer = fair < positive
  whole = jnp.where(fewer, positive - fair - (rest > 0), fair - positive)
  part = jnp.where(fewer & (rest > 0), rows - rest, rest) / rows
  scaled = strength * whole.astype(part.dtype)
  rounding = jnp.where(strength < 1, jnp.finfo(part.dtype).eps * scaled, 0)
  part = scaled - jnp.floor(scaled) + strength * part + rounding
  number = jnp.floor(scaled) + (part >= 0.5) + (part >= 1.5)
  return jnp.where(fewer, -number, number).astype(jnp.int32)


def _divided(a: jax.Array, b: jax.Array, by: jax.Array) -> tuple[jax.Array, jax.Array]:
  """The quotient and the rest of a b / by of integers 0 <= a <= by < 2**30 and b < 2**31."""

  def bit(i: Any, found: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
    quotient, rest = (2 * v for v in found)
    for more in (0, a * ((b >> (30 - i)) & 1)):
      rest += more
      over = rest >= by
      quotient, rest = quotient + over, jnp.where(over, rest - by, rest)
    return quotient, rest

  return jax.lax.fori_loop(0, 31, bit, (jnp.zeros_like(a), jnp.zeros_like(a)))
