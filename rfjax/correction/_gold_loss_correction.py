"""Gold loss correction: trusted rows keep their loss, all others are corrected."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from rfjax.core import Batch, Transform, _check, log_transition, pointwise, read, through


def gold_loss_correction(transition: ArrayLike, gold: ArrayLike) -> Transform:
  r"""Forward correction of the rows of a training set that are not trusted.

  $$\log \tilde p_{nj} = \begin{cases} \log p_{nj} & n \text{ is gold} \\
  \log \sum_i p_{ni}\, \hat C_{ij} & n \text{ is silver} \end{cases}$$

  so that one loss behind it fits true labels where they are known and given ones elsewhere. Gold
  rows are rows of the training set, which the mask points out, and not its `trusted` batch: they
  are sampled like all others, and a method that reads `trusted` may stand in the same chain.
  `glc_rounds` joins both, and estimates the matrix.

  Args:
    transition: C [C, C], rows of probabilities, such as from `gold_transition`; may be traced.
    gold: bool [N], the rows of the training set with trusted labels.

  Returns:
    The transform; it writes log_probs, and its state is the matrix.

  Raises:
    ValueError: for a matrix that is not row-stochastic, a mask that is none, and where one of them
      is not of the data set's size.

  References:
    Hendrycks, Mazeika, Wilson, Gimpel, Using Trusted Data to Train Deep Networks on Labels
    Corrupted by Severe Noise, NeurIPS 2018.

  Examples:
    >>> import jax.numpy as jnp, rfjax
    >>> from rfjax import correction
    >>> batch = rfjax.Batch.from_arrays([[0.0], [0.0]], [0, 1]).fill(jnp.zeros((2, 2)))
    >>> method = correction.gold_loss_correction([[0.5, 0.5], [0.0, 1.0]], [True, False])
    >>> method.update(batch, ())[0].probs.round(3).tolist()
    [[0.5, 0.5], [0.25, 0.75...]]
  """
  given = _check.transition("transition", transition)
  channel, mask = log_transition(given), jnp.asarray(_check.array("gold", gold))
  if mask.ndim != 1 or mask.dtype != bool:
    raise ValueError(
      f"gold must be a mask, bool [N], got {mask.dtype} {list(mask.shape)}: pass"
      " jnp.arange(N) >= first_gold_row, or the like"
    )

  def init(data: Batch, **unused: Any) -> jax.Array:
    del unused
    _check.classes("transition", given.shape[0], data)
    if mask.shape != data.y.shape:
      raise ValueError(
        f"gold must have one value for each of the {data.num_rows} rows of data, got"
        f" {mask.shape[0]}"
      )
    return jnp.asarray(given)

  def correct(batch: Batch, **unused: Any) -> Batch:
    del unused
    plain = batch.require("log_probs", by="gold_loss_correction").log_probs
    trusted = read(mask, batch.index)[:, None]
    return batch.replace(
      log_probs=jnp.where(trusted, plain, through(plain, channel.astype(plain.dtype)))
    )

  return pointwise(correct, writes=("log_probs",))._replace(init=init)
