"""AdaFair: boosting that raises the weights of the group that the votes so far serve worse."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rfjax.core import Batch, _check, ratio
from rfjax.fairness.inprocessing._cells import cell_sum
from rfjax.fairness.inprocessing._stump import Learner, stump

_SMALLEST = 1e-6  # error of a learner, so that one without an error has a finite vote


class AdaFair(NamedTuple):
  """An ensemble of learners, each with a vote.

  Attributes:
    learners: their parameters, each leaf with a leading axis of rounds.
    vote: [rounds], alpha; 0 for those that were cut off.
    objective: [rounds], what the cut minimises; infinite after boosting has ended.
    weight: [rounds, N], the weights by which each round has learned; they sum to 1.
  """

  learners: Any
  vote: jax.Array
  objective: jax.Array
  weight: jax.Array


class _Boosting(NamedTuple):
  weight: jax.Array  # [N]
  votes: jax.Array  # [N, C]
  alive: jax.Array  # []


def adafair(
  data: Batch,
  *,
  rounds: int = 50,
  balance: float | jax.Array = 1.0,
  confidence: bool = True,
  learner: Learner | None = None,
  key: jax.Array | None = None,
) -> AdaFair:
  r"""Fits AdaFair, boosting with a cost of unfairness that is measured on the votes so far.

  $$w_i \leftarrow \frac{1}{Z}\, w_i\, u_{y_i g_i}
  \exp\bigl(\alpha_t \max_k p_{tk}(x_i)\,[h_t(x_i) \ne y_i]\bigr), \qquad
  \alpha_t = \ln\frac{1 - \epsilon_t}{\epsilon_t} + \ln(C - 1)$$

  with the weighted error of learner t. The cost u is 1 for rows that are classified right and in
  the first round; for the others 1 + max_h r_yh - r_yg, with the shares r of rows of label y and
  group g that the votes so far get right. So with two groups it is 1 plus the gap for the one that
  is worse off. Boosting ends before a learner that is no better than chance.

  The votes that count are those up to the round with the smallest
  c BER + (1 - c) ER + sum_y (max_g r_yg - min_g r_yg), where ER and BER are the error and the mean
  error of labels of the votes; the last term is 1 in the first round.

  Differs from the authors' code in a slip of theirs, by which the cost of one group's label 0 is
  read from the gap of label 1.

  Args:
    data: the training set; its weights are the first ones, and rows that a selection has dropped
      count nowhere.
    rounds: at most so many learners, at least 1; static.
    balance: c, in [0, 1]; may be traced.
    confidence: whether the exponent has the learner's confidence (the paper's CSB2) or not (CSB1);
      static.
    learner: the weak learner, `stump` when None.
    key: a key for a learner that draws; each round gets its own.

  Returns:
    The ensemble; `adafair_vote` applies it. It needs group in training only.

  Raises:
    ValueError: for values out of range, or where the group is missing.

  References:
    Iosifidis, Ntoutsi, AdaFair: cumulative fairness adaptive boosting, CIKM 2019.

  Examples:
    >>> import rfjax
    >>> from rfjax.fairness import inprocessing
    >>> x = [[0.0], [1.0], [2.0], [3.0], [4.0], [5.0]]
    >>> data = rfjax.Batch.from_arrays(x, [0, 0, 1, 0, 1, 1], [0, 1, 0, 1, 0, 1])
    >>> ensemble = inprocessing.adafair(data, rounds=5)
    >>> inprocessing.adafair_vote(ensemble, data).logits.argmax(1).shape
    (6,)
  """
  rounds = _check.count("rounds", rounds)
  _check.number("balance", balance, 0.0, 1.0)
  _check.choice("confidence", confidence, (False, True))
  weak = stump() if learner is None else learner
  key = jax.random.key(0) if key is None else key
  data = data.require("group", by="adafair").with_columns("keep", "weight")
  # A row that a selection has dropped is as padding, which moves no threshold either.
  data = data.replace(valid=data.valid & (data.keep > 0))
  member, classes = data.membership, data.num_classes
  labels = jax.nn.one_hot(data.y, classes) * data.valid[:, None]
  count = cell_sum(jnp.ones(data.num_rows), data)[:, :-1]

  def rates(right: jax.Array) -> jax.Array:
    return ratio(cell_sum(right, data)[:, :-1], count)

  def boost(now: _Boosting, at: Any) -> tuple[_Boosting, Any]:
    number, key = at
    params = weak.fit(data, now.weight, key)
    said = weak.probs(params, data)
    chosen = jnp.argmax(said, axis=1)
    error = jnp.sum(now.weight * (chosen != data.y))
    alive = now.alive & (error < 1 - 1 / classes)
    safe = jnp.clip(error, _SMALLEST, 1 - _SMALLEST)
    alpha = jnp.where(alive, jnp.log(1 / safe - 1) + jnp.log(classes - 1.0), 0)
    votes = now.votes + alpha * jax.nn.one_hot(chosen, classes)
    right = (jnp.argmax(votes, axis=1) == data.y) & data.valid
    rate, some = rates(right), count > 0
    behind = jnp.max(jnp.where(some, rate, 0), axis=1, keepdims=True) - rate
    behind = jnp.where(some & (number > 0), behind, 0)
    unfair = jnp.where(number > 0, jnp.sum(jnp.max(behind, axis=1)), 1)
    of_label = ratio(jnp.sum(labels * right[:, None], 0), jnp.sum(labels, 0))
    balanced = 1 - ratio(jnp.sum(of_label), jnp.sum(jnp.any(labels > 0, 0)))
    objective = balance * balanced + (1 - balance) * (1 - data.mean(right)) + unfair
    cost = 1 + jnp.sum(member * behind[data.y], axis=1)
    raised = cost * jnp.exp(alpha * (jnp.max(said, axis=1) if confidence else 1))
    weight = now.weight * jnp.where(chosen != data.y, raised, 1)
    out = params, alpha, jnp.where(alive, objective, jnp.inf), now.weight
    return _Boosting(weight / jnp.sum(weight), votes, alive), out

  first = data.weight * data.keep * data.valid
  start = _Boosting(first / jnp.sum(first), jnp.zeros(labels.shape), jnp.array(True))
  numbers = jnp.arange(rounds)
  keys = jax.vmap(lambda number: jax.random.fold_in(key, number))(numbers)
  _, (learners, alpha, objective, weight) = jax.lax.scan(boost, start, (numbers, keys))
  vote = jnp.where(numbers <= jnp.argmin(objective), alpha, 0)
  return AdaFair(learners, vote, objective, weight)


def adafair_vote(ensemble: AdaFair, data: Batch, *, learner: Learner | None = None) -> Batch:
  """Fills a data set with what an ensemble votes.

  Args:
    ensemble: from `adafair`.
    data: any data set of the same kind of rows; its groups are not read.
    learner: the weak learner that the ensemble is of, `stump` when None.

  Returns:
    The data with `logits` [N, C], the sums of the votes, and all that follows from them.

  Examples:
    >>> import rfjax
    >>> from rfjax.fairness import inprocessing
    >>> data = rfjax.Batch.from_arrays([[0.0], [1.0], [2.0]], [0, 1, 1], [0, 1, 1])
    >>> ensemble = inprocessing.adafair(data, rounds=1)
    >>> inprocessing.adafair_vote(ensemble, data).logits.argmax(1).tolist()
    [0, 1, 1]
  """
  weak = stump() if learner is None else learner

  def add(votes: jax.Array, one: Any) -> tuple[jax.Array, None]:
    params, vote = one
    chosen = jnp.argmax(weak.probs(params, data), axis=1)
    return votes + vote * jax.nn.one_hot(chosen, data.num_classes), None

  none = jnp.zeros((data.num_rows, data.num_classes))
  return data.fill(jax.lax.scan(add, none, (ensemble.learners, ensemble.vote))[0])
