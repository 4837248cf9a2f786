"""The complex noise adaptation layer: the noise of a class depends on the features."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from rfjax.architectures._adaptation import adaptation, features_of
from rfjax.core import Batch, Spec, Transform, _check, log_transition


def c_model(initial: ArrayLike, tx: optax.GradientTransformation | None = None) -> Transform:
  r"""The c-model, a noise adaptation layer that looks at the features.

  $$\tilde p_j = \sum_i p_i\, Q_{ij}(h), \qquad
  Q_{ij}(h) = \mathrm{softmax}_j(u_{ij}^\top h + b_{ij}), \qquad u_0 = 0, \quad b_0 = \log Q_0$$

  with h the last hidden layer. It starts as the `s_model` of Q_0, and the authors start it, and the
  network, from those of a trained s-model: pass the softmax of the rows of its params. u and b take
  gradient steps of their own; the network also learns through h. `predict` leaves the layer out.

  Args:
    initial: Q_0 [C, C], rows of probabilities; may be traced.
    tx: the optimizer of u and b; Adam with a rate of 0.001 when None.

  Returns:
    The transform; it writes log_probs, and its state is a `Player` whose params are "kernel", u,
    [C, C, d], and "bias", b, [C, C].

  Raises:
    ValueError: for a matrix that is not row-stochastic, or not of the data set's classes; in
      training, for a network without features.

  References:
    Goldberger, Ben-Reuven, Training deep neural-networks using a noise adaptation layer, ICLR 2017.

  Examples:
    >>> import jax, optax, rfjax
    >>> from rfjax import architectures
    >>> data = rfjax.Batch.from_arrays([[-1.0], [1.0]], [0, 1])
    >>> method = architectures.c_model([[0.9, 0.1], [0.2, 0.8]])
    >>> state, log = rfjax.fit(architectures.mlp([8]), method, optax.sgd(0.1), data,
    ...                        key=jax.random.key(0), epochs=3)
    >>> state.method.params["kernel"].shape
    (2, 2, 8)
  """
  given = _check.transition("initial", initial)

  def start(data: Batch, *, spec: Spec | None, **unused: Any) -> dict[str, jax.Array]:
    del unused
    _check.classes("initial", given.shape[0], data)
    bias = log_transition(given)
    width = features_of(spec, "c_model").shape[-1]
    return {"kernel": jnp.zeros((*bias.shape, width), bias.dtype), "bias": bias}

  def channel(params: dict[str, jax.Array], batch: Batch) -> jax.Array:
    scores = jnp.einsum("bd,ijd->bij", batch.features, params["kernel"])
    return jax.nn.log_softmax(scores + params["bias"], axis=-1)

  return adaptation(start, channel, tx or optax.adam(1e-3), by="c_model", needs=("features",))
