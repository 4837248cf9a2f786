"""Fairness pruning: parameters that serve the privileged group more than others become zero."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from rfjax.core import Batch, Network, TrainState, _check, count, ratio, smallest
from rfjax.fairness.postprocessing._scores import privileged_side, weighted_membership

_CHUNK = 32  # rows whose slopes are held at a time


def fairness_pruning(
  network: Network,
  state: TrainState,
  data: Batch,
  privileged: int | Sequence[int],
  *,
  share: float | jax.Array = 0.35,
  beta: float | jax.Array = 0.5,
) -> TrainState:
  r"""Sets parameters to zero that others can miss and the privileged group cannot.

  $$s_i = \tfrac{1}{2} \theta_i^2 \bigl(h_i^{\text{others}} - \beta\, h_i^{\text{privileged}}\bigr),
  \qquad h_i^g = \mathbb{E}\Bigl[\Bigl(\frac{\partial \ell}{\partial \theta_i}\Bigr)^2
  \Bigm| g\Bigr]$$

  estimates by how much the loss of the other groups would grow without parameter i, less a part of
  what the privileged group would lose. The share of all parameters that has the least s becomes 0.
  With the cross-entropy of the given labels h is the diagonal of the empirical Fisher information,
  in the place of the authors' second derivatives. At beta = 0 this is optimal brain damage on the
  other groups.

  Args:
    network: the network.
    state: what `fit` returned, of one peer.
    data: rows with groups to judge by.
    privileged: one or more groups; static.
    share: of all parameters, in [0, 1]; it is rounded down to a number of them; may be traced.
    beta: at least 0; may be traced.

  Returns:
    The state with the parameters that are left.

  Raises:
    ValueError: for values out of range, or where the group is missing.

  References:
    Wu, Zeng, Xu, Shi, Hu, FairPrune: achieving fairness through pruning for dermatological disease
    diagnosis, MICCAI 2022.
    LeCun, Denker, Solla, Optimal brain damage, NIPS 1989.

  Examples:
    >>> import jax, optax, rfjax
    >>> from rfjax import architectures
    >>> from rfjax.fairness import postprocessing
    >>> data = rfjax.Batch.from_arrays([[-2.0], [-1.0], [1.0], [2.0]], [0, 1, 0, 1], [0, 1, 0, 1])
    >>> network, key = architectures.mlp([4]), jax.random.key(0)
    >>> state, log = rfjax.fit(network, rfjax.chain(), optax.adam(0.1), data, key=key, epochs=5)
    >>> tuned = postprocessing.fairness_pruning(network, state, data, 1, share=0.5)
    >>> sum(int((leaf == 0).sum()) for leaf in jax.tree.leaves(tuned.params))
    9
  """
  _check.number("share", share, 0.0, 1.0)
  _check.number("beta", beta, 0.0, open_high=True)
  data.require("group", by="fairness_pruning")
  side = privileged_side(privileged, data)
  theta, restore = ravel_pytree(state.params)
  others, favoured = _fisher(network, state, data, side)
  saliency = theta**2 / 2 * (others - beta * favoured)
  number = count(share, theta.size)
  gone = smallest(saliency, number, jnp.ones(theta.size, bool), jnp.arange(theta.size))
  return state._replace(params=restore(jnp.where(gone, 0, theta)))


def _fisher(network: Network, state: TrainState, data: Batch, side: np.ndarray) -> jax.Array:
  """The mean squared slopes of the loss of a row, of the two sides of groups, [2, parameters]."""

  def loss(params: Any, x: jax.Array, y: jax.Array) -> jax.Array:
    logits, _, _ = network.apply(params, state.stats, x[None], key=jax.random.key(0), train=False)
    return -jax.nn.log_softmax(logits[0])[y]

  slopes = jax.vmap(jax.grad(loss), (None, 0, 0))

  def add(total: tuple[jax.Array, jax.Array], rows: jax.Array) -> tuple[Any, None]:
    batch = data.take(rows)
    weight = weighted_membership(batch)
    parts = jnp.stack([jnp.sum(weight, axis=1, where=s) for s in (~side, side)])
    slope = slopes(state.params, batch.x, batch.y)
    flat = jax.vmap(lambda tree: ravel_pytree(tree)[0])(slope)
    squares = jnp.matmul(parts, flat**2, precision="highest")
    return (total[0] + squares, total[1] + jnp.sum(parts, axis=1)), None

  steps = -(-data.num_rows // _CHUNK)
  rows = jnp.pad(
    jnp.arange(data.num_rows), (0, steps * _CHUNK - data.num_rows), constant_values=data.num_rows
  )
  size = ravel_pytree(state.params)[0].size
  start = (jnp.zeros((2, size)), jnp.zeros(2))
  (squares, weight), _ = jax.lax.scan(add, start, rows.reshape(steps, _CHUNK))
  return ratio(squares, weight[:, None])
