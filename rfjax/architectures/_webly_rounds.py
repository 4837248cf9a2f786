"""Webly supervised learning in its two stages."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from rfjax.architectures._s_model import confusion, s_model
from rfjax.architectures._webly import relationship_graph, webly
from rfjax.core import Batch, Log, Network, TrainState, _check, fit, identity, predict
from rfjax.core._network import going_on


def webly_rounds(
  network: Network,
  tx: optax.GradientTransformation,
  data: Batch,
  *,
  easy: Batch,
  key: jax.Array,
  epochs: int,
  fine_tune_epochs: int | None = None,
  batch_size: int | None = None,
  form: str = "target",
  channel_tx: optax.GradientTransformation | None = None,
  observe: Callable[[TrainState, Batch], Any] | None = None,
) -> tuple[TrainState, Log]:
  r"""Trains on easy examples, and goes on with hard ones and what the network mistakes in them.

  $$R_{ij} = \mathrm{mean}_{t:\, \tilde y_t = i}\; p_t(j), \qquad
  \mathrm{loss}_t = -\sum_j R_{\tilde y_t j} \log p_t(j)$$

  with R of the network of the first stage on the hard examples. The survey describes the second
  stage as a noise adaptation layer that starts from the confusion matrix of the hard examples, and
  learns; the authors' code is the fixed smoothing above.

  Args:
    network: the network.
    tx: any optax transformation; its state starts anew in the second stage.
    data: the hard examples.
    easy: the easy examples.
    key: a key from `jax.random.key`.
    epochs: of the first stage.
    fine_tune_epochs: of the second stage; as many when None.
    batch_size: rows a step, as in `fit`, in both stages.
    form: "target", the authors' `webly`; "channel", an `s_model` that starts from the `confusion`.
    channel_tx: the optimizer of the channel, as in `s_model`.
    observe: `observe(state, view) -> pytree`, called after each epoch, as in `fit`.

  Returns:
    The last `TrainState`, whose `method` is a `WeblyState` or a `Player`, and the `Log` of the
    epochs of both stages, one after the other.

  Raises:
    ValueError: for values out of range.

  References:
    Chen, Gupta, Webly Supervised Learning of Convolutional Networks, ICCV 2015.

  Examples:
    >>> import jax, optax, rfjax
    >>> from rfjax import architectures
    >>> easy = rfjax.Batch.from_arrays([[-2.0], [2.0]], [0, 1])
    >>> hard = rfjax.Batch.from_arrays([[-1.0], [-0.5], [0.5], [1.0]], [0, 1, 1, 1])
    >>> state, log = architectures.webly_rounds(
    ...     architectures.logistic(), optax.sgd(1.0), hard, easy=easy, key=jax.random.key(0),
    ...     epochs=10)
    >>> log.risk.shape, state.method.graph.shape
    ((20,), (2, 2))
  """
  _check.choice("form", form, ("target", "channel"))
  epochs = _check.count("epochs", epochs, 0)
  later = epochs if fine_tune_epochs is None else fine_tune_epochs
  later = _check.count("fine_tune_epochs", later, 0)
  if not isinstance(easy, Batch):
    raise ValueError(
      f"easy must be a Batch, got {type(easy).__name__}: use Batch.subset for a part"
    )
  first_key, second_key = jax.random.split(key)
  settings = {"batch_size": batch_size, "observe": observe}
  state, first = fit(network, identity, tx, easy, key=first_key, epochs=epochs, **settings)
  said = predict(network, state, data)
  seen: dict[str, Any] = {"y": data.y, "valid": data.valid}
  if form == "target":
    method = webly(relationship_graph(said.log_probs, **seen))
  else:
    method = s_model(confusion(said.log_probs, **seen), channel_tx)
  trained = going_on(network, state.params, state.stats)
  state, second = fit(trained, method, tx, data, key=second_key, epochs=later, **settings)
  return state, jax.tree.map(lambda a, b: jnp.concatenate([a, b]), first, second)
