"""FINE: rows are right that lie along the main direction of their class."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rfjax.core import Batch, Transform, _check, gaussian_mixture, read, write
from rfjax.selection._elements import keep_only


class FineState(NamedTuple):
  """The state of `fine`.

  Attributes:
    selected: bool [N], the rows that are learned from; all before the first selection.
    score: [N], the alignment of each row with the main direction of its given class.
  """

  selected: jax.Array
  score: jax.Array


def fine(
  threshold: float | jax.Array = 0.5,
  *,
  warmup: int = 40,
  every: int = 10,
  squared: bool = True,
  anchored: bool = True,
) -> Transform:
  r"""FINE, filtering noisy instances via their eigenvectors.

  $$G_k = \sum_{i \in S:\, \tilde y_i = k} f_i f_i^\top, \qquad
  \mathrm{score}_i = \Bigl\langle v_{\tilde y_i}, \frac{f_i}{\lVert f_i \rVert} \Bigr\rangle^2,
  \qquad \mathrm{keep}_i \leftarrow \mathrm{keep}_i\,
  [P(\mathrm{upper} \mid \mathrm{score}_i) > \zeta]$$

  with the first eigenvector $v_k$ of $G_k$, the features f of the network in evaluation mode, and
  the upper one of two normal distributions that are fitted to the scores of each given class. S is
  what was selected before, all at first. Where all scores of a class are equal, as of a single row,
  its rows stay.

  Args:
    threshold: zeta in [0, 1]; more keeps less. May be traced.
    warmup: epochs that learn from all rows, at least 0.
    every: epochs from one selection to the next, at least 1.
    squared: whether scores are squared, as in the paper; without, they are absolute values, as in
      the authors' code.
    anchored: whether the directions are those of the rows selected before; without, of all rows.

  Returns:
    The transform; it writes keep.

  Raises:
    ValueError: for values out of range; in training, where the network offers no features.

  References:
    Kim, Ko, Cho, Choi, Yun, FINE Samples for Learning with Noisy Labels, NeurIPS 2021.

  Examples:
    >>> import jax.numpy as jnp, rfjax
    >>> from rfjax import selection
    >>> features = jnp.array([[1.0, 0.1], [2.0, -0.1], [1.5, 0.0], [0.1, 1.0]])
    >>> data = rfjax.Batch.from_arrays(jnp.zeros((4, 1)), [0, 0, 0, 0]).fill(
    ...     jnp.zeros((4, 2)), features)
    >>> method = selection.fine(warmup=0)
    >>> state = method.init(data, key=None, spec=None)
    >>> method.refresh(data, state, epoch=0)[1].selected.tolist()
    [True, True, True, False]
  """
  _check.number("threshold", threshold, 0.0, 1.0)
  warmup, every = _check.count("warmup", warmup, 0), _check.count("every", every)

  def init(data: Batch, **unused: Any) -> FineState:
    del unused
    return FineState(jnp.ones(data.num_rows, bool), jnp.zeros(data.num_rows))

  def refresh(
    data: Batch, state: FineState, params: Any = None, *, epoch: Any, **unused: Any
  ) -> tuple[Batch, FineState]:
    del params, unused
    data.require("features", "keep", by="fine")

    def select() -> FineState:
      before = read(state.selected, data.index) | (not anchored)
      found = _select(data, before, threshold, squared)
      return write(state, data.index, FineState(*found))

    due = (jnp.asarray(epoch) >= warmup) & ((jnp.asarray(epoch) - warmup) % every == 0)
    state = jax.lax.cond(due, select, lambda: state)
    return keep_only(data, state.selected), state

  def update(
    batch: Batch, state: FineState, params: Any = None, **unused: Any
  ) -> tuple[Batch, FineState]:
    del params, unused
    batch.require("keep", by="fine")
    return keep_only(batch, state.selected), state

  return Transform(init, update, refresh, writes=("keep",))


def _select(
  data: Batch, before: jax.Array, threshold: Any, squared: bool
) -> tuple[jax.Array, jax.Array]:
  """The selected rows and the scores, one class after the other."""
  rows, features = data.valid & (data.keep > 0), jax.lax.stop_gradient(data.features)
  features = features.astype(jnp.promote_types(features.dtype, jnp.float32))
  norm = jnp.linalg.norm(features, axis=-1, keepdims=True)
  unit = features / jnp.where(norm > 0, norm, 1)
  product = lambda a, b: jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)

  def of_class(found: tuple[jax.Array, jax.Array], k: Any) -> tuple[Any, None]:
    selected, score = found
    mine = rows & (data.y == k)
    base = jnp.where(jnp.any(mine & before), mine & before, mine)
    masked = jnp.where(base[:, None], features, 0)
    direction = jnp.linalg.eigh(product(masked.T, masked))[1][:, -1]
    aligned = product(unit, direction)
    aligned = jnp.square(aligned) if squared else jnp.abs(aligned)
    spread = jnp.max(aligned, where=mine, initial=0) - jnp.min(aligned, where=mine, initial=1)
    alike = spread <= 16 * jnp.finfo(aligned.dtype).eps
    clean = alike | (gaussian_mixture(aligned, mine).posterior > threshold)
    return (selected | (mine & clean), jnp.where(mine, aligned, score)), None

  start = (jnp.zeros_like(rows), jnp.zeros_like(norm[:, 0]))
  return jax.lax.scan(of_class, start, jnp.arange(data.num_classes))[0]
