"""Majority vote: the label that most workers give."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from rfjax.aggregation._answers import Answers, mass
from rfjax.core import ratio


def vote_shares(answers: Answers, *, weight: ArrayLike | None = None) -> jax.Array:
  r"""The share of an item's answers that each class has: soft labels.

  $$s_{ik} = \frac{\sum_{a:\, i_a = i} w_a\, [l_a = k]}{\sum_{a:\, i_a = i} w_a}$$

  Args:
    answers: A answers to N items, of C classes.
    weight: w, [A], finite and at least 0; 1 when None. May be traced.

  Returns:
    s [N, C]; a row of zeros where an item has no answer that counts.

  Raises:
    ValueError: for bad weights.

  Examples:
    >>> from rfjax import aggregation
    >>> crowd = aggregation.answers([[0, 1, 1, 1], [0, 0, -1, -1]], range(4))
    >>> aggregation.vote_shares(crowd).tolist()
    [[0.25, 0.75], [1.0, 0.0]]
  """
  amount = mass(answers, weight)
  empty = jnp.zeros((answers.num_items, answers.num_classes), amount.dtype)
  votes = empty.at[answers.item, answers.label].add(amount)
  return ratio(votes, jnp.sum(votes, axis=-1, keepdims=True))


def majority(answers: Answers, *, weight: ArrayLike | None = None) -> jax.Array:
  r"""The label that most workers give.

  $$\hat y_i = \arg\max_k s_{ik}$$

  with `vote_shares` s. Of classes with equal shares the smallest wins, so that an item without
  answers has label 0: `Answers.answered` tells which have some.

  Args:
    answers: A answers to N items.
    weight: as in `vote_shares`.

  Returns:
    The labels, int32 [N].

  Raises:
    ValueError: for bad weights.

  Examples:
    >>> from rfjax import aggregation
    >>> crowd = aggregation.answers([[0, 1, 1], [2, 0, 2]], range(3))
    >>> aggregation.majority(crowd).tolist()
    [1, 2]
  """
  return jnp.argmax(vote_shares(answers, weight=weight), axis=-1).astype(jnp.int32)
