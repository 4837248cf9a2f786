"""Exponentiated gradient: costs against a learner, round after round; its answers are mixed."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rfjax.core import Batch, _check
from rfjax.fairness.inprocessing._game import PRECISION, Game, Store
from rfjax.fairness.inprocessing._grid_search import GridSearch
from rfjax.fairness.inprocessing._oracle import Oracle, RandomizedClassifier, logistic_oracle, rows
from rfjax.fairness.inprocessing._parity_moments import ParityMoments, parity_moments

ANSWERS = ("program", "smallest_gap")
_FIRST, _NEXT, _SHRINK = 5, 1.6, 0.8  # when the gap is looked at, and what a rate shrinks to


class ExponentiatedGradient(NamedTuple):
  """What `exponentiated_gradient` found; constraints have the shape [2, E, G] of the moments.

  Attributes:
    classifier: the `RandomizedClassifier`.
    error: [], its expected share of wrong decisions on the training set.
    gamma: [2, E, G], its moments there; fair where at most the bound.
    gap: [], the smallest gap of the rounds; 0 at a solution of the game.
    errors: [S], of the stored hypotheses.
    gammas: [S, 2, E, G], of the stored hypotheses.
    stored: [], how many there are.
    multipliers: [T, 2, E, G], those of exponentiated gradient, round by round.
    gaps: [T], of the rounds; infinite after the stop.
  """

  classifier: RandomizedClassifier
  error: jax.Array
  gamma: jax.Array
  gap: jax.Array
  errors: jax.Array
  gammas: jax.Array
  stored: jax.Array
  multipliers: jax.Array
  gaps: jax.Array


class _Round(NamedTuple):
  store: Store
  theta: jax.Array  # [2, E, G]
  total: jax.Array  # [2, E, G], of the multipliers
  plays: jax.Array  # [S], how often each answer was played
  rate: jax.Array
  mixture: jax.Array  # [S], that of the smallest gap
  best: jax.Array  # the smallest gap
  average: jax.Array  # the smallest gap of the averages
  before: jax.Array  # the latter when the rate was last looked at
  nu: jax.Array
  done: jax.Array


def exponentiated_gradient(
  data: Batch,
  constraint: str,
  *,
  difference_bound: float | jax.Array = 0.01,
  ratio_bound: float | jax.Array = 1.0,
  eps: float | jax.Array = 0.01,
  iterations: int = 20,
  learning_rate: float | jax.Array = 2.0,
  oracle: Oracle | None = None,
  grid: GridSearch | None = None,
  answer: str = "program",
  duals: bool = True,
  multiples: tuple[float, ...] = (1.0,),
  nu: float | jax.Array | None = None,
) -> ExponentiatedGradient:
  r"""Fair classification as a sequence of weighted ones: the reductions approach.

  $$\min_Q \max_{\lambda \ge 0,\, \sum \lambda \le B}\;
  \mathrm{err}(Q) + \sum_j \lambda_j\, (\gamma_j(Q) - c), \qquad
  \lambda = B\, \frac{e^\theta}{1 + \sum e^\theta}, \qquad
  \theta \leftarrow \theta + \eta\, (\gamma(h_t) - c)$$

  with B = 1 / eps. An answer $h_t$ of the oracle is the best response to the costs that follow from
  multipliers, unless an earlier answer is a better one; Q mixes the answers. The oracle is asked at
  the multipliers of exponentiated gradient, at their average, and with `duals` at those of the best
  mixture so far, a linear program. It is one program of fixed length, so that tolerances and seeds
  are vectorised by `vmap`, `jax.lax.map` or `sweep`.

  Errors and moments are those of rows repeated as often as their weights say. The oracle's weights
  add up to the number of rows that have one, so that a penalty of its own weighs as it does without
  weights, and the scale of weights changes nothing.

  Args:
    data: the training set, of two classes.
    constraint: a name of `parity_moments`, such as "demographic_parity" or "equalized_odds".
    difference_bound: c, what each rate may differ from that of all groups together, at least 0; may
      be traced.
    ratio_bound: as in `parity_moments`; with one below 1, c is an additive slack and usually 0.
    eps: 1 / B, above 0; may be traced. It limits the multipliers; the bound is `difference_bound`.
    iterations: T, at least 1.
    learning_rate: eta is this over B, and shrinks while the gap does not; may be traced.
    oracle: the learner; `logistic_oracle()` when None.
    grid: the result of `grid_search` on the same data, by the same oracle, whose answers are there
      from the start. They hang on no tolerance, so that all tolerances may share them.
    answer: "program" for the best mixture of all answers, a linear program; "smallest_gap" for that
      of the round with the smallest gap, and a stop at a gap of nu, which is fairlearn's rule.
    duals: whether a linear program is solved in each round, and the oracle asked at its
      multipliers; `run_linprog_step` in fairlearn.
    multiples: of average multipliers, at which the gap asks the oracle; (1, 2, 5, 10) in fairlearn,
      where the next one is asked only if the gap is at most nu.
    nu: the gap up to which further multiples are asked, and at which a run with "smallest_gap"
      stops, from its sixth round on; half a standard error of the first answer's errors when None;
      may be traced.

  Returns:
    The `ExponentiatedGradient`. Its classifier needs no group at prediction.

  Raises:
    ValueError: for values out of range, more than two classes, or where the group is missing.

  References:
    Agarwal, Beygelzimer, Dudik, Langford, Wallach, A reductions approach to fair classification,
    ICML 2018.

  Examples:
    >>> import jax, rfjax
    >>> from rfjax.fairness import inprocessing
    >>> x = [[-2.0], [-1.0], [0.0], [0.5], [1.0], [2.0]]
    >>> data = rfjax.Batch.from_arrays(x, [0, 0, 1, 0, 1, 1], [0, 0, 0, 1, 1, 1])
    >>> found = inprocessing.exponentiated_gradient(
    ...     data, "demographic_parity", difference_bound=0.1, iterations=10)
    >>> bool(found.gamma.max() <= 0.1001)
    True
    >>> found.classifier.predict(data, key=jax.random.key(0)).logits.shape
    (6, 2)
  """
  _check.number("difference_bound", difference_bound, 0.0, open_high=True)
  _check.number("eps", eps, 0.0, open_low=True, open_high=True)
  _check.number("learning_rate", learning_rate, 0.0, open_low=True, open_high=True)
  _check.choice("answer", answer, ANSWERS)
  iterations = _check.count("iterations", iterations)
  _check.numbers("multiples", multiples, 0.0, open_low=True, open_high=True)
  if nu is not None:
    _check.number("nu", nu, 0.0)
  moments = parity_moments(data, constraint, ratio_bound=ratio_bound)
  x = rows(data).astype(moments.y.dtype)
  oracle = logistic_oracle() if oracle is None else oracle
  limit = 1 / jnp.asarray(eps, x.dtype)
  game = Game(x, moments, oracle, difference_bound, limit, tuple(multiples))

  def turn(at: _Round, now: Any) -> Any:
    t, check = now
    multipliers = limit * _share(at.theta, moments.valid)
    total = at.total + multipliers
    goes = ~at.done
    store, place = game.respond(at.store, multipliers, goes)
    stop = at.nu if nu is not None else jnp.where(t == 0, _nu(moments, store.errors[place]), at.nu)
    plays = at.plays.at[place].add(1)
    mixture = plays / (t + 1)
    store, gap = game.gap(store, mixture, total / (t + 1), stop, goes)
    average = jnp.minimum(at.average, gap)
    if duals:
      solved, dual = game.solve(store)
      store, other = game.gap(store, solved, dual, stop, goes)
      other = jnp.where(t == 0, jnp.inf, other)
      mixture = jnp.where(gap < other, mixture, solved)
      gap = jnp.minimum(gap, other)
    gap = jnp.where(goes, gap, jnp.inf)
    shrinks = check & (average > _SHRINK * at.before)
    rate = jnp.where(shrinks, _SHRINK * at.rate, at.rate)
    move = jnp.where(moments.valid, store.gammas[place] - difference_bound, 0)
    new = _Round(
      store=store,
      theta=at.theta + rate * move,
      total=total,
      plays=plays,
      rate=rate,
      mixture=jnp.where(gap <= at.best + PRECISION, mixture, at.mixture),
      best=jnp.minimum(at.best, gap),
      average=average,
      before=jnp.where(check, average, at.before),
      nu=stop,
      done=at.done | ((answer != "program") & (gap < stop) & (t >= _FIRST)),
    )
    return new, (multipliers, gap)

  store = game.store(iterations * (1 + len(multiples) * (1 + duals)), grid)
  zeros, nothing = jnp.zeros(moments.valid.shape, x.dtype), jnp.zeros_like(store.errors)
  never, stop = jnp.asarray(jnp.inf, x.dtype), jnp.asarray(0 if nu is None else nu, x.dtype)
  rate, done = jnp.asarray(learning_rate / limit, x.dtype), jnp.zeros((), bool)
  first = _Round(
    *(store, zeros, zeros, nothing, rate, nothing, never, never, never, stop, done),
  )
  checks = jnp.asarray(_checks(iterations))
  last, (path, gaps) = jax.lax.scan(turn, first, (jnp.arange(iterations), checks))
  store = last.store
  mixture = game.solve(store)[0] if answer == "program" else last.mixture
  classifier = RandomizedClassifier(
    weights=mixture, hypotheses=store.hypotheses, decide=oracle.decide
  )
  gamma = jnp.tensordot(mixture, store.gammas, 1, precision="highest")
  return ExponentiatedGradient(
    *(classifier, mixture @ store.errors, gamma, last.best),
    *(store.errors, store.gammas, store.count, path, gaps),
  )


def _share(theta: jax.Array, valid: jax.Array) -> jax.Array:
  """exp(theta) / (1 + sum exp(theta)) of the valid ones."""
  logits = jnp.append(jnp.where(valid, theta, -jnp.inf).ravel(), 0)
  return jax.nn.softmax(logits)[:-1].reshape(theta.shape)


def _checks(iterations: int) -> list[bool]:
  """The rounds in which the rate may shrink: 8, 13, 21, 34, ..."""
  checks, last = [], float(_FIRST)
  for t in range(iterations):
    checks.append(t >= last * _NEXT)
    last = t if checks[-1] else last
  return checks


def _nu(moments: ParityMoments, error: jax.Array) -> jax.Array:
  """Half a standard error of the mean of 0-1 errors."""
  return 0.5 * jnp.sqrt(error * (1 - error) / jnp.maximum(moments.rows - 1, 1))
