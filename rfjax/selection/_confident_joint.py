"""The confident joint: how often each given label seems to stand for each true one."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from rfjax.core import _check
from rfjax.selection._elements import class_counts, labels_and_probs

SLACK = 1e-6  # cleanlab's tolerance where probabilities are compared
_LARGEST = 2**29  # up to so many rows the counts are shared out without overflow


def confident_joint(
  y: ArrayLike,
  probs: ArrayLike,
  *,
  calibrate: bool = True,
  thresholds: ArrayLike | None = None,
  mask: jax.Array | None = None,
) -> jax.Array:
  r"""The confident joint of confident learning, the counts of given and true labels.

  $$C_{ij} = \Bigl|\Bigl\{n : \tilde y_n = i,\; j = \arg\max_{k:\, p_n(k) \ge t_k} p_n(k)
  \Bigr\}\Bigr|, \qquad t_k = \frac{1}{|\{n : \tilde y_n = k\}|} \sum_{n:\, \tilde y_n = k} p_n(k)$$

  An example counts for the classes that it is as likely to be as those which are given that label;
  for none of them it is left out, and of several the likeliest of all classes is counted, as in
  cleanlab, be it one of them or not. The diagonal is at least 1. Calibrated, each row is scaled to
  the number of examples of its given label and rounded, half to even, so that it keeps its sum:
  what is missing goes to the largest remainders, what is too much is taken from the smallest ones.

  The counts are those of the package cleanlab 2.9. It scales in floating point, and where
  remainders are equal, or halves, its rounding hangs on the last bits and on an unstable sort; here
  it is exact, and of equal remainders the larger class is raised first, the smaller lowered first.

  Args:
    y: the given labels, integers [N]; may be traced, as all arrays here.
    probs: p, [N, C], of networks that have not seen the row in training, such as `out_of_sample`.
    calibrate: whether the rows are scaled to the numbers of examples.
    thresholds: t, [C], in the place of the means; a class that nobody has is given 2, which no
      probability reaches, and none is below 2e-6.
    mask: bool [N], which rows count; all when None.

  Returns:
    The counts, int32 [C, C], a row for each given label and a column for each true one.

  Raises:
    ValueError: for values out of range, and arrays that do not match.

  References:
    Northcutt, Jiang, Chuang, Confident Learning: Estimating Uncertainty in Dataset Labels, Journal
    of Artificial Intelligence Research, 2021.

  Examples:
    >>> from rfjax import selection
    >>> probs = [[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.2, 0.8], [0.3, 0.7], [0.3, 0.7]]
    >>> selection.confident_joint([0, 0, 0, 1, 1, 1], probs).tolist()
    [[2, 1], [0, 3]]
  """
  labels, p, counts = labels_and_probs(y, probs, mask)
  if labels.size > _LARGEST:
    raise ValueError(f"y must have at most {_LARGEST} rows, got {labels.size}")
  totals = class_counts(labels, counts, p.shape[1])
  guess, confident = confident_class(labels, p, counts, thresholds)
  joint = jnp.zeros((p.shape[1],) * 2, jnp.int32).at[labels, guess].add(confident.astype(jnp.int32))
  diagonal = jnp.eye(p.shape[1], dtype=bool)
  joint = jnp.where(diagonal, jnp.maximum(joint, 1), joint)
  return shared_out(joint, totals) if calibrate else joint


def confident_class(
  y: jax.Array, probs: jax.Array, mask: jax.Array, thresholds: ArrayLike | None = None
) -> tuple[jax.Array, jax.Array]:
  """The class that each row confidently belongs to, int32 [N], and whether there is one."""
  limits = _mean_confidence(y, probs, mask)
  if thresholds is not None:
    limits = jnp.asarray(_check.numbers("thresholds", thresholds), probs.dtype)
    if limits.shape != (probs.shape[1],):
      raise ValueError(
        f"thresholds must have one number for each of {probs.shape[1]} classes, got shape"
        f" {limits.shape}"
      )
  above = probs >= limits - SLACK
  number = jnp.sum(above, axis=-1)
  # Of several classes the likeliest of all wins, confident or not, as cleanlab has it.
  guess = jnp.where(number > 1, jnp.argmax(probs, axis=-1), jnp.argmax(above, axis=-1))
  return guess.astype(jnp.int32), mask & (number > 0)


def _mean_confidence(y: jax.Array, probs: jax.Array, mask: jax.Array) -> jax.Array:
  """The mean probability of each class over the rows that are given it, [C]; 2 without any."""
  own = (y[:, None] == jnp.arange(probs.shape[1])) & mask[:, None]
  rows = jnp.sum(own, axis=0)
  mean = lambda v: jnp.sum(jnp.where(own, v, 0), axis=0) / jnp.maximum(rows, 1)
  first = mean(probs)
  # The mean of what is left over takes back the rounding of long sums.
  means = first + mean(probs - first)
  return jnp.maximum(jnp.where(rows > 0, means, 2.0), 2 * SLACK)


@jax.jit
def shared_out(counts: jax.Array, totals: jax.Array) -> jax.Array:
  """Rows of counts [C, C] scaled to totals [C], rounded exactly with their sums kept, int32."""
  c = counts.astype(jnp.uint32)
  n = jnp.broadcast_to(totals.astype(jnp.uint32)[:, None], c.shape)
  s = jnp.maximum(jnp.sum(c, axis=-1, keepdims=True, dtype=c.dtype), 1)

  def digit(i: int, state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
    quotient, rest = state
    bit = (n >> (jnp.uint32(31) - jnp.asarray(i, jnp.uint32))) & 1
    rest = 2 * rest + bit * c
    times = (rest >= s).astype(jnp.uint32) + (rest >= 2 * s)
    return 2 * quotient + times, rest - times * s

  # Long division of n c by s in binary: the product itself may have more bits than there are.
  zeros = jnp.zeros_like(c)
  quotient, rest = jax.lax.fori_loop(0, 32, digit, (zeros, zeros))
  half_up = (2 * rest > s) | ((2 * rest == s) & (quotient % 2 == 1))
  rounded = (quotient + half_up).astype(jnp.int32)
  left = rest.astype(jnp.int32) - jnp.where(half_up, s, 0).astype(jnp.int32)
  places = jnp.argsort(jnp.argsort(left, axis=-1), axis=-1)
  whole = jnp.where(jnp.sum(c, axis=-1) > 0, totals, 0).astype(jnp.int32)
  missing = (whole - jnp.sum(rounded, axis=-1, dtype=jnp.int32))[:, None]
  return rounded + (places >= c.shape[1] - missing) - (places < -missing)
