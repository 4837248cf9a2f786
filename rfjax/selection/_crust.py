"""CRUST: coresets of each class, whose gradients stand for those of all its rows."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rfjax.core import Batch, Transform, _check, count, read, write
from rfjax.selection._elements import class_counts, keep_only


class CrustState(NamedTuple):
  """The state of `crust`.

  Attributes:
    selected: bool [N], the coreset; all rows before the first one.
    weight: [N], how many rows of the class are near each row; 1 before the first coreset.
  """

  selected: jax.Array
  weight: jax.Array


def crust(
  share: float | jax.Array = 0.5,
  *,
  radius: float | jax.Array = 2.0,
  warmup: int = 5,
  capacity: int | None = None,
  greedy: bool = True,
) -> Transform:
  r"""CRUST, coresets for robust training: learns from rows in the middle of each given class.

  $$S_k = \arg\max_{|S| \le \lfloor s N_k \rfloor} \sum_{i:\, \tilde y_i = k}
  \Bigl(d_k - \min_{j \in S} d_{ij}\Bigr), \qquad d_{ij} = \lVert g_i - g_j \rVert, \qquad
  g_i = p_i - e_{\tilde y_i}$$

  $$\mathrm{keep}_i \leftarrow \mathrm{keep}_i\,[i \in S], \qquad
  \mathrm{weight}_i \leftarrow \mathrm{weight}_i\, \frac{w_i \sum_j \mathrm{keep}_j}
  {\sum_j \mathrm{keep}_j w_j}, \qquad w_i = |\{j : \tilde y_j = \tilde y_i,\; d_{ij} < r\}|$$

  with the largest distance $d_k$ of the class. g is the gradient of the loss by the logits, in
  evaluation mode, and S is chosen greedily at the start of each epoch after the warm-up. Gradients
  of one class are at most $\sqrt 2$ apart, so that a radius of 2, which is the authors', gives the
  rows of a class equal weights.

  It takes memory for the square of `capacity`, and time for its cube times the share and classes.

  Args:
    share: s in [0, 1], of the rows of each class; may be traced, and then takes the time of 1.
    radius: r, above 0; may be traced.
    warmup: epochs that learn from all rows, at least 0.
    capacity: so many rows a class may have; all of the data when None. Rows of a class beyond it
      are never selected where labels are traced, and refused elsewhere.
    greedy: whether S is chosen greedily. Once the middle of a class is covered, rows far from all
      others gain most, which are those with wrong labels where there are many. Otherwise S is the
      rows with the smallest sums of distances: what the authors' code does, whose lazy search
      compares new values with stale ones.

  Returns:
    The transform; it writes keep and weight.

  Raises:
    ValueError: for values out of range; at the start of training for a class that is larger than
      the capacity.

  References:
    Mirzasoleiman, Cao, Leskovec, Coresets for Robust Training of Deep Neural Networks against Noisy
    Labels, NeurIPS 2020.

  Examples:
    >>> import jax.numpy as jnp, rfjax
    >>> from rfjax import selection
    >>> logits = jnp.array([[3.0, 0.0], [3.1, 0.0], [2.9, 0.0], [0.0, 3.0]])
    >>> data = rfjax.Batch.from_arrays(jnp.zeros((4, 1)), [0, 0, 0, 0], num_classes=2).fill(logits)
    >>> method = selection.crust(0.25, radius=0.5, warmup=0)
    >>> state = method.init(data, key=None, spec=None)
    >>> _, state = method.refresh(data, state, epoch=0)
    >>> state.selected.tolist(), state.weight.tolist()
    ([True, False, False, False], [3.0, 3.0, 3.0, 1.0])
  """
  _check.number("share", share, 0.0, 1.0)
  _check.number("radius", radius, 0.0, open_low=True)
  warmup = _check.count("warmup", warmup, 0)
  if capacity is not None:
    capacity = _check.count("capacity", capacity)

  def init(data: Batch, **unused: Any) -> CrustState:
    del unused
    if capacity is not None and not _check.traced(data.y, data.valid):
      most = int(np.bincount(np.asarray(data.y)[np.asarray(data.valid)], minlength=1).max())
      if most > capacity:
        raise ValueError(f"capacity must be at least the {most} rows of a class, got {capacity}")
    return CrustState(jnp.ones(data.num_rows, bool), jnp.ones(data.num_rows))

  def refresh(
    data: Batch, state: CrustState, params: Any = None, *, epoch: Any, **unused: Any
  ) -> tuple[Batch, CrustState]:
    del params, unused
    data.require("logits", "keep", by="crust")

    def select() -> CrustState:
      found = _coresets(data, share, radius, capacity or data.num_rows, greedy)
      return write(state, data.index, found)

    state = jax.lax.cond(jnp.asarray(epoch) >= warmup, select, lambda: state)
    return keep_only(data, state.selected), state

  def update(
    batch: Batch, state: CrustState, params: Any = None, **unused: Any
  ) -> tuple[Batch, CrustState]:
    del params, unused
    batch.require("keep", "weight", by="crust")
    chosen, weight = read((state.selected, state.weight), batch.index)
    keep, weight = batch.keep * chosen, weight.astype(batch.weight.dtype)
    mass = jnp.sum(keep * weight)
    weight = weight * jnp.sum(keep) / jnp.where(mass > 0, mass, 1)
    return batch.replace(keep=keep, weight=batch.weight * weight), state

  return Transform(init, update, refresh, writes=("keep", "weight"))


def _coresets(data: Batch, share: Any, radius: Any, capacity: int, greedy: bool) -> CrustState:
  """The coresets of all classes, and the weights of all their rows, one class after the other."""
  logits, rows = jax.lax.stop_gradient(data.logits), data.valid & (data.keep > 0)
  logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
  gradient = jax.nn.softmax(logits) - jax.nn.one_hot(data.y, data.num_classes, dtype=logits.dtype)
  sizes = class_counts(data.y, rows, data.num_classes)
  steps = capacity if _check.traced(share) else int(count(share, capacity))

  def of_class(found: CrustState, k: Any) -> tuple[CrustState, None]:
    mine = jnp.flatnonzero(rows & (data.y == k), size=capacity, fill_value=data.num_rows)
    real = mine < data.num_rows
    d = _distances(gradient.at[mine].get(mode="fill", fill_value=0))
    pairs = real[:, None] & real
    weight = jnp.sum(pairs & (d < radius), axis=-1).astype(found.weight.dtype)
    budget = count(share, sizes[k])
    choose = _greedy if greedy else _central
    chosen = choose(jnp.where(pairs, d, 0), real, budget, steps)
    return write(found, mine, CrustState(chosen, weight)), None

  start = CrustState(jnp.zeros_like(rows), jnp.zeros(data.num_rows, logits.dtype))
  return jax.lax.scan(of_class, start, jnp.arange(data.num_classes))[0]


def _distances(points: jax.Array) -> jax.Array:
  """Euclidean distances [n, n], summed over the coordinates of differences, which is exact."""

  def add(total: jax.Array, column: jax.Array) -> tuple[jax.Array, None]:
    return total + jnp.square(column[:, None] - column), None

  zeros = jnp.zeros((points.shape[0],) * 2, points.dtype)
  return jnp.sqrt(jax.lax.scan(add, zeros, points.T)[0])


def _greedy(d: jax.Array, real: jax.Array, budget: Any, steps: int) -> jax.Array:
  """Marks the rows that lower the sum of distances to the nearest marked row most, in turn.

  Of equal rows the first one is taken. Rows that are not real are at distance 0 from all, and add
  nothing, as `near` is 0 there.
  """

  def choose(i: Any, state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
    chosen, near = state
    gain = jnp.where(real & ~chosen, jnp.sum(jnp.maximum(near - d, 0), axis=-1), -1)
    # Two rows that serve each other alone gain the same: the first one within rounding is taken.
    slack = 8 * jnp.finfo(d.dtype).eps * jnp.sum(near)
    best = jnp.argmax((gain >= 0) & (gain >= jnp.max(gain) - slack))
    go = i < budget
    near = jnp.where(go, jnp.minimum(near, d[best]), near)
    return chosen.at[best].set(chosen[best] | go), near

  near = jnp.where(real, jnp.max(d), 0)
  return jax.lax.fori_loop(0, steps, choose, (jnp.zeros_like(real), near))[0] & real


def _central(d: jax.Array, real: jax.Array, budget: Any, steps: int) -> jax.Array:
  """Marks the rows with the smallest sums of distances; equal ones go by row number."""
  del steps
  order = jnp.argsort(jnp.where(real, jnp.sum(d, axis=-1), jnp.inf), stable=True)
  return jnp.zeros_like(real).at[order].set(jnp.arange(real.size) < budget) & real
