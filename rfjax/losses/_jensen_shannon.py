"""Jensen-Shannon losses, between the label and one prediction or several."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from rfjax.core import Batch, Transform, _check
from rfjax.losses._elements import complement, loss

State = Any


def _scale(pi: Any) -> jax.Array:
  """What makes the loss cross-entropy as pi goes to 0, and unhinged as it goes to 1."""
  return -(1 - pi) * jnp.log1p(-jnp.asarray(pi))


def jensen_shannon(pi: float | jax.Array = 0.5) -> Transform:
  r"""The Jensen-Shannon divergence of label and prediction, scaled.

  $$\mathrm{cost}_{ik} = \frac{\pi\, \mathrm{KL}(e_k \Vert m) + (1 - \pi)\,
  \mathrm{KL}(p_i \Vert m)}{-(1 - \pi) \log(1 - \pi)}, \qquad m = \pi\, e_k + (1 - \pi)\, p_i$$

  It comes close to cross-entropy as pi goes to 0, and to `unhinged` as pi goes to 1. The divergence
  is not linear in the label: for a soft target the loss is the mean over hard ones.

  Args:
    pi: weight of the label, in (0, 1), chosen for each data set from 0.1 to 0.9; may be traced. In
      float32 the cost has an error of about 6e-8 / pi.

  Returns:
    The loss; it writes cost.

  Raises:
    ValueError: for pi out of range.

  References:
    Englesson, Azizpour, Generalized Jensen-Shannon Divergence Loss for Learning with Noisy Labels,
    NeurIPS 2021.

  Examples:
    >>> import jax.numpy as jnp, rfjax
    >>> from rfjax import losses
    >>> batch = rfjax.Batch.from_arrays([[0.0]], [1]).fill(jnp.zeros((1, 2)))
    >>> out, _ = losses.jensen_shannon(0.5).update(batch, ())
    >>> round(float(out.risk), 4)
    0.6226
  """
  _check.number("pi", pi, 0.0, 1.0, open_low=True, open_high=True)

  def cost(log_probs: jax.Array) -> jax.Array:
    rest = complement(log_probs)
    log_mixed = jnp.log1p(-(1 - pi) * rest)
    of_prediction = jnp.exp(log_probs) * (log_probs - log_mixed)
    of_prediction -= rest * jnp.log1p(-jnp.asarray(pi))
    return ((1 - pi) * of_prediction - pi * log_mixed) / _scale(pi)

  return loss(cost)


def _entropy_terms(probs: jax.Array) -> jax.Array:
  """-p log p, and 0 at 0 with a slope of 0."""
  safe = jnp.where(probs > 0, probs, 1.0)
  return -safe * jnp.log(safe)


def generalized_jensen_shannon(
  pi: float | jax.Array,
  view: Callable[[jax.Array, jax.Array], jax.Array],
  *,
  num_views: int = 2,
) -> Transform:
  r"""The Jensen-Shannon divergence of a label and the predictions for several views of an example.

  $$\mathrm{cost}_{ik} = \frac{H(m_{ik}) - \frac{1 - \pi}{M} \sum_v H(p_{iv})}
  {-(1 - \pi) \log(1 - \pi)}, \qquad m_{ik} = \pi\, e_k + \frac{1 - \pi}{M} \sum_v p_{iv}$$

  with the entropy H. It is at least `jensen_shannon` of the mean prediction: what it adds asks for
  predictions that agree. The first of the M predictions is the batch's own, the others are those
  for x changed by `view`; its gradient goes through all of them. Put no correction of the softmax
  output in front of it, which would act on the first prediction alone.

  Args:
    pi: weight of the label, in (0, 1); may be traced.
    view: `view(x, key) -> x`, a random change that leaves the label as it is, of all rows [B, ...].
    num_views: M, at least 1; 2 in the paper. With 1 it is `jensen_shannon`.

  Returns:
    The loss; it writes cost.

  Raises:
    ValueError: for values out of range.

  References:
    Englesson, Azizpour, Generalized Jensen-Shannon Divergence Loss for Learning with Noisy Labels,
    NeurIPS 2021.

  Examples:
    >>> import jax
    >>> from rfjax import losses
    >>> blurred = lambda x, key: x + 0.1 * jax.random.normal(key, x.shape)
    >>> gjs = losses.generalized_jensen_shannon(0.5, blurred)
  """
  _check.number("pi", pi, 0.0, 1.0, open_low=True, open_high=True)
  if _check.count("num_views", num_views) == 1:
    return jensen_shannon(pi)

  def predictions(batch: Batch, params: Any, key: Any, forward: Any) -> jax.Array:
    """The predictions for all views, [M, B, C]."""
    probs = [batch.probs]
    for i in range(1, num_views):
      changed = batch.replace(x=view(batch.x, jax.random.fold_in(key, i)))
      probs.append(forward(params, changed).probs)
    return jnp.stack(probs)

  def cost(probs: jax.Array) -> jax.Array:
    mean = (1 - pi) * jnp.mean(probs, axis=0)
    terms = _entropy_terms(mean)
    # The mixture differs from the mean prediction in the entry of the label alone.
    mixed = jnp.sum(terms, axis=-1, keepdims=True) - terms + _entropy_terms(mean + pi)
    own = jnp.mean(jnp.sum(_entropy_terms(probs), axis=-1, keepdims=True), axis=0)
    return (mixed - (1 - pi) * own) / _scale(pi)

  def apply(
    flow: Batch,
    state: State,
    params: Any = None,
    *,
    key: Any = None,
    forward: Any = None,
    **unused: Any,
  ) -> tuple[Batch, State]:
    del unused
    flow.require("log_probs", by="generalized_jensen_shannon")
    return flow.replace(cost=cost(predictions(flow, params, key, forward))), state

  return Transform(update=apply, refresh=apply, writes=("loss",))
