"""SELFIE: labels that the network gives without wavering replace the given ones."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import xlogy

from rfjax.core import (
  Batch,
  History,
  Transform,
  _check,
  count,
  first_peer,
  history,
  label_type,
  push,
  read,
  smallest,
  votes,
  write,
)


class SelfieState(NamedTuple):
  """The state of `selfie`.

  Attributes:
    history: the labels that the network has lately given to each example.
    refurbished: the label that each example was last given in the place of its own, -1 for none,
      [N], in the smallest type that holds the classes.
  """

  history: History
  refurbished: jax.Array


def _independent(key: jax.Array, order: jax.Array, rows: int) -> jax.Array:
  """Batches that are drawn each by itself, without replacement, int32 like `order`."""

  def batch(key: jax.Array) -> jax.Array:
    return jax.lax.top_k(jax.random.uniform(key, (rows,)), order.shape[1])[1]

  return jax.lax.map(batch, jax.random.split(key, order.shape[0]))


def selfie(
  rate: float | jax.Array,
  *,
  threshold: float | jax.Array = 0.05,
  length: int = 15,
  warmup: int = 25,
  refurbished: jax.Array | None = None,
  clean: jax.Array | None = None,
  phantom_votes: bool = False,
  independent_batches: bool = False,
  ask_again: bool = False,
) -> Transform:
  r"""SELFIE, selective refurbishment: small losses keep their labels, steady predictions theirs.

  Of each example the last q labels that the network gave in training are remembered, as shares
  $p_i(y)$. It is refurbished when they agree,

  $$F_i = -\frac{1}{\log C} \sum_y p_i(y) \log p_i(y) \le \epsilon: \qquad
  \mathrm{target}_i = e_{r_i}, \quad r_i = \arg\max_y p_i(y),$$

  and stays so, with its last $r_i$, when they no longer do. The examples of the
  $\lceil (1 - \tau) B \rceil$ smallest costs of the given label keep their targets; all others are
  left out. During warm-up all are kept, with the labels that earlier rounds gave them. Predictions
  are pushed after they were used. Rounds, each with a new network, are run by `selfie_rounds`.

  Args:
    rate: tau in [0, 1), the share of wrong labels; may be traced.
    threshold: epsilon; below 0 nothing is refurbished, from 1 on every full history. With up to 134
      classes, the defaults ask that all of the 15 agree. May be traced.
    length: q, at least 1.
    warmup: epochs, at least 0; from `length` on every example has been seen often enough.
    refurbished: labels of an earlier round, integers [N], -1 for none; may be traced.
    clean: bool [N], examples that are known to be right: these keep their targets, and no others do
      for their small loss, as Prestopping+ has it. May be traced.
    phantom_votes: count places of the history that were never written as votes for class 0, as the
      authors' code does. Otherwise only full histories refurbish.
    independent_batches: draw each batch by itself, without replacement, as the authors' code does,
      instead of passing through a permutation; needs a batch size.
    ask_again: take the loss of a second forward pass, with new dropout, as the authors' code does;
      it is cross-entropy, and no other loss, nor a correction of it, may stand in front.

  Returns:
    The transform; it writes target and keep, with `independent_batches` order, and with `ask_again`
    log_probs.

  Raises:
    ValueError: for values out of range; in training, where independent batches have no batch size.

  References:
    Song, Kim, Lee, SELFIE: Refurbishing Unclean Samples for Robust Deep Learning, ICML 2019.

  Examples:
    >>> import jax, optax, rfjax
    >>> from rfjax import architectures, refurbishment
    >>> data = rfjax.Batch.from_arrays([[-2.0], [-1.0], [1.0], [2.0]], [0, 0, 0, 1])
    >>> method = refurbishment.selfie(0.25, length=3, warmup=20)
    >>> state, log = rfjax.fit(architectures.logistic(), method, optax.sgd(1.0), data,
    ...                        key=jax.random.key(0), epochs=40)
    >>> state.method.refurbished.shape
    (4,)
  """
  _check.number("rate", rate, 0.0, 1.0, open_high=True)
  _check.number("threshold", threshold)
  length, warmup = _check.count("length", length), _check.count("warmup", warmup, 0)
  marks = None if clean is None else _check.array("clean", clean)

  def init(data: Batch, **unused: Any) -> SelfieState:
    del unused
    kind = label_type(data.num_classes)
    given = _earlier(refurbished, data)
    if marks is not None and marks.shape != (data.num_rows,):
      raise ValueError(
        f"clean must have one mark a row, got shape {marks.shape} for {data.num_rows} rows: pass"
        " False where a row is not known to be right"
      )
    labels = jnp.full(data.num_rows, -1, kind) if given is None else jnp.asarray(given, kind)
    return SelfieState(history(data, length), labels)

  def refresh(
    data: Batch, state: SelfieState, params: Any = None, *, key: jax.Array, **unused: Any
  ) -> tuple[Batch, SelfieState]:
    del params, unused
    if data.order is None:
      raise ValueError("independent_batches needs batches: pass batch_size= to fit")
    order = first_peer(_independent(key, data.order, data.num_rows))
    return data.replace(order=order), state

  def update(
    batch: Batch, state: SelfieState, params: Any, *, key: Any, epoch: Any, forward: Any, **_: Any
  ) -> tuple[Batch, SelfieState]:
    batch.require("cost", "target", "keep", by="selfie")
    started = jnp.asarray(epoch) >= warmup
    labels, steady = _steady(batch, state.history, threshold, phantom_votes)
    before = read(state.refurbished, batch.index).astype(jnp.int32)
    before = jnp.where(batch.valid, before, -1)
    now = jnp.where(started & steady & batch.valid, labels, before)
    known = _small(batch, rate) if marks is None else read(jnp.asarray(marks, bool), batch.index)
    renewed = (now >= 0) & (True if marks is None else ~known)
    keep = jnp.where(started, known | renewed, True)
    fields = _second_pass(batch, params, key, forward) if ask_again else {}
    fields["keep"] = batch.keep * keep
    fields["target"] = jnp.where(
      renewed[:, None],
      jax.nn.one_hot(now, batch.num_classes, dtype=batch.target.dtype),
      batch.target,
    )
    state = SelfieState(push(state.history, batch), write(state.refurbished, batch.index, now))
    return batch.replace(**fields), state

  writes = ("logits", "log_probs", "target", "keep") if ask_again else ("target", "keep")
  if independent_batches:
    return Transform(init, update, refresh, (*writes, "order"))
  return Transform(init, update, writes=writes)


def _earlier(refurbished: Any, data: Batch) -> Any:
  """The labels of an earlier round, checked."""
  if refurbished is None:
    return None
  given = _check.numbers("refurbished", refurbished, -1, data.num_classes - 1)
  if given.shape != (data.num_rows,):
    raise ValueError(
      f"refurbished must have one label a row, got shape {given.shape} for {data.num_rows} rows:"
      " pass -1 where there is none"
    )
  return given


def _steady(
  batch: Batch, past: History, threshold: Any, phantom: bool
) -> tuple[jax.Array, jax.Array]:
  """The label that the history of each row has most often, [B], and whether it is steady, [B]."""
  shares = votes(past, batch.index, batch.num_classes, empty=phantom) / past.labels.shape[1]
  uncertainty = -jnp.sum(xlogy(shares, shares), axis=-1) / jnp.log(batch.num_classes)
  uncertainty = jnp.minimum(uncertainty, 1)  # which rounding may exceed
  full = phantom | (read(past.pushes, batch.index) >= past.labels.shape[1])
  return jnp.argmax(shares, axis=-1), full & (uncertainty <= threshold)


def _small(batch: Batch, rate: Any) -> jax.Array:
  """Marks the rows of the ceil((1 - rate) n) smallest costs of the given label, bool [B]."""
  rows = (batch.keep > 0) & batch.valid
  cost = jnp.take_along_axis(jax.lax.stop_gradient(batch.cost), batch.y[:, None], axis=-1)[:, 0]
  return smallest(cost, jnp.sum(rows) - count(rate, rows), rows, batch.index)


def _second_pass(batch: Batch, params: Any, key: jax.Array, forward: Any) -> dict[str, Any]:
  """What the network says of the batch with new dropout."""
  said = forward(params, batch, key=key)
  return {"logits": said.logits, "features": said.features, "log_probs": said.log_probs}
