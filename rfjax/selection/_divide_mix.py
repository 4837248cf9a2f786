"""DivideMix: two networks divide the data for each other, and learn from both parts."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rfjax.core import Batch, Transform, _check, peer, read, write
from rfjax.core._network import as_float
from rfjax.losses._prior import prior_penalty
from rfjax.selection import _mix_match


class DivideMixState(NamedTuple):
  """The state of `divide_mix`.

  Attributes:
    clean: [N], how likely each given label is to be right, as the other network has it; 1 during
      warm-up.
    losses: [N, average], the network's own losses of the last epochs, scaled to [0, 1].
    pushes: int32 [], how many epochs it has scaled losses of.
    first: int32 [], the first step of the epoch.
    steps: int32 [], how many batches of the epoch hold any row.
  """

  clean: jax.Array
  losses: jax.Array
  pushes: jax.Array
  first: jax.Array
  steps: jax.Array


def divide_mix(
  augment: Callable[..., jax.Array] | None = None,
  *,
  warmup: int = 10,
  strength: float | jax.Array = 25.0,
  alpha: float = 4.0,
  temperature: float | jax.Array = 0.5,
  threshold: float | jax.Array = 0.5,
  ramp_epochs: float | jax.Array = 16.0,
  average: int = 1,
  neg_entropy: float | jax.Array = 0.0,
  prior: float | jax.Array = 1.0,
  paired: bool = True,
) -> Transform:
  r"""DivideMix: semi-supervised learning on a division of the data by the other network's losses.

  After warm-up by cross-entropy, two normal distributions are fitted before each epoch to the
  losses of each network; $w_i$ is the posterior of the lower one of the *other* network, and rows
  with $w_i > \theta$ are labelled. With p the network's mean prediction of two augmented views, and
  p' the other's,

  $$q_i = \mathrm{sharpen}_T\bigl(w_i\, \mathrm{target}_i + (1 - w_i)\, p_i\bigr) \text{ or }
  \mathrm{sharpen}_T\bigl(\tfrac12 (p_i + p_i')\bigr) \text{ where not labelled}$$

  All views and their targets are mixed, $\lambda a + (1 - \lambda) b$, with $\lambda \ge 1/2$ of
  Beta(alpha, alpha) and a random partner, and the network learns from the mixtures,

  $$\mathcal{L} = \mathcal{L}_X + \lambda_u\, r(t)\, \mathcal{L}_U + \lambda_p \sum_k \frac{1}{C}
  \log \frac{1 / C}{\bar p_k}, \qquad r(t) = \mathrm{clip}\Bigl(\frac{t - \mathrm{warmup}}
  {\mathrm{ramp}}, 0, 1\Bigr)$$

  where $\mathcal{L}_X$, the risk, is the cross-entropy of the labelled rows, and $\mathcal{L}_U$
  the mean squared distance of the softmax to the target in the others. It needs `peers=2`.

  As the authors have it, one half of a batch is labelled and one is not: an epoch passes once
  through the labelled rows, and beside them through the others, as often as it takes. Since shapes
  are fixed, an epoch has ceil(N / (B // 2)) batches, of which the last ones are empty: they leave
  the networks as they are, and count as 0 in the means of `Log`. Where nothing is labelled, the
  unlabelled rows are passed through; where all is, the other half is empty.

  Args:
    augment: `augment(x, key) -> x`, of a batch of features [B, ...]; None leaves them as they are.
    warmup: epochs, at least 0, static; 10 for CIFAR-10 and 30 for CIFAR-100.
    strength: lambda_u, at least 0; 0, 25 or 150, the more the higher the noise; may be traced.
    alpha: of mixing, at least 0, static; 0 mixes nothing.
    temperature: T, above 0; may be traced.
    threshold: theta in [0, 1]; may be traced.
    ramp_epochs: ramp, above 0; may be traced.
    average: epochs whose losses are averaged before the fit; 5 for 90 % of noise.
    neg_entropy: the weight of the mean negative entropy, a penalty during warm-up; 1 for
      asymmetric noise, else 0; may be traced.
    prior: lambda_p, at least 0; may be traced.
    paired: whether to write such batches. If not, every random batch is divided as it is, as is a
      full batch.

  Returns:
    The transform; it sets logits, since it asks the network anew, and the loss, cross-entropy, and
    writes target, keep, penalty and order.

  Raises:
    ValueError: for values out of range; in training, without peers or for a batch size of 1.

  References:
    Li, Socher, Hoi, DivideMix: Learning with Noisy Labels as Semi-supervised Learning, ICLR 2020.

  Examples:
    >>> import jax, optax, rfjax
    >>> from rfjax import architectures, selection
    >>> data = rfjax.Batch.from_arrays([[-2.0], [-1.0], [1.0], [2.0]], [0, 0, 0, 1])
    >>> method = selection.divide_mix(lambda x, key: -x, warmup=5, strength=1.0)
    >>> state, log = rfjax.fit(architectures.logistic(), method, optax.sgd(1.0), data,
    ...                        key=jax.random.key(0), epochs=10, batch_size=4, peers=2)
    >>> state.method.clean.shape
    (2, 4)
  """
  warmup, average = _check.count("warmup", warmup, 0), _check.count("average", average)
  for name, value in (("strength", strength), ("neg_entropy", neg_entropy), ("prior", prior)):
    _check.number(name, value, 0.0, open_high=True)
  for name, value in (("temperature", temperature), ("ramp_epochs", ramp_epochs)):
    _check.number(name, value, 0.0, open_low=True, open_high=True)
  _check.number("threshold", threshold, 0.0, 1.0)
  shares = _mix_match.larger_shares(alpha)

  def init(data: Batch, **unused: Any) -> DivideMixState:
    del unused
    ones, none = jnp.ones(data.num_rows), jnp.zeros((), jnp.int32)
    return DivideMixState(ones, jnp.zeros((data.num_rows, average)), none, none, none + 1)

  def refresh(
    data: Batch, state: DivideMixState, params: Any = None, *, key: Any, epoch: Any, step: Any,
    **unused: Any,
  ) -> tuple[Batch, DivideMixState]:  # fmt: skip
    del params, unused
    started, rows = jnp.asarray(epoch) >= warmup, data.valid & (data.keep > 0)
    now = _mix_match.unit(data.loss, rows).astype(state.losses.dtype)
    losses = read(state.losses, data.index).at[:, state.pushes % average].set(now)
    known = jnp.arange(average) <= state.pushes
    mean = losses @ known.astype(losses.dtype) / jnp.sum(known)
    clean = peer(_mix_match.clean_probability(mean, rows), by="divide_mix")
    order, steps = data.order, jnp.int32(1 if data.order is None else data.order.shape[0])
    if paired and order is not None:
      if order.shape[1] < 2:
        raise ValueError("batch_size must be at least 2, for two halves, got 1")
      pairs, number = _mix_match.loaders(key, rows & (clean > threshold), rows, order)
      more = pairs.shape[0] - order.shape[0]
      padded = jnp.pad(order, ((0, more), (0, 0)), constant_values=data.num_rows)
      order, steps = jnp.where(started, pairs, padded), jnp.where(started, number, steps)
    new = DivideMixState(
      write(state.clean, data.index, clean),
      write(state.losses, data.index, losses),
      state.pushes + 1,
      state.first,
      state.steps,
    )
    new = jax.tree.map(lambda a, b: jnp.where(started, a, b), new, state)
    first = jnp.asarray(step, jnp.int32)
    return data.replace(order=order), new._replace(first=first, steps=steps)

  def update(
    batch: Batch, state: DivideMixState, params: Any, *, key: Any, step: Any, epoch: Any,
    forward: Any, **unused: Any,
  ) -> tuple[Batch, DivideMixState]:  # fmt: skip
    del unused
    batch.require("log_probs", "target", "keep", "penalty", by="divide_mix")
    keys = jax.random.split(key, 9)

    def warm() -> tuple[jax.Array, ...]:
      said = batch
      if augment is not None:
        said = forward(params, batch.replace(x=_augmented(batch, augment, keys[0])), key=keys[1])
      certain = batch.mean(jnp.sum(said.probs * said.log_probs, axis=-1))
      return -said.log_probs, batch.target, batch.keep, neg_entropy * certain

    def divided() -> tuple[jax.Array, ...]:
      views = [batch.replace(x=_augmented(batch, augment, k)) for k in keys[:2]]
      own, other = jax.lax.stop_gradient(params), peer(params, by="divide_mix")
      own = _mix_match.opinion(forward, own, views, keys[2:4])
      other = _mix_match.opinion(forward, other, views, keys[4:6])
      clean = read(state.clean, batch.index)[:, None]
      sure = (clean > threshold) & batch.valid[:, None]
      clean = clean.astype(batch.target.dtype)
      refined = clean * batch.target + (1 - clean) * own
      target = _mix_match.sharpen(jnp.where(sure, refined, (own + other) / 2), temperature)
      share = shares[jax.random.randint(keys[6], (), 0, shares.shape[0])]
      mixed, targets = _mix_match.mixtures(batch, views, target, share, keys[7])
      log_probs = forward(params, mixed, key=keys[8]).log_probs

      keep, rest = batch.keep * sure[:, 0], batch.keep * ~sure[:, 0]
      off = jnp.mean(jnp.square(jnp.exp(log_probs) - targets), axis=-1)
      unsupervised = jnp.sum(jnp.tile(rest, 2) * off) / jnp.maximum(2 * jnp.sum(rest), 1)
      time = epoch + (step - state.first) / state.steps - warmup
      ramp = jnp.clip(time / ramp_epochs, 0, 1)
      penalty = strength * ramp * unsupervised + prior * prior_penalty(log_probs, mixed.valid)
      pair = lambda v: v.reshape(2, batch.num_rows, -1)
      return *_mix_match.merge_views(pair(-log_probs), pair(targets)), keep, penalty

    like = (batch.cost, batch.target, batch.keep, batch.penalty)
    cast = lambda branch: (
      lambda: tuple(a.astype(b.dtype) for a, b in zip(branch(), like, strict=True))
    )
    found = jax.lax.cond(jnp.asarray(epoch) < warmup, cast(warm), cast(divided))
    cost, target, keep, penalty = found
    return batch.replace(
      cost=cost, target=target, keep=keep, penalty=batch.penalty + penalty
    ), state

  writes = ("logits", "loss", "target", "keep", "penalty")
  return Transform(init, update, refresh, (*writes, "order") if paired else writes)


def _augmented(batch: Batch, augment: Callable[..., jax.Array] | None, key: jax.Array) -> jax.Array:
  """The features of a view, as floats."""
  return as_float(batch.x if augment is None else augment(batch.x, key))
