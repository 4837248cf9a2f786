"""SELF: rows are left out while the network's average prediction differs from their label."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from rfjax.core import Batch, Network, Spec, Transform, _check, follow, read, write
from rfjax.selection._elements import first_mask, keep_only

DISTANCES = ("mse", "kl")
SPEAKERS = ("teacher", "student")


class SelfEnsemblingState(NamedTuple):
  """The state of `self_ensembling`.

  Attributes:
    teacher: the moving average of the network's parameters; zeros before the first step.
    steps: int32 [], how many steps it has averaged.
    ensemble: [N, C], the moving average of the predictions, which starts at zero.
    kept: bool [N], the rows that are learned from.
  """

  teacher: Any
  steps: jax.Array
  ensemble: jax.Array
  kept: jax.Array


def self_ensembling(
  network: Network,
  *,
  momentum: float | jax.Array = 0.9,
  decay: float | jax.Array = 0.999,
  consistency: float | jax.Array = 1.0,
  warmup: int | jax.Array = 1,
  ramp_epochs: float | jax.Array | None = None,
  distance: str = "mse",
  of: str = "teacher",
  augment: Callable[..., jax.Array] | None = None,
  kept: ArrayLike | None = None,
  ensemble: ArrayLike | None = None,
) -> Transform:
  r"""Self-ensemble label filtering (SELF): learn from labels that the average prediction agrees to.

  $$\bar z_i \leftarrow a\, \bar z_i + (1 - a)\, \hat z_i, \qquad \mathrm{keep}_i \leftarrow
  \mathrm{keep}_i\, [\arg\max_k \bar z_{ik} = \tilde y_i], \qquad
  \mathrm{penalty} \leftarrow \mathrm{penalty} + \frac{w}{B} \sum_i d(p_i, q_i)$$

  The predictions z of all rows join the average after each epoch, in evaluation mode. The teacher,
  whose softmax is q, is a moving average of the weights, as in Mean Teacher: of step t with
  min(decay, t / (t + 1)), which makes it the plain mean at first. It speaks with the network's own
  statistics, such as those of batch normalisation. The penalty runs over all rows of the batch,
  those that are left out among them; so they still teach, without their label. All rows are kept
  during warm-up. The filter acts anew in each epoch; `self_ensembling_rounds` filters once a round,
  as the paper does.

  The values of a, decay and w were found in no source, nor the form of d that was used: the
  defaults here are common ones of Mean Teacher, and all of them are to be tuned.

  Args:
    network: the network that is trained, whose parameters the teacher averages.
    momentum: a in [0, 1); 0 filters by the last prediction alone. May be traced.
    decay: of the teacher, in [0, 1]; may be traced.
    consistency: w, at least 0; may be traced.
    warmup: epochs before the first filter, at least 0; the first epoch has none in any case. May be
      traced.
    ramp_epochs: T above 0, where the weight is $w e^{-5 (1 - \min(t / T, 1))^2}$ in epoch t; always
      w when None. May be traced.
    distance: d, "mse" for the mean over the classes of $(p - q)^2$, or "kl" for KL(q || p).
    of: whose predictions are averaged, "teacher" or "student".
    augment: `augment(x, key) -> x`, of a batch of features [B, ...], which the teacher sees; None
      shows it what the network sees.
    kept: bool [N], the rows that are kept up to the first filter; all when None.
    ensemble: [N, C], what the average starts from; zeros when None, which scale it but do not
      change its largest class.

  Returns:
    The transform; it writes keep and penalty.

  Raises:
    ValueError: for values out of range; in training, for another network.

  References:
    Nguyen, Mummadi, Ngo, Nguyen, Beggel, Brox, SELF: Learning to Filter Noisy Labels with
    Self-Ensembling, ICLR 2020.

    Tarvainen, Valpola, Mean Teachers are Better Role Models, NeurIPS 2017.

  Examples:
    >>> import jax, optax, rfjax
    >>> from rfjax import architectures, selection
    >>> data = rfjax.Batch.from_arrays([[-2.0], [-1.0], [1.0], [2.0]], [0, 0, 0, 1])
    >>> network = architectures.logistic()
    >>> method = selection.self_ensembling(network, warmup=5)
    >>> state, log = rfjax.fit(network, method, optax.sgd(1.0), data, key=jax.random.key(0),
    ...                        epochs=20)
    >>> state.method.kept.tolist()
    [True, True, False, True]
  """
  _check.number("momentum", momentum, 0.0, 1.0, open_high=True)
  _check.number("decay", decay, 0.0, 1.0)
  _check.number("consistency", consistency, 0.0, open_high=True)
  _check.number("warmup", warmup, 0.0)
  if ramp_epochs is not None:
    _check.number("ramp_epochs", ramp_epochs, 0.0, open_low=True, open_high=True)
  _check.choice("distance", distance, DISTANCES)
  _check.choice("of", of, SPEAKERS)

  def init(data: Batch, *, key: jax.Array, spec: Spec, **unused: Any) -> SelfEnsemblingState:
    del unused
    shapes = jax.eval_shape(network.init, key, data.x)[0]
    teacher = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    average = _first_ensemble(data, ensemble, spec.logits.dtype)
    mask = first_mask(data, None if kept is None else jnp.asarray(kept))
    return SelfEnsemblingState(teacher, jnp.zeros((), jnp.int32), average, mask)

  def refresh(
    data: Batch, state: SelfEnsemblingState, params: Any, *, epoch: Any, forward: Any, **_: Any
  ) -> tuple[Batch, SelfEnsemblingState]:
    speaks = data if of == "student" else forward(renew(state, params, decay).teacher, data)
    said, past = jax.nn.softmax(speaks.logits), read(state.ensemble, data.index)
    average = write(state.ensemble, data.index, momentum * past + (1 - momentum) * said)
    agree = jnp.argmax(read(average, data.index), axis=-1) == data.y
    mask, epoch = write(state.kept, data.index, agree & data.valid), jnp.asarray(epoch)
    average = jnp.where(epoch > 0, average, state.ensemble)
    mask = jnp.where((epoch > 0) & (epoch >= warmup), mask, state.kept)
    return keep_only(data, mask), state._replace(ensemble=average, kept=mask)

  def update(
    batch: Batch, state: SelfEnsemblingState, params: Any, *, key: Any, epoch: Any, forward: Any,
    **unused: Any,
  ) -> tuple[Batch, SelfEnsemblingState]:  # fmt: skip
    del unused
    batch.require("logits", "keep", "penalty", by="self_ensembling")
    new = renew(state, params, decay)
    augment_key, dropout_key = jax.random.split(key)
    view = batch if augment is None else batch.replace(x=augment(batch.x, augment_key))
    said = forward(new.teacher, view, key=dropout_key).logits
    apart = batch.mean(_distance(batch.logits, jax.lax.stop_gradient(said), distance))
    ramp = 1.0
    if ramp_epochs is not None:
      ramp = jnp.exp(-5 * jnp.square(1 - jnp.minimum(jnp.asarray(epoch) / ramp_epochs, 1)))
    penalty = batch.penalty + (consistency * ramp * apart).astype(batch.penalty.dtype)
    return keep_only(batch, state.kept).replace(penalty=penalty), new

  return Transform(init, update, refresh, writes=("keep", "penalty"))


def renew(state: SelfEnsemblingState, params: Any, decay: Any) -> SelfEnsemblingState:
  """The teacher one step on."""
  steps = state.steps.astype(jnp.result_type(float))
  teacher = follow(
    state.teacher, params, jnp.minimum(decay, steps / (steps + 1)), by="self_ensembling"
  )
  return state._replace(teacher=teacher, steps=state.steps + 1)


def _first_ensemble(data: Batch, given: ArrayLike | None, dtype: Any) -> jax.Array:
  """The average that a run starts from."""
  shape = (data.num_rows, data.num_classes)
  if given is None:
    return jnp.zeros(shape, dtype)
  values = jnp.asarray(given, dtype)
  if values.shape != shape:
    raise ValueError(f"ensemble must have shape {shape}, got {values.shape}: one row an example")
  return values


def _distance(logits: jax.Array, said: jax.Array, distance: str) -> jax.Array:
  """How far the network is from the teacher, [B]."""
  if distance == "mse":
    return jnp.mean(jnp.square(jax.nn.softmax(logits) - jax.nn.softmax(said)), axis=-1)
  apart = jax.nn.log_softmax(said) - jax.nn.log_softmax(logits)
  return jnp.sum(jax.nn.softmax(said) * apart, axis=-1)
