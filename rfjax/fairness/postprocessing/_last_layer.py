"""The last layer of a trained network, fitted anew on rows in which groups and labels balance."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from rfjax.core import Batch, Network, TrainState, _check, group_sum, predict, ratio
from rfjax.fairness.postprocessing._scores import weighted_membership


def last_layer(
  network: Network,
  state: TrainState,
  data: Batch,
  *,
  l2: float | jax.Array = 1e-2,
  steps: int = 500,
  layer: Callable[[Any], Any] = lambda params: params[-1],
) -> TrainState:
  r"""Fits the last layer anew on held-out rows, each group and label counting alike.

  $$\min_{W, b}\; -\sum_i w_i \log \mathrm{softmax}(W^\top f_i + b)_{y_i} +
  \frac{\lambda}{2} \lVert W \rVert^2, \qquad
  w_i \propto v_i \sum_g \frac{m_{ig}}{n_{g y_i}}, \qquad \sum_i w_i = 1$$

  on the features f of the network, with the weight v of a row, its membership m of groups, and the
  weight n of all rows of a group and label. Even a network that has learned to look at the group
  has often learned what else there is to see, and only weighs it badly. It is deep feature
  reweighting; the authors average over subsets with as many rows of each group and label, which
  weights do in one go, and use an L1 penalty. Rows without a group do not count.

  The problem is convex. Steps are Newton's with a bound in the place of the curvature, which is one
  factorisation for all of them, accelerated and restarted where they turn back.

  Args:
    network: the network; its apply returns its features.
    state: what `fit` returned, of one peer.
    data: held-out rows with groups.
    l2: lambda, above 0; may be traced.
    steps: how many, at least 1.
    layer: finds the last layer among the parameters, a dictionary of "kernel" [d, C] and "bias"
      [C]; by default the last one of a list, as `architectures.mlp` has it.

  Returns:
    The state with another last layer, of kernels and biases whose sum over the classes is 0.

  Raises:
    ValueError: for values out of range, a layer of another shape, or where groups or features are
      missing.

  References:
    Kirichenko, Izmailov, Wilson, Last layer re-training is sufficient for robustness to spurious
    correlations, ICLR 2023.
    Bohning, Multinomial logistic regression algorithm, Annals of the Institute of Statistical
    Mathematics, 1992 (the bound).

  Examples:
    >>> import jax, optax, rfjax
    >>> from rfjax import architectures
    >>> from rfjax.fairness import postprocessing
    >>> data = rfjax.Batch.from_arrays([[-2.0], [-1.0], [1.0], [2.0]], [0, 1, 0, 1], [0, 1, 0, 1])
    >>> network, key = architectures.mlp([4]), jax.random.key(0)
    >>> state, log = rfjax.fit(network, rfjax.chain(), optax.adam(0.1), data, key=key, epochs=5)
    >>> postprocessing.last_layer(network, state, data).params[-1]["kernel"].shape
    (4, 2)
  """
  _check.number("l2", l2, 0.0, open_low=True, open_high=True)
  _check.count("steps", steps)
  said = predict(network, state, data.require("group", by="last_layer"))
  features = said.require("features", by="last_layer").features
  old = layer(state.params)
  shape = (features.shape[1], data.num_classes)
  if jax.tree.map(jnp.shape, old) != {"kernel": shape, "bias": shape[1:]}:
    raise ValueError(f"layer must give a kernel of shape {shape} and a bias: point at the last one")
  kernel, bias = _softmax_regression(features, data.y, _balance(data), l2, steps, shape[1])
  new = {id(old["kernel"]): kernel, id(old["bias"]): bias}
  swap = lambda leaf: new[id(leaf)].astype(leaf.dtype) if id(leaf) in new else leaf
  return state._replace(params=jax.tree.map(swap, state.params))


def _balance(data: Batch) -> jax.Array:
  """Weights [N] of sum 1 that give each group and label as much; 0 without a group."""
  weight = weighted_membership(data)
  cells = group_sum(jax.nn.one_hot(data.y, data.num_classes, dtype=weight.dtype), weight)
  balanced = jnp.sum(weight * ratio(jnp.ones(()), cells).T[data.y], axis=1)
  return ratio(balanced, jnp.sum(balanced))


def _softmax_regression(
  features: jax.Array, y: jax.Array, weight: jax.Array, l2: Any, steps: int, classes: int
) -> tuple[jax.Array, jax.Array]:
  """Kernel [d, C] and bias [C] of a softmax regression; weights [N] sum to 1."""
  rows = jnp.pad(features, ((0, 0), (0, 1)), constant_values=1)
  target = jax.nn.one_hot(y, classes, dtype=rows.dtype)
  tiny = jnp.finfo(rows.dtype).eps  # the bias is free
  ridge = jnp.full(rows.shape[1], l2, rows.dtype).at[-1].set(tiny)[:, None]
  dot = lambda a, b: jnp.matmul(a, b, precision="highest")
  # The curvature of cross-entropy is at most half the second moment of the rows.
  bound = dot(rows.T * weight, rows) / 2 + jnp.diag(ridge[:, 0])
  factor = jax.scipy.linalg.cho_factor(bound)

  def step(_: Any, carry: tuple) -> tuple:
    theta, ahead, pace = carry
    wrong = weight[:, None] * (jax.nn.softmax(dot(rows, ahead)) - target)
    gradient = dot(rows.T, wrong) + ridge * ahead
    new = ahead - jax.scipy.linalg.cho_solve(factor, gradient)
    turns = jnp.sum(gradient * (new - theta)) > 0
    pace = jnp.where(turns, 1, pace)
    faster = (1 + jnp.sqrt(1 + 4 * pace**2)) / 2
    return new, new + (pace - 1) / faster * (new - theta), faster

  zero = jnp.zeros((rows.shape[1], classes), rows.dtype)
  theta, _, _ = jax.lax.fori_loop(0, steps, step, (zero, zero, jnp.ones((), rows.dtype)))
  return theta[:-1], theta[-1]
