"""Meta-Weight-Net: a small network learns from trusted examples what a loss should count for."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from rfjax.core import Batch, Player, Transform, _check, descend, player
from rfjax.reweighting._elements import (
  Rate,
  check_rate,
  check_size,
  check_trusted,
  draw_trusted,
  trusted_slope,
)

_NAME = "meta_weight_net"


def meta_weight_net(
  rate: Rate = 0.1,
  *,
  hidden: int = 100,
  tx: optax.GradientTransformation | None = None,
  trusted_batch_size: int | None = None,
) -> Transform:
  r"""Meta-Weight-Net, which learns the function from the loss of an example to its weight.

  $$\theta'(\phi) = \theta - \alpha \nabla_\theta \frac1B \sum_i V(\ell_i; \phi)\, \ell_i(\theta),
  \qquad \phi \leftarrow \phi - \beta \nabla_\phi L_{\mathrm{trusted}}(\theta'(\phi)), \qquad
  \mathrm{weight}_i \leftarrow \mathrm{weight}_i\, V(\ell_i; \phi)$$

  V is a perceptron with one hidden layer and a sigmoid. It steps so that the network, had it taken
  one step of SGD on the weighted losses, would be better on the trusted examples; then the network
  steps by the new weights. They are not normalised: the risk is divided by the number of rows. All
  losses here are the cross-entropy of `target` by the network itself, whatever loss and correction
  the chain has. Running statistics do not see the virtual step.

  Args:
    rate: alpha, of the virtual step, at least 0, usually that of the network's optimizer; may be
      traced, or be a schedule, a function of the step.
    hidden: units of V, at least 1.
    tx: the optimizer of V; when None Adam with a rate of 0.001 and an L2 decay of 0.0001, as in the
      authors' code.
    trusted_batch_size: how many trusted examples a step draws, without repetition; all when None.

  Returns:
    The transform; it writes weight, needs trusted, and its state is a `Player`.

  Raises:
    ValueError: for values out of range; where trusted examples are missing.

  References:
    Shu, Xie, Yi, Zhao, Zhou, Xu, Meng, Meta-Weight-Net: Learning an Explicit Mapping For Sample
    Weighting, NeurIPS 2019.

  Examples:
    >>> import jax, optax, rfjax
    >>> from rfjax import architectures, reweighting
    >>> clean = rfjax.Batch.from_arrays([[-1.0], [1.0]], [0, 1])
    >>> data = rfjax.Batch.from_arrays([[-2.0], [-1.0], [2.0]], [0, 1, 1], trusted=clean)
    >>> state, log = rfjax.fit(architectures.logistic(), reweighting.meta_weight_net(0.5),
    ...                        optax.sgd(0.5), data, key=jax.random.key(0), epochs=3)
    >>> state.method.params["hidden"]["kernel"].shape
    (1, 100)
  """
  check_rate("rate", rate)
  hidden, size = _check.count("hidden", hidden), check_size(trusted_batch_size)
  if tx is None:
    tx = optax.chain(optax.add_decayed_weights(1e-4), optax.adam(1e-3))

  def init(data: Batch, *, key: jax.Array, **unused: Any) -> Player:
    del unused
    check_trusted(data, size, _NAME)
    return player(_start(key, hidden), tx)

  def update(
    batch: Batch, state: Player, params: Any, *, key: Any, step: Any, forward: Any, **unused: Any
  ) -> tuple[Batch, Player]:
    del unused
    batch.require("logits", "target", "keep", "weight", by=_NAME)
    trusted = draw_trusted(batch, size, key, _NAME)
    loss = -jnp.sum(batch.target * jax.nn.log_softmax(batch.logits), axis=-1)
    loss = jax.lax.stop_gradient(loss)
    earlier = jax.lax.stop_gradient(batch.weight)
    parts = batch.keep * earlier / jnp.maximum(jnp.sum(batch.keep), 1)
    parts = parts[:, None] * batch.target
    shares = weigh(state.params, loss)[:, None] * parts
    alpha = rate(step) if callable(rate) else rate
    slope = trusted_slope(params, batch, shares, trusted, forward, alpha)
    # The trusted loss has this slope in V, so its gradient in phi is that of a sum linear in V.
    linear = lambda phi, slope: jnp.sum(slope * weigh(phi, loss))
    state = descend(linear, state, jnp.sum(parts * slope, axis=-1), tx)
    weight = jax.lax.stop_gradient(weigh(state.params, loss)).astype(batch.weight.dtype)
    return batch.replace(weight=batch.weight * weight), state

  return Transform(init, update, writes=("weight",))


def weigh(phi: Any, loss: jax.Array) -> jax.Array:
  """V, the weights of losses [B]."""
  inner = jax.nn.relu(loss[:, None] * phi["hidden"]["kernel"] + phi["hidden"]["bias"])
  return jax.nn.sigmoid(inner @ phi["head"]["kernel"] + phi["head"]["bias"])[:, 0]


def _start(key: jax.Array, hidden: int) -> Any:
  """Layers uniform within 1 / sqrt(inputs), biases too, as PyTorch has them."""

  def layer(key: jax.Array, inputs: int, outputs: int) -> Any:
    far = inputs**-0.5
    shapes = {"kernel": (inputs, outputs), "bias": (outputs,)}
    keys = dict(zip(shapes, jax.random.split(key), strict=True))
    return {n: jax.random.uniform(keys[n], s, minval=-far, maxval=far) for n, s in shapes.items()}

  first, second = jax.random.split(key)
  return {"hidden": layer(first, 1, hidden), "head": layer(second, hidden, 1)}
