"""Dynamic bootstrapping: how much a label is believed depends on its loss."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rfjax.core import Batch, Transform, _check, quantile
from rfjax.losses._elements import at_label
from rfjax.losses._mixup import mixup
from rfjax.losses._prior import prior_penalty
from rfjax.refurbishment._beta_mixture import BetaMixture, beta_mixture, beta_posterior

_CUT = 0.05  # the share of losses beyond each of the percentiles
_INSIDE = 1e-3  # scaled losses are cut to [_INSIDE, 1 - _INSIDE]
_DOUBT = 1e-4  # no label is believed by more than 1 - _DOUBT, and none by less than _DOUBT


class DynamicBootstrapState(NamedTuple):
  """The state of `dynamic_bootstrap`.

  Attributes:
    mixture: the distributions of the losses at the start of the epoch; its posterior, [N], is how
      likely each label is to be wrong.
    low: the loss that is scaled to 0, [].
    high: the loss that is scaled to 1, [].
  """

  mixture: BetaMixture
  low: jax.Array
  high: jax.Array


def dynamic_bootstrap(
  *,
  hard: bool = True,
  warmup: int | jax.Array = 105,
  alpha: float = 0.0,
  strength: float | jax.Array = 1.0,
  steps: int = 10,
) -> Transform:
  r"""Dynamic bootstrapping, M-correction with mixup: wrong labels give way to predictions.

  Before each epoch two beta distributions are fitted to the losses of all examples, scaled to
  [0, 1] between their percentiles 5 and 95. In a step the posterior of the upper one says of each
  example how little its label is believed,

  $$B_i = P(\mathrm{upper} \mid \mathrm{loss}_i), \qquad \mathrm{target}_i \leftarrow (1 - B_i)\,
  \mathrm{target}_i + B_i\, h_i, \qquad \mathrm{penalty} \leftarrow \mathrm{penalty} + \lambda
  \sum_k \frac{1}{C} \log \frac{1 / C}{\bar p_k}$$

  where h is the network's own label, or its probabilities, without gradient, and $\bar p$ the mean
  prediction of the batch, lest all examples go to one class. During warm-up targets stay and there
  is no penalty. The loss of an example is the chain's cost of its given label: in the fit in
  evaluation mode, in a step that of the step's own forward pass. With an alpha, examples and these
  targets are mixed as by `losses.mixup`, also during warm-up, and the penalty is that of the
  mixtures: the order matters, since a mixture's loss says nothing of a label.

  Args:
    hard: whether h is one class, the most likely one, or all probabilities.
    warmup: epochs, at least 0; may be traced.
    alpha: of mixup, at least 0, static; 0 is without, 32 the authors'.
    strength: lambda, at least 0; may be traced.
    steps: of the fit, static.

  Returns:
    The transform; it writes target and penalty, and with an alpha logits and log_probs.

  Raises:
    ValueError: for values out of range, or a traced alpha.

  References:
    Arazo, Ortego, Albert, O'Connor, McGuinness, Unsupervised Label Noise Modeling and Loss
    Correction, ICML 2019.

  Examples:
    >>> import jax, optax, rfjax
    >>> from rfjax import architectures, refurbishment
    >>> data = rfjax.Batch.from_arrays([[-2.0], [-1.0], [1.0], [2.0]], [0, 0, 0, 1])
    >>> method = refurbishment.dynamic_bootstrap(warmup=10, alpha=0.4)
    >>> state, log = rfjax.fit(architectures.logistic(), method, optax.sgd(1.0), data,
    ...                        key=jax.random.key(0), epochs=20)
    >>> state.method.mixture.posterior.shape, log.penalty[:10].tolist() == 10 * [0.0]
    ((4,), True)
  """
  _check.number("warmup", warmup, 0.0, open_high=True)
  _check.number("strength", strength, 0.0, open_high=True)
  steps, mixing = _check.count("steps", steps), mixup(alpha)
  mixed = float(alpha) > 0  # mixup has refused what is traced

  def init(data: Batch, **unused: Any) -> DynamicBootstrapState:
    del unused
    zeros, ones = jnp.zeros(data.num_rows), jnp.array([1.0, 2.0])
    mixture = BetaMixture(jnp.array([0.5, 0.5]), ones, ones[::-1], zeros + 0.5)
    return DynamicBootstrapState(mixture, jnp.zeros(()), jnp.ones(()))

  def refresh(
    data: Batch, state: DynamicBootstrapState, params: Any = None, **unused: Any
  ) -> tuple[Batch, DynamicBootstrapState]:
    del params, unused
    loss, rows = at_label(data.cost, data.y), data.valid & (data.keep > 0)
    low, high = (quantile(loss, share, rows) for share in (_CUT, 1 - _CUT))
    inside = rows & (loss >= low) & (loss <= high)
    mixture = beta_mixture(_scale(loss, low, high), inside, steps=steps)
    new = DynamicBootstrapState(mixture, low, high)
    return data, jax.tree.map(lambda a, b: a.astype(b.dtype), new, state)

  def update(
    batch: Batch, state: DynamicBootstrapState, params: Any = None, *, epoch: Any, **extra: Any
  ) -> tuple[Batch, DynamicBootstrapState]:
    batch.require("log_probs", "cost", "target", "keep", "penalty", by="dynamic_bootstrap")
    started = jnp.asarray(epoch) >= warmup
    loss = jax.lax.stop_gradient(at_label(batch.cost, batch.y))
    doubt = beta_posterior(state.mixture, _scale(loss, state.low, state.high))
    doubt = jnp.clip(doubt, _DOUBT, 1 - _DOUBT).astype(batch.target.dtype)[:, None]
    target = (1 - doubt) * batch.target + doubt * _said(batch, hard)
    batch = batch.replace(target=jnp.where(started, target, batch.target))
    batch, _ = mixing.update(batch, (), params, **extra)
    apart = prior_penalty(batch.log_probs, batch.valid & (batch.keep > 0))
    penalty = batch.penalty + jnp.where(started, strength, 0.0) * apart
    return batch.replace(penalty=penalty.astype(batch.penalty.dtype)), state

  written = ("target", "penalty")
  return Transform(init, update, refresh, ("logits", "log_probs", *written) if mixed else written)


def _scale(loss: jax.Array, low: jax.Array, high: jax.Array) -> jax.Array:
  """Losses between two limits, as numbers inside of [0, 1]."""
  return jnp.clip((loss - low) / (high - low + 1e-6), _INSIDE, 1 - _INSIDE)


def _said(batch: Batch, hard: bool) -> jax.Array:
  """What the network says of the rows, without its gradient, [B, C]."""
  if not hard:
    return jax.lax.stop_gradient(batch.probs)
  labels = jnp.argmax(batch.log_probs, axis=-1)
  return jax.nn.one_hot(labels, batch.num_classes, dtype=batch.target.dtype)
