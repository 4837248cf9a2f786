"""A probabilistic noise model: labels are right, or wrong at random, or mistaken for another."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike

from rfjax.architectures._adaptation import adaptation, features_of
from rfjax.architectures._confusing_matrix import check_confusing
from rfjax.core import Batch, Network, Spec, Transform, _check, log_transition

_THIRD = (1 / 3, 1 / 3, 1 / 3)


def probabilistic_noise(
  confusing: ArrayLike,
  tx: optax.GradientTransformation | None = None,
  *,
  prior: ArrayLike | Sequence[float] = _THIRD,
  types: Network | None = None,
  params: Any = None,
) -> Transform:
  r"""A noise model with three types of labels, which a second network tells apart.

  $$\tilde p = s_0\, p + s_1\, \frac{1 - p}{C - 1} + s_2\, p\, M, \qquad
  s = \mathrm{softmax}(\text{types}(x))$$

  with s the probabilities that a label is right, wrong at random, or mistaken for a class that
  looks alike, which happens by the matrix M. The gradient of the loss by the logits of p is p minus
  the posterior of the true label, that by the logits of s is s minus the posterior of the type,
  which is the authors' EM step. The second network takes gradient steps of its own; `predict`
  leaves it out.

  The authors train both networks on clean rows first, and keep the losses of clean rows in the
  joint training. Here the second one starts from `params`, which `fit` finds on clean rows with
  `noise_types` in the place of labels, and the joint training has the given labels only.

  Args:
    confusing: M [C, C], rows of probabilities with a diagonal of 0, such as `confusing_matrix`; may
      be traced.
    tx: the optimizer of the second network; Adam with a rate of 0.001 when None.
    prior: s [3] at the start, when the second network is linear; may be traced.
    types: the second network, of 3 classes and without statistics, which reads x; when None a
      linear function of the first network's features, which do not learn from it.
    params: its parameters at the start; its own initial ones when None.

  Returns:
    The transform; it writes log_probs, and its state is a `Player` whose params are those of the
    second network, "kernel", [d, 3], and "bias", [3], of a linear one.

  Raises:
    ValueError: for bad matrices or priors; in training, for a network without features.

  References:
    Xiao, Xia, Yang, Huang, Wang, Learning from Massive Noisy Labeled Data for Image Classification,
    CVPR 2015.

  Examples:
    >>> import jax, optax, rfjax
    >>> from rfjax import architectures
    >>> data = rfjax.Batch.from_arrays([[-1.0], [0.0], [1.0]], [0, 1, 2])
    >>> confusing = architectures.confusing_matrix([0, 0, 1, 2], [0, 1, 2, 0], num_classes=3)
    >>> method = architectures.probabilistic_noise(confusing, prior=[0.8, 0.1, 0.1])
    >>> state, log = rfjax.fit(architectures.mlp([8], 3), method, optax.sgd(0.1), data,
    ...                        key=jax.random.key(0), epochs=3)
    >>> state.method.params["kernel"].shape
    (8, 3)
  """
  given = check_confusing(confusing)
  shares = _check.numbers("prior", prior, 0.0, 1.0)
  if shares.shape != (3,) or not (_check.traced(shares) or abs(float(shares.sum()) - 1) < 1e-4):
    raise ValueError(f"prior must be 3 probabilities with sum 1, got {shares}: divide by the sum")

  def start(data: Batch, *, key: Any, spec: Spec | None) -> Any:
    _check.classes("confusing", given.shape[0], data)
    if types is None:
      width = features_of(spec, "probabilistic_noise").shape[-1]
      bias = log_transition(shares)
      fresh = {"kernel": jnp.zeros((width, 3), bias.dtype), "bias": bias}
      return fresh if params is None else params
    fresh, stats = types.init(key, data.x)
    if jax.tree.leaves(stats):
      raise ValueError("types must be a network without statistics, such as mlp([64], 3)")
    return fresh if params is None else params

  def channel(params: Any, batch: Batch) -> jax.Array:
    if types is None:
      seen = jax.lax.stop_gradient(batch.require("features", by="probabilistic_noise").features)
      scores = seen @ params["kernel"] + params["bias"]
    else:
      scores = types.apply(params, (), batch.x, key=None, train=False)[0]
    free, random, mistaken = jnp.moveaxis(jax.nn.log_softmax(scores), -1, 0)[..., None, None]
    other = jnp.logaddexp(random - jnp.log(given.shape[0] - 1), mistaken + log_transition(given))
    return jnp.where(np.eye(given.shape[0], dtype=bool), free, other)

  return adaptation(start, channel, tx or optax.adam(1e-3), by="probabilistic_noise")
