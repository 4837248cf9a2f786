"""Multicalibration: scores are right on average in every group, at every level."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rfjax.core import Batch, Transform, _check, ratio
from rfjax.fairness.postprocessing._decide import binary
from rfjax.fairness.postprocessing._scores import with_probs

_BY = "multicalibration"


class MulticalibrationState(NamedTuple):
  """The state of `multicalibration`.

  Attributes:
    part: [rounds], the group whose scores move, where G stands for everybody.
    bin: [rounds], the level from which they move.
    shift: [rounds], by how much; 0 once no cell is wrong.
    worst: [], how wrong the worst cell is at the end, of those that are large enough.
  """

  part: jax.Array
  bin: jax.Array
  shift: jax.Array
  worst: jax.Array


def multicalibration(
  tolerance: float | jax.Array = 0.01,
  *,
  bins: int = 10,
  rounds: int = 100,
  least_share: float | jax.Array = 0.01,
) -> Transform:
  r"""Moves scores until they are calibrated within every group, by boosting.

  A cell S is a group, or everybody, at one of several levels of the score p. In each round the cell
  whose shift lowers the squared error most moves by

  $$p_i \leftarrow p_i + m_{iS}\, \Delta_S, \qquad
  \Delta_S = \frac{\sum_i w_i\, m_{iS}\, (y_i - p_i)}{\sum_i w_i\, m_{iS}^2}$$

  with membership m, kept within [0, 1], as long as there is a cell with $|\Delta_S|$ above the
  tolerance that holds at least the least share of all rows. The groups may be soft, and the rounds
  are replayed on other rows. Whether they sufficed is said by `worst` of the state.

  Args:
    tolerance: in [0, 1]; at 1 nothing moves; may be traced.
    bins: levels of the score, at least 1.
    rounds: how often scores move at most, at least 1.
    least_share: in [0, 1]; smaller cells are not looked at; may be traced.

  Returns:
    The transform of a filled data set, fitted on another; it writes logits, and needs group at
    prediction. Where the group is missing, a row moves with everybody only.

  Raises:
    ValueError: for values out of range, more than two classes, or where the group is missing.

  References:
    Hebert-Johnson, Kim, Reingold, Rothblum, Multicalibration: calibration for the
    (computationally-identifiable) masses, ICML 2018.

  Examples:
    >>> import jax, jax.numpy as jnp, rfjax
    >>> from rfjax.fairness import postprocessing
    >>> data = rfjax.Batch.from_arrays([[0.0]] * 8, [0, 0, 0, 1, 1, 1, 1, 0], [0] * 4 + [1] * 4)
    >>> said = data.fill(jnp.zeros((8, 2)))  # one half for everybody
    >>> method = postprocessing.multicalibration()
    >>> rfjax.transform(method, said, key=jax.random.key(0)).probs[:, 1].tolist()
    [0.25, 0.25, 0.25, 0.25, 0.75, 0.75, 0.75, 0.75]
  """
  _check.number("tolerance", tolerance, 0.0, 1.0)
  _check.count("bins", bins)
  _check.count("rounds", rounds)
  _check.number("least_share", least_share, 0.0, 1.0)

  def start(batch: Batch) -> tuple[jax.Array, jax.Array]:
    """The scores [B], and membership in each group and among all, [B, G + 1]."""
    score = jax.nn.softmax(binary(batch, _BY).logits)[:, 1]
    valid = batch.valid[:, None].astype(score.dtype)
    return score, jnp.append(batch.membership.astype(score.dtype), valid, axis=1)

  def level(score: jax.Array) -> jax.Array:
    return jnp.clip((score * bins).astype(jnp.int32), 0, bins - 1)

  def move(score: jax.Array, member: jax.Array, part: Any, cell: Any, shift: Any) -> jax.Array:
    inside = (level(score) == cell).astype(score.dtype)
    return jnp.clip(score + inside * jnp.take(member, part, axis=1) * shift, 0, 1)

  def init(data: Batch, **unused: Any) -> MulticalibrationState:
    del unused
    first, member = start(data)
    weight = data.valid * data.with_columns("weight").weight
    large = least_share * jnp.sum(weight)

    def look(score: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
      """How wrong each cell is, how large, and how far beyond what is tolerated, [G + 1, bins]."""
      rows = jax.nn.one_hot(level(score), bins, dtype=score.dtype) * weight[:, None]
      mass = jnp.matmul((member**2).T, rows, precision="highest")
      excess = jnp.matmul(((data.y - score)[:, None] * member).T, rows, precision="highest")
      gap = ratio(excess, mass)
      return gap, mass, (mass > 0) & (mass >= large)

    def turn(score: jax.Array, _: Any) -> tuple[jax.Array, tuple]:
      gap, mass, enough = look(score)
      gain = jnp.where(enough & (jnp.abs(gap) > tolerance), mass * gap**2, 0)
      part, cell = jnp.unravel_index(jnp.argmax(gain), gain.shape)
      shift = jnp.where(gain[part, cell] > 0, gap[part, cell], 0)
      part, cell = part.astype(jnp.int32), cell.astype(jnp.int32)
      return move(score, member, part, cell, shift), (part, cell, shift)

    last, (part, cell, shift) = jax.lax.scan(turn, first, length=rounds)
    gap, _, enough = look(last)
    worst = jnp.max(jnp.abs(gap), where=enough, initial=0)
    return MulticalibrationState(part, cell, shift, worst)

  def update(
    batch: Batch, state: MulticalibrationState, params: Any = None, **unused: Any
  ) -> tuple[Batch, MulticalibrationState]:
    del params, unused
    score, member = start(batch)
    replay = lambda score, at: (move(score, member, *at), None)
    score, _ = jax.lax.scan(replay, score, (state.part, state.bin, state.shift))
    return with_probs(batch, jnp.stack([1 - score, score], axis=1)), state

  return Transform(init, update, writes=("logits",))
