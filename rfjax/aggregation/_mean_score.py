"""Mean score: the average of answers on an ordered scale."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from rfjax.aggregation._answers import Answers, mass
from rfjax.core import _check, ratio


def mean_score(
  answers: Answers, *, scores: ArrayLike | None = None, weight: ArrayLike | None = None
) -> jax.Array:
  r"""The mean of an item's answers, where the classes are steps of an ordered scale.

  $$m_i = \frac{\sum_{a:\, i_a = i} w_a\, v_{l_a}}{\sum_{a:\, i_a = i} w_a}$$

  A threshold makes it a binary label that, unlike the majority of thresholded
  answers, hears how sure the workers are: on a scale of 1 to 4, `mean_score(...) > 2.5`.

  Args:
    answers: A answers to N items, of C classes.
    scores: v, [C], the score of each class; 0, 1, ..., C - 1 when None. May be traced.
    weight: w, [A], finite and at least 0; 1 when None. May be traced.

  Returns:
    m [N]; 0 where an item has no answer that counts.

  Raises:
    ValueError: for bad scores or weights.

  Examples:
    >>> from rfjax import aggregation
    >>> crowd = aggregation.answers([[0, 2, 3, 3], [0, 2, 2, 0]], range(4))
    >>> aggregation.mean_score(crowd, scores=[1, 2, 3, 4]).tolist()
    [3.0, 2.0]
  """
  if scores is None:
    scores = np.arange(answers.num_classes)
  if np.shape(scores) != (answers.num_classes,):
    raise ValueError(
      f"scores has shape {np.shape(scores)} but there are {answers.num_classes} classes:"
      " pass one a class"
    )
  if not _check.traced(scores) and not np.isfinite(np.asarray(scores, np.float64)).all():
    raise ValueError(f"scores must be finite, got {np.asarray(scores).tolist()}: number the scale")
  amount = mass(answers, weight)
  # Sums first: those of whole scores are exact, and so is a mean right at the threshold.
  by_item = lambda v: jax.ops.segment_sum(v, answers.item, answers.num_items)
  total = by_item(amount * jnp.asarray(scores, amount.dtype)[answers.label])
  return ratio(total, by_item(amount))
