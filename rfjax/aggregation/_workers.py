"""Workers: how often each is right, and the answers of those who are right often enough."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from rfjax.aggregation._answers import Answers, mass
from rfjax.core import _check, ratio


class WorkerAccuracy(NamedTuple):
  """How often each worker is right.

  Attributes:
    accuracy: share of the worker's answers that are right, [W]; 0 where none counts.
    count: the answers that count, or their weight, [W].
  """

  accuracy: jax.Array
  count: jax.Array


def worker_accuracy(
  answers: Answers, truth: ArrayLike, *, weight: ArrayLike | None = None
) -> WorkerAccuracy:
  r"""The accuracy of each worker.

  $$\mathrm{accuracy}_w = \frac{\sum_{a:\, w_a = w} \omega_a\, t_{i_a l_a}}
  {\sum_{a:\, w_a = w} \omega_a \sum_k t_{i_a k}}$$

  with answer weights omega. Without true labels, those of `majority` or the posterior of
  `dawid_skene` in their place make it agreement with the crowd; a worker's own answers had a part
  in them.

  Args:
    answers: A answers of W workers to N items, of C classes.
    truth: t, true labels [N], integers in [0, C), or their probabilities [N, C], where a row of
      zeros is an item whose label is not known and does not count. May be traced.
    weight: omega, [A], finite and at least 0; 1 when None. May be traced.

  Returns:
    The `WorkerAccuracy`.

  Raises:
    ValueError: for bad labels or weights.

  Examples:
    >>> from rfjax import aggregation
    >>> crowd = aggregation.answers([[0, 0, 1], [1, 0, 0]], ["ann", "bob", "cyd"])
    >>> aggregation.worker_accuracy(crowd, [0, 1]).accuracy.tolist()
    [1.0, 0.5, 0.0]
  """
  amount = mass(answers, weight)
  known = _probabilities(answers, truth, amount.dtype)[answers.item]
  right = jnp.take_along_axis(known, answers.label[:, None], axis=1)[:, 0]
  by_worker = lambda v: jax.ops.segment_sum(amount * v, answers.worker, answers.num_workers)
  count = by_worker(jnp.sum(known, axis=-1))
  return WorkerAccuracy(ratio(by_worker(right), count), count)


def filter_workers(answers: Answers, accuracy: ArrayLike, *, least: float | jax.Array) -> Answers:
  r"""Keeps the answers of the workers who are right often enough.

  $$\mathrm{valid}_a \leftarrow \mathrm{valid}_a\, [\mathrm{accuracy}_{w_a} \ge \theta]$$

  Items may lose all their answers: `Answers.answered` tells.

  Args:
    answers: A answers of W workers.
    accuracy: [W] in [0, 1], such as that of `worker_accuracy`, also of other answers of these
      workers. May be traced.
    least: theta in [0, 1]; may be traced.

  Returns:
    The `Answers`, of the same shape, in which those of the other workers are not valid.

  Raises:
    ValueError: for values out of range or accuracies of another shape.

  References:
    Roh, Lee, Whang, Suh, FR-Train: A Mutual Information-Based Approach to Fair and Robust Training,
    ICML 2020 (for its clean validation sets).

  Examples:
    >>> from rfjax import aggregation
    >>> crowd = aggregation.answers([[0, 0, 1], [1, 0, 0]], ["ann", "bob", "cyd"])
    >>> accuracy = aggregation.worker_accuracy(crowd, [0, 1]).accuracy
    >>> aggregation.majority(aggregation.filter_workers(crowd, accuracy, least=0.8)).tolist()
    [0, 1]
  """
  _check.number("least", least, 0.0, 1.0)
  if isinstance(accuracy, WorkerAccuracy) or np.shape(accuracy) != (answers.num_workers,):
    raise ValueError(
      f"accuracy has shape {np.shape(accuracy)} but there are {answers.num_workers} workers: pass"
      " one a worker, such as worker_accuracy(...).accuracy"
    )
  _check_accuracy(accuracy)
  kept = jnp.asarray(accuracy) >= least
  return dataclasses.replace(answers, valid=answers.valid & kept[answers.worker])


def _check_accuracy(accuracy: ArrayLike) -> None:
  values = _check.array("accuracy", accuracy)
  if _check.traced(values):
    return
  values = np.asarray(values, np.float64)
  bad = ~((values >= 0) & (values <= 1 + 1e-5))
  if bad.any():
    raise ValueError(
      f"accuracy must lie in [0, 1], got {values[bad][0]:g} ({_check._rows(bad)}): pass shares"
    )


def _probabilities(answers: Answers, truth: ArrayLike, dtype: jnp.dtype) -> jax.Array:
  """True labels as probabilities [N, C]."""
  shape, classes = np.shape(truth), answers.num_classes
  if shape == (answers.num_items,):
    if not _check.traced(truth):
      truth, _ = _check.labels("truth", truth, classes, 2)
    return jax.nn.one_hot(truth, classes, dtype=dtype)
  if shape != (answers.num_items, classes):
    raise ValueError(
      f"truth has shape {shape} but there are {answers.num_items} items of {classes} classes: pass"
      " a label, or a row of probabilities, an item"
    )
  if not _check.traced(truth):
    rows = np.asarray(truth, np.float64)
    bad = ~((rows >= 0).all(1) & (rows.sum(1) <= 1 + 1e-5))
    if bad.any():
      raise ValueError(
        f"truth must hold probabilities with row sums at most 1, got {rows[bad][0].tolist()}"
        f" ({_check._rows(bad)}): normalise the rows"
      )
  return jnp.asarray(truth, dtype)
