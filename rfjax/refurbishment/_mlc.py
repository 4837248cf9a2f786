"""Meta label correction: a teacher learns from trusted examples how to correct labels."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from rfjax.core import Batch, Player, Spec, Transform, _check, descend, player
from rfjax.reweighting._elements import (
  Rate,
  check_rate,
  check_size,
  check_trusted,
  draw_trusted,
  trusted_slope,
)

_NAME = "mlc"


def mlc(
  rate: Rate = 0.1,
  *,
  hidden: int = 128,
  embedding: int = 128,
  skip: bool = False,
  tx: optax.GradientTransformation | None = None,
  trusted_batch_size: int | None = None,
) -> Transform:
  r"""Meta label correction (MLC): a teacher that writes the labels the network learns from.

  $$\mathrm{target}_i = g(h(x_i), \tilde y_i; \phi), \qquad
  \phi \leftarrow \phi - \beta \nabla_\phi L_{\mathrm{trusted}}\Bigl(\theta - \eta \nabla_\theta
  \frac1B \sum_i \mathrm{CE}(\mathrm{target}_i(\phi), p_\theta(x_i))\Bigr)$$

  The teacher g sees the features h of the network, without their gradient, and an embedding of the
  given label; it has two layers of tanh and a softmax. It steps so that the network, had it taken
  one step of SGD on the teacher's labels, would be better on the trusted examples. The network
  steps by the labels of the teacher before its step. The gradient is exact for this one step; the
  authors' approximation over several steps is left out, and so is their training of the network on
  a part of the trusted examples, for which these can be appended to the data. The cross-entropy is
  that of the network itself, whatever loss and correction the chain has.

  Args:
    rate: eta, of the virtual step, at least 0, usually that of the network's optimizer; may be
      traced, or be a schedule, a function of the step.
    hidden: units of both layers, at least 1.
    embedding: size of the embedding of a label, at least 1.
    skip: mix the given label in, by a sigmoid that is one more output of the teacher.
    tx: the optimizer of the teacher; when None AMSGrad with a rate of 0.0003.
    trusted_batch_size: how many trusted examples a step draws, without repetition; all when None.

  Returns:
    The transform; it writes target, needs trusted and features, and its state is a `Player`.

  Raises:
    ValueError: for values out of range; where trusted examples or features are missing.

  References:
    Zheng, Awadallah, Dumais, Meta Label Correction for Noisy Label Learning, AAAI 2021.

  Examples:
    >>> import jax, optax, rfjax
    >>> from rfjax import architectures, refurbishment
    >>> clean = rfjax.Batch.from_arrays([[-1.0], [1.0]], [0, 1])
    >>> data = rfjax.Batch.from_arrays([[-2.0], [-1.0], [2.0]], [0, 1, 1], trusted=clean)
    >>> state, log = rfjax.fit(architectures.mlp([4]), refurbishment.mlc(0.5), optax.sgd(0.5), data,
    ...                        key=jax.random.key(0), epochs=3)
    >>> state.method.params["embedding"].shape
    (2, 128)
  """
  check_rate("rate", rate)
  hidden, embedding = _check.count("hidden", hidden), _check.count("embedding", embedding)
  size = check_size(trusted_batch_size)
  tx = optax.amsgrad(3e-4) if tx is None else tx

  def init(data: Batch, *, key: jax.Array, spec: Spec, **unused: Any) -> Player:
    del unused
    check_trusted(data, size, _NAME)
    width = data.replace(features=spec.features).require("features", by=_NAME).features.shape[1]
    sizes = (width + embedding, hidden, hidden, data.num_classes + skip)
    return player(_start(key, (data.num_classes, embedding), sizes), tx)

  def update(
    batch: Batch, state: Player, params: Any, *, key: Any, step: Any, forward: Any, **unused: Any
  ) -> tuple[Batch, Player]:
    del unused
    batch.require("features", "target", "keep", "weight", by=_NAME)
    trusted = draw_trusted(batch, size, key, _NAME)
    features = jax.lax.stop_gradient(batch.features)
    parts = jax.lax.stop_gradient(batch.keep * batch.weight) / jnp.maximum(jnp.sum(batch.keep), 1)
    target = _teach(state.params, features, batch.y, batch.num_classes)
    alpha = rate(step) if callable(rate) else rate
    slope = trusted_slope(params, batch, parts[:, None] * target, trusted, forward, alpha)
    # The trusted loss has this slope in the labels, so its gradient in phi is that of a linear sum.
    linear = lambda phi, slope: jnp.sum(slope * _teach(phi, features, batch.y, batch.num_classes))
    state = descend(linear, state, parts[:, None] * slope, tx)
    return batch.replace(target=target.astype(batch.target.dtype)), state

  return Transform(init, update, writes=("target",))


def _start(key: jax.Array, table: tuple[int, int], sizes: tuple[int, ...]) -> Any:
  """Glorot's normal kernels, biases of 0, and a uniform embedding."""
  first, *keys = jax.random.split(key, len(sizes))
  far = (6 / sum(table)) ** 0.5
  layers = [
    {"kernel": (2 / (i + o)) ** 0.5 * jax.random.normal(k, (i, o)), "bias": jnp.zeros(o)}
    for k, i, o in zip(keys, sizes, sizes[1:], strict=False)
  ]
  return {"embedding": jax.random.uniform(first, table, minval=-far, maxval=far), "layers": layers}


def _teach(phi: Any, features: jax.Array, y: jax.Array, num_classes: int) -> jax.Array:
  """The labels [B, C] that a teacher writes; one output more than classes is the gate of skip."""
  value = jnp.concatenate([features, phi["embedding"][y].astype(features.dtype)], axis=-1)
  *inner, last = phi["layers"]
  for layer in inner:
    value = jnp.tanh(value @ layer["kernel"] + layer["bias"])
  value = value @ last["kernel"] + last["bias"]
  probs = jax.nn.softmax(value[:, :num_classes], axis=-1)
  if value.shape[1] == num_classes:
    return probs
  gate = jax.nn.sigmoid(value[:, num_classes:])
  return (1 - gate) * probs + gate * jax.nn.one_hot(y, num_classes, dtype=probs.dtype)
