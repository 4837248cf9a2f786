"""Counterfactual logit pairing: an example and its counterfactual are told the same."""

from collections.abc import Callable
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp

from rfjax.core import Batch, Transform, _check
from rfjax.fairness.inprocessing._elements import check_strength, decisions

_NAME = "counterfactual_logit_pairing"
Distance = Literal["squared", "absolute"]


def counterfactual_logit_pairing(
  strength: float | jax.Array,
  counterfactual: Callable[[Batch], jax.Array],
  *,
  distance: Distance = "squared",
) -> Transform:
  r"""Adds how far apart the logits of examples and of their counterfactuals are.

  $$\mathrm{penalty} \leftarrow \mathrm{penalty} + \frac{\lambda}{n} \sum_i
  \lVert d(x_i) - d(x_i^{\mathrm{cf}}) \rVert^2 \quad\text{or}\quad
  \frac{\lambda}{n} \sum_i \lVert d(x_i) - d(x_i^{\mathrm{cf}}) \rVert_1$$

  with d the logit of class 1 of two, else each logit less the mean of all, and gradients through
  both. The network is asked a second time, with the same dropout. Whether a feature so changed is
  what the example would have been in another group is for the causal model behind
  `counterfactual` to say; flipping the column of the attribute alone is not causal.

  Args:
    strength: lambda, at least 0; may be traced.
    counterfactual: `counterfactual(batch) -> x`, features of the shape of `batch.x`. Features made
      beforehand are rows of a table: `lambda batch: table.at[batch.index].get(mode="fill",
      fill_value=0)`.
    distance: "squared" or "absolute"; static.

  Returns:
    The transform; it writes penalty, and needs no group.

  Raises:
    ValueError: for values out of range, or counterfactuals of another shape.

  References:
    Garg, Perot, Limtiaco, Taly, Chi, Beutel, Counterfactual fairness in text classification through
    robustness, AIES 2019.

  Examples:
    >>> import rfjax
    >>> from rfjax.fairness import inprocessing
    >>> flip = lambda batch: batch.x.at[:, -1].set(1 - batch.x[:, -1])
    >>> same = inprocessing.counterfactual_logit_pairing(1.0, flip)
  """
  check_strength(strength)
  if not callable(counterfactual):
    raise ValueError(f"counterfactual must be a function of a batch, got {counterfactual!r}")
  _check.choice("distance", distance, get_args(Distance))

  def update(
    batch: Batch, state: Any, params: Any = None, *, forward: Any, **unused: Any
  ) -> tuple[Batch, Any]:
    del unused
    x = counterfactual(batch.require("logits", by=_NAME))
    if x.shape != batch.x.shape:
      raise ValueError(f"counterfactual must have shape {batch.x.shape}, got {x.shape}")
    apart = decisions(batch) - decisions(forward(params, batch.replace(x=x)))
    size = jnp.sum(apart**2 if distance == "squared" else jnp.abs(apart), axis=1)
    return batch.replace(penalty=batch.penalty + strength * batch.mean(size)), state

  return Transform(update=update, writes=("penalty",))
