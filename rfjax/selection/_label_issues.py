"""Label issues: which given labels are wrong, by the rules of confident learning."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from rfjax.core import _check, smallest
from rfjax.selection._confident_joint import SLACK, confident_class, confident_joint
from rfjax.selection._elements import (
  class_counts,
  labels_and_probs,
  of_label,
  smallest_in_class,
  square,
)

COUNTED = ("noise_rate", "class", "both")
PRUNES = (*COUNTED, "confident_joint", "argmax", "margin", "self_confidence")


def label_issues(
  y: ArrayLike,
  probs: ArrayLike,
  *,
  prune: str = "noise_rate",
  joint: ArrayLike | None = None,
  frac_noise: float | jax.Array = 1.0,
  min_examples: int | jax.Array = 1,
  num_to_remove: ArrayLike | None = None,
  mask: jax.Array | None = None,
) -> jax.Array:
  r"""Marks the rows whose given label is probably wrong, by confident learning.

  $$\text{noise rate:} \quad \bigcup_{j \ne i} \bigl\{Q_{ij} \text{ rows of } \tilde y = i
  \text{ with the largest } p(j) - p(i)\bigr\}, \qquad
  \text{class:} \quad \Bigl\{\textstyle\sum_{j \ne i} Q_{ij} \text{ rows of } \tilde y = i
  \text{ with the smallest } p(i)\Bigr\}$$

  with the calibrated `confident_joint` Q. The rules, and what the package cleanlab calls them:

  - "noise_rate" (prune_by_noise_rate), "class" (prune_by_class), and "both" at once;
  - "confident_joint" (confident_learning): all that are counted off the diagonal;
  - "argmax" (predicted_neq_given): the predicted label is another one;
  - "margin" (low_normalized_margin), "self_confidence" (low_self_confidence): as many as
    "confident_joint" marks, those of the smallest $p(\tilde y) - \max_{k \ne \tilde y} p(k)$, or of
    the smallest $p(\tilde y)$.

  All but the last two spare rows whose given label is within 1e-6 of the largest probability. Equal
  scores go by row number. The marks are those of `cleanlab.filter.find_label_issues` 2.9 with a
  stable sort, but for ties in the rounding of the joint, see there.

  Args:
    y: the given labels, integers [N]; may be traced, as all arrays here.
    probs: p, [N, C], of networks that have not seen the row in training, such as `out_of_sample`.
    prune: the rule.
    joint: Q [C, C], counts of (given, true) labels with the sums of the given ones, for the first
      three rules; of `confident_joint` when None.
    frac_noise: share of the counts off the diagonal to prune, in [0, 1], rounded down; for the
      first three rules. May be traced.
    min_examples: so many rows of each class are spared, at least 0; for the first three rules.
      May be traced.
    num_to_remove: how many rows of each class to prune, integers [C], in the place of Q; for
      "class" only.
    mask: bool [N], which rows count; all when None.

  Returns:
    The marks, bool [N].

  Raises:
    ValueError: for values out of range, arrays that do not match, and settings that the rule does
      not read.

  References:
    Northcutt, Jiang, Chuang, Confident Learning: Estimating Uncertainty in Dataset Labels, Journal
    of Artificial Intelligence Research, 2021.

  Examples:
    >>> from rfjax import selection
    >>> probs = [[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.2, 0.8], [0.3, 0.7], [0.3, 0.7]]
    >>> selection.label_issues([0, 0, 0, 1, 1, 1], probs).tolist()
    [False, False, True, False, False, False]
  """
  check_rule(prune, joint, frac_noise, min_examples, num_to_remove)
  labels, p, counts = labels_and_probs(y, probs, mask)
  if prune in COUNTED:
    classes = p.shape[1]
    flows = confident_joint(labels, p, mask=counts) if joint is None else square("joint", joint)
    if flows.shape[0] != classes:
      raise ValueError(f"joint must be of {classes} classes, got {flows.shape[0]}")
    if num_to_remove is not None and _check.array("", num_to_remove).shape != (classes,):
      raise ValueError(f"num_to_remove must have {classes} numbers, got {num_to_remove}")
    marks = _pruned(labels, p, counts, prune, flows, frac_noise, min_examples, num_to_remove)
  elif prune == "argmax":
    marks = counts & (jnp.argmax(p, axis=-1) != labels)
  else:
    guess, confident = confident_class(labels, p, counts)
    marks = confident & (guess != labels)
  marks = marks & ~_nearly_predicted(labels, p)
  if prune in ("margin", "self_confidence"):
    rows = jnp.arange(labels.size, dtype=jnp.int32)
    return smallest(_score(labels, p, prune), jnp.sum(marks), counts, rows)
  return marks


def check_rule(
  prune: str, joint: Any, frac_noise: Any, min_examples: Any, num_to_remove: Any
) -> None:
  """Refuses bad settings, and those that the rule does not read."""
  _check.choice("prune", prune, PRUNES)
  _check.number("frac_noise", frac_noise, 0.0, 1.0)
  _check.number("min_examples", min_examples, 0)
  if joint is not None:
    square("joint", joint)
  if num_to_remove is not None:
    _check.numbers("num_to_remove", num_to_remove, 0)
    if prune != "class" or joint is not None:
      raise ValueError(
        f"num_to_remove must come with prune='class' and no joint, got prune={prune!r}"
      )
  plain = joint is None and not any(
    _check.traced(v) or v != default for v, default in ((frac_noise, 1), (min_examples, 1))
  )
  if prune not in COUNTED and not plain:
    raise ValueError(
      f"prune must be one of {', '.join(map(repr, COUNTED))} with joint, frac_noise or"
      f" min_examples, got {prune!r}"
    )


def _nearly_predicted(y: jax.Array, probs: jax.Array) -> jax.Array:
  """Whether the given label is the predicted one, or within rounding of it, bool [N]."""
  own = y[:, None] == jnp.arange(probs.shape[1])
  return jnp.argmax(jnp.where(own, probs + SLACK, probs), axis=-1) == y


def _score(y: jax.Array, probs: jax.Array, prune: str) -> jax.Array:
  """The quality of each label, [N]; the margin in cleanlab's scale, whose rounding makes ties."""
  own = of_label(probs, y)
  if prune == "self_confidence":
    return own
  others = jnp.where(y[:, None] == jnp.arange(probs.shape[1]), -jnp.inf, probs)
  return (own - jnp.max(others, axis=-1) + 1) / 2


@functools.partial(jax.jit, static_argnames="prune")
def _pruned(
  y: jax.Array,
  probs: jax.Array,
  mask: jax.Array,
  prune: str,
  joint: Any,
  frac_noise: Any,
  min_examples: Any,
  num_to_remove: Any,
) -> jax.Array:
  """The marks of the rules that count, bool [N]."""
  classes = probs.shape[1]
  totals, own = class_counts(y, mask, classes), of_label(probs, y)
  flips, kept = _prune_counts(joint, frac_noise, min_examples)
  # Of a class with one row nothing is pruned, whatever is spared.
  enough = mask & (totals > jnp.maximum(min_examples, 1))[y]
  marks = enough
  if prune != "noise_rate":
    number = totals - kept if num_to_remove is None else jnp.asarray(num_to_remove)
    marks = marks & smallest_in_class(own, number, y, mask)
  if prune != "class":

    def of_class(found: jax.Array, j: jax.Array) -> tuple[jax.Array, None]:
      closeness = jnp.take(by_class, j, axis=0) - own
      first = smallest_in_class(-closeness, flips[:, j], y, mask)
      return found | ((y != j) & first), None

    by_class = probs.T
    marks = marks & jax.lax.scan(of_class, jnp.zeros_like(mask), jnp.arange(classes))[0]
  return marks


def _prune_counts(joint: Any, frac_noise: Any, least: Any) -> tuple[jax.Array, jax.Array]:
  """How many rows to prune for each pair of labels, [C, C], and how many to keep of each, [C].

  Where the diagonal is raised to `least`, the other counts of the row that are not 0 bear it.
  """
  counts = jnp.asarray(joint)
  counts = counts.astype(jnp.promote_types(counts.dtype, jnp.float32))
  right = jnp.diagonal(counts)
  kept = jnp.maximum(right, least)
  borne_by = jnp.maximum(jnp.sum(counts != 0, axis=-1) - 1, 1)
  flips = jnp.maximum(counts - ((kept - right) / borne_by)[:, None], 0)
  flips = jnp.where(jnp.eye(len(counts), dtype=bool), 0, flips)
  spared = jnp.sum(flips, axis=-1) * (1 - jnp.asarray(frac_noise))
  return _floor(flips * frac_noise), _floor(kept + spared)


def _floor(values: jax.Array) -> jax.Array:
  """Rounds down, but to the whole number that is meant where rounding fell just short of it."""
  whole = jnp.round(values)
  close = jnp.abs(whole - values) <= 4 * jnp.finfo(values.dtype).eps * jnp.abs(whole)
  return jnp.where(close, whole, jnp.floor(values)).astype(jnp.int32)
