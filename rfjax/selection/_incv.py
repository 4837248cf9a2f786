"""INCV: networks that learn one half of the rows tell the right ones of the other half."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from rfjax.core import (
  Batch,
  Network,
  Transform,
  _check,
  chain,
  count,
  fit,
  identity,
  predict,
  rounds,
  smallest,
)
from rfjax.core._parts import map_trainings
from rfjax.selection._elements import of_label
from rfjax.selection._noise_rate import rate_from_agreement
from rfjax.selection._selected import packed


class Incv(NamedTuple):
  """What `incv` found.

  Attributes:
    selected: bool [N], the rows whose label was predicted by a network that had not seen them.
    candidates: bool [N], the rows that were neither selected nor discarded.
    noise_rate: [], the estimated share of wrong labels.
  """

  selected: jax.Array
  candidates: jax.Array
  noise_rate: jax.Array

  def remaining_rate(self, num_classes: int, *, symmetric: bool = True) -> jax.Array:
    r"""The share of wrong labels among the selected rows, as the authors estimate it.

    $$\tau_S = \frac{\tau^2}{\tau^2 + m (1 - \tau)^2}$$

    with m = C - 1 for symmetric noise, and 1 otherwise. Co-teaching forgets as many of them.
    """
    times = num_classes - 1 if symmetric else 1
    wrong = self.noise_rate**2
    return wrong / (wrong + times * (1 - self.noise_rate) ** 2)


class _Best(NamedTuple):
  agreement: jax.Array  # int32 [], of the held-out rows
  log_probs: jax.Array  # [N, C], of the first epoch with it


def incv(
  network: Network,
  tx: optax.GradientTransformation,
  data: Batch,
  *,
  key: jax.Array,
  epochs: int,
  batch_size: int | None = None,
  iterations: int = 4,
  rate: float | jax.Array | None = None,
  symmetric: bool = True,
  early: bool = True,
  method: Transform = identity,
) -> Incv:
  r"""Iterative noisy cross-validation: selects the rows whose labels held-out networks predict.

  In each iteration the candidates, all rows at first, are split at random into halves H and H'. A
  new network learns from the selected rows and H', and a second one from those and H;

  $$S \leftarrow S \cup \{i \in H : \arg\max_k p_i(k) = \tilde y_i\}, \qquad
  n = \Bigl\lfloor \min\Bigl(2, \frac{\tau}{1 - \tau}\Bigr)\, |\{i \in H : \dots\}| \Bigr\rfloor$$

  The n rows of H with the largest losses are discarded, if noise is symmetric; both are candidates
  no longer. The rate comes from the agreement on the first half, see `rate_from_agreement`.

  Args:
    network: the network; one that is made anew for each training.
    tx: any optax transformation.
    data: the training set.
    key: a key from `jax.random.key`.
    epochs: of each training; there are two an iteration.
    batch_size: rows a step, as in `fit`. With it the rows that are held out are in no batch.
    iterations: at least 1.
    rate: tau in [0, 1), in the place of its estimate; may be traced.
    symmetric: whether noise is symmetric; static.
    early: whether a training is that of its epoch with the most agreement, as in the authors' code:
      in the first iteration, and in the second one for symmetric noise of a rate up to 0.6, and in
      the next two up to 0.3. Otherwise it is always the last epoch's.
    method: what the networks are trained by, such as a loss.

  Returns:
    The `Incv`.

  Raises:
    ValueError: for values out of range.

  References:
    Chen, Liao, Chen, Zhang, Understanding and Utilizing Deep Neural Networks Trained with Noisy
    Labels, ICML 2019.

  Examples:
    >>> import jax, optax, rfjax
    >>> from rfjax import architectures, selection
    >>> data = rfjax.Batch.from_arrays([[-2.0], [-1.0], [-3.0], [1.0], [2.0], [3.0]],
    ...                                [0, 0, 0, 1, 1, 1])
    >>> found = selection.incv(architectures.logistic(), optax.sgd(1.0), data,
    ...                        key=jax.random.key(0), epochs=10, iterations=2)
    >>> int(found.selected.sum())
    6
  """
  iterations = _check.count("iterations", iterations)
  if rate is not None:
    _check.number("rate", rate, 0.0, 1.0, open_high=True)
  rows, filled = data.num_rows, data.with_columns("keep")
  pack = identity if batch_size is None else packed()

  def train(mask: jax.Array, held: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """What the network of the best epoch, and of the last one, says of all rows, [N, C] each."""
    part = filled.replace(keep=filled.keep * mask)
    watched = chain(method, pack, _best_epoch(held) if early else identity)
    state, _ = fit(network, watched, tx, part, key=key, epochs=epochs, batch_size=batch_size)
    last = jax.nn.log_softmax(predict(network, state, data).logits)
    if not early:
      return last, last
    best = state.method[-1]
    later = _agreement(last, data.y, held) > best.agreement
    return jnp.where(later, last, best.log_probs), last

  def turn(memory: tuple[jax.Array, Incv], key: jax.Array) -> tuple[Any, tuple[()]]:
    i, found = memory
    keys = jax.random.split(key, 3)
    place = jax.random.permutation(keys[0], rows).astype(jnp.float32)
    half = jnp.sum(found.candidates) // 2
    first = smallest(place, half, found.candidates, jnp.arange(rows, dtype=jnp.int32))
    held = jnp.stack([found.candidates & ~first, first])
    best, last = map_trainings(
      lambda one: train(*one), (found.selected | held[::-1], held, keys[1:]), 1
    )
    said = jnp.where(uses_best(i, found.noise_rate, symmetric), best, last)
    estimated = (i == 0) & (rate is None)
    return (i + 1, advance(found, estimated, held, said, data.y, symmetric)), ()

  start = jnp.asarray(0.0 if rate is None else rate, jnp.float32)
  found = Incv(jnp.zeros(rows, bool), data.valid & (filled.keep > 0), start)
  return rounds(turn, (jnp.zeros((), jnp.int32), found), key=key, count=iterations)[0][1]


def _agreement(scores: jax.Array, y: jax.Array, held: jax.Array) -> jax.Array:
  """On how many of the rows that are held out the prediction is the given label, int32 []."""
  return jnp.sum(held & (jnp.argmax(scores, axis=-1) == y), dtype=jnp.int32)


def _best_epoch(held: jax.Array) -> Transform:
  """Remembers what was said at the end of the epoch of the most agreement, but for the last."""

  def init(data: Batch, **unused: Any) -> _Best:
    del unused
    return _Best(jnp.array(-1, jnp.int32), jnp.zeros((data.num_rows, data.num_classes)))

  def refresh(
    data: Batch, state: _Best, params: Any = None, *, epoch: Any, **unused: Any
  ) -> tuple[Batch, _Best]:
    del params, unused
    now = _Best(_agreement(data.logits, data.y, held), jax.nn.log_softmax(data.logits))
    better = (jnp.asarray(epoch) > 0) & (now.agreement > state.agreement)
    return data, jax.tree.map(lambda a, b: jnp.where(better, a.astype(b.dtype), b), now, state)

  return Transform(init, refresh=refresh)


def uses_best(iteration: Any, rate: Any, symmetric: bool) -> jax.Array:
  """Whether an iteration, from 0, reads the best epoch: the rule of the authors' code."""
  more = jnp.where(rate > 0.3, 2, 4)
  return jnp.asarray(iteration) < jnp.where((rate > 0.6) | (not symmetric), 1, more)


def advance(
  found: Incv, estimated: Any, held: jax.Array, log_probs: jax.Array, y: jax.Array, symmetric: bool
) -> Incv:
  """The bookkeeping of an iteration.

  Args:
    found: what was found before.
    estimated: whether the rate is estimated now, on the first half.
    held: bool [2, N], the halves.
    log_probs: [2, N, C], what the network that has not seen a half says of it.
    y: int32 [N], the given labels.
    symmetric: whether rows are discarded.
  """
  agree = held & (jnp.argmax(log_probs, axis=-1) == y)
  accuracy = jnp.sum(agree[0]) / jnp.maximum(jnp.sum(held[0]), 1)
  estimate = rate_from_agreement(accuracy, log_probs.shape[-1]).astype(jnp.float32)
  rate = jnp.where(estimated, estimate, found.noise_rate)
  taken = found.selected | jnp.any(agree, axis=0)
  candidates = found.candidates & ~taken
  if symmetric:
    ratio, index = jnp.minimum(2.0, rate / (1 - rate)), jnp.arange(y.size, dtype=jnp.int32)
    worst = [
      smallest(of_label(said, y), count(ratio, right), half, index)
      for said, right, half in zip(log_probs, agree, held, strict=True)
    ]
    candidates = candidates & ~(worst[0] | worst[1])
  return Incv(taken, candidates, rate)
