"""MLNT: steps on synthetic wrong labels shall not take the network away from its own past."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from rfjax.core import Batch, Network, Transform, _check, count, follow, read, smallest, uniform

_NAME = "mlnt"


class MLNTState(NamedTuple):
  """The state of `mlnt`.

  Attributes:
    teacher: the moving average of the network's parameters; zeros before the first step.
  """

  teacher: Any


def mlnt(
  network: Network,
  *,
  strength: float | jax.Array = 1.0,
  rate: float | jax.Array = 0.02,
  relabel: float | jax.Array = 0.5,
  num_sets: int = 10,
  num_neighbors: int = 10,
  start: int = 500,
  full: int = 2000,
  decay: tuple[float | jax.Array, float | jax.Array] = (0.99, 0.999),
  order: int = 2,
  features: ArrayLike | None = None,
) -> Transform:
  r"""Meta-learning based noise-tolerant training (MLNT).

  $$\theta'_m = \theta - \alpha \nabla_\theta \mathrm{CE}(\hat y^m, p_\theta), \qquad
  \mathrm{penalty} \leftarrow \mathrm{penalty} + \frac{\lambda\, w}{M} \sum_m
  \mathrm{KL}(p_{\mathrm{teacher}} \,\|\, p_{\theta'_m})$$

  as means over the kept rows. It relabels synthetic batches, and leaves the labels of the batch
  itself alone: each of M sets $\hat y^m$ gives the target of a random near row to a share of the
  rows. A network that still says what the teacher says after a step on such labels resists noise.
  The teacher is a moving average of the weights. The penalty has no weight up to a step, then
  $w = e^{-5(1-u)^2}$ as u goes to 1, then 1. The authors' further rounds, with the first round's
  network as a mentor, are left out.

  Args:
    network: the network that is trained, whose parameters the teacher averages.
    strength: lambda, at least 0; the authors' code also averages the KL over the C classes, which
      is 1 / C. May be traced.
    rate: alpha, at least 0; may be traced.
    relabel: the share of rows that a set relabels, in [0, 1], rounded down; may be traced.
    num_sets: M, at least 1.
    num_neighbors: how many of the nearest rows of the batch, itself not counted, are near.
    start: the last step without the penalty, at least 0; the teacher then starts as a copy.
    full: the step from which the weight is 1, above `start`.
    decay: of the teacher, up to `full` and after it, in [0, 1]; may be traced.
    order: 2 lets the gradient flow through the virtual step, as the authors' code does; 1 does not.
    features: [N, d], where rows are near by squared distance, those of a network that was trained
      by cross-entropy; those of the network itself when None.

  Returns:
    The transform; it writes penalty.

  Raises:
    ValueError: for values out of range; where there are no features, or not one row an example.

  References:
    Li, Wong, Zhao, Kankanhalli, Learning to Learn from Noisy Labeled Data, CVPR 2019.

  Examples:
    >>> import jax, optax, rfjax
    >>> from rfjax import architectures, refurbishment
    >>> data = rfjax.Batch.from_arrays([[-2.0], [-1.0], [1.0], [2.0]], [0, 0, 1, 1])
    >>> network = architectures.mlp([4])
    >>> method = refurbishment.mlnt(network, num_sets=2, start=1, full=3)
    >>> state, log = rfjax.fit(network, method, optax.sgd(0.1), data, key=jax.random.key(0),
    ...                        epochs=4)
    >>> (log.penalty > 0).tolist()
    [False, False, True, True]
  """
  _check.number("strength", strength, 0.0, open_high=True)
  _check.number("rate", rate, 0.0, open_high=True)
  _check.number("relabel", relabel, 0.0, 1.0)
  num_sets = _check.count("num_sets", num_sets)
  num_neighbors = _check.count("num_neighbors", num_neighbors)
  start = _check.count("start", start, 0)
  full = _check.count("full", full, start + 1)
  if not isinstance(decay, (tuple, list)) or len(decay) != 2:
    raise ValueError(f"decay must be a pair, until `full` and after it, got {decay!r}")
  for value in decay:
    _check.number("decay", value, 0.0, 1.0)
  _check.choice("order", order, (1, 2))

  def init(data: Batch, *, key: jax.Array, **unused: Any) -> MLNTState:
    del unused
    if features is not None and jnp.shape(features)[:1] != (data.num_rows,):
      raise ValueError(
        f"features must have one row an example, got shape {jnp.shape(features)} for"
        f" {data.num_rows} rows"
      )
    shapes = jax.eval_shape(network.init, key, data.x)[0]
    return MLNTState(jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes))

  def update(
    batch: Batch, state: MLNTState, params: Any, *, key: Any, step: Any, forward: Any, **_: Any
  ) -> tuple[Batch, MLNTState]:
    batch.require("target", "keep", "penalty", by=_NAME)
    step = jnp.asarray(step)
    slow = jnp.where(step > full, decay[1], decay[0])
    teacher = follow(state.teacher, params, jnp.where(step <= start + 1, 0, slow), by=_NAME)

    def consistency() -> jax.Array:
      if features is None:
        near = jax.lax.stop_gradient(batch.require("features", by=_NAME).features)
      else:
        near = read(jnp.asarray(features), batch.index)
      targets = synthetic_targets(batch, near, key, num_sets, relabel, num_neighbors)
      apart = _divergence(params, teacher, batch, targets, forward, rate, order)
      ramp = jnp.exp(-5 * (1 - jnp.minimum((step - start) / (full - start), 1)) ** 2)
      return (strength * ramp * apart).astype(batch.penalty.dtype)

    # A step alone decides, so that the branch stays one under vmap.
    penalty = jax.lax.cond(step > start, consistency, lambda: jnp.zeros_like(batch.penalty))
    return batch.replace(penalty=batch.penalty + penalty), MLNTState(teacher)

  return Transform(init, update, writes=("penalty",))


def _divergence(
  params: Any, teacher: Any, batch: Batch, targets: jax.Array, forward: Any, rate: Any, order: int
) -> jax.Array:
  """The mean over sets of targets of KL(teacher || network after a step on the set), []."""
  said = jax.lax.stop_gradient(forward(teacher, batch).log_probs)
  share = batch.keep / jnp.maximum(jnp.sum(batch.keep), 1)
  _, pull = jax.vjp(lambda params: forward(params, batch).log_probs, params)

  def of_set(target: jax.Array) -> jax.Array:
    (rise,) = pull(jax.lax.stop_gradient(share[:, None] * target))
    rise = jax.lax.stop_gradient(rise) if order == 1 else rise
    ahead = jax.tree.map(lambda p, g: p + jnp.asarray(rate, p.dtype) * g, params, rise)
    apart = jnp.sum(jnp.exp(said) * (said - forward(ahead, batch).log_probs), axis=-1)
    return jnp.sum(share * apart)

  return jnp.mean(jax.vmap(of_set)(targets))


def synthetic_targets(
  batch: Batch, features: jax.Array, key: jax.Array, num_sets: int, relabel: Any, near: int
) -> jax.Array:
  """Targets [M, B, C], where a share of the kept rows have that of a random one near by."""
  rows = (batch.keep > 0) & batch.valid
  distance = jnp.sum((features[:, None] - features[None]) ** 2, axis=-1)
  other = rows & ~jnp.eye(batch.num_rows, dtype=bool)
  index = jnp.broadcast_to(batch.index, distance.shape)
  order = jnp.lexsort((index, jnp.where(other, distance, jnp.inf)), axis=-1)
  number = jnp.minimum(near, jnp.sum(rows) - 1)
  draws = jnp.moveaxis(uniform(key, batch, (num_sets, 2)), 0, -1)  # [M, 2, B]
  place = jnp.clip(jnp.floor(draws[:, 1] * number).astype(jnp.int32), 0, batch.num_rows - 1)
  source = jnp.take_along_axis(order[None], place[..., None], axis=-1)[..., 0]
  mark = lambda draw: smallest(draw, count(relabel, rows), rows, batch.index)
  chosen = jax.vmap(mark)(draws[:, 0]) & (number > 0)
  return jnp.where(chosen[..., None], batch.target[source], batch.target)
