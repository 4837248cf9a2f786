"""The threshold optimizer: the best mixtures of thresholds that make a rate equal in all groups."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rfjax.core import Batch, Transform, _check, count, ratio
from rfjax.fairness.postprocessing._decide import binary, check_costs, decide
from rfjax.fairness.postprocessing._elements import Cuts, cuts, losses, scores
from rfjax.fairness.postprocessing._hull import at, best_window, first_largest, upper_hulls
from rfjax.fairness.postprocessing._scores import of_groups

_BY = "threshold_optimizer"
_ODDS = "equalized_odds"
# Which cells, of false and of true positives, the rate that must be equal counts.
_CELLS = {
  "demographic_parity": (1, 1),
  "true_positive_rate_parity": (0, 1),
  "false_negative_rate_parity": (0, 1),
  "false_positive_rate_parity": (1, 0),
  "true_negative_rate_parity": (1, 0),
  _ODDS: (1, 0),
}


class ThresholdOptimizerState(NamedTuple):
  """The state of `threshold_optimizer`.

  Attributes:
    threshold: [G, 2], two thresholds of log-odds; infinite for nobody and everybody.
    turned: bool [G, 2], whether what is decided 1 is not above the threshold, as `flip` allows.
    share: [G, 2], how often each of them decides.
    ignored: [G], how often neither does, and a lot of probability `constant` decides.
    constant: [], that probability.
    rates: [G, 2], the false and the true positive rate expected of each group; 0 if left out.
    loss: [], what is expected of the objective, a row.
  """

  threshold: jax.Array
  turned: jax.Array
  share: jax.Array
  ignored: jax.Array
  constant: jax.Array
  rates: jax.Array
  loss: jax.Array


def threshold_optimizer(
  constraint: str = "demographic_parity",
  objective: str = "error",
  *,
  false_positive_cost: float | jax.Array = 1.0,
  false_negative_cost: float | jax.Array = 1.0,
  tol: float | jax.Array = 0.0,
  grid_size: int = 1000,
  flip: bool = False,
  randomize: bool = False,
) -> Transform:
  r"""Hardt's derived predictor of scores: thresholds by group, mixed by lots, of least loss.

  Mixtures of the decisions $1[s > \theta]$ reach the convex hull of a group's ROC curve. On a grid
  of the rate x that must be equal, the upper hull $h_g(x)$ says how little loss group g can have:

  $$\min_x \sum_g p_g\, \ell_g(x) \qquad\text{or, with equalized odds,}\qquad
  \min_x\; c_0 \pi_0\, x + c_1 \pi_1 \bigl(1 - \min_g h_g(x)\bigr)$$

  with the share p_g of rows and $\ell_g(x) = \min c_0 \pi_{0 g} f_g + c_1 \pi_{1 g} (1 - t_g)$ over
  what the group can reach at that rate. The point on the hull is a mixture of two thresholds. For
  equalized odds, x is the false positive rate, and a group whose hull is higher than the lowest is
  brought down by ignoring its scores for some rows: they are decided 1 with probability x.

  Hulls are exact, found in a fixed number of steps; the grid is what limits the loss. Of equally
  good places the lowest is taken. A group without rows of both labels is left out, and keeps its
  decisions.

  Args:
    constraint: what must be equal: "demographic_parity", "true_positive_rate_parity" (equal
      opportunity; "false_negative_rate_parity" is the same), "false_positive_rate_parity"
      (predictive equality; "true_negative_rate_parity" is the same), or "equalized_odds".
    objective: "error" counts rows, so that $\pi$ are the shares of negatives and positives;
      "balanced" weighs both rates of a group alike, $\pi = 1$, with half the costs that is 1 less
      the balanced accuracy.
    false_positive_cost: c_0, at least 0; may be traced.
    false_negative_cost: c_1, at least 0; may be traced.
    tol: how far apart the rates may be, in [0, 1], in whole steps of the grid; 0 with
      "equalized_odds". May be traced.
    grid_size: steps of the grid of x in [0, 1]; static.
    flip: whether decisions may also be $1[s \le \theta]$, for scores that are worse than chance;
      static.
    randomize: draw each decision by lot, by the key of `rfjax.transform`; otherwise the logits are
      the log-odds of the decision, and measures with `soft=True` are what is expected of it.

  Returns:
    The transform of a filled data set, fitted on another: `rfjax.transform(t, test, key=key,
    fitted_on=validation)`. It writes logits, and needs group at prediction; a row of mixed
    membership gets the mean decision of its groups.

  Raises:
    ValueError: for values out of range, more than two classes, or where the group is missing.

  References:
    Hardt, Price, Srebro, Equality of opportunity in supervised learning, NIPS 2016.
    Weerts, Dudík, Edgar, Jalali, Lutz, Madaio, Fairlearn: assessing and improving fairness of AI
    systems, JMLR 2023 (the grid, other constraints, and the tolerance).

  Examples:
    >>> import jax, jax.numpy as jnp, rfjax
    >>> from rfjax.fairness import postprocessing
    >>> data = rfjax.Batch.from_arrays([[0.0]] * 4, [0, 1, 0, 1], [0, 0, 1, 1])
    >>> said = data.fill(jnp.array([[0.0, 1.0], [0.0, 2.0], [0.0, -2.0], [0.0, -1.0]]))
    >>> fair = postprocessing.threshold_optimizer("equalized_odds")
    >>> jax.nn.softmax(rfjax.transform(fair, said, key=jax.random.key(0)).logits)[:, 1].tolist()
    [0.0, 1.0, 0.0, 1.0]
  """
  _check.choice("constraint", constraint, tuple(_CELLS))
  check_costs(objective, false_positive_cost, false_negative_cost)
  _check.number("tol", tol, 0.0, 1.0)
  _check.count("grid_size", grid_size)
  odds = constraint == _ODDS
  if odds and (_check.traced(tol) or tol != 0):
    raise ValueError(f"tol must be 0 with equalized_odds, got {tol}: relax another constraint")
  balanced = objective == "balanced"

  def init(data: Batch, **unused: Any) -> ThresholdOptimizerState:
    del unused
    found = cuts(binary(data, _BY))
    size = jnp.stack([found.negatives, found.positives], axis=1)
    usable = jnp.all(size > 0, axis=1)
    rows = size * usable[:, None]
    share = ratio(rows, jnp.sum(rows))
    share = jnp.sum(share, axis=1, keepdims=True) if balanced else share
    costs = (false_positive_cost, false_negative_cost)
    cost = share * jnp.stack([jnp.asarray(c, share.dtype) for c in costs])

    points = _turned_too(found) if flip else found
    over = jnp.asarray(_CELLS[constraint], share.dtype)
    hits = over[0] * points.false + over[1] * points.true
    height = points.true if odds else -losses(points, balanced, costs)
    hulls = upper_hulls(hits, height, ascending=not flip)
    hulls = hulls._replace(x=ratio(hulls.x, (size @ over)[:, None]))
    grid = jnp.linspace(0, 1, grid_size + 1, dtype=share.dtype)
    heights = jax.vmap(at, (0, None))(hulls, grid).y
    if odds:
      level = jnp.min(jnp.where(usable[:, None], ratio(heights, size[:, 1:]), 1), axis=0)
      total = jnp.sum(cost * jnp.ones(2), axis=0)
      place = first_largest(-total[0] * grid - total[1] * (1 - level))
      x, level = jnp.broadcast_to(grid[place], usable.shape), level[place]
    else:
      heights = ratio(heights, jnp.sum(rows)) * usable[:, None]
      x, level = grid[best_window(heights, count(tol, grid_size))], jnp.zeros(())
    mixed = jax.vmap(at)(hulls, x)
    of = lambda values: jnp.take_along_axis(values, mixed.corner, axis=1)
    cells = [jnp.sum(mixed.share * of(v), axis=1) for v in (points.false, points.true)]
    rates = ratio(jnp.stack(cells, axis=1), size)
    down = ratio(rates[:, 1] - level, rates[:, 1] - x) if odds else 0 * x
    ignored = jnp.where(usable, jnp.clip(down, 0, 1), 0)
    rates = jnp.where(usable[:, None], rates + ignored[:, None] * (x[:, None] - rates), 0)
    turned = mixed.corner >= found.true.shape[1]
    own = ~usable[:, None]
    return ThresholdOptimizerState(
      threshold=jnp.where(own, 0, of(points.threshold)),
      turned=turned & ~own,
      share=jnp.where(own, jnp.arange(2) == 0, mixed.share),
      ignored=ignored,
      constant=x[0],
      rates=rates,
      loss=jnp.sum(cost * jnp.stack([rates[:, 0], 1 - rates[:, 1]], axis=1)),
    )

  def update(
    batch: Batch,
    state: ThresholdOptimizerState,
    params: Any = None,
    *,
    key: jax.Array,
    **unused: Any,
  ) -> tuple[Batch, ThresholdOptimizerState]:
    del params, unused
    score = scores(binary(batch, _BY))
    said = (score[:, None, None] > state.threshold) != state.turned
    of_group = jnp.sum(state.share * said, axis=2) * (1 - state.ignored)
    of_group = of_group + state.ignored * state.constant
    probability = jnp.clip(of_groups(batch, of_group, score > 0, rows=True), 0, 1)
    return decide(batch, probability, randomize, key), state

  return Transform(init, update, writes=("logits",))


def _turned_too(found: Cuts) -> Cuts:
  """The cuts, and behind them those that decide 1 up to the threshold and not above it."""
  false, true = found.negatives[:, None] - found.false, found.positives[:, None] - found.true
  both = lambda *values: jnp.concatenate(values, axis=1)
  return found._replace(
    threshold=both(found.threshold, found.threshold),
    false=both(found.false, false),
    true=both(found.true, true),
  )
