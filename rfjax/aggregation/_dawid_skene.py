"""Dawid and Skene's model of workers with individual errors, fitted by EM."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from rfjax.aggregation._answers import Answers, mass
from rfjax.aggregation._majority import vote_shares
from rfjax.core import _check


class DawidSkene(NamedTuple):
  """What the answers say of items and workers.

  Attributes:
    probs: posterior of the true labels [N, C], given `prior` and `confusion`.
    label: the most probable labels, int32 [N]; of equally probable ones the smallest.
    confusion: [W, C, C]; entry (w, j, l) is the probability that worker w says l where j is true.
    prior: probabilities of the classes [C].
    log_likelihood: [steps], after each step; the last one is that of `prior` and `confusion`.
  """

  probs: jax.Array
  label: jax.Array
  confusion: jax.Array
  prior: jax.Array
  log_likelihood: jax.Array


def dawid_skene(
  answers: Answers,
  *,
  steps: int = 100,
  smoothing: float | jax.Array = 0.0,
  weight: ArrayLike | None = None,
) -> DawidSkene:
  r"""Estimates true labels, and each worker's confusion matrix, by the EM algorithm.

  Workers err independently given the true label j, worker w saying l with probability
  $\pi^{(w)}_{jl}$. Starting at the `vote_shares` T, each step takes

  $$\pi^{(w)}_{jl} \propto \alpha + \sum_{a:\, w_a = w,\, l_a = l} \omega_a\, T_{i_a j}, \qquad
  p_j \propto \sum_i T_{ij}, \qquad
  T_{ij} \propto p_j \prod_{a:\, i_a = i} \bigl(\pi^{(w_a)}_{j l_a}\bigr)^{\omega_a}$$

  with answer weights omega, and never lowers, for $\alpha = 0$, the log likelihood

  $$\sum_i \log \sum_j p_j \prod_{a:\, i_a = i} \bigl(\pi^{(w_a)}_{j l_a}\bigr)^{\omega_a}.$$

  Items without answers do not count in p and get it as their posterior; the rows of a worker of
  whom nothing is known are uniform.

  Args:
    answers: A answers of W workers to N items, of C classes.
    steps: number of EM steps, at least 1. Look at `log_likelihood` for whether they were enough.
    smoothing: alpha, at least 0, added to each count of a confusion matrix; may be traced. Above 0
      it keeps the rows of workers with few answers off 0 and 1, and the steps climb the likelihood
      times $\prod \pi^\alpha$ instead.
    weight: omega, [A], finite and at least 0; 1 when None. May be traced.

  Returns:
    A `DawidSkene`.

  Raises:
    ValueError: for numbers out of range or bad weights.

  References:
    Dawid, Skene, Maximum Likelihood Estimation of Observer Error-Rates Using the EM Algorithm,
    Journal of the Royal Statistical Society: Series C (Applied Statistics), 1979.

  Examples:
    >>> from rfjax import aggregation
    >>> crowd = aggregation.answers([[0, 0, 1], [1, 1, 0], [0, 0, 1], [1, 1, 1]], range(3))
    >>> fitted = aggregation.dawid_skene(crowd, steps=20)
    >>> fitted.label.tolist(), fitted.confusion[0].round(3).tolist()
    ([0, 1, 0, 1], [[1.0, 0.0], [0.0, 1.0]])
  """
  steps = _check.count("steps", steps)
  _check.number("smoothing", smoothing, 0.0, open_high=True)
  amount = mass(answers, weight)
  start = vote_shares(answers, weight=weight)
  answered = jnp.sum(start, axis=-1, keepdims=True) > 0

  def step(carry: tuple[jax.Array, ...], _: None) -> tuple[tuple[jax.Array, ...], jax.Array]:
    probs = carry[0]
    confusion = _normalise(_counts(answers, amount, probs) + smoothing)
    prior = _normalise(jnp.sum(jnp.where(answered, probs, 0), axis=0))
    joint = _log_joint(answers, amount, prior, confusion)
    evidence = jax.nn.logsumexp(joint, axis=-1, keepdims=True)
    log_likelihood = jnp.sum(jnp.where(answered, evidence, 0))
    return (jax.nn.softmax(joint), prior, confusion), log_likelihood

  classes, workers = answers.num_classes, answers.num_workers
  unknown = jnp.zeros(classes, start.dtype), jnp.zeros((workers, classes, classes), start.dtype)
  last, log_likelihood = jax.lax.scan(step, (start, *unknown), length=steps)
  probs, prior, confusion = last
  label = jnp.argmax(probs, axis=-1).astype(jnp.int32)
  return DawidSkene(probs, label, confusion, prior, log_likelihood)


def _counts(answers: Answers, amount: jax.Array, probs: jax.Array) -> jax.Array:
  """How often each worker says l where j is true, in expectation, [W, C, C]."""
  classes = answers.num_classes
  empty = jnp.zeros((answers.num_workers, classes, classes), amount.dtype)
  shares = amount[:, None] * probs[answers.item]
  return empty.at[answers.worker, :, answers.label].add(shares)


def _log_joint(
  answers: Answers, amount: jax.Array, prior: jax.Array, confusion: jax.Array
) -> jax.Array:
  """Log probability of an item's answers and of each true label, [N, C]."""
  said = jnp.log(confusion)[answers.worker, :, answers.label]
  counted = amount[:, None] * jnp.where(amount[:, None] > 0, said, 0)
  return jnp.log(prior) + jax.ops.segment_sum(counted, answers.item, answers.num_items)


def _normalise(counts: jax.Array) -> jax.Array:
  """Rows with sum 1; uniform where there is nothing to count."""
  total = jnp.sum(counts, axis=-1, keepdims=True)
  # A subnormal total may be flushed to 0 in the division.
  known = total >= jnp.finfo(counts.dtype).tiny
  return jnp.where(known, counts / jnp.where(known, total, 1), 1 / counts.shape[-1])
