"""RoG: a generative classifier of the features speaks in the place of the last layer."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rfjax.architectures._adaptation import features_of
from rfjax.architectures._generative_classifier import (
  PRIORS,
  from_scores,
  generative_classifier,
  scores,
)
from rfjax.core import Batch, Spec, Transform, _check


class RoGState(NamedTuple):
  """The state of `rog`.

  Attributes:
    kernel: the classifier as a last layer, [d, C]; zeros in training.
    bias: [C].
    speaks: bool [], whether it takes the place of the logits.
  """

  kernel: jax.Array
  bias: jax.Array
  speaks: jax.Array


def rog(fraction: float | jax.Array = 0.7, *, steps: int = 1, prior: str = "counts") -> Transform:
  r"""RoG, robust inference via a generative classifier on the features of a trained network.

  $$\mathrm{logits}_c \leftarrow \mu_c^\top \Sigma^+ f - \tfrac{1}{2} \mu_c^\top \Sigma^+ \mu_c +
  \log \beta_c - \log Z(f)$$

  with the moments of those rows of each class that lie closest together, as
  `generative_classifier` finds them. It acts on outputs:
  `rfjax.transform(rog(), predict(network, state, test), key=key, fitted_on=predict(network, state,
  train))`. Inside of training it changes nothing. The authors' average over the features of several
  layers, with weights from a validation set, is left out, since a network here offers one layer.

  Args:
    fraction: r in (0, 1], the share of each class that is kept; may be traced.
    steps: how often it is chosen anew, at least 0.
    prior: beta, "counts" or "uniform", as in `generative_classifier`.

  Returns:
    The transform; it writes logits, and with them log_probs.

  Raises:
    ValueError: for values out of range, or where there are no features.

  References:
    Lee, Yun, Lee, Lee, Li, Shin, Robust Inference via Generative Classifiers for Handling Noisy
    Labels, ICML 2019.

  Examples:
    >>> import jax, optax, rfjax
    >>> from rfjax import architectures
    >>> x = [[-2.0], [-1.9], [-1.8], [1.8], [1.9], [2.0], [2.1], [-2.1]]
    >>> data = rfjax.Batch.from_arrays(x, [0, 0, 0, 1, 1, 1, 0, 1])
    >>> network, key = architectures.mlp([8]), jax.random.key(0)
    >>> state, log = rfjax.fit(network, rfjax.chain(), optax.adam(0.01), data, key=key, epochs=50)
    >>> said = rfjax.predict(network, state, data)
    >>> rfjax.transform(architectures.rog(), said, key=key, fitted_on=said).logits.shape
    (8, 2)
  """
  _check.number("fraction", fraction, 0.0, 1.0, open_low=True)
  steps = _check.count("steps", steps, 0)
  _check.choice("prior", prior, PRIORS)

  def init(data: Batch, *, key: Any, spec: Spec | None = None, **unused: Any) -> RoGState:
    del unused
    if spec is not None:  # a training, whose network is not known yet
      width, kind = features_of(spec, "rog").shape[-1], spec.logits.dtype
      empty = jnp.zeros((width, data.num_classes), kind)
      return RoGState(empty, jnp.zeros(data.num_classes, kind), jnp.array(False))
    fitted = generative_classifier(
      data.require("features", by="rog").features,
      data.y,
      num_classes=data.num_classes,
      key=key,
      fraction=fraction,
      steps=steps,
      prior=prior,
      valid=data.valid,
    )
    return RoGState(*scores(fitted), jnp.array(True))

  def update(
    batch: Batch, state: RoGState, params: Any = None, **unused: Any
  ) -> tuple[Batch, RoGState]:
    del params, unused
    batch.require("logits", "log_probs", "features", by="rog")
    said = from_scores(state.kernel, state.bias, batch.features)
    mine = lambda new, old: jnp.where(state.speaks, new.astype(old.dtype), old)
    fields = {name: mine(said, getattr(batch, name)) for name in ("logits", "log_probs")}
    return batch.replace(**fields), state

  return Transform(init, update, writes=("log_probs",))
