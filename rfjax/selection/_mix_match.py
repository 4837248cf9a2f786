"""What DivideMix is made of: its split of the data, its batches, targets and mixtures."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rfjax.core import Batch, _check, gaussian_mixture, uniform
from rfjax.losses._mixup import _beta_table

_FLOOR = 5e-4  # what is added to the variances of losses that are scaled to [0, 1]


def unit(loss: jax.Array, rows: jax.Array) -> jax.Array:
  """Losses of some rows, scaled to [0, 1]; the others are 0."""
  low = jnp.min(jnp.where(rows, loss, jnp.inf))
  high = jnp.max(jnp.where(rows, loss, -jnp.inf))
  spread = jnp.where(high > low, high - low, 1)
  return jnp.where(rows, (loss - low) / spread, 0)


def clean_probability(loss: jax.Array, rows: jax.Array) -> jax.Array:
  """The posterior of the lower one of two normal distributions of losses, [N]."""
  count = jnp.maximum(jnp.sum(rows), 1)
  center = jnp.sum(jnp.where(rows, loss, 0)) / count
  variance = jnp.sum(jnp.where(rows, jnp.square(loss - center), 0)) / count
  floor: Any = _FLOOR / jnp.where(variance > 0, variance, 1)  # it is relative to the variance
  return 1 - gaussian_mixture(loss, rows, steps=10, floor=floor).posterior


def loaders(
  key: jax.Array, labelled: jax.Array, rows: jax.Array, order: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Batches of which one half is labelled and one is not, and how many of them hold any row.

  The labelled rows are passed through once, in batches of half the size; beside them the unlabelled
  ones are, as often as it takes, in one random order. Where nothing is labelled, the unlabelled
  ones are passed through once.

  Args:
    key: a key from `jax.random.key`.
    labelled: bool [N], among `rows`.
    rows: bool [N], which take part.
    order: int32 [steps, B], whose batch size is taken.

  Returns:
    The order, int32 [ceil(N / (B // 2)), B], empty after its last batch, and their number [].
  """
  empty, size = rows.shape[0], order.shape[1]
  half = size // 2
  places = jnp.argsort(jax.random.uniform(key, (empty,)) + 1.0 * ~labelled + 1.0 * ~rows)
  places = jnp.append(places, empty).astype(order.dtype)
  sure, all_rows = jnp.sum(labelled), jnp.sum(rows)
  turns = -(-(all_rows - sure) // half)
  steps = jnp.where(sure > 0, -(-sure // half), turns)
  step = jnp.arange(-(-empty // half))[:, None]
  first = step * half + jnp.arange(half)
  second = sure + (step % jnp.maximum(turns, 1)) * half + jnp.arange(half)
  slots = jnp.concatenate([jnp.where(first < sure, first, empty),
                           jnp.where(second < all_rows, second, empty)], axis=1)  # fmt: skip
  slots = jnp.where(step < steps, slots, empty)
  slots = jnp.pad(slots, ((0, 0), (0, size - 2 * half)), constant_values=empty)
  return places[slots], steps.astype(jnp.int32)


def sharpen(probs: jax.Array, temperature: jax.Array | float) -> jax.Array:
  """probs ** (1 / temperature), with sum 1 in each row."""
  logs = jnp.log(jnp.maximum(probs, jnp.finfo(probs.dtype).tiny))
  return jax.nn.softmax(logs / temperature, axis=-1)


def opinion(forward: Any, params: Any, views: list[Batch], keys: jax.Array) -> jax.Array:
  """The mean of what a network says of some views, without its gradient, [B, C]."""
  said = [forward(params, view, key=key).logits for view, key in zip(views, keys, strict=True)]
  return jax.lax.stop_gradient(jnp.mean(jax.nn.softmax(jnp.stack(said)), axis=0))


def larger_shares(alpha: float) -> jax.Array:
  """Quantiles of the larger one of lambda and 1 - lambda of Beta(alpha, alpha)."""
  if _check.traced(alpha):
    raise ValueError("alpha must be static, since its quantiles are tabulated: pass a number")
  _check.number("alpha", alpha, 0.0, open_high=True)
  table = _beta_table(float(alpha)) if alpha > 0 else np.ones(1)
  return jnp.asarray(np.maximum(table, 1 - table))


def partners(batch: Batch, key: jax.Array) -> jax.Array:
  """A random permutation of two views of the valid rows, drawn by `index`, int32 [2 B].

  The first view of row i has the place i, the second one B + i.
  """
  draws = uniform(key, batch, (2, 2))
  draws = jnp.where(batch.valid[:, None, None], draws, jnp.inf)
  orders = jnp.argsort(draws.transpose(1, 0, 2).reshape(-1, 2), axis=0).astype(jnp.int32)
  return jnp.zeros(orders.shape[0], jnp.int32).at[orders[:, 0]].set(orders[:, 1])


def mixtures(
  batch: Batch, views: list[Batch], target: jax.Array, share: jax.Array, key: jax.Array
) -> tuple[Batch, jax.Array]:
  """Mixes two views of each row, and its target, with a random view of a random row.

  Args:
    batch: the rows.
    views: the same with the features of the first and of the second view.
    target: [B, C], taken as a constant.
    share: of each view itself, [].
    key: a key from `jax.random.key`.

  Returns:
    A batch of all first and then all second views, mixed, and its targets [2 B, C].
  """
  partner = partners(batch, key)
  mix = lambda v: share.astype(v.dtype) * v + (1 - share).astype(v.dtype) * v[partner]
  both = batch.take(jnp.tile(jnp.arange(batch.num_rows), 2))
  mixed = both.replace(x=mix(jnp.concatenate([view.x for view in views])))
  return mixed, mix(jnp.tile(jax.lax.stop_gradient(target), (2, 1)))


def merge_views(cost: jax.Array, target: jax.Array) -> tuple[jax.Array, jax.Array]:
  """One cost and target a row, [B, C], whose loss is the mean of the losses of two views.

  The target is the mean of both, and the cost the mean that their targets weigh.

  Args:
    cost: [2, B, C].
    target: [2, B, C], taken as constants.
  """
  total = jnp.sum(target, axis=0)
  some = total > jnp.finfo(total.dtype).tiny
  shares = jnp.where(some, target / jnp.where(some, total, 1), 0.5)
  return jnp.sum(shares * cost, axis=0), total / 2
